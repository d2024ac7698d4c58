"""What a detector is given: files, folders, arrays and pictures, as RGB images with a name."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniformaly_pipeline.common.errors import InputError, as_line, first_line
from uniformaly_pipeline.common.machine import no_permission
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.common.storage import StorageError, answering, appears_whole, locate
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.ingestion.decoding import (
    MAX_PIXELS,
    UNREADABLE,
    Decoded,
    decode_bytes,
    in_words,
    remarks_on,
    upright,
)
from uniformaly_pipeline.ingestion.headers import is_deep
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Depth, Levels, choose_levels
from uniformaly_pipeline.ingestion.regions import Region, is_to_judge, region_in

logger = logging.getLogger(__name__)

ImageLike = str | PathLike[str] | np.ndarray | Image.Image
"""A file's path or URL, an array or a PIL image.

Arrays are uint8 [H, W, 3] (RGB) or [H, W, 4] (RGBA), or grey [H, W] or [H, W, 1] of any depth.
"""

Images = ImageLike | Iterable[ImageLike]
"""One of these, several, or a folder's path or URL: all images below it, however deep."""


@dataclass(frozen=True)
class Opened:
    """An image at hand.

    Attributes:
        name: What it is called.
        image: A PIL image of mode ``RGB``.
        content_hash: SHA-256 of its file, or of its pixels where there is no file, with the levels
            of a deep image and the region of interest.
        remarks: What is odd about it and how that is read, in words that follow its name.
    """

    name: str
    image: Image.Image
    content_hash: str
    remarks: tuple[str, ...] = ()

    def warn(self) -> None:
        """Log what is odd about it."""
        for remark in self.remarks:
            # A client of the service may have named it.
            logger.warning("%s %s", as_line(self.name), remark)


@dataclass(frozen=True)
class Source:
    """An image that has not been read.

    Attributes:
        name: What it is called: its path as given, below its folder where a folder was given.
        read: Gives the encoded file, or the pixels.
        max_pixels: Most pixels that it may have.
        allowed_by: The key or option that says so, ``None`` where there is none.
        place: The path or URL of its file, ``None`` where there is none.
        is_known: Whether what is odd about it has been said already.
    """

    name: str
    read: Callable[[], bytes | Decoded]
    max_pixels: int = MAX_PIXELS
    allowed_by: str | None = None
    place: str | None = None
    is_known: bool = False

    def lies_at(self, path: str) -> bool:
        """Whether its file is the one of a path or URL, however that is written."""
        if self.place is None or "://" in self.place or "://" in path:
            return self.place == path
        place, other = (Path(each).expanduser() for each in (self.place, path))
        return place.name == other.name and place.resolve() == other.resolve()

    def decode(self) -> tuple[Decoded, str]:
        """Its pixels, and the SHA-256 of its file, or of the pixels where there is no file.

        Raises:
            InputError: It is not there, no image, or too large.
        """
        try:
            found = self.read()
            if isinstance(found, Decoded):
                return found, hashlib.sha256(_pixel_bytes(found)).hexdigest()
            decoded = decode_bytes(found, self.max_pixels, self.allowed_by)
            return decoded, hashlib.sha256(found).hexdigest()
        except InputError:  # of its storage
            raise
        except FileNotFoundError as error:
            raise InputError(f"{self.name} does not exist") from error
        except PermissionError as error:
            raise InputError(f"{self.name}{no_permission(error)}") from error
        except UNREADABLE as error:
            raise InputError(
                f"{self.name} cannot be read as an image ({first_line(error)}): mend or remove it"
            ) from error

    def open(self, levels: Levels, region: Region | None = None) -> Opened:
        """Read it as 8-bit RGB.

        Args:
            levels: Black and white of deep pixels.
            region: What counts of it; ``None`` for all.

        Raises:
            InputError: As :meth:`decode`, or it is not of the region's size.
        """
        decoded, sha256 = self.decode()
        key = levels.key(sha256, decoded.depth)
        if region is not None:
            region.check_size(decoded.size, self.name)
            key = region.key(key)
        image = decoded.to_rgb(levels)
        remarks = tuple(in_words(remark) for remark in decoded.remarks_by(levels, image))
        return Opened(self.name, image, key, remarks)


