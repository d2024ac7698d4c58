"""CIFAR-10 and CIFAR-100 from miniatures of their archives, packed or extracted."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import cifar
from uniformaly_pipeline.ingestion.layouts.cifar import CIFAR10, CIFAR100, CifarLayout, PackedImages
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Layout, Split
from uniformaly_pipeline.ingestion.manifest import build_manifest

# --- miniatures -----------------------------------------------------------------------------------


def dump_2(value: Any) -> bytes:
    """Pickle as python 2 did, protocol 2: text is bytes, arrays come from numpy.core."""
    return b"\x80\x02" + _dump_2(value) + b"."


def _dump_2(value: Any) -> bytes:
    if isinstance(value, Hostile):
        return value.content
    if isinstance(value, dict):
        items = b"".join(_dump_2(key) + _dump_2(item) for key, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_dump_2, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_dump_2, value)) + b"t"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        return _dump_2(value.encode())
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    assert isinstance(value, np.ndarray)
    code = value.dtype.str.lstrip("<>|")
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R("
        + _dump_2(1) + _dump_2(value.shape)
        + b"cnumpy\ndtype\n" + _dump_2((code, 0, 1)) + b"R(K\x03" + _dump_2(value.dtype.str[0])
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + _dump_2(value.tobytes()) + b"tb"
    )  # fmt: skip


class Hostile:
    """Opcodes to put in the place of a value."""

    def __init__(self, content: bytes) -> None:
        self.content = content


def contents(layout: CifarLayout, seed: int = 0) -> dict[str, Any]:
    """What the files hold, before pickling: every label occurs in every batch."""
    packing, rng = layout.packing, np.random.default_rng(seed)
    num_classes = len(packing.classes)
    files: dict[str, Any] = {}
    for name in packing.train + packing.test:
        count = 2 * num_classes
        labels = rng.permutation(np.arange(count) % num_classes).tolist()
        files[name] = {
            "batch_label": f"{name} of a miniature",
            "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
            "filenames": [f"{name}_{index}.png" for index in range(count)],
            packing.labels: labels,
        }
        if layout is CIFAR100:
            files[name]["fine_labels"] = [5 * label for label in labels]
    files[packing.meta] = {packing.names: list(packing.classes), "num_vis": 3072}
    return files


def pickled(files: dict[str, Any]) -> dict[str, bytes]:
    return {name: dump_2(content) for name, content in files.items()}


def extracted(root: Path, layout: CifarLayout, files: dict[str, bytes]) -> Path:
    folder = root / layout.packing.folder
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def archived(root: Path, layout: CifarLayout, files: dict[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / layout.packing.archive
    with tarfile.open(path, "w:gz") as tar:
        directory = tarfile.TarInfo(layout.packing.folder)
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        for name, content in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{layout.packing.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def for_archive(layout: CifarLayout, archive: Path) -> CifarLayout:
    """The layout with the miniature's MD5 in place of the published one."""
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    return CifarLayout(replace(layout.packing, md5=md5))


def records_of(layout: CifarLayout, root: Path, names: list[str] | None = None) -> Any:
    names = list(layout.packing.classes) if names is None else names
    return layout.read(ImageFolder(str(root)), names, Split())


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    return message


layouts = pytest.mark.parametrize("layout", [CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])


# --- reading --------------------------------------------------------------------------------------


