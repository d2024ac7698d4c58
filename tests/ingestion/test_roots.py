"""A data set is found wherever the user put it, as a folder, one level off, or as an archive."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from miniatures import (
    make_btad,
    make_cpd,
    make_imagenet30,
    make_kolektor_sdd2,
    make_mpdd,
    make_mtd,
    make_mvtec,
    make_mvtec_ad2,
    make_mvtec_loco,
    make_species60,
    make_visa,
    pack,
    rows,
)

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.download.sources import PUBLICATIONS
from uniformaly_pipeline.ingestion.images import ImageFolder, single_image
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import build_manifest
from uniformaly_pipeline.ingestion.roots import choose_classes, list_classes, open_root

ARCHIVES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "mvtec": (make_mvtec, "mvtec_anomaly_detection.tar.xz"),
    "btad": (make_btad, "btad.zip"),
    "mtd": (make_mtd, "magnetic_tile.zip"),
    "cpd": (make_cpd, "archive.zip"),
    "imagenet30": (make_imagenet30, "imagenet30.tar"),
    "species60": (make_species60, "species60.tar.gz"),
    "visa": (make_visa, "VisA_20220922.tar"),
    "mvtec_ad2": (make_mvtec_ad2, "mvtec_ad_2.tar.gz"),
    "mvtec_loco": (make_mvtec_loco, "mvtec_loco_anomaly_detection.tar.xz"),
    "mpdd": (make_mpdd, "MPDD.zip"),
    "kolektor_sdd2": (make_kolektor_sdd2, "KolektorSDD2.zip"),
}
SPLIT = Split(min_images=1)


def manifest_rows(layout: str, root: ImageFolder) -> object:
    """Every row that a layout finds at a root, and what is in the files."""
    folder = open_root(layout, root)
    records = LAYOUTS[layout].read(folder, list_classes(layout, root), SPLIT)
    manifest = build_manifest(folder, records)
    return rows(records), manifest["content_hash"].tolist()


@pytest.mark.parametrize("layout", sorted(ARCHIVES))
def test_archive_and_folder_give_the_same_rows(layout: str, tmp_path: Path) -> None:
    make, name = ARCHIVES[layout]
    made = make(tmp_path / "made")
    raw = tmp_path / "raw"
    raw.mkdir()
    archive = pack(made, raw / name)
    expected = manifest_rows(layout, ImageFolder(str(made)))
    assert expected[0]  # type: ignore[index]
    # The first call unpacks, the others find what is there.
    for root in (archive, raw, raw / name.split(".")[0]):
        assert manifest_rows(layout, ImageFolder(str(root))) == expected, root
    assert {path.name for path in raw.iterdir()} == {name, name.split(".")[0]}


@pytest.mark.parametrize("layout", ["mvtec", "cpd"])
def test_classes_are_known_before_unpacking(layout: str, tmp_path: Path) -> None:
    make, name = ARCHIVES[layout]
    archive = pack(make(tmp_path / "made"), tmp_path / name)
    assert list_classes(layout, ImageFolder(str(archive))) == list(LAYOUTS[layout].PUBLISHED)  # type: ignore[attr-defined]
    assert not (tmp_path / name.split(".")[0]).exists()


def test_kaggles_nested_folders(tmp_path: Path) -> None:
    """The casting archive holds casting_data/casting_data."""
    made = make_cpd(tmp_path / "made/casting_data")
    archive = pack(tmp_path / "made", tmp_path / "archive.zip", top="")
    expected = manifest_rows("cpd", ImageFolder(str(made)))
    assert manifest_rows("cpd", ImageFolder(str(archive))) == expected


def test_several_archives_to_choose_from(tmp_path: Path) -> None:
    made = make_mvtec(tmp_path / "made")
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("one.tar.xz", "two.tar.xz"):
        pack(made, raw / name)
    with pytest.raises(InputError, match=r"several archives \(one.tar.xz, two.tar.xz\)"):
        open_root("mvtec", ImageFolder(str(raw)))


def test_the_users_own_archives_are_left_alone(tmp_path: Path) -> None:
    pack(make_mvtec(tmp_path / "made"), tmp_path / "mine.tar.xz")
    with pytest.raises(InputError):
        open_root("folder", ImageFolder(str(tmp_path / "mine.tar.xz")))
    assert not (tmp_path / "mine").exists()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without writing to the terminal."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address at which ``tmp_path`` is served."""
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_root_on_a_web_server(server: str, tmp_path: Path) -> None:
    made = make_btad(tmp_path / "made")
    place = made.relative_to(tmp_path).as_posix()
    expected = manifest_rows("btad", ImageFolder(str(made)))
    assert manifest_rows("btad", ImageFolder(f"{server}/{place}")) == expected


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["N\u00fcsse", "Nu\u0308sse"])
@pytest.mark.parametrize("stored", ["N\u00fcsse", "Nu\u0308sse"])
def test_a_name_is_found_however_its_accents_are_encoded(typed: str, stored: str) -> None:
    assert choose_classes(["bolt", stored], typed) == [stored]
    assert choose_classes(["bolt", stored], f"{typed}+bolt") == ["bolt", stored]
    assert choose_classes(["bolt", stored], [typed]) == [stored]


def test_of_two_names_that_look_alike_the_one_that_was_written_is_taken() -> None:
    both = ["e\u0301", "\u00e9"]
    assert choose_classes(both, both[0]) == [both[0]]
    assert choose_classes(both, both[1]) == [both[1]]


def test_a_name_that_yaml_has_spoilt_says_so() -> None:
    with pytest.raises(InputError, match="YAML reads 01 as 1: put such names into quotes"):
        choose_classes(["01", "02"], ["1"])


def test_a_folder_of_a_web_server_is_no_single_image(tmp_path: Path) -> None:
    """Over HTTP whatever answers passes for a file."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new/x.png").touch()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        folder = single_image(ImageFolder(f"{address}/new"))
        assert folder.files_below() == ["x.png"]
        single = single_image(ImageFolder(f"{address}/new/x.png"))
        assert (single.root, single.only) == (f"{address}/new", "x.png")
        server.shutdown()


@pytest.mark.parametrize("layout", ["species60", "mvtec", "cifar10", "classes", "folder"])
def test_a_missing_root_says_how_to_get_what_others_publish(layout: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="does not exist: set root to where the images are"
    ) as error:
        open_root(layout, ImageFolder(str(tmp_path / "none")))
    how = ", or get them: kedro run --pipelines=download --params=dataset=NAME"
    assert str(error.value).endswith(how) == (layout in PUBLICATIONS)
