"""ImageNet-30: 30 classes of ImageNet that have nothing in common; each is normal in turn.

``one_class_train/<class>/...`` and ``one_class_test/<class>/...``; copies differ in what lies
below a class and in how its name is spelt.
"""

from __future__ import annotations

from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.classes import (
    EXPECTED,
    HAS_DEFECTS,
    known_classes,
    read_known,
)
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import ImageRecord

__all__ = ["CLASSES", "EXPECTED", "HAS_DEFECTS", "classes", "read"]

CLASSES = (
    "acorn",
    "airliner",
    "ambulance",
    "american_alligator",
    "banjo",
    "barn",
    "bikini",
    "digital_clock",
    "dragonfly",
    "dumbbell",
    "forklift",
    "goblet",
    "grand_piano",
    "hotdog",
    "hourglass",
    "manhole_cover",
    "mosque",
    "nail",
    "parking_meter",
    "pillow",
    "revolver",
    "rotary_dial_telephone",
    "schooner",
    "snowmobile",
    "soccer_ball",
    "stingray",
    "strawberry",
    "tank",
    "toaster",
    "volcano",
)
"""The classes as the paper's Table 17 lists them."""


def classes(root: ImageFolder) -> list[str]:
    """Those of the 30 classes that are there; other folders do not count."""
    return known_classes(root, CLASSES)


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A class without images to train or to test with; all are named.
    """
    return read_known(root, classes)
