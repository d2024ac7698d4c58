"""Reading images as users have them: any Pillow format, any depth, from any file system."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from PIL import Image, ImageOps, UnidentifiedImageError

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)
"""What Pillow raises for a file that is no image, is cut short or is unreasonably large."""

LABELS_BELOW = 128
"""A mask whose brightest value is below this holds labels rather than grey levels."""

TAGS = {"etag", "contentmd5", "md5", "md5hash", "crc", "crc32c", "digest", "sha", "sha1", "sha256"}
VERSIONS = {"generation", "versionid", "blobid"}
TIMES = {"lastmodified", "modified", "modify", "mtime", "modificationtime", "lastwritetime"}
MARKS = TAGS | VERSIONS | TIMES | {"updated", "created", "datetime"}
"""What file systems call a file's time or tag, in small letters without hyphens and the like."""

_SECRET = re.compile("secret|token|pass|key|cred|auth|sas|user", re.IGNORECASE)
_USER = re.compile(r"(?<!github)://[^/?#]*@")
"""The user and password of a URL; ``github://owner:repository@`` has none."""


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images on any fsspec file system; every path is relative, with ``/``.

    Attributes:
        root: A local path or a URL such as ``s3://bucket/folder``.
        storage_options: What the file system must know, such as credentials, as JSON.
    """

    root: str
    storage_options: str = field(default="{}", repr=False)

    def _locate(self, path: str = "") -> tuple[Any, str]:
        fs, root = _file_system(self.root, self.storage_options)
        return fs, posixpath.join(root, path) if path else root

    @property
    def identity(self) -> str:
        """Which folder this is, wherever it is named from; no user, password or key is in it."""
        fs, root = self._locate()
        if isinstance(fs, LocalFileSystem):
            return Path(root).resolve().as_posix()
        url, _, query = _USER.sub("://", self.root.rstrip("/")).partition("?")
        options = _without_secrets(json.loads(self.storage_options))
        told = json.dumps([query, options], sort_keys=True) if query or options else ""
        # A query may hold a signature: its hash tells folders apart as well.
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
        info = fs.info(full_path)
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
        """Whether the folder, or ``path`` in it, is there."""
        fs, full_path = self._locate(path)
        return bool(fs.exists(full_path))

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders right below ``path``, sorted; hidden ones are left out."""
        return self._names(path, "directory")

    def files(self, path: str = "") -> list[str]:
        """Relative paths of the files right below ``path``, sorted; hidden ones are left out."""
        return [posixpath.join(path, name) for name in self._names(path, "file")]

    def files_below(self, path: str = "") -> list[str]:
        """Relative paths of all files below ``path``, however deep, sorted; no hidden ones."""
        fs, full_path = self._locate(path)
        if not fs.isdir(full_path):
            return []
        # fsspec strips the protocol and makes local paths absolute: compare with its own root.
        base = fs._strip_protocol(self._locate()[1]).rstrip("/")
        found = (file.replace("\\", "/")[len(base) :].lstrip("/") for file in fs.find(full_path))
        return sorted(
            file for file in found if not any(is_clutter(part) for part in file.split("/"))
        )

    def _names(self, path: str, kind: str) -> list[str]:
        fs, full_path = self._locate(path)
        if not fs.isdir(full_path):
            return []
        if isinstance(fs, LocalFileSystem):
            # Thousands of files a folder: fsspec would look at each of them.
            with os.scandir(full_path) as listed:
                found = [e.name for e in listed if e.is_dir() == (kind == "directory")]
            return sorted(name for name in found if not is_clutter(name))
        entries = fs.ls(full_path, detail=True)
        names = (
            posixpath.basename(entry["name"].replace("\\", "/").rstrip("/"))
            for entry in entries
            if entry["type"] == kind
        )
        return sorted(name for name in names if not is_clutter(name))

    def sample(self, count: int) -> list[str]:
        """Paths of up to ``count`` images, spread evenly over all that lie below the root."""
        suffixes = tuple(Image.registered_extensions())
        fs, root = self._locate()
        paths = sorted(
            path[len(root) :].lstrip("/")
            for path in fs.find(root)
            if path.lower().endswith(suffixes)
        )
        step = max(1, len(paths) // count)
        return paths[::step][:count]

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open one file for reading bytes."""
        fs, full_path = self._locate(path)
        with fs.open(full_path, "rb") as file:
            yield file

    def read_image(self, path: str) -> Image.Image:
        """Read one image as 8-bit RGB, see :func:`read_image`."""
        with self.open(path) as file:
            return read_image(file)

    def read_mask(self, path: str) -> Image.Image:
        """Read one ground-truth mask as 8-bit grey, see :func:`read_mask`."""
        with self.open(path) as file:
            return read_mask(file)


@functools.lru_cache(maxsize=64)
def _file_system(url: str, storage_options: str) -> tuple[Any, str]:
    """fsspec takes longer to find the file system of a path than to open a local file."""
    fs, root = url_to_fs(url, **json.loads(storage_options))
    return fs, root


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one server from another among a file system's options, such as its address."""
    kept: dict[str, Any] = {}
    for key, value in options.items():
        if _SECRET.search(key):
            continue
        inner = _without_secrets(value) if isinstance(value, Mapping) else value
        if inner not in ({}, None):
            kept[key] = _USER.sub("://", inner) if isinstance(inner, str) else inner
    return kept


def is_clutter(name: str) -> bool:
    """Whether a file or folder is left behind by an operating system rather than by the user."""
    return name.startswith((".", "__MACOSX")) or name in {"Thumbs.db", "desktop.ini"}


def read_image(file: BinaryIO) -> Image.Image:
    """Decode an image and turn it into upright 8-bit RGB.

    EXIF rotation is applied; 16-bit grey is scaled from its full range; palette, grey and CMYK
    images are converted; transparent pixels are shown on white, as a viewer does.

    Args:
        file: The encoded image, in any format Pillow reads.

    Returns:
        A PIL image of mode ``RGB``.

    Raises:
        OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError: The file is not an
            image, is cut short or has too many pixels (see :data:`UNREADABLE`).
    """
    image = Image.open(file)
    image.load()
    return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any PIL image to mode ``RGB``, see :func:`read_image`."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    return image.convert("RGB")


def _to_8_bit(pixels: np.ndarray) -> np.ndarray:
    """Scale 16- and 32-bit pixels [H, W] to uint8; Pillow's own conversion clips them."""
    if np.issubdtype(pixels.dtype, np.floating):
        # Float images come either as 0..1 or as 0..255.
        scale = 255.0 if np.nanmax(pixels, initial=0.0) <= 1.0 else 1.0
    else:
        scale = 1.0 / 257.0
    return np.clip(np.rint(np.nan_to_num(pixels) * scale), 0, 255).astype(np.uint8)


def read_mask(file: BinaryIO) -> Image.Image:
    """Decode a ground-truth mask as 8-bit grey, 0 normal and 255 anomalous.

    Where the brightest value is below 128 the values are labels (0 and 1, class numbers, palette
    colours): everything but 0 is anomalous.

    Raises:
        OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError: As
            :func:`read_image`.
    """
    mask: Image.Image = Image.open(file)
    mask.load()
    deep = np.asarray(mask) if mask.mode.startswith(("1", "I", "F")) else None
    if deep is not None and deep.max(initial=0) < LABELS_BELOW:
        return Image.fromarray((deep > 0).astype(np.uint8) * 255)
    grey = mask if mask.mode == "L" else to_rgb(mask).convert("L")
    pixels = np.asarray(grey)
    if pixels.max(initial=0) < LABELS_BELOW:
        return Image.fromarray((pixels > 0).astype(np.uint8) * 255)
    return grey