@layouts
def test_every_row_is_named_after_its_label(layout: CifarLayout, tmp_path: Path) -> None:
    files = contents(layout)
    extracted(tmp_path, layout, pickled(files))
    images = layout.open_root(ImageFolder(str(tmp_path)))
    expected = []
    for split, names in (("train", layout.packing.train), ("test", layout.packing.test)):
        rows = np.concatenate([files[name]["data"] for name in names])
        labels = [label for name in names for label in files[name][layout.packing.labels]]
        for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
            path = f"{split}/{layout.packing.classes[label]}/{index:05d}.png"
            expected.append((path, layout.packing.classes[label], split))
            # A row is all red, then all green, then all blue.
            pixels = np.stack([plane.reshape(32, 32) for plane in np.split(row, 3)], axis=-1)
            image = images.read_image(path)
            assert image.mode == "RGB"
            assert np.array_equal(np.asarray(image), pixels)
            with images.open(path) as file:
                content = file.read()
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
            with images.open(path) as file:
                assert file.read() == content
    records = records_of(layout, tmp_path)
    assert sorted((r.image, r.class_name, r.split) for r in records) == sorted(expected)
    assert all((r.defect, r.label, r.mask) == ("good", 0, None) for r in records)
    assert images.files_below() == sorted(path for path, _, _ in expected)


def test_a_known_pixel(tmp_path: Path) -> None:
    """Written out once, so that reading and expecting cannot share a mistake."""
    files = contents(CIFAR10)
    row = np.zeros(3072, np.uint8)
    row[32 * 3 + 5] = 200  # red, line 3, column 5
    row[1024 + 32 * 3 + 5] = 100  # green
    row[2048 + 32 * 3 + 5] = 50  # blue
    files["data_batch_2"]["data"][7] = row
    files["data_batch_2"]["labels"][7] = 9
    extracted(tmp_path, CIFAR10, pickled(files))
    image = CIFAR10.open_root(ImageFolder(str(tmp_path))).read_image("train/truck/00027.png")
    assert image.getpixel((5, 3)) == (200, 100, 50)
    assert np.asarray(image).sum() == 350


@layouts
def test_archive_and_folder_give_the_same(layout: CifarLayout, tmp_path: Path) -> None:
    files = pickled(contents(layout))
    archive = archived(tmp_path / "archive", layout, files)
    layout = for_archive(layout, archive)
    folder = extracted(tmp_path / "folder", layout, files)
    manifests, found = [], []
    for root in (archive, archive.parent, folder, folder.parent):
        images = layout.open_root(ImageFolder(str(root)))
        names = layout.classes(ImageFolder(str(root)))
        records = layout.read(ImageFolder(str(root)), names, Split())
        manifest = build_manifest(images, records)
        # Says which file an image comes from and when that was changed.
        manifests.append(manifest.drop(columns=["fingerprint", "root"], errors="ignore"))
        found.append([np.asarray(images.read_image(record.image)) for record in records])
    assert set(manifests[0]["width"]) == {32}
    assert manifests[0]["content_hash"].is_unique
    for manifest, pixels in zip(manifests[1:], found[1:], strict=True):
        pd.testing.assert_frame_equal(manifest, manifests[0])
        assert np.array_equal(pixels, found[0])


def test_records_are_in_order_of_class_split_and_index(tmp_path: Path) -> None:
    extracted(tmp_path, CIFAR10, pickled(contents(CIFAR10)))
    records = records_of(CIFAR10, tmp_path, ["cat", "bird"])
    assert [(r.class_name, r.split) for r in records] == (
        [("cat", "train")] * 10 + [("cat", "test")] * 2
        + [("bird", "train")] * 10 + [("bird", "test")] * 2
    )  # fmt: skip
    paths = [r.image for r in records[:10]]
    assert paths == sorted(paths)


@layouts
def test_what_is_published(layout: CifarLayout) -> None:
    offered: Layout = layout
    assert not offered.HAS_DEFECTS
    assert layout.packing.archive in offered.EXPECTED
    assert layout.packing.folder in offered.EXPECTED
    assert tuple(layout.PUBLISHED) == layout.packing.classes
    train, test = 50_000, 10_000
    assert sum(counts.train for counts in layout.PUBLISHED.values()) == train
    assert sum(counts.good for counts in layout.PUBLISHED.values()) == test
    # The layouts are sorted as others are, and this is the order of the labels as well.
    assert sorted(layout.packing.classes) == list(layout.packing.classes)