def choose_levels_of(sources: Sequence[Source]) -> Levels:
    """Black and white of deep images, from normal ones, see :func:`.levels.choose_levels`.

    Raises:
        InputError: A deep image cannot be read, or the storage of one does not give it.
    """
    ranges: dict[Depth, list[tuple[float, float]]] = {}
    for source in sources:
        if not _is_deep(source):
            continue
        decoded, _ = source.decode()
        if (found := decoded.range()) is not None:
            ranges.setdefault(decoded.depth, []).append(found)
    default = Levels()
    return Levels(
        choose_levels("integer", ranges["integer"]) if "integer" in ranges else default.integer,
        choose_levels("float", ranges["float"]) if "float" in ranges else default.floating,
    )


def region_of(roi: ImageLike) -> Region:
    """The region of interest that a picture shows: what is not 0 counts, as in masks.

    Args:
        roi: A path or URL, an array (bool or as images are), or a PIL image.

    Raises:
        InputError: It cannot be read, is one of several in its file, or nothing counts.
    """
    if isinstance(roi, str | PathLike):
        source = _file(fspath(roi))
    else:
        is_bool = isinstance(roi, np.ndarray) and roi.dtype == bool
        source = _in_memory(roi.astype(np.uint8) if is_bool else roi, "the region of interest")  # type: ignore[union-attr]
    return region_in(source.decode()[0], source.name)


def without_roi(sources: Sequence[Source], roi: ImageLike | None) -> list[Source]:
    """Images without the picture of their region of interest, which may lie among them.

    Raises:
        InputError: There is no other image.
    """
    if not isinstance(roi, str | PathLike):
        return list(sources)
    kept = [source for source in sources if not source.lies_at(fspath(roi))]
    if sources and not kept:
        raise InputError(f"{fspath(roi)} is the region of interest: there is no image beside it")
    return kept


def _is_deep(source: Source) -> bool:
    """Whether an image has more than 8 bits; only its header is read.

    Raises:
        StorageError: Where it lies does not give it.
    """
    try:
        found = source.read()
        if isinstance(found, Decoded):
            return found.depth != "8-bit"
        with Image.open(BytesIO(found)) as image:
            return is_deep(image)
    except StorageError:  # the next images would wait for it as well
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # told when it is opened


def _pixel_bytes(decoded: Decoded) -> bytes:
    if decoded.deep is not None:
        pixels = np.ascontiguousarray(decoded.deep)
        return f"{pixels.dtype.str} {pixels.shape}".encode() + pixels.tobytes()
    image = decoded.to_rgb()
    return str(image.size).encode() + image.tobytes()


def sources_of(images: Images) -> list[Source]:
    """The images meant, in the order given; those of a folder by path.

    Raises:
        InputError: A folder does not exist or holds no image, or something is no image at all.
    """
    if isinstance(images, str | PathLike):
        return _at_path(fspath(images))
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    if is_one(images):
        return [_in_memory(images, "image")]
    if not isinstance(images, Iterable):
        return [_in_memory(images, "what was given")]
    return [
        _file(fspath(each)) if isinstance(each, str | PathLike) else _in_memory(each, f"image {i}")
        for i, each in enumerate(images, 1)
    ]


def each_source_of(images: Images) -> Iterable[Source]:
    """As :func:`sources_of`, but several images are taken one by one, when it is their turn.

    What is no image at all is told in its place, when it is read.

    Raises:
        InputError: A folder does not exist or holds no image.
    """
    if isinstance(images, str | PathLike | np.ndarray) or not isinstance(images, Iterable):
        return sources_of(images)
    if is_one(images):
        return sources_of(images)
    return _one_by_one(images)


def _one_by_one(images: Iterable[ImageLike]) -> Iterator[Source]:
    for number, image in enumerate(images, 1):
        name = f"image {number}"
        try:
            if isinstance(image, str | PathLike):
                yield _file(fspath(image))
            else:
                yield _in_memory(image, name)
        except InputError as error:
            yield Source(name, partial(_refuse, error))


def _refuse(error: InputError) -> bytes:
    raise error


_OF_DATA_SET = re.compile("((?:[^/]+/)?)(train/good|test|ground_truth)/")
"""Files of a data set: the folder of the category, which may be the one given, and a part of it."""


