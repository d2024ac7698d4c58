"""Archives are unpacked completely and safely, or not at all."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.download import archives
from uniformaly_pipeline.ingestion.download.archives import (
    archive_fault,
    archive_stem,
    is_archive,
    unpack,
)
from uniformaly_pipeline.ingestion.download.sources import PUBLICATIONS

FILES = {
    "bottle/train/good/000.png": b"first" * 1000,
    "bottle/train/good/001.png": b"",
    "bottle/test/broken/ä 0.png": bytes(range(256)) * 300,
}
TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}


def tar_file(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for member, content in members:
            packed.addfile(member, io.BytesIO(content))
    return path


def entry(name: str, content: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in attributes.items():
        setattr(member, key, value)
    return member, content


def zip_file(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def good_archive(folder: Path, suffix: str) -> Path:
    path = folder / f"data{suffix}"
    if suffix == ".zip":
        return zip_file(path, FILES)
    members = [entry("./", type=tarfile.DIRTYPE), entry("./bottle", type=tarfile.DIRTYPE)]
    members += [entry(f"./{name}", content) for name, content in FILES.items()]
    return tar_file(path, members, TAR_MODES[suffix])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Path]:
    """A folder to unpack in; nothing may appear around it."""
    folder = tmp_path / "around" / "box"
    folder.mkdir(parents=True)
    yield folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["around"]
    assert [path.name for path in folder.parent.iterdir()] == ["box"]


def refusal(archive: Path, *mentioned: str) -> str:
    """The message of a refused unpacking, after checking that it left no trace."""
    folder = archive.parent
    before = sorted(folder.iterdir())
    with pytest.raises(InputError) as caught:
        unpack(archive, folder / "target")
    assert sorted(folder.iterdir()) == before
    message = str(caught.value)
    assert "\n" not in message
    for words in (str(archive), *mentioned):
        assert words in message
    return message


# --- names ----------------------------------------------------------------------------------------


def test_archives_are_known_by_name() -> None:
    for suffix in [*TAR_MODES, ".zip", ".TAR.XZ", ".Zip"]:
        path = Path(f"folder.d/visa_1.0{suffix}")
        assert is_archive(path)
        assert archive_stem(path) == "visa_1.0"
    for name in ["a.png", "a.gz", "zip", "a.zip.png", "a.rar"]:
        assert not is_archive(Path(name))
    assert archive_stem(Path("x/a.png")) == "a.png"


# --- what works -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*TAR_MODES, ".zip"])
def test_every_format_is_unpacked(box: Path, suffix: str) -> None:
    archive = good_archive(box, suffix)
    target = box / "deep" / "target"
    unpack(archive, target)
    assert contents(target) == FILES
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_zip_method_is_unpacked(box: Path, method: int) -> None:
    unpack(zip_file(box / "data.zip", FILES, method), box / "target")
    assert contents(box / "target") == FILES


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".tar.bz2"])
def test_several_compressed_streams_are_one_archive(box: Path, suffix: str) -> None:
    plain = good_archive(box, ".tar").read_bytes()
    compressors: dict[str, Callable[[bytes], bytes]] = {
        ".tar.gz": gzip.compress,
        ".tar.xz": lzma.compress,
        ".tar.bz2": bz2.compress,
    }
    pieces = [plain[:1000], plain[1000:]]
    archive = box / f"parallel{suffix}"
    archive.write_bytes(b"".join(compressors[suffix](piece) for piece in pieces))
    unpack(archive, box / "target")
    assert contents(box / "target") == FILES


def test_contents_decide_not_the_name(box: Path) -> None:
    archive = good_archive(box, ".tar.xz").rename(box / "data.zip")
    unpack(archive, box / "a")
    unpack(zip_file(box / "data.tar.gz", FILES), box / "b")
    assert contents(box / "a") == contents(box / "b") == FILES


def test_long_names_and_pax_headers_are_read(box: Path) -> None:
    name = "/".join(["folder" * 8] * 5 + ["ä.png"])
    for index, form in enumerate([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]):
        archive = box / f"{index}.tar"
        with tarfile.open(archive, "w", format=form) as packed:
            packed.addfile(*map_entry(entry(name, b"x")))
        unpack(archive, box / str(index))
        assert contents(box / str(index)) == {name: b"x"}


def map_entry(member: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, IO[bytes]]:
    return member[0], io.BytesIO(member[1])


def test_what_lies_beside_is_left_alone(box: Path) -> None:
    """A folder of that name with .part may be anybody's."""
    archive = good_archive(box, ".tar")
    (box / "a.part" / "old").mkdir(parents=True)
    (box / "b.part").write_bytes(b"old")
    (box / "elsewhere").mkdir()
    (box / "elsewhere" / "kept").write_bytes(b"kept")
    (box / "c.part").symlink_to(box / "elsewhere")
    for name in "abc":
        unpack(archive, box / name)
        assert contents(box / name) == FILES
        assert (box / f"{name}.part").exists()
    assert contents(box / "elsewhere") == {"kept": b"kept"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_files_get_no_modes_from_the_archive(box: Path, suffix: str) -> None:
    archive = box / f"data{suffix}"
    if suffix == ".tar":
        tar_file(archive, [entry("a", b"x", mode=0o6777)])
    else:
        member = zipfile.ZipInfo("a")
        member.external_attr = (stat.S_IFREG | 0o6777) << 16
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(member, b"x")
    unpack(archive, box / "target")
    mode = stat.S_IMODE((box / "target" / "a").stat().st_mode)
    assert mode & 0o600 == 0o600
    assert mode & ~0o666 == 0


def test_names_that_differ_in_case_are_two_files_or_refused(box: Path) -> None:
    archive = tar_file(box / "data.tar", [entry("a.png", b"1"), entry("A.png", b"2")])
    if (box / "DATA.tar").exists():
        refusal(archive, "'A.png'", "twice")
    else:
        unpack(archive, box / "target")
        assert contents(box / "target") == {"a.png": b"1", "A.png": b"2"}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/etc/evil", "//server/evil", "../evil", "a/../../evil"])
@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".zip"])
def test_names_that_lead_outside_are_refused(box: Path, suffix: str, name: str) -> None:
    archive = box / f"data{suffix}"
    if suffix == ".zip":
        zip_file(archive, {"good": b"x", name: b"evil"})
    else:
        tar_file(archive, [entry("good", b"x"), entry(name, b"evil")], TAR_MODES[suffix])
    refusal(archive, repr(name), "leads outside")


