"""Data sets of defects as published: a folder per class, in it folders of images and of masks.

What they differ in is a table, see :mod:`.btad` for a short one. Each is a layout as
:class:`.interface.Layout` describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Note, Split
from uniformaly_pipeline.ingestion.layouts.train_test import is_class, read_classes
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord


@dataclass(frozen=True)
class Part:
    """One folder of images in the folder of a class.

    Attributes:
        folder: Where the images are, below the class.
        split: ``train`` or ``test``.
        defect: The kind of defect that they show.
        masks: Where their masks are, below the class: a file with the image's stem, ``_mask``
            after it or not, or a folder of that name. Every image of a kind of defect has one.
    """

    folder: str
    split: Literal["train", "test"]
    defect: str = GOOD
    masks: str | None = None


@dataclass
class PublishedTree:
    """A data set of known classes, each with a folder of its own.

    Attributes:
        EXPECTED: What the folders are called, for error messages.
        PUBLISHED: Images of each class.
        parts: The folders of a class; none stands for MVTec AD's tree, where the kinds of defect
            differ from class to class.
        marker: A folder that tells a class from another folder of its name; empty for those that
            MVTec AD's tree has.
        left_out: Folders of a class whose images neither fill the memory bank nor are tested.
        HAS_DEFECTS: Whether anomalous test images are defective ones of their class.
    """

    EXPECTED: str
    PUBLISHED: Mapping[str, Counts]
    parts: Sequence[Part] = ()
    marker: str = ""
    left_out: Sequence[str] = ()
    HAS_DEFECTS: bool = field(default=True, init=False)

    def classes(self, root: ImageFolder) -> list[str]:
        """The classes that are there, sorted; other folders do not count."""
        return [name for name in root.folders() if name in self.PUBLISHED and self._is(root, name)]

    def _is(self, root: ImageFolder, name: str) -> bool:
        return self.marker in root.folders(name) if self.marker else is_class(root, name)

    def read(
        self,
        root: ImageFolder,
        classes: list[str],
        split: Split,  # noqa: ARG002 - the folders are the split
    ) -> list[ImageRecord]:
        """The images of ``classes``.

        Raises:
            InputError: A folder without images, or a defective image without its mask; all are
                named.
        """
        if not self.parts:
            return read_classes(root, classes, masks_required=True)
        records: list[ImageRecord] = []
        problems: list[str] = []
        for name in classes:
            for part in self.parts:
                found = _read_part(root, name, part)
                records += found
                problems += _problems(name, part, found)
        if problems:
            raise InputError(f"{root.root}: {list_problems(problems)}")
        return records

    def notes(
        self,
        root: ImageFolder,
        classes: list[str],
        split: Split,  # noqa: ARG002 - the folders are the split
    ) -> list[Note]:
        """How many images of which folders are left out."""
        numbers = {
            (name, folder): len(root.files(f"{name}/{folder}"))
            for name in classes
            for folder in self.left_out
        }
        return [
            Note(name, "left out", f"{name}/{folder}: {number_of(number, 'image')}")
            for (name, folder), number in numbers.items()
            if number
        ]


def _read_part(root: ImageFolder, name: str, part: Part) -> list[ImageRecord]:
    masks = {} if part.masks is None else _masks(root, f"{name}/{part.masks}")
    return [
        ImageRecord(path, name, part.split, part.defect, masks.get(PurePosixPath(path).stem))
        for path in root.files(f"{name}/{part.folder}")
    ]


def _masks(root: ImageFolder, folder: str) -> dict[str, str]:
    """Masks by the stem of their image; several of one image lie in a folder."""
    files = {PurePosixPath(path).stem.removesuffix("_mask"): path for path in root.files(folder)}
    return {**files, **{stem: f"{folder}/{stem}" for stem in root.folders(folder)}}


def _problems(name: str, part: Part, found: Sequence[ImageRecord]) -> list[str]:
    if not found:
        return [f"{name}/{part.folder} has no images: unpack the data set again"]
    if part.masks is None:
        return []
    return [
        f"{record.image} has no mask in {name}/{part.masks}: unpack the data set again"
        for record in found
        if record.mask is None
    ]