def test_names_and_sums_of_the_published_archives() -> None:
    assert CIFAR10.packing.classes[:3] == ("airplane", "automobile", "bird")
    assert CIFAR10.packing.classes[9] == "truck"
    assert CIFAR10.packing.md5 == "c58f30108f718f92721af3b95e74349a"
    assert CIFAR100.packing.md5 == "eb9058c3a382ffc7106e4002c42a8d85"
    assert len(CIFAR100.packing.classes) == 20
    assert CIFAR100.packing.classes[13] == "non-insect_invertebrates"
    assert CIFAR10.PUBLISHED["cat"] == Counts(train=5000, good=1000)
    assert CIFAR100.PUBLISHED["fish"] == Counts(train=2500, good=500)


def test_classes_open_nothing(tmp_path: Path) -> None:
    (tmp_path / CIFAR10.packing.archive).write_bytes(b"unreadable")
    root = ImageFolder(str(tmp_path))
    assert CIFAR10.classes(root) == list(CIFAR10.packing.classes)
    assert CIFAR10.classes(ImageFolder(str(tmp_path / CIFAR10.packing.archive)))
    assert CIFAR100.classes(root) == []
    # Folders of images by split are not CIFAR-100's files of the same names.
    for split in ("train", "test"):
        (tmp_path / "by_split" / split).mkdir(parents=True)
    assert CIFAR100.classes(ImageFolder(str(tmp_path / "by_split"))) == []
    assert "does not exist" in one_line(lambda: CIFAR10.classes(ImageFolder(str(tmp_path / "x"))))


def test_a_remote_archive(tmp_path: Path) -> None:
    import fsspec

    archive = archived(tmp_path, CIFAR10, pickled(contents(CIFAR10)))
    layout = for_archive(CIFAR10, archive)
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/packed/{archive.name}", archive.read_bytes())
    images = layout.open_root(ImageFolder("memory://packed"))
    local = layout.open_root(ImageFolder(str(tmp_path)))
    assert images.files_below() == local.files_below()


# --- as a folder ----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> PackedImages:
    extracted(tmp_path, CIFAR10, pickled(contents(CIFAR10)))
    return CIFAR10.open_root(ImageFolder(str(tmp_path)))


def test_it_lists_as_the_same_files_on_disk_do(images: PackedImages, tmp_path: Path) -> None:
    for path in images.files_below():
        file = tmp_path / "disk" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        images.read_image(path).save(file)
    disk = ImageFolder(str(tmp_path / "disk"))
    image = images.files("train/bird")[0]
    for path in ("", "train", "test", "train/bird", "test/truck", "x", "train/x", "x/bird", image):
        assert images.folders(path) == disk.folders(path)
        assert images.files(path) == disk.files(path)
        assert images.exists(path) == disk.exists(path)
        assert images.files_below(path) == disk.files_below(path)
    for count in (1, 7, 50, 1000):
        assert images.sample(count) == disk.sample(count)


def test_other_names_are_no_images(images: PackedImages) -> None:
    good = images.files("train/bird")[0]
    number = good.split("/")[-1]
    for path in (
        "train/bird/99999.png",
        f"train/cat/{number}",
        f"test/bird/{number.replace('000', '009', 1)}",
        f"train/bird/0{number}",
        f"{good}.png",
        f"/{good}",
        "train/bird/-0001.png",
        "train/bird",
        "",
    ):
        for method in (images.read_image, images.fingerprint):
            with pytest.raises(FileNotFoundError):
                method(path)
        with pytest.raises(FileNotFoundError), images.open(path):
            pass
    with pytest.raises(FileNotFoundError, match="no masks"):
        images.read_mask(good)


def test_an_opened_root_opens_as_itself(images: PackedImages) -> None:
    assert CIFAR10.open_root(images) is images
    assert CIFAR10.open_root(ImageFolder(images.root)) == images
    assert CIFAR10.classes(images) == list(CIFAR10.packing.classes)
    assert len(CIFAR10.read(images, ["cat"], Split())) == 12


