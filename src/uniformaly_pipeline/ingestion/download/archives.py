"""Unpacking downloaded archives without trusting them."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.files import CHUNK_BYTES, new_folder
from uniformaly_pipeline.common.progress import byte_progress, track
from uniformaly_pipeline.ingestion.download.fetch import is_web_page

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
"""How the names of archives end, in lower case."""

HEADER_BYTES = 1 << 20
"""What a long name or a list of attributes in a tar may take; tarfile keeps it in memory."""

MAX_MEMBERS = 1_000_000
"""How many files and folders an archive may hold: empty ones fill a disk as well."""

SHOWN_CHARACTERS = 120
"""How much of a member's name a message shows."""

DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    ArithmeticError,
    ValueError,
)
"""What the readers of the standard library raise for bytes that make no sense."""

_Members = Generator[tuple[tarfile.TarInfo, Callable[[], Any]], None, None]
"""What an archive holds, each with what unpacks it."""


def is_archive(path: Path) -> bool:
    """Whether ``path`` is named like an archive that :func:`unpack` reads.

    >>> is_archive(Path("mvtec.TAR.XZ")), is_archive(Path("mvtec.png"))
    (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def archive_fault(path: Path) -> str | None:
    """What is wrong with a file that should be an archive: one phrase, or None.

    Its bytes are looked at, not its name; a damaged middle is found when it is unpacked.
    """
    if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):
        return None
    return "it is a web page" if is_web_page(path) else "it is no tar or zip archive"


def archive_stem(path: Path) -> str:
    """The name of an archive without folder and archive suffix.

    >>> archive_stem(Path("downloads/visa_v1.0.tar.gz"))
    'visa_v1.0'
    """
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def unpack(archive: Path, target: Path) -> None:
    """Unpack an archive into a new folder, completely or not at all.

    What the archive is, its bytes say. Refused are names that lead out of the target, links,
    devices, duplicates, encryption, and archives that do not fit the disk. Modes, owners and
    times are not taken from the archive.

    Args:
        archive: A tar, compressed or not (gzip, bzip2, xz), or a zip.
        target: The folder to make; missing folders above it are made too.

    Raises:
        InputError: The target exists, or the archive is missing, damaged, not an archive,
            unsafe or too large.
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            f"{archive} cannot be unpacked safely by this Python: update it to 3.10.12, 3.11.4 or "
            "newer, or unpack the archive with another program"
        )
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} already exists: remove it to unpack {archive} again")
    if not archive.is_file():
        raise InputError(f"{archive} is no file: give the path of an archive to unpack")
    at, number = "", 0
    try:
        with (
            new_folder(target) as part,
            archive.open("rb") as file,
            closing(_members(archive, file, part)) as members,
        ):
            for number, (member, extract) in enumerate(members, 1):
                at = f" (at {member.name[:SHOWN_CHARACTERS]!r})"
                if number > MAX_MEMBERS:
                    raise InputError(
                        f"{archive} holds more than {MAX_MEMBERS} files: get it from another source"
                    )
                _check_member(archive, member, part)
                extract()
            if not any(path.is_file() for path in part.rglob("*")):
                raise InputError(f"{archive} holds no files: download it again")
    except InputError:
        raise
    except RuntimeError as error:
        # By this, zipfile refuses a password, a compression or a version.
        raise InputError(
            f"{archive} is encrypted or compressed in a way that Python cannot read{at}, "
            f"{first_line(error)}: unpack it with another program and give the folder instead"
        ) from error
    except (OSError, *DAMAGE) as error:
        # gzip and bz2 raise OSError without a number for damaged data.
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(
                f"{archive} cannot be unpacked to {target.parent}{at}: {error.strerror}; check "
                "names, permissions and free space"
            ) from error
        kind = "is damaged" if number else "is no tar or zip archive, is damaged"
        raise InputError(f"{archive} {kind} or cut short{at}: download or copy it again") from error


def _members(archive: Path, file: IO[bytes], folder: Path) -> _Members:
    is_zip = file.read(2) == b"PK"
    file.seek(0)
    return (_zip_members if is_zip else _tar_members)(archive, file, folder)


def _zip_members(archive: Path, file: IO[bytes], folder: Path) -> _Members:
    with zipfile.ZipFile(file) as packed:
        infos = packed.infolist()
        _check_free(archive, sum(info.file_size for info in infos), folder)
        for info in track(infos, len(infos), f"Unpacking {archive.name}", "files"):
            member = tarfile.TarInfo(info.filename)
            member.size = info.file_size
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                member.type = tarfile.DIRTYPE
            elif kind not in {0, stat.S_IFREG}:
                member.type = tarfile.SYMTYPE if kind == stat.S_IFLNK else tarfile.FIFOTYPE
            yield member, partial(packed.extract, info, folder)


def _tar_members(archive: Path, file: IO[bytes], folder: Path) -> _Members:
    size = archive.stat().st_size
    # The contents take at least about as much as the archive; the rest shows on the way.
    _check_free(archive, size, folder)
    with (
        byte_progress(f"Unpacking {archive.name}", size) as progress,
        tarfile.open(fileobj=file, mode="r:*", tarinfo=_StrictTarInfo) as packed,
    ):
        for member in packed:
            _check_free(archive, member.size, folder)
            yield member, partial(packed.extract, member, folder, set_attrs=False, filter="data")
            progress.update(file.tell() - progress.n)
        # The checksums of compressed streams come last.
        while cast(IO[bytes], packed.fileobj).read(CHUNK_BYTES):
            pass


def _check_free(archive: Path, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{archive} does not fit: it needs {needed / 1e6:.1f} MB more and the disk of "
            f"{folder.parent} has {free / 1e6:.1f} MB free, make room or unpack elsewhere"
        )


def _check_member(archive: Path, member: tarfile.TarInfo, folder: Path) -> None:
    holds = f"{archive} holds {member.name[:SHOWN_CHARACTERS]!r}"
    # A sparse member of a few bytes becomes a file of any size.
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise InputError(
            f"{holds}, a link, a device or a sparse file, and image data sets have none: get it "
            "from another source"
        )
    try:
        if member.name.startswith("/"):
            raise tarfile.AbsolutePathError(member)
        tarfile.data_filter(member, str(folder))
    except tarfile.FilterError as error:
        raise InputError(
            f"{holds}, a name that leads outside (absolute or by '..'): get it from another source"
        ) from error
    # On disks that do not tell A from a, one image would silently replace another.
    if member.isreg() and os.path.lexists(folder / member.name):
        raise InputError(
            f"{holds} twice, or names that are one on this disk: get it from another source"
        )


class _StrictTarInfo(tarfile.TarInfo):
    """Tells a damaged header from the end of an archive; tarfile stops silently at both."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _StrictTarInfo:
        """Read a header; refuses one that is followed by a name without end."""
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (not info.isreg() and info.size > HEADER_BYTES):
            raise tarfile.ReadError("impossible size")
        return info

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _StrictTarInfo:
        """Read the next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            # The type hints of tarfile do not know its own end mark.
            if isinstance(error, cast(Any, tarfile).EOFHeaderError):
                raise
            raise tarfile.ReadError(str(error)) from error
