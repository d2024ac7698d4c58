"""Folders of images as users have them, on any file system."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.machine import no_permission
from uniformaly_pipeline.common.remote_file import read_content
from uniformaly_pipeline.common.secrets import without_secrets
from uniformaly_pipeline.common.storage import (
    answering,
    credentials_of,
    is_kept_back,
    open_file_system,
)
from uniformaly_pipeline.ingestion.decoding import (
    MAX_PIXELS,
    UnreadableImageError,
    read_image,
)
from uniformaly_pipeline.ingestion.levels import Levels, file_hash
from uniformaly_pipeline.ingestion.masks import read_mask, unite_masks

TAGS = {"etag", "contentmd5", "md5", "md5hash", "crc", "crc32c", "digest", "sha", "sha1", "sha256"}
VERSIONS = {"generation", "versionid", "blobid"}
TIMES = {"lastmodified", "modified", "modify", "mtime", "modificationtime", "lastwritetime"}
MARKS = TAGS | VERSIONS | TIMES | {"updated", "created", "datetime"}
"""What file systems call a file's time or tag, in small letters without hyphens and the like."""

_SECRET = re.compile("secret|token|pass|key|cred|auth|sas|user", re.IGNORECASE)

_SINCE = f" since its data set was read: {RUN_AGAIN}"


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images on any fsspec file system; every path is relative, with ``/``.

    Attributes:
        root: A local path or a URL such as ``s3://bucket/folder``.
        storage_options: What the file system must know, such as credentials, as JSON.
        max_pixels: Most pixels that an image may have.
        only: The one file that counts, where a single image stands for a folder.
    """

    root: str
    storage_options: str = field(default="{}", repr=False)
    max_pixels: int = MAX_PIXELS
    only: str | None = None

    def _locate(self, path: str = "") -> tuple[Any, str]:
        options = self.storage_options
        if options == "{}" and "://" in self.root:
            options = json.dumps(credentials_of(self.root), sort_keys=True)
        fs, root = _file_system(self.root, options, os.getpid())
        return fs, posixpath.join(root, path) if path else root

    @property
    def identity(self) -> str:
        """Which folder this is, wherever it is named from; no user, password or key is in it."""
        fs, root = self._locate()
        if isinstance(fs, LocalFileSystem):
            return Path(root).resolve().as_posix()
        url, _, query = self.root.rstrip("/").partition("?")
        options = _without_secrets(json.loads(self.storage_options))
        told = json.dumps([query, options], sort_keys=True) if query or options else ""
        # A query may hold a signature: its hash tells folders apart as well.
        url = without_secrets(url)
        return f"{url}?{hashlib.sha256(told.encode()).hexdigest()[:12]}" if told else url

    def fingerprint(self, path: str) -> str:
        """What changes when a file does: its size, times and the server's tags, or its content.

        Only a file with neither time nor tag is read.
        """
        fs, full_path = self._locate(path)
        if isinstance(fs, LocalFileSystem):
            status = Path(full_path).stat()
            # The third number cannot be set: it tells a new file with the time of the old one.
            return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
        info = _info(fs, full_path)
        if info is None:
            raise FileNotFoundError(full_path)
        marks = {
            name: str(value)
            for key, value in info.items()
            if (name := re.sub(r"[^a-z0-9]", "", str(key).lower())) in MARKS
            and value not in (None, "", 0)
        }
        if not marks:
            return f"sha256-{self.content_hash(path)}"
        return "-".join([str(info.get("size")), *(marks[name] for name in sorted(marks))])

    def content_hash(self, path: str) -> str:
        """SHA-256 of a file's bytes, hexadecimal."""
        with self.open(path) as file:
            return hashlib.sha256(file.read()).hexdigest()

    def relist(self) -> None:
        """Have the file system forget what it knows of folders: a long process asks again."""
        fs, _ = self._locate()
        fs.invalidate_cache()

    def reread(self) -> None:
        """Forget what this process has read of the files and folders."""
        self.relist()

    def exists(self, path: str = "") -> bool:
        """Whether the folder, or ``path`` in it, is there.

        Raises:
            InputError: Permissions do not let us know.
        """
        fs, full_path = self._locate(path)
        if not isinstance(fs, LocalFileSystem):
            with answering(_named(fs, full_path)):
                return bool(fs.exists(full_path)) or _info(fs, full_path) is not None
        try:
            Path(full_path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _unreadable(full_path, error) from error
        return True

    def is_file(self, path: str) -> bool:
        """Whether ``path`` in the folder is a file.

        Raises:
            InputError: The file system elsewhere does not let us know.
        """
        fs, full_path = self._locate(path)
        with answering(_named(fs, full_path)):
            return bool(fs.isfile(full_path))

    def same(self, path: str, other: str) -> bool:
        """Whether two paths in the folder are of one file, however they are written."""
        fs, full_path = self._locate(path)
        _, full_other = self._locate(other)
        if not isinstance(fs, LocalFileSystem):
            return posixpath.normpath(full_path) == posixpath.normpath(full_other)
        return Path(full_path).resolve() == Path(full_other).resolve()

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders right below ``path``, sorted; hidden ones are left out."""
        return self._names(path, "directory")

    def files(self, path: str = "") -> list[str]:
        """Relative paths of the files right below ``path``, sorted; hidden ones are left out."""
        return [posixpath.join(path, name) for name in self._names(path, "file")]

    def files_below(self, path: str = "") -> list[str]:
        """Relative paths of all files below ``path``, however deep, sorted; no hidden ones.

        Raises:
            InputError: A folder cannot be read, or a name has characters that no table can hold.
        """
        if self.only is not None:
            return [self.only]
        fs, full_path = self._locate(path)
        if isinstance(fs, LocalFileSystem):
            return sorted(posixpath.join(path, name) for name in _walk(Path(full_path)))
        with answering(_named(fs, full_path)):
            listed = fs.find(full_path) if _is_remote_folder(fs, full_path) else []
        # fsspec strips the protocol and makes local paths absolute: compare with its own root.
        base = fs._strip_protocol(self._locate()[1]).rstrip("/")
        found = (file.replace("\\", "/")[len(base) :].lstrip("/") for file in listed)
        return sorted(
            file for file in found if not any(is_clutter(part) for part in file.split("/"))
        )

    def _names(self, path: str, kind: str) -> list[str]:
        fs, full_path = self._locate(path)
        if isinstance(fs, LocalFileSystem):
            # Thousands of files a folder: fsspec would look at each of them.
            entries = _local_entries(full_path)
            return sorted(e.name for e in entries if _is_folder(e) == (kind == "directory"))
        with answering(_named(fs, full_path)):
            listed = fs.ls(full_path, detail=True) if _is_remote_folder(fs, full_path) else []
        names = (
            posixpath.basename(entry["name"].replace("\\", "/").rstrip("/"))
            for entry in listed
            if entry["type"] == kind
        )
        return sorted(name for name in names if not is_clutter(name))

    def sample(self, count: int) -> list[str]:
        """Paths of up to ``count`` images, spread evenly over all that lie below the root."""
        paths = [path for path in self.files_below() if is_image_name(path)]
        step = max(1, len(paths) // count)
        return paths[::step][:count]

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open one file for reading bytes; one elsewhere is fetched at once.

        Raises:
            StorageError: Where it lies does not give it, which is no damage of the file.
            OSError: It is not there, or this machine cannot read it.
        """
        fs, full_path = self._locate(path)
        if not isinstance(fs, LocalFileSystem):
            with answering(_named(fs, full_path)):
                content = read_content(fs, full_path)
            yield BytesIO(content)
            return
        with fs.open(full_path, "rb") as file:
            yield file

    def read_bytes(self, path: str) -> bytes:
        """The bytes of a file that was there when the data set was read.

        Raises:
            InputError: It is gone, or its server does not give it.
        """
        try:
            with self.open(path) as file:
                return file.read()
        except FileNotFoundError as error:
            raise InputError(f"{path} is gone{_SINCE}") from error

    def read_image(
        self, path: str, levels: Levels | None = None, content_hash: str | None = None
    ) -> Image.Image:
        """Read one image as 8-bit RGB, see :func:`.decoding.read_image`.

        Args:
            path: The image below the root.
            levels: Black and white of a deep image.
            content_hash: What the manifest says of its content.

        Raises:
            InputError: It cannot be read, or is gone or has changed since the manifest; the line
                names it.
        """
        content = self.read_bytes(path)
        if content_hash and hashlib.sha256(content).hexdigest() != file_hash(content_hash):
            raise InputError(f"{path} has changed{_SINCE}")
        try:
            return read_image(BytesIO(content), levels, self.max_pixels)
        except UnreadableImageError as error:
            raise InputError(f"{path} cannot be read as an image ({error})") from error

    def mask_files(self, path: str) -> list[str]:
        """The files of one ground-truth mask: ``path`` itself, or all in it if it is a folder."""
        return [path] if is_image_name(path) else list(filter(is_image_name, self.files(path)))

    def read_mask(self, path: str, mask_hash: str | None = None) -> Image.Image:
        """Read one ground-truth mask as 8-bit grey, see :func:`.masks.read_mask`.

        Args:
            path: The mask below the root.
            mask_hash: What the manifest says of its content.

        Raises:
            InputError: It cannot be read, or has changed since the manifest; the line names it.
        """
        contents = [self.read_bytes(name) for name in self.mask_files(path)]
        if mask_hash not in (None, hash_mask(contents)):
            raise InputError(f"{path} has changed{_SINCE}")
        try:
            return unite_masks([read_mask(BytesIO(part), self.max_pixels) for part in contents])
        except UnreadableImageError as error:
            raise InputError(f"{path} cannot be read as a mask ({error})") from error


def hash_mask(contents: Sequence[bytes]) -> str:
    """SHA-256 of a mask's files, one after the other."""
    return hashlib.sha256(b"".join(contents)).hexdigest()


def single_image(folder: ImageFolder) -> ImageFolder:
    """A folder that stands for one image where its root is a file; otherwise the same."""
    fs, path = folder._locate()
    with answering(folder.root):
        # Over HTTP, what answers is a file; a folder's page lists something.
        if not fs.isfile(path) or (not is_image_name(path) and fs.isdir(path)):
            return folder
    above, _, name = folder.root.rstrip("/").rpartition("/")
    if "://" not in folder.root:
        above, name = str(Path(folder.root).parent), Path(folder.root).name
    return replace(folder, root=above, only=name)


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Relative paths of the files below a local folder; linked folders are followed, loops not.

    A link to a folder above the first one is a loop, too: what else lies there is not meant.
    """
    here = folder.resolve()
    if any(each.is_relative_to(here) for each in above):
        return
    for entry in _local_entries(str(folder)):
        if not _is_folder(entry):
            yield entry.name
            continue
        for path in _walk(folder / entry.name, above | {here}):
            yield f"{entry.name}/{path}"


@functools.lru_cache(maxsize=64)
def _file_system(url: str, storage_options: str, process: int) -> tuple[Any, str]:  # noqa: ARG001
    """fsspec takes longer to find the file system of a path than to open a local file.

    What one process keeps is of no use to those that it forks: connections are not.
    """
    if "://" not in url:
        # fsspec takes "::" in a path for a chain of file systems.
        local = LocalFileSystem(**json.loads(storage_options))
        return local, local._strip_protocol(url)
    with answering(url):
        return open_file_system(url, json.loads(storage_options))


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one server from another among a file system's options, such as its address."""
    kept: dict[str, Any] = {}
    for key, value in options.items():
        if _SECRET.search(key):
            continue
        inner = _without_secrets(value) if isinstance(value, Mapping) else value
        if inner not in ({}, None):
            kept[key] = without_secrets(inner) if isinstance(inner, str) else inner
    return kept


CLUTTER = frozenset({
    "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found", "system volume information",
    "$recycle.bin", "recycler", "recycled", "@eadir", "#recycle", "#snapshot", "@recycle",
    "network trash folder", "temporary items", "icon\r",
})  # fmt: skip
"""Files and folders that systems make by themselves, in small letters."""

FOREIGN_PICTURES = frozenset({
    ".heic", ".heif", ".hif", ".jxl", ".jxr", ".svg", ".psb", ".exr", ".hdr", ".pam", ".dng",
    ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2", ".raf", ".pef",
    ".srw", ".x3f", ".3fr", ".iiq", ".dcm", ".czi", ".lsm", ".nd2",
})  # fmt: skip
"""Ends of the names of pictures that are not read, such as those of phones and raw ones."""

UNREAD_FORMATS = {"MPEG", "HDF5", "GRIB", "BUFR"}
"""Formats that Pillow knows by name only."""

_UNTOLD = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Characters of names that no table or line of text can hold."""


def _local_entries(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a local folder but clutter; nothing where it is no folder.

    Raises:
        InputError: It cannot be read, or a name has characters that no table can hold.
    """
    try:
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not is_clutter(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error
    for entry in entries:
        if not entry.name.isprintable() and _UNTOLD.search(entry.name):
            raise InputError(
                f"{folder} holds {entry.name!a}, a name that is not UTF-8 or has control "
                "characters: rename it"
            )
        if may_be_image(entry.name) and _is_device(entry):
            raise InputError(f"{entry.path} is a pipe, a socket or a device: remove it")
    return entries


def _named(fs: Any, path: str) -> str:
    """A path of a file system as a user writes it: elsewhere with its protocol."""
    if isinstance(fs, LocalFileSystem) or "://" in path:
        return path
    return str(fs.unstrip_protocol(path))


def _info(fs: Any, path: str) -> Mapping[str, Any] | None:
    """What a file system elsewhere says of a file or folder; ``None`` where there is none.

    Raises:
        InputError: It cannot be asked, or does not tell.
    """
    with answering(_named(fs, path)):
        try:
            info: Mapping[str, Any] = fs.info(path)
        except FileNotFoundError as error:
            if is_kept_back(error) and error.__cause__:
                raise error.__cause__ from None
            return None
    return info


def _is_remote_folder(fs: Any, path: str) -> bool:
    """Whether there is a folder elsewhere; one that a server keeps to itself is not absent."""
    if fs.isdir(path):
        return True
    _info(fs, path)
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to where we may not look
        raise _unreadable(entry.path, error) from error


def _is_device(entry: os.DirEntry[str]) -> bool:
    """Whether it is neither a file nor a folder, so that one might wait for its content forever."""
    try:
        if entry.is_file() or entry.is_dir():
            return False
        return not entry.is_symlink() or Path(entry.path).exists()
    except OSError as error:  # a link to where we may not look
        raise _unreadable(entry.path, error) from error


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(f"{path}{no_permission(error)}")


def is_clutter(name: str) -> bool:
    """Whether a file or folder is left behind by an operating system rather than by the user."""
    return name.startswith((".", "__MACOSX", "~$")) or name.lower() in CLUTTER


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Ends of the names of image files that Pillow reads, in small letters, with the dot."""
    known = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, name in known.items()
        if name in Image.OPEN and name not in UNREAD_FORMATS
    )


def may_be_image(path: str) -> bool:
    """Whether a file is an image by its name, or has no suffix that says what it is."""
    return is_image_name(path) or not posixpath.splitext(path)[1]


def is_image_name(path: str) -> bool:
    """Whether a file is an image by its name."""
    return posixpath.splitext(path)[1].lower() in image_suffixes()


def is_foreign_picture(path: str) -> bool:
    """Whether a file is a picture by its name, of a format that is not read."""
    return posixpath.splitext(path)[1].lower() in FOREIGN_PICTURES - image_suffixes()