def test_it_travels_light_and_reads_in_another_process(images: PackedImages) -> None:
    content = pickle.dumps(images)
    assert len(content) < 10_000
    assert pickle.loads(content) == images
    path = images.files("test/ship")[0]
    # A new process has no arrays yet, unlike a forked one.
    script = (
        "import pickle, sys; folder = pickle.load(sys.stdin.buffer);"
        f"sys.stdout.buffer.write(folder.read_image({path!r}).tobytes())"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], input=content, capture_output=True, check=True
    )
    assert child.stdout == images.read_image(path).tobytes()


def test_arrays_are_read_once_and_again_after_a_change(
    images: PackedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read_file = cifar._read_file

    def counted(shown: str, *rest: Any) -> Any:
        reads.append(shown)
        return read_file(shown, *rest)

    monkeypatch.setattr(cifar, "_read_file", counted)
    path = images.files_below("train")[0]
    before = np.asarray(images.read_image(path))
    assert CIFAR10.open_root(ImageFolder(images.root)) == images
    assert not reads
    files = contents(CIFAR10)
    for name in CIFAR10.packing.train:
        files[name]["data"] = 255 - files[name]["data"]
    for name, content in pickled(files).items():
        (Path(images.root) / name).write_bytes(content)
        os.utime(Path(images.root) / name, ns=(1, 1))
    changed = CIFAR10.open_root(ImageFolder(images.root))
    assert len(reads) == 7
    assert changed.fingerprint(path) != images.stamp
    assert np.array_equal(np.asarray(changed.read_image(path)), 255 - before)
    # Whoever still holds the old state is told so rather than given other images.
    assert "changed while it was in use" in one_line(lambda: images.read_image(path))


def test_memory_is_that_of_the_arrays(images: PackedImages) -> None:
    source = ImageFolder(images.root, images.storage_options)
    packed = cifar._load(source, images.packing, images.stamp)
    assert packed["train"].pixels.nbytes == 100 * 3072
    assert packed["train"].pixels.dtype == packed["train"].labels.dtype == np.uint8


# --- what is broken -------------------------------------------------------------------------------


def test_neither_archive_nor_folder(tmp_path: Path) -> None:
    message = one_line(lambda: CIFAR10.open_root(ImageFolder(str(tmp_path))))
    assert CIFAR10.packing.archive in message
    assert "https://" in message
    message = one_line(lambda: CIFAR10.open_root(ImageFolder(str(tmp_path / "nowhere"))))
    assert "does not exist" in message


@layouts
def test_an_archive_with_another_md5(layout: CifarLayout, tmp_path: Path) -> None:
    archive = archived(tmp_path, layout, pickled(contents(layout)))
    message = one_line(lambda: layout.open_root(ImageFolder(str(tmp_path))))
    assert str(archive) in message
    assert "damaged or not the published archive" in message
    assert layout.packing.md5 in message
    assert for_archive(layout, archive).open_root(ImageFolder(str(archive))).files_below()
    # Under another name it may be anyone's own.
    other = archive.rename(tmp_path / "own.tar.gz")
    assert layout.open_root(ImageFolder(str(other))).files_below()


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_archive(keep: float, tmp_path: Path) -> None:
    archive = archived(tmp_path, CIFAR10, pickled(contents(CIFAR10)))
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content))])
    layout = for_archive(CIFAR10, archive)
    message = one_line(lambda: layout.open_root(ImageFolder(str(tmp_path))))
    assert str(archive) in message
    assert "again from https://" in message


def test_an_archive_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "own.tar.gz"
    for content in (b"", b"no archive", b"\x1f\x8b\x08" + bytes(50)):
        path.write_bytes(content)
        assert str(path) in one_line(lambda: CIFAR10.open_root(ImageFolder(str(path))))


