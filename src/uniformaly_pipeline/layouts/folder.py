"""The MVTec AD layout, also for the user's own data.

``<category>/train/good/*``, ``<category>/test/<good or a defect kind>/*`` and, if there are masks,
``<category>/ground_truth/<defect kind>/<stem>_mask.*`` (or ``<stem>.*``).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from uniformaly_pipeline.errors import InputError
from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.manifest import GOOD, ImageRecord, list_problems

HAS_DEFECTS = True
EXPECTED = "<category>/train/good"


def classes(root: ImageFolder) -> list[str]:
    """Folders below ``root`` that have a ``train`` or ``test`` folder, sorted; empty ones too.

    An empty folder is listed so that it is reported rather than silently left out.

    Raises:
        InputError: There is no such root.
    """
    if not root.exists():
        raise InputError(
            f"the data set's root {root.root} does not exist: set datasets.<name>.root"
        )
    names = root.folders()
    return [name for name in names if _is_category(root, name)]


def _is_category(root: ImageFolder, name: str) -> bool:
    inside = root.folders(name)
    return not inside or "train" in inside or "test" in inside


def read(root: ImageFolder, classes: list[str]) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A category without train/good images or without test images, or a defective
            image without its mask where others of the category have one; all are named.
    """
    problems: list[str] = []
    records: list[ImageRecord] = []
    for name in classes:
        found = _train_records(root, name) + _test_records(root, name)
        problems += _problems(name, found)
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
        masks = {} if defect == GOOD else _masks_by_stem(root, f"{name}/ground_truth/{defect}")
        for path in root.files(f"{name}/test/{defect}"):
            mask = masks.get(PurePosixPath(path).stem)
            records.append(ImageRecord(path, name, "test", defect, mask))
    return records


def _masks_by_stem(root: ImageFolder, path: str) -> dict[str, str]:
    return {PurePosixPath(file).stem.removesuffix("_mask"): file for file in root.files(path)}


def _problems(name: str, records: list[ImageRecord]) -> list[str]:
    problems = []
    if not records:
        return [f"category '{name}' is empty: put images into {name}/train/{GOOD} and {name}/test"]
    if not any(record.split == "train" for record in records):
        problems.append(f"category '{name}' has no images in {name}/train/{GOOD}")
    if not any(record.split == "test" for record in records):
        problems.append(f"category '{name}' has no images in {name}/test/<{GOOD} or a defect>")
    defective = [record for record in records if record.label]
    if any(record.mask for record in defective):
        problems += [
            f"{record.image} has no mask in {name}/ground_truth/{record.defect}, others have one"
            for record in defective
            if record.mask is None
        ]
    return problems
