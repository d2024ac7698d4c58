"""CIFAR-10 and CIFAR-100 as published: the archive of python pickles, or its extracted folder.

The images lie packed in a few arrays, so they have no files of their own. :class:`PackedImages`
gives them names, ``<split>/<class>/<index in the split>.png``, and shows them as a folder.
CIFAR-100 is read by its 20 superclasses, as the paper does.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, BinaryIO, NoReturn

import numpy as np
from PIL import Image

from uniformaly_pipeline.common.errors import InputError, first_line, list_problems
from uniformaly_pipeline.common.files import hash_file
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.layouts.restricted_pickle import load_arrays
from uniformaly_pipeline.ingestion.layouts.train_test import require_root
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.manifest import ImageRecord

SPLITS = ("train", "test")
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"

_SIDE = 32
_ROW = 3 * _SIDE * _SIDE
_ARCHIVES = (".tar.gz", ".tgz")
_MAX_MEMBER = 2**29
"""Largest file read from an archive, bytes: CIFAR-100's train split has 155 MB."""

_IMAGE = re.compile(r"(train|test)/([^/]+)/(\d{5,})\.png")


@dataclass(frozen=True)
class Packing:
    """How a data set is packed.

    Attributes:
        name: What messages call it.
        folder: The folder in the archive.
        archive: File name of the archive as published.
        md5: Of the archive as published.
        train: Files with the train images, in order.
        test: Files with the test images, in order.
        meta: File with the names of the classes.
        labels: Key of the labels in a batch.
        names: Key of the classes' names in ``meta``.
        classes: The names; a label is an index into them.
        counts: Images per class as published.
    """

    name: str
    folder: str
    archive: str
    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str
    names: str
    classes: tuple[str, ...]
    counts: Counts

    @property
    def files(self) -> tuple[str, ...]:
        """All files that must be there."""
        return (*self.train, *self.test, self.meta)


@dataclass(frozen=True)
class _Packed:
    """The images of one split.

    Attributes:
        pixels: [n, 32, 32, 3], uint8, a view of the rows as they were packed.
        labels: [n], uint8, indices into the names of the classes.
    """

    pixels: np.ndarray
    labels: np.ndarray