@layouts
@pytest.mark.parametrize("pack", [archived, extracted])
def test_a_missing_file_is_named(layout: CifarLayout, pack: Any, tmp_path: Path) -> None:
    for name in layout.packing.files:
        files = pickled(contents(layout))
        del files[name]
        root = tmp_path / name
        path = pack(root, layout, files)
        used = for_archive(layout, path) if path.is_file() else layout
        message = one_line(partial(used.open_root, ImageFolder(str(root))))
        assert f"has no {name}:" in message


def spoil(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda batch: {**batch, **fields}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil(data=np.zeros((20, 3071), np.uint8)), "[n, 3072]"),
        (spoil(data=np.zeros((20, 32, 32, 3), np.uint8)), "[n, 3072]"),
        (spoil(data=np.zeros((20, 3072), np.int64)), "[n, 3072]"),
        (spoil(data=np.zeros(3072, np.uint8)), "[n, 3072]"),
        (spoil(data="text"), "[n, 3072]"),
        (spoil(data=np.zeros((19, 3072), np.uint8)), "each of 19 images"),
        (spoil(labels=[0] * 19), "each of 20 images"),
        (spoil(labels="00000000001111111111"), "each of 20 images"),
        (spoil(labels=[0] * 19 + [10]), "beyond 0..9"),
        (spoil(labels=[-1] + [0] * 19), "beyond 0..9"),
        (spoil(labels=["0"] * 20), "beyond 0..9"),
        (lambda batch: {"data": batch["data"]}, "'labels'"),
        (lambda batch: [batch], "'data'"),
    ],
)
def test_a_batch_of_another_kind(change: Any, said: str, tmp_path: Path) -> None:
    files = contents(CIFAR10)
    files["data_batch_4"] = change(files["data_batch_4"])
    extracted(tmp_path, CIFAR10, pickled(files))
    message = one_line(lambda: CIFAR10.open_root(ImageFolder(str(tmp_path))))
    assert "data_batch_4" in message
    assert said in message


def test_other_names_of_classes(tmp_path: Path) -> None:
    files = contents(CIFAR100)
    files["meta"]["coarse_label_names"].reverse()
    extracted(tmp_path, CIFAR100, pickled(files))
    message = one_line(lambda: CIFAR100.open_root(ImageFolder(str(tmp_path))))
    assert "names other classes than CIFAR-100 has" in message


def test_classes_without_images_are_all_named(tmp_path: Path) -> None:
    files = contents(CIFAR10)
    labels = files["test_batch"]["labels"]
    files["test_batch"]["labels"] = [0 if label in (2, 3) else label for label in labels]
    extracted(tmp_path, CIFAR10, pickled(files))
    message = one_line(lambda: records_of(CIFAR10, tmp_path))
    assert message.count("has no images in the test split") == 2
    assert "'bird'" in message
    assert "'cat'" in message


@layouts
@pytest.mark.parametrize("pack", [archived, extracted])
def test_code_in_any_file_is_refused_and_not_run(
    layout: CifarLayout, pack: Any, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    call = Hostile(b"cposix\nsystem\n(S'touch " + os.fsencode(witness) + b"'\ntR")
    pickle.loads(dump_2(call))
    witness.unlink()
    for name in layout.packing.files:
        files = contents(layout)
        files[name]["filenames"] = [call]
        root = tmp_path / name
        path = pack(root, layout, pickled(files))
        used = for_archive(layout, path) if path.is_file() else layout
        message = one_line(partial(used.open_root, ImageFolder(str(root))))
        assert name in message
        assert "'posix.system'" in message
        assert not witness.exists()


def test_a_file_too_large_to_be_genuine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = archived(tmp_path, CIFAR10, pickled(contents(CIFAR10)))
    monkeypatch.setattr(cifar, "_MAX_MEMBER", 1000)
    layout = for_archive(CIFAR10, archive)
    assert "too many" in one_line(lambda: layout.open_root(ImageFolder(str(tmp_path))))
