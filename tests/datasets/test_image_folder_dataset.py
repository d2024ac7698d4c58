"""The raw images in the catalog, drawn on the first run where they are fabricated."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.image_folder_dataset import ImageFolderDataset
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.demo import DrawnImages


class Drawing:
    """Two images of one colour, and how often they were drawn."""

    def __init__(self, version: str = "1", colour: str = "red") -> None:
        self.times = 0
        self.colour = colour
        self.images = DrawnImages(version, 2, self.draw)

    def draw(self) -> Iterator[tuple[str, Image.Image]]:
        self.times += 1
        for path in ("nut/train/good/0.png", "nut/test/good/0.png"):
            yield path, Image.new("RGB", (4, 3), self.colour)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data/demo"


@pytest.fixture
def dataset(root: Path) -> ImageFolderDataset:
    return ImageFolderDataset(filepath=str(root))


def colour_of(dataset: ImageFolderDataset) -> tuple[int, ...]:
    return dataset.load().read_image("nut/test/good/0.png").getpixel((0, 0))  # type: ignore[return-value]


def test_loading_reads_nothing_yet(dataset: ImageFolderDataset, root: Path) -> None:
    assert dataset.load() == ImageFolder(str(root))
    assert not dataset.exists()


def test_images_are_drawn_once(dataset: ImageFolderDataset) -> None:
    drawing = Drawing()
    dataset.save(drawing.images)
    dataset.save(drawing.images)
    assert drawing.times == 1
    assert dataset.exists()
    assert colour_of(dataset) == (255, 0, 0)
    assert dataset.load().files("nut/train/good") == ["nut/train/good/0.png"]


def test_another_version_is_drawn_anew(dataset: ImageFolderDataset) -> None:
    dataset.save(Drawing().images)
    dataset.save(Drawing("2", "blue").images)
    assert colour_of(dataset) == (0, 0, 255)


def test_what_another_run_drew_meanwhile_is_left_to_it(
    dataset: ImageFolderDataset, root: Path
) -> None:
    """It may be reading: a folder that is replaced would be gone for a moment."""

    def draw_after_another() -> Iterator[tuple[str, Image.Image]]:
        dataset.save(Drawing().images)
        yield "nut/test/good/0.png", Image.new("RGB", (4, 3), "red")

    dataset.save(Drawing("0").images)
    dataset.save(DrawnImages("1", 2, draw_after_another))
    # The other's has both images.
    assert dataset.load().files("nut/train/good") == ["nut/train/good/0.png"]
    assert [path.name for path in root.parent.iterdir()] == ["demo"]


def test_a_drawing_that_breaks_off_leaves_what_was_there(
    dataset: ImageFolderDataset, root: Path
) -> None:
    def break_off() -> Iterator[tuple[str, Image.Image]]:
        yield "nut/test/good/0.png", Image.new("RGB", (4, 3), "blue")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.save(DrawnImages("1", 2, break_off))
    assert not root.exists()
    dataset.save(Drawing().images)
    with pytest.raises(KeyboardInterrupt):
        dataset.save(DrawnImages("2", 2, break_off))
    assert colour_of(dataset) == (255, 0, 0)
    dataset.save(Drawing("2", "lime").images)
    assert colour_of(dataset) == (0, 255, 0)
    assert [path.name for path in root.parent.iterdir()] == ["demo"]


def test_a_folder_of_something_else_is_left_alone(dataset: ImageFolderDataset, root: Path) -> None:
    root.mkdir(parents=True)
    (root / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=f"not {root}: set the data set's root to a new folder"):
        dataset.save(Drawing().images)
    assert (root / "thesis.txt").read_text() == "years of work"


def test_images_are_drawn_elsewhere_as_well() -> None:
    folder = f"memory://{uuid.uuid4().hex}/demo"
    dataset = ImageFolderDataset(filepath=folder)

    def break_off() -> Iterator[tuple[str, Image.Image]]:
        yield "nut/test/good/0.png", Image.new("RGB", (4, 3), "blue")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.save(DrawnImages("1", 2, break_off))
    drawing = Drawing()
    dataset.save(drawing.images)
    assert colour_of(dataset) == (255, 0, 0)
    dataset.save(DrawnImages(drawing.images.version, 2, break_off))  # they are there
    with pytest.raises(InputError, match=f"not {folder}/nut: set the data set's root"):
        ImageFolderDataset(filepath=f"{folder}/nut").save(drawing.images)


def test_preview_is_a_picture_of_the_images(
    make_dataset: Callable[..., ImageFolder], tmp_path: Path
) -> None:
    make_dataset(tmp_path, ["nut", "bolt"])
    preview = ImageFolderDataset(filepath=str(tmp_path)).preview()
    sheet = Image.open(io.BytesIO(base64.b64decode(str(preview))))
    assert sheet.format == "PNG"
    assert len(sheet.convert("RGB").getcolors(10**6) or []) > 100
