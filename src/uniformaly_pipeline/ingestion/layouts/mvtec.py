"""MVTec AD, the data set of industrial inspection: 15 categories, every defect with its mask.

``<class>/{train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png}``
"""

from __future__ import annotations

from uniformaly_pipeline.ingestion.layouts.interface import Counts
from uniformaly_pipeline.ingestion.layouts.published import PublishedTree

MVTEC = PublishedTree(
    "bottle/train/good",
    {
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
    },
)
