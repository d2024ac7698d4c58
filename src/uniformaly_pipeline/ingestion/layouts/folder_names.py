"""What folders of the user's own data are called, whatever their capitals and accents."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from uniformaly_pipeline.ingestion.manifest import GOOD

NORMAL = frozenset({
    "good", "ok", "okay", "io", "normal", "normals", "nominal", "pass", "passed", "flawless",
    "defect_free", "no_defect", "no_defects", "non_defective", "anomaly_free",
})  # fmt: skip
"""Names of folders of normal images; capitals do not matter, spaces and hyphens are underscores."""

TRAIN = frozenset({"train", "training"})
TEST = frozenset({"test", "testing"})
MASKS = frozenset({"ground_truth", "groundtruth", "gt", "masks", "mask"})
"""Names of folders of masks."""


def as_written(name: str) -> str:
    """A name with its capitals, however its accents are encoded."""
    return unicodedata.normalize("NFC", name)


def plain(name: str) -> str:
    """A name whatever its capitals and however its accents are encoded."""
    return as_written(name).casefold()


def word(name: str) -> str:
    """The name of a folder as the lists here have it; only the last one of a path counts."""
    return re.sub(r"[\s-]+", "_", plain(PurePosixPath(name).name).strip())


def is_normal(path: str) -> bool:
    """Whether a folder is one of normal images by its name."""
    return word(path) in NORMAL


def kind_of(folder: str) -> str:
    """What the images of a folder are called: ``good`` where it says so, else its name."""
    return GOOD if is_normal(folder) else PurePosixPath(folder).name


def folder_of(path: str) -> str:
    """The folder that a file lies in."""
    return str(PurePosixPath(path).parent)
