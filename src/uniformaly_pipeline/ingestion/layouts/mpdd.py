"""MPDD, painted metal parts under varying light: six categories, every defect with its mask.

As MVTec AD: ``<class>/{train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png}``.
"""

from __future__ import annotations

from uniformaly_pipeline.ingestion.layouts.interface import Counts
from uniformaly_pipeline.ingestion.layouts.published import PublishedTree

MPDD = PublishedTree(
    "bracket_black/train/good",
    {
        "bracket_black": Counts(289, 32, 47),
        "bracket_brown": Counts(185, 26, 51),
        "bracket_white": Counts(110, 30, 30),
        "connector": Counts(128, 30, 14),
        "metal_plate": Counts(54, 26, 71),
        "tubes": Counts(122, 32, 69),
    },
)
