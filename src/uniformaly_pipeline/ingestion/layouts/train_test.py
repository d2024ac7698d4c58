"""MVTec AD's tree exactly as it is published, also for other data sets that follow it.

``<class>/train/good/*``, ``<class>/test/<good or a defect kind>/*`` and
``<class>/ground_truth/<defect kind>/<stem>_mask.*`` (or ``<stem>.*``). For folders as users have
them see :mod:`.folder`.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from uniformaly_pipeline.common.errors import DOWNLOAD, InputError, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord

HAS_DEFECTS = True
EXPECTED = "<category>/train/good"


def require_root(root: ImageFolder, *, is_published: bool = False) -> None:
    """Refuse a data set's root that does not exist.

    Args:
        root: The root.
        is_published: Whether others publish the data set, so that it can be fetched.

    Raises:
        InputError: It does not exist.
    """
    if not root.exists():
        how = f", or {DOWNLOAD}" if is_published else ""
        raise InputError(
            f"datasets: the root {root.root} does not exist: set root to where the images are{how}"
        )


def is_class(root: ImageFolder, name: str) -> bool:
    """Whether the folder ``name`` has a ``train`` or ``test`` folder, or none at all."""
    inside = root.folders(name)
    return not inside or "train" in inside or "test" in inside


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A class without train/good images or without test images, or a defective
            image without its mask where others of the class have one; all are named.
    """
    return read_classes(root, classes, masks_required=False)


def read_classes(
    root: ImageFolder, classes: list[str], *, masks_required: bool
) -> list[ImageRecord]:
    """As :func:`read`; where masks are required a class cannot do without them either."""
    problems: list[str] = []
    records: list[ImageRecord] = []
    for name in classes:
        found = _train_records(root, name) + _test_records(root, name)
        problems += _problems(name, found, masks_required)
        records += found
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records


def _train_records(root: ImageFolder, name: str) -> list[ImageRecord]:
    paths = root.files(f"{name}/train/{GOOD}")
    return [ImageRecord(path, name, "train") for path in paths]


def _test_records(root: ImageFolder, name: str) -> list[ImageRecord]:
    records = []
    for defect in root.folders(f"{name}/test"):
        # Masks of normal images are read too: the doctor tells whether they mark anything.
        masks = _masks_by_stem(root, f"{name}/ground_truth/{defect}")
        for path in root.files(f"{name}/test/{defect}"):
            mask = masks.get(PurePosixPath(path).stem)
            records.append(ImageRecord(path, name, "test", defect, mask))
    return records


def _masks_by_stem(root: ImageFolder, path: str) -> dict[str, str]:
    return {PurePosixPath(file).stem.removesuffix("_mask"): file for file in root.files(path)}


def _problems(name: str, records: list[ImageRecord], masks_required: bool) -> list[str]:
    problems = []
    if not records:
        return [f"category '{name}' is empty: put images into {name}/train/{GOOD} and {name}/test"]
    if not any(record.split == "train" for record in records):
        problems.append(f"category '{name}' has no images in {name}/train/{GOOD}")
    if not any(record.split == "test" for record in records):
        problems.append(f"category '{name}' has no images in {name}/test/<{GOOD} or a defect>")
    defective = [record for record in records if record.label]
    if masks_required or any(record.mask for record in defective):
        mend = ": unpack the data set again" if masks_required else ", others have one"
        problems += [
            f"{record.image} has no mask in {name}/ground_truth/{record.defect}{mend}"
            for record in defective
            if record.mask is None
        ]
    return problems
