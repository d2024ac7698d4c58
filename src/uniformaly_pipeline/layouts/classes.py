"""Images by class, for foreign classes: ImageNet-30, Species-60 and the user's own data.

``one_class_train/<class>/...`` and ``one_class_test/<class>/...``, nested as deep as one likes.
Every class is normal in turn; the others are then anomalous.
"""

from __future__ import annotations

from uniformaly_pipeline.errors import InputError
from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.manifest import ImageRecord, list_problems

HAS_DEFECTS = False
EXPECTED = "one_class_train/<class> and one_class_test/<class>"

_FOLDERS = {"train": "one_class_train", "test": "one_class_test"}


def classes(root: ImageFolder) -> list[str]:
    """Folders below ``one_class_train`` or ``one_class_test``, sorted.

    Raises:
        InputError: There is no such root.
    """
    if not root.exists():
        raise InputError(
            f"the data set's root {root.root} does not exist: set datasets.<name>.root"
        )
    return sorted({name for folder in _FOLDERS.values() for name in root.folders(folder)})


def read(root: ImageFolder, classes: list[str]) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A class without images to train or to test with; all are named.
    """
    records: list[ImageRecord] = []
    problems: list[str] = []
    for name in classes:
        for split, folder in _FOLDERS.items():
            paths = root.files_below(f"{folder}/{name}")
            if not paths:
                problems.append(f"class '{name}' has no images in {folder}/{name}")
            records += [ImageRecord(path, name, split) for path in paths]
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records
