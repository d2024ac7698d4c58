"""MTD, magnetic tiles with five kinds of defect, published without a split.

``MT_<Kind>/Imgs/<stem>.jpg`` and ``<stem>.png``, its mask. As usual 80% of the normal images are
to learn from; the others and all defective images are the test.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.classes import hold_out
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.manifest import ImageRecord

HAS_DEFECTS = True
EXPECTED = "MT_Free/Imgs"

CLASS = "magnetic_tile"
PUBLISHED = {CLASS: Counts(761, 191, 392)}
"""Images where a fifth of the normal ones is held out."""

_NORMAL = "MT_Free/Imgs"
_DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")


def classes(root: ImageFolder) -> list[str]:
    """The one class there is."""
    return [CLASS] if "MT_Free" in root.folders() else []


def read(root: ImageFolder, classes: list[str], split: Split) -> list[ImageRecord]:
    """The images of ``classes``; the masks of normal images are black and left out.

    Raises:
        InputError: A folder without images, too few normal images to split, or a defective image
            without its mask; all are named.
    """
    if CLASS not in classes:
        return []
    train, test = hold_out(_files(root, _NORMAL, ".jpg"), split)
    records = [ImageRecord(path, CLASS, "train") for path in train]
    records += [ImageRecord(path, CLASS, "test") for path in test]
    problems: list[str] = []
    if not train or not test:
        problems.append(f"{_NORMAL} has too few .jpg images to split: unpack the data set again")
    for kind in _DEFECTS:
        folder = f"MT_{kind}/Imgs"
        masks = {PurePosixPath(mask).stem: mask for mask in _files(root, folder, ".png")}
        images = _files(root, folder, ".jpg")
        if not images:
            problems.append(f"{folder} has no .jpg images: unpack the data set again")
        for path in images:
            mask = masks.get(PurePosixPath(path).stem)
            if mask is None:
                problems.append(f"{path} has no .png mask beside it: unpack the data set again")
            records.append(ImageRecord(path, CLASS, "test", kind.lower(), mask))
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records


def _files(root: ImageFolder, folder: str, suffix: str) -> list[str]:
    return [path for path in root.files(folder) if path.lower().endswith(suffix)]
