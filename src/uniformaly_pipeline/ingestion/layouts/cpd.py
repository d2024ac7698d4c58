"""CPD, castings of pump impellers, as photographed on the line; there are no masks.

``casting_data/{train,test}/{ok_front,def_front}/*.jpeg``; defective images are no use to a method
that learns from normal ones, so those of ``train`` are left out.
"""

from __future__ import annotations

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord

HAS_DEFECTS = True
EXPECTED = "train/ok_front"

CLASS = "casting"
PUBLISHED = {CLASS: Counts(2875, 262, 453)}
"""Images of the one class; the data set's own split."""

_FOLDERS = (("train", "ok_front"), ("test", "def_front"), ("test", "ok_front"))


def classes(root: ImageFolder) -> list[str]:
    """The one class there is."""
    return [CLASS] if "ok_front" in root.folders("train") else []


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A folder without images; all are named.
    """
    if CLASS not in classes:
        return []
    records: list[ImageRecord] = []
    problems: list[str] = []
    for part, folder in _FOLDERS:
        paths = root.files(f"{part}/{folder}")
        if not paths:
            problems.append(f"{part}/{folder} has no images: unpack the data set again")
        defect = GOOD if folder == "ok_front" else folder
        records += [ImageRecord(path, CLASS, part, defect) for path in paths]
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records
