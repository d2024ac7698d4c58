"""BTAD, the BeanTech data set of three products: ``01``, ``02`` and ``03``.

``<product>/{train/ok, test/{ok,ko}, ground_truth/ko}``; a mask has its image's stem, but not
always its suffix.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.folder import is_class
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord

HAS_DEFECTS = True
EXPECTED = "01/train/ok"

PUBLISHED = {"01": Counts(400, 21, 49), "02": Counts(399, 30, 200), "03": Counts(1000, 400, 41)}
"""Images of each product."""

_FOLDERS = (("train", "ok", GOOD), ("test", "ok", GOOD), ("test", "ko", "ko"))
"""Split, folder and kind of defect; the data set's normal images are called ok."""


def classes(root: ImageFolder) -> list[str]:
    """The products that are there; other folders do not count."""
    return [name for name in root.folders() if name in PUBLISHED and is_class(root, name)]


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A folder without images, or a defective image without its mask; all are named.
    """
    records: list[ImageRecord] = []
    problems: list[str] = []
    for name in classes:
        masks = {PurePosixPath(mask).stem: mask for mask in root.files(f"{name}/ground_truth/ko")}
        for part, folder, defect in _FOLDERS:
            paths = root.files(f"{name}/{part}/{folder}")
            if not paths:
                problems.append(f"{name}/{part}/{folder} has no images: unpack the data set again")
            for path in paths:
                mask = masks.get(PurePosixPath(path).stem) if defect != GOOD else None
                records.append(ImageRecord(path, name, part, defect, mask))
    problems += [
        f"{record.image} has no mask in {record.class_name}/ground_truth/ko: "
        "unpack the data set again"
        for record in records
        if record.label and record.mask is None
    ]
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records
