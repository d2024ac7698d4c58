"""Small seeded data that many tests share; nothing here needs a network or a GPU."""

from __future__ import annotations

import atexit
import ctypes
import json
import logging
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.config import OmegaConfigLoader
from PIL import Image

from uniformaly_pipeline.common.garbage import collect_seldom
from uniformaly_pipeline.datasets.image_folder_dataset import ImageFolderDataset
from uniformaly_pipeline.features.backbone import UNTRAINED, Backbone
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore, StoreHeader
from uniformaly_pipeline.features.store_update import FeatureStream, update_store
from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import demo as demo_layout
from uniformaly_pipeline.ingestion.layouts import folder as folder_layout
from uniformaly_pipeline.ingestion.layouts.demo import DrawnImages
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import build_manifest, select_defects
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters

# Whole runs in this process make objects by the million, and most of them stay to its end.
collect_seldom()

# No test may depend on the Hugging Face hub, whose client reads this when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"

# What is measured of engines is no test's to keep.
os.environ["UNIFORMALY_CACHE"] = tempfile.mkdtemp(prefix="uniformaly-cache-")
atexit.register(shutil.rmtree, os.environ["UNIFORMALY_CACHE"], ignore_errors=True)

# Tests of layouts and of whole runs share miniatures of the published data sets.
sys.path.append(str(Path(__file__).parent / "ingestion/layouts"))

PARITY = Path(__file__).parent / "parity"
TINY_KWARGS = {"embed_dim": 48, "num_heads": 3}


@pytest.fixture(scope="session")
def tiny_backbone() -> Backbone:
    """A ViT of 12 blocks that is quick on a CPU, with seeded random weights."""
    return Backbone("vit_tiny_patch16_224", UNTRAINED, model_kwargs=TINY_KWARGS)


