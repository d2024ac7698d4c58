"""Images by class, for foreign classes: the user's own data.

``one_class_train/<class>/...`` and ``one_class_test/<class>/...``, nested as deep as one likes.
Every class is normal in turn; the others are then anomalous.
"""

from __future__ import annotations

import hashlib
import math
import posixpath
import re
from collections.abc import Collection, Sequence

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Note, Split, left_out
from uniformaly_pipeline.ingestion.layouts.train_test import require_root
from uniformaly_pipeline.ingestion.manifest import ImageRecord
from uniformaly_pipeline.ingestion.regions import is_plain_image

HAS_DEFECTS = False
EXPECTED = "one_class_train/<class> and one_class_test/<class>"

FOLDERS = {"train": "one_class_train", "test": "one_class_test"}
"""The folder of each split."""


def classes(root: ImageFolder) -> list[str]:
    """Folders below ``one_class_train`` or ``one_class_test``, sorted.

    Raises:
        InputError: There is no such root.
    """
    require_root(root)
    return sorted({name for folder in FOLDERS.values() for name in root.folders(folder)})


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A class without images to train or to test with; all are named.
    """
    by_split = {
        part: {name: [f"{folder}/{name}"] for name in classes} for part, folder in FOLDERS.items()
    }
    return _read(root, classes, by_split)


def notes(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[Note]:
    """Files that are no images."""
    return [
        note
        for folder in FOLDERS.values()
        for name in classes
        for note in left_out(
            name,
            (p for p in root.files_below(f"{folder}/{name}") if not is_plain_image(p)),
        )
    ]


# --- for data sets whose classes are known --------------------------------------------------------


def known_classes(root: ImageFolder, known: Collection[str]) -> list[str]:
    """Those of the ``known`` classes that have a folder, sorted; other folders do not count."""
    return sorted({name for part in FOLDERS.values() for name in named_folders(root, part, known)})


def read_known(root: ImageFolder, classes: list[str]) -> list[ImageRecord]:
    """As :func:`read`, however the folders of the ``classes`` spell their names."""
    by_split = {part: named_folders(root, folder, classes) for part, folder in FOLDERS.items()}
    return _read(root, classes, by_split)


def named_folders(root: ImageFolder, parent: str, known: Collection[str]) -> dict[str, list[str]]:
    """Folders right below ``parent`` by the ``known`` class that they are named after.

    Copies of a data set differ in how they join a name's words and in capitals.
    """
    names = {_spelling(name): name for name in known}
    found: dict[str, list[str]] = {}
    for folder in root.folders(parent):
        if name := names.get(_spelling(folder)):
            found.setdefault(name, []).append(posixpath.join(parent, folder))
    return found


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def hold_out(paths: Sequence[str], split: Split) -> tuple[list[str], list[str]]:
    """Split images into those to train and those to test with, each sorted.

    An image's place in the draw follows from the seed and its path alone: neither the file
    system's order nor other images can change it.
    """
    drawn = sorted(
        paths, key=lambda path: hashlib.sha256(f"{split.seed}/{path}".encode()).digest()
    )[: split.cap]
    # Rounding must not cost an image: (1 - 0.9) * 10 is a little less than 1.
    num_train = math.floor((1 - split.test_share) * len(drawn) + 1e-9)
    return sorted(drawn[:num_train]), sorted(drawn[num_train:])


def _read(
    root: ImageFolder, classes: list[str], by_split: dict[str, dict[str, list[str]]]
) -> list[ImageRecord]:
    records: list[ImageRecord] = []
    problems: list[str] = []
    for name in classes:
        for part, folders in by_split.items():
            files = [path for folder in folders.get(name, []) for path in root.files_below(folder)]
            paths = [path for path in files if is_plain_image(path)]
            if not paths:
                problems.append(f"class '{name}' has no images in {FOLDERS[part]}/{name}")
            records += [ImageRecord(path, name, part) for path in paths]
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records
