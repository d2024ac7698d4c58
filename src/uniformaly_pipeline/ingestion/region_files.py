"""Where the picture of a region of interest lies, and that it is no image of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import ImageRecord
from uniformaly_pipeline.ingestion.regions import is_roi_name


def find_roi(root: ImageFolder, folder: str) -> str | None:
    """Path of the picture of a region right in a folder.

    Raises:
        InputError: There are several; the line names them.
    """
    found = [path for path in root.files(folder) if is_roi_name(path)]
    if len(found) > 1:
        raise InputError(f"{' and '.join(found)} are both regions of interest: keep one")
    return found[0] if found else None


def without_roi(folder: ImageFolder, records: Sequence[ImageRecord], roi: str) -> list[ImageRecord]:
    """Records without the picture of a region, which may lie among the images or masks.

    Raises:
        InputError: A class has no other image to learn from.
    """
    name = PurePosixPath(roi).name

    def is_roi(path: str | None) -> bool:
        return path is not None and PurePosixPath(path).name == name and folder.same(path, roi)

    kept = [
        replace(record, mask=None) if is_roi(record.mask) else record
        for record in records
        if not is_roi(record.image)
    ]
    learned = {record.class_name for record in kept if record.split == "train"}
    for record in records:
        if record.split == "train" and record.class_name not in learned:
            raise InputError(
                f"category '{record.class_name}' has no images to learn from beside its region "
                f"of interest, {roi}"
            )
    return kept