def pytest_runtest_setup() -> None:
    """Small models run faster on one core than on several that others use as well."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def bound_by_modes() -> Iterator[None]:
    """Read-only and unreadable files are so for this test, also where root runs it."""
    if os.name == "nt" or (os.geteuid() == 0 and sys.platform != "linux"):
        pytest.skip("modes bind nobody here")
    if os.geteuid() != 0:
        yield
        return
    # Root's ways around modes are capabilities 1 and 2 of its thread; see capabilities(7).
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before, bound = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    bound[:] = before[:]
    bound[0] &= ~0b110
    assert libc.capset(header, bound) == 0
    yield
    assert libc.capset(header, before) == 0


# --- images on disk -------------------------------------------------------------------------------


def draw_image(rng: np.random.Generator, size: tuple[int, int], dark_spot: bool) -> Image.Image:
    """A bright noisy square on dark ground, [width, height]; a defective one has a dark spot."""
    width, height = size
    pixels = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
    top, left = height // 5, width // 5
    inner = pixels[top : height - top, left : width - left]
    inner += rng.integers(150, 200, inner.shape, dtype=np.uint8)
    if dark_spot:
        pixels[spot_box(size)] = (90, 20, 20)
    return Image.fromarray(pixels)


def spot_box(size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a defect in an image of (width, height) pixels."""
    width, height = size
    return slice(height // 3, height // 2), slice(width // 3, width // 2)


def draw_mask(size: tuple[int, int]) -> Image.Image:
    """The ground truth of a defective image."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[spot_box(size)] = 255
    return Image.fromarray(pixels)


def draw_dataset(
    root: Path,
    categories: Sequence[str] = ("bottle",),
    *,
    train: int = 2,
    good: int = 2,
    dent: int = 1,
    masks: bool = True,
    size: tuple[int, int] = (48, 40),
    seed: int = 0,
) -> ImageFolder:
    """Draw a data set in MVTec layout: train/good, test/good, test/dent and ground_truth/dent."""
    rng = np.random.default_rng(seed)
    for category in categories:
        for folder, count in {"train/good": train, "test/good": good, "test/dent": dent}.items():
            (root / category / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                image = draw_image(rng, size, dark_spot=folder == "test/dent")
                image.save(root / category / folder / f"{i:03d}.png")
        if masks:
            (root / category / "ground_truth/dent").mkdir(parents=True, exist_ok=True)
            for i in range(dent):
                draw_mask(size).save(root / category / f"ground_truth/dent/{i:03d}_mask.png")
    return ImageFolder(str(root))


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., ImageFolder]:
    """:func:`draw_dataset`."""
    return draw_dataset


@pytest.fixture(scope="session")
def demo_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's categories of ``conf/test``, as a run draws them; not to be changed.

    They are drawn once for all workers of pytest: all six take longer than a run on these two.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root, chosen = shared / "demo-images", ("button", "denim")
    draw = partial(drawings.draw, demo_layout.SEED, chosen)
    drawn = DrawnImages(demo_layout.VERSION, len(drawings.paths(chosen)), draw)
    ImageFolderDataset(filepath=str(root)).save(drawn)
    return root


# --- storage elsewhere ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a new bucket; how to get there and the key to it are in the environment."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{uuid.uuid4().hex}"
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


# --- features without a model ---------------------------------------------------------------------


@dataclass
class FakeEncoder:
    """Stands in for the encoder: an image's features follow from its name alone.

    Attributes:
        encoded: Names of all images encoded so far.
        fail_at: Name of the image at which it breaks off, as an interrupted run does.
    """

    grid: tuple[int, int] = (4, 5)
    dim: int = 8
    batch_size: int = 2
    scale: float = 1.0
    fail_at: str | None = None
    encoded: list[str] = field(default_factory=list)

    def features(self, image: str) -> np.ndarray:
        """float32 [N, D]."""
        rng = np.random.default_rng(list(image.encode()))
        shape = (self.grid[0] * self.grid[1], self.dim)
        return (self.scale * rng.standard_normal(shape)).astype(np.float32)

    def attention(self, image: str) -> np.ndarray:
        """float32 [grid height, grid width]: high on the left, falling to the right."""
        rng = np.random.default_rng([1, *image.encode()])
        falloff = np.exp(-2.0 * np.arange(self.grid[1]))
        return (rng.uniform(0.5, 1.0, self.grid) * falloff).astype(np.float32)

    def __call__(self, images: list[str]) -> Iterator[Any]:
        """Encode in order, in batches."""
        import torch

        from uniformaly_pipeline.features.encoder import Encoded

        for first in range(0, len(images), self.batch_size):
            batch = images[first : first + self.batch_size]
            if self.fail_at in batch:
                raise KeyboardInterrupt
            self.encoded += batch
            yield Encoded(
                torch.from_numpy(np.stack([self.features(image) for image in batch])),
                torch.from_numpy(np.stack([self.attention(image) for image in batch])),
                [f"#{image}" for image in batch],
            )

    def stream(
        self,
        images: Sequence[str],
        masking: BackPatchMasking | None = None,
        dtype: Any = "float32",
        **header: Any,
    ) -> FeatureStream:
        """A stream of images whose content hash is ``#`` and their name."""
        made = {
            "backbone": {"model": "fake"},
            "weights_sha256": "0" * 64,
            "preprocessing": {"crop": 64},
            "precision": "float32",
            "masking": vars(masking) if masking is not None else None,
        }
        entries = StoreHeader(grid=self.grid, dim=self.dim, dtype=dtype, **{**made, **header})
        hashes = {f"#{image}": image for image in images}
        return FeatureStream(entries, hashes, self, self.batch_size)

    def store(self, path: Path, images: Sequence[str], **stream: Any) -> FeatureStore:
        """A store of these images."""
        update_store(path, self.stream(images, **stream))
        return FeatureStore(path)


@pytest.fixture
def fake_encoder() -> FakeEncoder:
    """An encoder without a model."""
    return FakeEncoder()


# --- a detector -----------------------------------------------------------------------------------

TINY_8 = Backbone(
    "vit_tiny_patch16_224",
    UNTRAINED,
    model_kwargs={
        "img_size": 64,
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 10,
        "num_heads": 2,
    },
)
DETECTOR_FITTING = Preprocessing(resize=72, crop=64)


def noisy(rng: np.random.Generator, hole: tuple[int, int] | None = None) -> Image.Image:
    """A picture of 90 x 72 pixels of noise, with a black square around (x, y)."""
    pixels = rng.integers(90, 160, (72, 90, 3), dtype=np.uint8)
    if hole is not None:
        pixels[hole[1] - 12 : hole[1] + 12, hole[0] - 12 : hole[0] + 12] = 0
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``good`` (16), ``held`` (4) and ``new`` (2 sound ones, 1 with a hole)."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for folder, count in (("good", 16), ("held", 4), ("new", 2)):
        (root / folder).mkdir()
        for i in range(count):
            noisy(rng).save(root / folder / f"{i:02d}.png")
    (root / "new/holes").mkdir()
    noisy(rng, hole=(50, 30)).save(root / "new/holes/x.png")
    return root


@pytest.fixture(scope="session")
def detector_file(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a detector fit on these pictures, with its weights."""
    from uniformaly_pipeline import Detector

    made = Detector.fit(
        pictures / "good",
        calibration=pictures / "held",
        backbone=TINY_8,
        preprocessing=DETECTOR_FITTING,
        false_alarm_rate=0.25,
        device="cpu",
        name="noise",
    )
    path = tmp_path_factory.mktemp("detector") / "noise.safetensors"
    made.save(path, embed_weights=True)
    return path


@pytest.fixture
def detector(detector_file: Path) -> Any:
    """That detector, as it comes from its file."""
    from uniformaly_pipeline import Detector

    return Detector.load(detector_file, device="cpu")


# --- the authors' outputs -------------------------------------------------------------------------


@dataclass(frozen=True)
class Parity:
    """A small data set, weights and what the authors' code made of them."""

    images: ImageFolder
    backbone: Backbone
    preprocessing: Preprocessing
    manifest: pd.DataFrame
    expected: dict[str, np.ndarray]

    def hashes(self, category: str, split: str) -> list[str]:
        """Content hashes of a category's images in the authors' order."""
        rows = select_defects(self.manifest, [category], [category])
        return list(rows.loc[rows["split"] == split, "content_hash"])


@pytest.fixture(scope="session")
def parity() -> Parity:
    """The parity data of METHOD.md."""
    meta = json.loads((PARITY / "meta.json").read_text(encoding="utf-8"))
    images = ImageFolder(str(PARITY / "images"))
    with np.load(PARITY / "expected.npz") as arrays:
        expected = dict(arrays)
    return Parity(
        images=images,
        backbone=Backbone(
            meta["model"],
            str(PARITY / "backbone.safetensors"),
            model_kwargs=meta["model_kwargs"],
            layers=tuple(meta["layers"]),
            attention_layer=meta["attention_layer"],
        ),
        preprocessing=Preprocessing(resize=meta["resize"], crop=meta["crop"]),
        manifest=build_manifest(
            images, folder_layout.read(images, folder_layout.classes(images), Split())
        ),
        expected=expected,
    )


@pytest.fixture(scope="session")
def shipped() -> Parameters:
    """The parameters that the project ships."""
    conf = str(Path(__file__).parents[1] / "conf")
    loader = OmegaConfigLoader(conf, base_env="base", default_run_env="base")
    return parse_parameters(loader["parameters"])