_cache: dict[tuple[str, str], tuple[str, dict[str, _Packed]]] = {}
"""Splits by data set and source, with the stamp they were read at: once per process."""
_cache_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class PackedImages(ImageFolder):
    """A packed data set as a folder ``<split>/<class>/<index in the split>.png``.

    Copies in other processes read the arrays again on first use, unless they were forked from one
    that has them: only the fields travel. The images are 8-bit RGB, 32x32 pixels.

    Attributes:
        root: The archive or the folder with the batches, a local path or a URL.
        storage_options: As the base class has it.
        packing: What ``root`` holds.
        stamp: Tells the state of the files, with their time of modification.
    """

    packing: Packing
    stamp: str

    def fingerprint(self, path: str) -> str:
        """What changes when the files do that the image is packed in; they are not read.

        Raises:
            FileNotFoundError: There is no such image.
        """
        self._find(path)
        return self.stamp

    def reread(self) -> None:
        """Forget the arrays: they are read again on next use."""
        super().reread()
        with _cache_lock:
            _cache.pop((self.packing.name, self.root), None)

    def exists(self, path: str = "") -> bool:
        """Whether there is a split, a class or an image ``path``."""
        path = path.strip("/")
        return not path or bool(self.folders(path) or self._paths(path)) or self._is_image(path)

    def folders(self, path: str = "") -> list[str]:
        """Names of the splits, or of a split's classes, sorted; none anywhere else."""
        path = path.strip("/")
        if not path:
            return sorted(SPLITS)
        if path not in SPLITS:
            return []
        present = np.unique(self._split(path).labels)
        return sorted(self.packing.classes[label] for label in present)

    def files(self, path: str = "") -> list[str]:
        """Paths of the images of ``<split>/<class>``, sorted; none anywhere else."""
        path = path.strip("/")
        return self._paths(path) if "/" in path else []

    def files_below(self, path: str = "") -> list[str]:
        """Paths of all images, or those of a split or class, sorted."""
        path = path.strip("/")
        return sorted(
            image for split in ([path] if path else SPLITS) for image in self._paths(split)
        )

    def sample(self, count: int) -> list[str]:
        """Paths of up to ``count`` images, spread evenly over all."""
        paths = self.files_below()
        step = max(1, len(paths) // count)
        return paths[::step][:count]

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open one image as PNG, encoded on the spot; the same image gives the same bytes."""
        encoded = BytesIO()
        self.read_image(path).save(encoded, "PNG", compress_level=1)
        encoded.seek(0)
        yield encoded

    def read_image(
        self,
        path: str,
        levels: Levels | None = None,  # noqa: ARG002 - all its images are of 8 bits
        content_hash: str | None = None,  # noqa: ARG002 - the archive's own state is checked
    ) -> Image.Image:
        """Read one image as 8-bit RGB, without encoding it first.

        Raises:
            FileNotFoundError: There is no such image.
        """
        split, index = self._find(path)
        return Image.fromarray(np.ascontiguousarray(self._split(split).pixels[index]))

    def read_mask(self, path: str, mask_hash: str | None = None) -> NoReturn:  # noqa: ARG002
        """Packed data sets have no ground-truth masks.

        Raises:
            FileNotFoundError: Always.
        """
        raise FileNotFoundError(f"{self.packing.name} has no masks: {path}")

    def _split(self, split: str) -> _Packed:
        return _load(self._source(), self.packing, self.stamp)[split]

    def _source(self) -> ImageFolder:
        return ImageFolder(self.root, self.storage_options)

    def _paths(self, path: str) -> list[str]:
        """Paths of the images of ``<split>`` or ``<split>/<class>``, the classes in order."""
        split, _, name = path.partition("/")
        if split not in SPLITS:
            return []
        labels = self._split(split).labels
        return [
            f"{split}/{each}/{index:05d}.png"
            for label, each in enumerate(self.packing.classes)
            if name in ("", each)
            for index in np.flatnonzero(labels == label)
        ]

    def _find(self, path: str) -> tuple[str, int]:
        """Split and index of an image."""
        matched = _IMAGE.fullmatch(path)
        if matched is not None:
            split, name, number = matched.groups()
            index, labels = int(number), self._split(split).labels
            if (
                # Every image has one name only: no more zeros than five digits ask for.
                number == f"{index:05d}"
                and index < len(labels)
                and self.packing.classes[labels[index]] == name
            ):
                return split, index
        raise FileNotFoundError(f"{self.root} has no image {path}")

    def _is_image(self, path: str) -> bool:
        try:
            self._find(path)
        except FileNotFoundError:
            return False
        return True


class CifarLayout:
    """A packed data set as a layout, see :class:`.interface.Layout`.

    Attributes:
        packing: How the data set is packed.
        PUBLISHED: Images per class as published.
    """

    def __init__(self, packing: Packing) -> None:
        """Offer the data set that is packed as ``packing`` says."""
        self.packing = packing
        self.HAS_DEFECTS = False
        self.EXPECTED = f"the archive {packing.archive} or its folder {packing.folder}"
        self.PUBLISHED: dict[str, Counts] = dict.fromkeys(packing.classes, packing.counts)

    def classes(self, root: ImageFolder) -> list[str]:
        """Names of the classes in the order of their labels; nothing is opened or unpacked.

        Empty where ``root`` is neither archive nor folder, nor right above one.

        Raises:
            InputError: There is no such root.
        """
        return list(self.packing.classes) if _locate(root, self.packing) else []

    def read(
        self,
        root: ImageFolder,
        classes: list[str],
        split: Split,  # noqa: ARG002 - the published split is the one to use
    ) -> list[ImageRecord]:
        """The images of ``classes``, class by class, those of the train split first.

        Args:
            root: The user's root or what :meth:`open_root` made of it; the records' paths refer
                to the latter.
            classes: Names of classes.
            split: Not used: the data set has a split of its own.

        Raises:
            InputError: As :meth:`open_root`, or a class has no images; all are named.
        """
        images = self.open_root(root)
        records: list[ImageRecord] = []
        problems: list[str] = []
        for name in classes:
            for part in SPLITS:
                paths = images.files(f"{part}/{name}")
                if not paths:
                    problems.append(f"class '{name}' has no images in the {part} split")
                records += [ImageRecord(path, name, part) for path in paths]
        if problems:
            raise InputError(f"{images.root}: {list_problems(problems)}")
        return records

    def open_root(self, root: ImageFolder) -> PackedImages:
        """Find the data set at the user's root, read it and show it as a folder of images.

        Args:
            root: The archive, the extracted folder, or the folder that one of them lies in. The
                extracted folder is preferred, since it need not be unpacked.

        Returns:
            The images; all of them have been read and checked.

        Raises:
            InputError: The root is missing or holds neither; the archive is damaged; a batch is
                missing, has another shape, or has labels beyond the classes; other class names.
        """
        if isinstance(root, PackedImages) and root.packing == self.packing:
            _load(root._source(), root.packing, root.stamp)
            return root
        source = _locate(root, self.packing)
        if source is None:
            raise InputError(
                f"{root.root} holds no {self.packing.name}: expected {self.EXPECTED}, from {HOME}"
            )
        stamp = _stamp(source, self.packing)
        _load(source, self.packing, stamp)
        return PackedImages(source.root, source.storage_options, packing=self.packing, stamp=stamp)


def _locate(root: ImageFolder, packing: Packing) -> ImageFolder | None:
    """The archive or the folder with the batches; ``None`` if ``root`` has neither."""
    require_root(root, is_published=True)
    if _is_archive(root):
        return root
    files = root.files()
    # "train" and "test" are common names: only "meta" tells that these are the batches.
    if packing.meta in files or _name(root) == packing.folder:
        return root
    if packing.folder in root.folders():
        return _below(root, packing.folder)
    return _below(root, packing.archive) if packing.archive in files else None


def _below(root: ImageFolder, name: str) -> ImageFolder:
    return ImageFolder(posixpath.join(root.root, name), root.storage_options)


def _name(source: ImageFolder) -> str:
    return posixpath.basename(source.root.replace("\\", "/").rstrip("/"))


def _is_archive(source: ImageFolder) -> bool:
    return source.root.endswith(_ARCHIVES)


def _stamp(source: ImageFolder, packing: Packing) -> str:
    """What tells the present state of the files."""
    if _is_archive(source):
        return source.fingerprint("")
    stamps = []
    for name in packing.files:
        try:
            stamps.append(source.fingerprint(name))
        except FileNotFoundError as error:
            raise _missing(source, name) from error
    return hashlib.sha256(" ".join(stamps).encode()).hexdigest()


def _missing(source: ImageFolder, name: str) -> InputError:
    return InputError(
        f"{source.root} has no {name}: extract or fetch the archive again from {HOME}"
    )


def _load(source: ImageFolder, packing: Packing, stamp: str) -> dict[str, _Packed]:
    """The splits, read once per process and again where the files have changed since."""
    key = (packing.name, source.root)
    # Threads that check images come here together: one reads, the others wait.
    with _cache_lock:
        known = _cache.get(key)
        if known is None or known[0] != stamp:
            if _stamp(source, packing) != stamp:
                raise InputError(f"{source.root} was changed while it was in use: run again")
            # Both together would need twice the memory.
            _cache.pop(key, None)
            known = _cache[key] = (stamp, _read(source, packing))
        return known[1]


def _read(source: ImageFolder, packing: Packing) -> dict[str, _Packed]:
    """Read and check all files of the archive or folder."""
    try:
        if _is_archive(source):
            _check_md5(source, packing)
            files = _files_in_archive(source, packing)
        else:
            files = _files_in_folder(source, packing)
        batches = {
            name: _read_file(f"{source.root}: {name}", packing, name, file) for name, file in files
        }
    except InputError:
        raise
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(
            f"{source.root} cannot be read ({first_line(error)}): fetch it again from {HOME}"
        ) from error
    for name in packing.files:
        if name not in batches:
            raise _missing(source, name)
    return {"train": _join(batches, packing.train), "test": _join(batches, packing.test)}


def _files_in_folder(source: ImageFolder, packing: Packing) -> Iterator[tuple[str, IO[bytes]]]:
    for name in packing.files:
        with source.open(name) as file:
            yield name, file


def _files_in_archive(source: ImageFolder, packing: Packing) -> Iterator[tuple[str, IO[bytes]]]:
    """The archive's files that count, in one pass, so that it may be remote."""
    wanted = {f"{packing.folder}/{name}": name for name in packing.files}
    with source.open("") as compressed, tarfile.open(fileobj=compressed, mode="r|gz") as tar:
        for member in tar:
            name = wanted.get(posixpath.normpath(member.name))
            file = tar.extractfile(member) if name is not None and member.isfile() else None
            if name is None or file is None:
                continue
            if member.size > _MAX_MEMBER:
                raise InputError(
                    f"{source.root}: {name} has {member.size} bytes, too many: fetch the archive "
                    f"again from {HOME}"
                )
            yield name, file


def _check_md5(source: ImageFolder, packing: Packing) -> None:
    if _name(source) != packing.archive:
        return
    with source.open("") as file:
        found = hash_file(file, "md5", packing.archive)
    if found != packing.md5:
        raise InputError(
            f"{source.root} is damaged or not the published archive (MD5 {found} "
            f"instead of {packing.md5}): fetch it again from {HOME}"
        )


def _read_file(
    shown: str, packing: Packing, name: str, file: IO[bytes]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows [n, 3072] and labels [n] of a batch, both uint8; ``None`` for the names of classes."""
    content = load_arrays(file, shown)
    fields = content if isinstance(content, dict) else {}
    if name != packing.meta:
        return _check_batch(shown, packing, fields)
    if fields.get(packing.names) != list(packing.classes):
        raise InputError(
            f"{shown} names other classes than {packing.name} has: fetch the data set again "
            f"from {HOME}"
        )
    return None


def _check_batch(
    shown: str, packing: Packing, batch: dict[Any, Any]
) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = batch.get("data"), batch.get(packing.labels)
    problem = None
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (_ROW,):
        problem = f"'data' is not an array of bytes [n, {_ROW}]"
    elif not isinstance(labels, list) or len(labels) != len(rows):
        problem = f"'{packing.labels}' is not a list with a label for each of {len(rows)} images"
    elif not all(type(label) is int and 0 <= label < len(packing.classes) for label in labels):
        problem = f"'{packing.labels}' has labels beyond 0..{len(packing.classes) - 1}"
    if problem is not None:
        raise InputError(f"{shown}: {problem}: fetch the data set again from {HOME}")
    return np.asarray(rows), np.asarray(labels, np.uint8)


def _join(
    batches: dict[str, tuple[np.ndarray, np.ndarray] | None], names: tuple[str, ...]
) -> _Packed:
    """The batches one after another; those of a split are taken out of ``batches``."""
    parts = [part for name in names if (part := batches.pop(name)) is not None]
    one = len(parts) == 1
    rows = parts[0][0] if one else np.concatenate([rows for rows, _ in parts])
    # A row holds all of red, then green, then blue, each line by line.
    pixels = rows.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return _Packed(pixels, np.concatenate([labels for _, labels in parts]))


CIFAR10 = CifarLayout(
    Packing(
        name="CIFAR-10",
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        labels="labels",
        names="label_names",
        classes=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        counts=Counts(train=5000, good=1000),
    )
)
"""The paper's multi-class splits {0-4}, {5-9}, ... are indices into these classes."""

CIFAR100 = CifarLayout(
    Packing(
        name="CIFAR-100",
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        train=("train",),
        test=("test",),
        meta="meta",
        labels="coarse_labels",
        names="coarse_label_names",
        classes=(
            "aquatic_mammals",
            "fish",
            "flowers",
            "food_containers",
            "fruit_and_vegetables",
            "household_electrical_devices",
            "household_furniture",
            "insects",
            "large_carnivores",
            "large_man-made_outdoor_things",
            "large_natural_outdoor_scenes",
            "large_omnivores_and_herbivores",
            "medium_mammals",
            "non-insect_invertebrates",
            "people",
            "reptiles",
            "small_mammals",
            "trees",
            "vehicles_1",
            "vehicles_2",
        ),
        counts=Counts(train=2500, good=500),
    )
)
"""The 20 superclasses."""
