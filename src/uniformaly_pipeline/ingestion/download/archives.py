"""Unpacking downloaded archives without trusting them."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, cast

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.progress import byte_progress, track

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
"""How the names of archives end, in lower case."""

CHUNK_BYTES = 1 << 20
"""What is held in memory of a member, in bytes."""

HEADER_BYTES = 1 << 20
"""What the headers in front of one tar member may take, in bytes; tarfile keeps them in memory."""

TRAILING_BYTES = 64 << 20
"""What may follow the end mark of a tar archive, in bytes; a few kilobytes of zeros are usual."""

MAX_MEMBERS = 10_000_000
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

_ZIP_ENCRYPTED = 0x1 | 0x40 | 0x2000
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_DECOMPRESSORS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    # Unlike tarfile's own streams, these read archives of several compressed streams as well.
    b"\x1f\x8b": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb")),
    b"BZh": lambda file: cast(IO[bytes], bz2.BZ2File(file)),
    b"\xfd7zXZ\x00": lambda file: cast(IO[bytes], lzma.LZMAFile(file)),  # noqa: SIM115
}


def is_archive(path: Path) -> bool:
    """Whether ``path`` is named like an archive that :func:`unpack` reads.

    >>> is_archive(Path("mvtec.TAR.XZ")), is_archive(Path("mvtec.png"))
    (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def archive_stem(path: Path) -> str:
    """The name of an archive without folder and archive suffix.

    >>> archive_stem(Path("downloads/visa_v1.0.tar.gz"))
    'visa_v1.0'
    """
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def unpack(archive: Path, target: Path, *, max_bytes: int | None = None) -> None:
    """Unpack an archive into a new folder, completely or not at all.

    Everything goes to ``<target>.part`` first, which takes the name of the target at the end; a
    refused or interrupted unpacking removes it. What the archive is, its bytes say. Refused are
    names that lead out of the target, links, devices, duplicates, encryption, and archives that
    do not fit. Files come out readable and writable for their owner and not executable.

    Args:
        archive: A tar, compressed or not (gzip, bzip2, xz), or a zip.
        target: The folder to make; missing folders above it are made too.
        max_bytes: Upper limit for the contents of all files together, in bytes; without it,
            the free disk space is the limit.

    Raises:
        InputError: The target exists, or the archive is missing, damaged, not an archive,
            unsafe or too large.
    """
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} already exists: remove it to unpack {archive} again")
    if not archive.is_file():
        raise InputError(f"{archive} is no file: give the path of an archive to unpack")
    part = target.with_name(f"{target.name}.part")
    new_parents = [folder for folder in (part.parent, *part.parent.parents) if not folder.exists()]
    unpacking = _Unpacking(archive, part, max_bytes)
    try:
        _remove(part)
        part.mkdir(parents=True)
        unpacking.run()
        part.rename(target)
    except BaseException as error:
        with suppress(OSError):
            _remove(part)
        for folder in new_parents:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, (InputError, *DAMAGE, OSError)):
            raise unpacking.explained(error) from error
        raise


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _shown(name: str) -> str:
    """A member's name, quoted, on one line and of bearable length."""
    cut = name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "…"
    return repr(cut)


def _size_text(count: int) -> str:
    """A number of bytes for people."""
    if count < 1_000_000:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"


