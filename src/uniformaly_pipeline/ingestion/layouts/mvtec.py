"""MVTec AD, the data set of industrial inspection: 15 categories, every defect with its mask.

``<class>/{train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png}``
"""

from __future__ import annotations

from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.folder import is_class, read_classes
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.manifest import ImageRecord

HAS_DEFECTS = True
EXPECTED = "bottle/train/good"

PUBLISHED = {
    "bottle": Counts(209, 20, 63),
    "cable": Counts(224, 58, 92),
    "capsule": Counts(219, 23, 109),
    "carpet": Counts(280, 28, 89),
    "grid": Counts(264, 21, 57),
    "hazelnut": Counts(391, 40, 70),
    "leather": Counts(245, 32, 92),
    "metal_nut": Counts(220, 22, 93),
    "pill": Counts(267, 26, 141),
    "screw": Counts(320, 41, 119),
    "tile": Counts(230, 33, 84),
    "toothbrush": Counts(60, 12, 30),
    "transistor": Counts(213, 60, 40),
    "wood": Counts(247, 19, 60),
    "zipper": Counts(240, 32, 119),
}
"""Images of each class."""


def classes(root: ImageFolder) -> list[str]:
    """The categories that are there; other folders do not count."""
    return [name for name in root.folders() if name in PUBLISHED and is_class(root, name)]


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A class without train or test images, or a defective image without its
            mask; all are named.
    """
    return read_classes(root, classes, masks_required=True)