@pytest.mark.skipif(os.name == "nt", reason="these lead outside on Windows")
@pytest.mark.parametrize("name", [".. /a", "C:/a", "C:a", "..\\a", "\\a", "a/b\nc"])
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_names_that_are_only_odd_stay_inside(box: Path, suffix: str, name: str) -> None:
    archive = box / f"data{suffix}"
    if suffix == ".zip":
        zip_file(archive, {name: b"odd"})
    else:
        tar_file(archive, [entry(name, b"odd")])
    unpack(archive, box / "target")
    assert list(contents(box / "target").values()) == [b"odd"]


def test_folders_that_lead_outside_are_refused(box: Path) -> None:
    refusal(tar_file(box / "a.tar", [entry("../evil", type=tarfile.DIRTYPE)]), "'../evil'")
    refusal(zip_file(box / "a.zip", {"../evil/": b""}), "'../evil/'")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["good", "/etc/passwd", "../../around"])
def test_links_in_tars_are_refused(box: Path, kind: bytes, to: str) -> None:
    link = entry("way", type=kind, linkname=to)
    archive = tar_file(box / "data.tar", [entry("good", b"x"), link, entry("way/evil", b"x")])
    refusal(archive, "'way'", "a link", "image data sets have none")


def test_links_in_zips_are_refused(box: Path) -> None:
    member = zipfile.ZipInfo("way")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(box / "data.zip", "w") as packed:
        packed.writestr(member, "/etc")
    refusal(box / "data.zip", "'way'", "a link")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"V"])
def test_devices_in_tars_are_refused(box: Path, kind: bytes) -> None:
    refusal(tar_file(box / "data.tar", [entry("odd", type=kind)]), "'odd'", "a device")


def test_devices_in_zips_are_refused(box: Path) -> None:
    member = zipfile.ZipInfo("odd")
    member.external_attr = (stat.S_IFIFO | 0o666) << 16
    with zipfile.ZipFile(box / "data.zip", "w") as packed:
        packed.writestr(member, b"")
    refusal(box / "data.zip", "'odd'", "a device")


def test_sparse_files_are_refused(box: Path) -> None:
    headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999", "GNU.sparse.name": "hole"}
    member = entry("hole", b"x", pax_headers=headers)
    refusal(tar_file(box / "data.tar", [member]), "'hole'", "sparse")