class _Unpacking:
    """One archive on its way into one folder; knows the member at hand for the messages."""

    def __init__(self, archive: Path, folder: Path, max_bytes: int | None) -> None:
        self.archive = archive
        self.folder = folder
        self.max_bytes = max_bytes
        self.declared = 0
        self.members = 0
        self.files = 0
        self.name: str | None = None

    def run(self) -> None:
        """Unpack all members; errors of the readers pass through."""
        with self.archive.open("rb") as file:
            start = file.read(8)
        magic = next((known for known in _DECOMPRESSORS if start.startswith(known)), None)
        named_zip = self.archive.name.lower().endswith(".zip")
        if start.startswith(_ZIP_MAGIC) or (named_zip and magic is None):
            try:
                self._unpack_zip()
            # The one error by which zipfile refuses, on opening as on reading a member, a version,
            # compression, patched data or encryption that it does not know: nothing of ours.
            except NotImplementedError as error:
                raise InputError(
                    f"{self.archive} is compressed in a way that Python cannot read"
                    f"{self._place()}: unpack it with another program"
                ) from error
        else:
            self._unpack_tar(magic)
        self.name = None
        if not self.files:
            raise InputError(f"{self.archive} holds no files: download it again")

    def explained(self, error: BaseException) -> InputError:
        """The one line for the user."""
        if isinstance(error, InputError):
            return error
        at = self._place()
        # gzip and bz2 raise OSError without a number for damaged data.
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                return InputError(
                    f"{self.archive} does not fit{at}: the disk of {self.folder.parent} is full, "
                    "make room or unpack elsewhere"
                )
            return InputError(
                f"{self.archive} cannot be unpacked to {self.folder.parent}{at}: "
                f"{error.strerror}; check names and permissions"
            )
        if self.members:
            return InputError(
                f"{self.archive} is damaged or cut short{at}: download or copy it again"
            )
        return InputError(
            f"{self.archive} is no tar or zip archive, is damaged or cut short: "
            "download or copy it again"
        )

    def _place(self) -> str:
        return f" (at {_shown(self.name)})" if self.name is not None else ""

    # --- the two kinds of archives ----------------------------------------------------------------

    def _unpack_zip(self) -> None:
        with zipfile.ZipFile(self.archive) as packed:
            members = packed.infolist()
            # All headers lie together: refuse before anything is written.
            for member in members:
                self._check_zip_member(member)
            self._check_free(self.declared)
            title = f"Unpacking {self.archive.name}"
            for member in track(members, len(members), title, "files"):
                # zipfile cuts names at a null character: judge and use what is really there.
                self.name = member.orig_filename
                path = self._path(self.name)
                if member.is_dir():
                    self._make_folder(path)
                else:
                    with packed.open(member) as source:
                        self._write(source, path, member.file_size)

    def _check_zip_member(self, member: zipfile.ZipInfo) -> None:
        self.name = member.orig_filename
        self._path(self.name)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind == stat.S_IFLNK:
            raise self._link()
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise self._odd_kind()
        if member.flag_bits & _ZIP_ENCRYPTED:
            raise InputError(
                f"{self.archive} is encrypted ({_shown(self.name)}): unpack it with its password "
                "and give the folder instead"
            )
        self._count(0 if member.is_dir() else member.file_size)

    def _unpack_tar(self, magic: bytes | None) -> None:
        # The contents take at least about as much as the archive; the rest shows on the way.
        total = self.archive.stat().st_size
        self._check_free(total)
        with ExitStack() as stack:
            progress = stack.enter_context(byte_progress(f"Unpacking {self.archive.name}", total))
            raw = stack.enter_context(self.archive.open("rb", buffering=0))
            stream = cast(IO[bytes], stack.enter_context(_ticking(raw, progress)))
            if magic is not None:
                stream = stack.enter_context(_DECOMPRESSORS[magic](stream))
            guard = _Guard(stream)
            # One pass from front to back ("|"): a second would decompress everything twice.
            packed = stack.enter_context(
                tarfile.open(fileobj=cast(Any, guard), mode="r|", tarinfo=_StrictTarInfo)
            )
            while True:
                guard.left = HEADER_BYTES
                member = packed.next()
                if member is None:
                    break
                # tarfile would remember all members.
                cast(Any, packed).members = []
                self._unpack_tar_member(packed, member, guard)
            # The checksums of compressed streams come last.
            self.name = None
            guard.left = TRAILING_BYTES
            while guard.read(CHUNK_BYTES):
                pass

    def _unpack_tar_member(
        self, packed: tarfile.TarFile, member: tarfile.TarInfo, guard: _Guard
    ) -> None:
        self.name = member.name
        path = self._path(member.name)
        if member.issym() or member.islnk():
            raise self._link()
        if member.isdir():
            self._count(0)
            self._make_folder(path)
            return
        # A sparse member of a few bytes becomes a file of any size.
        if not member.isreg() or member.issparse():
            raise self._odd_kind()
        self._count(member.size)
        self._check_free(member.size)
        guard.left = member.size + HEADER_BYTES
        source = packed.extractfile(member)
        assert source is not None
        with source:
            self._write(source, path, member.size)

    # --- the checks -------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        """Where a member goes; refuses every name that could mean a place outside."""
        parts = [part for part in name.split("/") if part not in {"", "."}]
        # Windows reads "C:x" as a drive anywhere in a path, "a:b" as a hidden stream of "a", and
        # ".. " as "..": an archive is judged alike on all systems, but for the rare colon.
        outside = (
            name.startswith("/")
            or "\\" in name
            or any(not part.rstrip(" .") for part in parts)
            or any(part[1:2] == ":" and part[0].isalpha() for part in parts)
            or (os.name == "nt" and ":" in name)
        )
        if outside or any(ord(character) < ord(" ") for character in name):
            raise InputError(
                f"{self.archive} holds {_shown(name)}, a name that is unsafe to unpack (absolute, "
                "'..', a drive, a backslash or a control character): get it from another source"
            )
        return self.folder.joinpath(*parts)

    def _link(self) -> InputError:
        return InputError(
            f"{self.archive} holds the link {_shown(self.name or '')}, and links are never "
            "unpacked (image data sets have none): get it from another source"
        )

    def _odd_kind(self) -> InputError:
        return InputError(
            f"{self.archive} holds {_shown(self.name or '')}, which is neither a plain file nor a "
            "folder (a device, a pipe, a sparse file): get it from another source"
        )

    def _count(self, size: int) -> None:
        """Add a member of ``size`` bytes to what the headers declare."""
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise InputError(
                f"{self.archive} holds more than {MAX_MEMBERS} files (at "
                f"{_shown(self.name or '')}): get it from another source"
            )
        if size < 0:
            raise tarfile.ReadError("negative size")
        self.declared += size
        if self.max_bytes is not None and self.declared > self.max_bytes:
            raise InputError(
                f"{self.archive} unpacks to more than the {_size_text(self.max_bytes)} allowed "
                f"(at {_shown(self.name or '')}): get it from another source or raise the limit"
            )

    def _check_free(self, needed: int) -> None:
        free = _free_bytes(self.folder)
        if needed > free:
            at = f" (at {_shown(self.name)})" if self.name is not None else ""
            raise InputError(
                f"{self.archive} does not fit{at}: it needs {_size_text(needed)} more and the disk "
                f"of {self.folder.parent} has {_size_text(free)} free, make room or unpack "
                "elsewhere"
            )

    # --- writing ----------------------------------------------------------------------------------

    def _twice(self) -> InputError:
        return InputError(
            f"{self.archive} holds {_shown(self.name or '')} twice, or names that are one on this "
            "disk: get it from another source"
        )

    def _make_folder(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._twice() from error

    def _write(self, source: IO[bytes], path: Path, size: int) -> None:
        """Copy a member of ``size`` bytes into a new file, and never a byte more."""
        self._make_folder(path.parent)
        # O_EXCL leaves it to the disk which names are the same one.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
        except FileExistsError as error:
            raise self._twice() from error
        written = 0
        with os.fdopen(descriptor, "wb") as file:
            # One byte past the declared size makes the reader check its checksum.
            while chunk := source.read(min(CHUNK_BYTES, size - written + 1)):
                written += len(chunk)
                if written > size:
                    raise InputError(
                        f"{self.archive} holds more of {_shown(self.name or '')} than its headers "
                        "declare: get it from another source"
                    )
                file.write(chunk)
        if written < size:
            raise EOFError("less than declared")
        self.files += 1


class _StrictTarInfo(tarfile.TarInfo):
    """Tells a damaged header from the end of an archive; tarfile stops silently at both."""

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


class _Guard:
    """Passes on a stream until ``left`` bytes are spent: tarfile reads any header into memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.left = HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes."""
        data = self._stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise tarfile.ReadError("endless header")
        return data


def _ticking(file: io.RawIOBase, progress: Any) -> io.BufferedReader:
    """``file`` with every byte read from it shown by ``progress``."""

    class Ticking(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int | None:
            count = file.readinto(buffer)
            progress.update(count or 0)
            return count

    return io.BufferedReader(Ticking(), buffer_size=CHUNK_BYTES)