def normal_sources_of(images: Images) -> list[Source]:
    """As :func:`sources_of`, of images that are to be normal ones.

    Raises:
        InputError: As there, or the folder is a data set's, with defects and their masks in it.
    """
    sources = sources_of(images)
    if not isinstance(images, str | PathLike) or is_one(images):
        return sources
    parts: dict[str, set[str]] = {}
    for found in filter(None, (_OF_DATA_SET.match(source.name) for source in sources)):
        parts.setdefault(found[1], set()).add(found[2])
    for category, has in parts.items():
        if "train/good" in has or has == {"test", "ground_truth"}:
            path = fspath(images)
            good = f", {path.rstrip('/')}/{category}train/good" * ("train/good" in has)
            what, whose = (
                ("data set", "the normal images of one category")
                if category
                else ("data set's category", "its normal images")
            )
            raise InputError(f"{path} looks like a {what}: give {whose}{good}")
    return sources


def is_one(images: Images) -> bool:
    """Whether one image is meant rather than several."""
    if isinstance(images, str | PathLike):
        return not is_folder(fspath(images))
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, Image.Image)


def _at_path(path: str) -> list[Source]:
    if not path:
        # As a shell's variable that is not set; the folder we are in is ".".
        raise InputError("the path of the images is empty: give a file or folder")
    if not is_folder(path):
        if "://" not in path and not local_path(path).exists():
            raise InputError(f"{path} does not exist")
        return [_file(path)]
    folder = ImageFolder(path if "://" in path else str(local_path(path)))
    files = folder.files_below()
    names = [name for name in files if is_to_judge(name)]
    if len(names) < len(files):
        other = next(name for name in files if not is_to_judge(name))
        count = len(files) - len(names)
        logger.warning("%s left out as no image, such as %s", number_of(count, "file"), other)
    if not names:
        raise InputError(f"the folder {path} holds no images")

    def reader(name: str) -> Callable[[], bytes]:
        def read() -> bytes:
            with folder.open(name) as file:
                return file.read()

        return read

    above = folder.root.rstrip("/")
    return [Source(name, reader(name), place=f"{above}/{name}") for name in names]


def is_folder(path: str) -> bool:
    """Whether a path or URL is a folder's."""
    if "://" not in path:
        return local_path(path).is_dir()
    with answering(path):
        fs, inside = locate(path)
        if fs.isdir(inside):
            return True
        if appears_whole(fs):  # where the bucket is not there, nothing is
            with suppress(FileNotFoundError), answering(path):
                fs.info(inside)
        return False


def local_path(path: str) -> Path:
    """A local path, in the home folder where it begins with ``~``.

    Raises:
        InputError: It can be none: it is empty or too long, or nobody has that name.
    """
    try:
        if not path:
            raise InputError("the path of an image is empty: give a file or folder")
        found = Path(path).expanduser()
        found.exists()
        return found
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path[:80]} is no path ({first_line(error)[:80]})") from error


def _file(path: str) -> Source:
    if "://" not in path:
        return Source(path, local_path(path).read_bytes, place=path)

    return Source(path, RemoteFile(path).read, place=path)


def _in_memory(image: Any, name: str) -> Source:
    """An image that is there already; of an array a copy, as cameras use theirs again."""
    if isinstance(image, Image.Image):
        image = upright(image)
        image = np.asarray(image) if image.mode.startswith(("I", "F")) else image
    if isinstance(image, Image.Image):
        decoded = Decoded(image, None)
        return Source(name, lambda: decoded)
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if isinstance(image, np.ndarray) and image.size:
        is_byte = image.dtype == np.uint8
        if is_byte and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
            decoded = Decoded(Image.fromarray(image.copy()), None)
            return Source(name, lambda: decoded)
        is_deep = np.issubdtype(image.dtype, np.integer) or np.issubdtype(image.dtype, np.floating)
        if image.ndim == 2 and is_deep and image.dtype.itemsize > 1:
            deep = Decoded(None, image.copy(), tuple(remarks_on(image)))
            return Source(name, lambda: deep)
    if isinstance(image, np.ndarray):
        raise InputError(
            f"{name} is an array of {image.dtype} {list(image.shape)}: give uint8 [height, width, "
            "3], RGB, or grey [height, width]"
        )
    raise InputError(f"{name} is a {type(image).__name__}: give a path, an array or a PIL image")