@pytest.mark.parametrize("second", ["a", "a/b", "./a"])
def test_duplicates_are_refused(box: Path, second: str) -> None:
    archive = tar_file(box / "data.tar", [entry("a", b"1"), entry(second, b"2")])
    refusal(archive, repr(second).strip("'"), "check names" if second == "a/b" else "twice")
    if second == "a":
        with pytest.warns(UserWarning), zipfile.ZipFile(box / "data.zip", "w") as packed:
            packed.writestr("a", b"1")
            packed.writestr("a", b"2")
        refusal(box / "data.zip", "'a'", "twice")


def test_a_file_and_a_folder_of_one_name_are_refused(box: Path) -> None:
    refusal(zip_file(box / "a.zip", {"a": b"1", "a/": b""}), "'a/'", "check names")
    refusal(zip_file(box / "b.zip", {"a/b": b"1", "a": b""}), "'a'", "twice")


# --- size -----------------------------------------------------------------------------------------


def small_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """A disk on which nothing may be begun."""
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(tarfile.TarFile, "extract", pytest.fail)
    monkeypatch.setattr(zipfile.ZipFile, "extract", pytest.fail)


@pytest.mark.parametrize("suffix", [".tar.xz", ".zip"])
def test_what_does_not_fit_is_not_begun(
    box: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = box / f"bomb{suffix}"
    bomb = bytes(3_000_000)
    if suffix == ".zip":
        zip_file(archive, {"a": bomb, "b": bomb})
    else:
        tar_file(archive, [entry("a", bomb)], "w:xz")
    # Each of the zip's two files would fit.
    small_disk(monkeypatch, 4_000_000 if suffix == ".zip" else 2_000_000)
    refusal(archive, "does not fit", "make room")


def test_a_plain_tar_larger_than_the_disk_is_refused_at_once(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar_file(box / "data.tar", [entry(name, bytes(40_000)) for name in "abc"])
    small_disk(monkeypatch, 100_000)
    refusal(archive, "does not fit")


def test_a_full_disk_is_one_line(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    archive = zip_file(box / "data.zip", {"a": b"x"})
    refusal(archive, "'a'", "No space left", "free space")


def test_a_zip_that_holds_more_than_it_declares_is_refused(box: Path) -> None:
    archive = zip_file(box / "data.zip", {"bomb": bytes(1_000_000)})
    raw = archive.read_bytes().replace(struct.pack("<L", 1_000_000), struct.pack("<L", 10))
    archive.write_bytes(raw)
    refusal(archive, "'bomb'")


def test_a_header_that_fills_the_memory_is_refused(box: Path) -> None:
    archive = tar_file(box / "data.tar.gz", [entry("x" * 2_000_000, b"x")], "w:gz")
    refusal(archive)


def test_too_many_members_are_refused(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    refusal(good_archive(box, ".zip"), "more than 2 files")
    refusal(good_archive(box, ".tar"), "more than 2 files")


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*TAR_MODES, ".zip"])
def test_a_cut_archive_is_refused(box: Path, suffix: str) -> None:
    # Random contents: the compressed archive is long enough to cut.
    noise = random.Random(0).randbytes(5000)
    archive = box / f"data{suffix}"
    if suffix == ".zip":
        zip_file(archive, {"a": noise, "b": noise[::-1]})
    else:
        tar_file(archive, [entry("a", noise), entry("b", noise[::-1])], TAR_MODES[suffix])
    whole = archive.read_bytes()
    # Tars end in up to 10 kB of zeros that do not matter; the compressed ones end in a checksum.
    useful = len(whole.rstrip(b"\0")) if suffix == ".tar" else len(whole)
    for length in [1, 100, 512, 512 + 5120, 8000, useful - 1]:
        archive.write_bytes(whole[:length])
        refusal(archive, "cut short")


def test_a_tar_that_ends_between_two_members_is_refused(box: Path) -> None:
    # tarfile takes this for the end of the archive.
    archive = tar_file(box / "data.tar", [entry("a", bytes(512)), entry("b", bytes(512))])
    whole = archive.read_bytes()
    archive.write_bytes(whole[:1024])
    refusal(archive, "damaged", "'a'")
    archive.write_bytes(whole[:1024] + b"\xff" * 512 + whole[1536:])
    refusal(archive, "damaged", "'a'")


@pytest.mark.parametrize("suffix", [*TAR_MODES, ".zip"])
def test_damage_is_one_line_and_leaves_nothing(box: Path, suffix: str) -> None:
    whole = good_archive(box, suffix).read_bytes()
    dice = random.Random(0)
    folder = box / "damaged"
    folder.mkdir()
    archive = folder / f"data{suffix}"
    refused = 0
    for _ in range(60):
        raw = bytearray(whole)
        for _ in range(dice.choice([1, 3, 30])):
            raw[dice.randrange(min(len(raw), 3000))] = dice.randrange(256)
        archive.write_bytes(raw)
        target = folder / "target"
        try:
            unpack(archive, target)
            shutil.rmtree(target)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(archive) in str(error)
        assert [path.name for path in folder.iterdir()] == [archive.name]
    assert refused > 10


@pytest.mark.parametrize("name", ["data.zip", "data.tar", "data.tar.xz", "data"])
@pytest.mark.parametrize("raw", [b"", b"<html>Not found</html>" * 100])
def test_what_is_no_archive_is_refused(box: Path, name: str, raw: bytes) -> None:
    (box / name).write_bytes(raw)
    refusal(box / name, "no tar or zip archive")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_an_empty_archive_is_refused(box: Path, suffix: str) -> None:
    archive = box / f"data{suffix}"
    if suffix == ".zip":
        zip_file(archive, {"folder/": b""})
    else:
        tar_file(archive, [], TAR_MODES[suffix])
    refusal(archive, "holds no files")


def test_an_encrypted_zip_is_refused(box: Path) -> None:
    archive = zip_file(box / "data.zip", {"secret": b"x"}, zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    refusal(archive, "'secret'", "encrypted")


def test_an_unknown_zip_method_is_refused(box: Path) -> None:
    archive = zip_file(box / "data.zip", {"large": b"x"}, zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    # Deflate64, which Windows uses for large files.
    raw[8] = raw[raw.index(b"PK\x01\x02") + 10] = 9
    archive.write_bytes(raw)
    refusal(archive, "'large'", "another program")


def test_an_existing_target_is_kept(box: Path) -> None:
    archive = good_archive(box, ".zip")
    (box / "folder").mkdir()
    (box / "file").write_bytes(b"mine")
    (box / "link").symlink_to(box / "nowhere")
    before = sorted(box.iterdir())
    for name in ["folder", "file", "link"]:
        with pytest.raises(InputError, match=r"already exists"):
            unpack(archive, box / name)
    assert sorted(box.iterdir()) == before
    assert (box / "file").read_bytes() == b"mine"


def test_a_missing_archive_is_refused(box: Path) -> None:
    refusal(box / "none.zip", "no file")
    (box / "folder.zip").mkdir()
    refusal(box / "folder.zip", "no file")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_an_interruption_leaves_nothing(
    box: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = good_archive(box, suffix)
    kind = zipfile.ZipFile if suffix == ".zip" else tarfile.TarFile
    extract = kind.extract

    def interrupted(*args: Any, **options: Any) -> None:
        extract(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, box / "target")
    assert [path.name for path in box.iterdir()] == [archive.name]


def test_a_python_without_safe_unpacking_is_refused(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = good_archive(box, ".tar")
    monkeypatch.delattr(tarfile, "data_filter")
    refusal(archive, "3.10.12", "3.11.4")


def test_long_names_are_shortened_in_messages(box: Path) -> None:
    message = refusal(tar_file(box / "data.tar", [entry("../" + "x" * 5000, b"")]))
    assert len(message) < 600


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_an_archive_has_no_fault_whatever_it_is_called(box: Path, suffix: str) -> None:
    assert archive_fault(good_archive(box, suffix).rename(box / "data.part")) is None


def test_an_archive_without_a_checksum_is_looked_at() -> None:
    (source,) = PUBLICATIONS["mtd"].sources
    assert source.sha256 is None
    assert source.find_fault is archive_fault


def test_a_page_in_place_of_an_archive_is_told(box: Path) -> None:
    (box / "data.zip").write_bytes(b"<html>log in</html>")
    assert archive_fault(box / "data.zip") == "it is a web page"
    (box / "data.zip").write_bytes(b"PK and no more")
    assert archive_fault(box / "data.zip") == "it is no tar or zip archive"
