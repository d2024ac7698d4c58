"""KolektorSDD2, one kind of surface with and without defects, as published for supervised methods.

``{train,test}/<number>.png`` and ``<number>_GT.png``, its mask; an image is defective where its
mask marks anything. Defective train images are left out: the method learns from normal ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from uniformaly_pipeline.common.errors import InputError, first_line, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Note, Split
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord

HAS_DEFECTS = True
EXPECTED = "train/10000.png and train/10000_GT.png"

CLASS = "surface"
DEFECT = "defect"
PUBLISHED = {CLASS: Counts(2085, 894, 110)}
"""Images with the 246 defective train images left out."""

_MASK = "_GT.png"


def classes(root: ImageFolder) -> list[str]:
    """The one class there is."""
    return [CLASS] if any(path.endswith(_MASK) for path in root.files("train")) else []


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``, without defective train images.

    Every mask is opened: whether an image is defective stands nowhere else.

    Raises:
        InputError: A folder without images, an image without its mask or a mask that cannot be
            read; all are named.
    """
    if CLASS not in classes:
        return []
    train, test = _read_parts(root, ("train", "test"))
    return [record for record in train if not record.label] + test


def notes(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[Note]:
    """How many defective train images are left out; opens the masks of ``train`` once more."""
    (train,) = _read_parts(root, ("train",)) if CLASS in classes else ([],)
    number = sum(record.label for record in train)
    return [Note(CLASS, "left out", f"train: {number} defective images")] if number else []


def _read_parts(root: ImageFolder, parts: Sequence[str]) -> list[list[ImageRecord]]:
    """All images of ``train`` or ``test``; raises ``InputError`` as :func:`read`."""
    records: list[list[ImageRecord]] = []
    problems: list[str] = []
    for part in parts:
        paths = set(root.files(part))
        images = sorted(path for path in paths if path.endswith(".png") and _MASK not in path)
        masks = {image: image.removesuffix(".png") + _MASK for image in images}
        missing = [image for image in images if masks[image] not in paths]
        problems += [] if images else [f"{part} has no images: unpack the data set again"]
        problems += [
            f"{image} has no mask {masks[image]}: unpack the data set again" for image in missing
        ]
        there = [image for image in images if image not in missing]
        with ThreadPoolExecutor() as pool:
            marked = list(pool.map(lambda image: _marks(root, masks[image]), there))  # noqa: B023
        problems += [found for found in marked if isinstance(found, str)]
        records.append(
            [
                ImageRecord(
                    image,
                    CLASS,
                    part,
                    DEFECT if found else GOOD,
                    masks[image] if found else None,
                )
                for image, found in zip(there, marked, strict=True)
            ]
        )
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records


def _marks(root: ImageFolder, path: str) -> bool | str:
    """Whether a mask marks anything, or why it cannot be read."""
    try:
        return root.read_mask(path).getbbox() is not None
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read as a mask ({first_line(error)})"
