"""MVTec LOCO AD, five scenes with structural defects and broken rules (logical anomalies).

``<class>/{train/good, validation/good, test/{good,logical_anomalies,structural_anomalies},
ground_truth/<kind>/<stem>/<number>.png}``: a mask is a folder of images, one for each anomaly.
Their grey level tells the kind of defect, and with it the area at which the publishers' metric
(sPRO) counts a find as complete. Here all but 0 is anomalous and AUPRO is measured: its figures do
not compare with the publishers' table. The validation images are for choosing thresholds; the
memory bank does not see them. Logical and structural anomalies are counted together.
"""

from __future__ import annotations

from uniformaly_pipeline.ingestion.layouts.interface import Counts
from uniformaly_pipeline.ingestion.layouts.published import Part, PublishedTree

KINDS = ("logical_anomalies", "structural_anomalies")

MVTEC_LOCO = PublishedTree(
    "breakfast_box/test/logical_anomalies",
    {
        "breakfast_box": Counts(351, 102, 173),
        "juice_bottle": Counts(335, 94, 236),
        "pushpins": Counts(372, 138, 172),
        "screw_bag": Counts(360, 122, 219),
        "splicing_connectors": Counts(354, 119, 193),
    },
    (
        Part("train/good", "train"),
        Part("test/good", "test"),
        *(Part(f"test/{kind}", "test", kind, f"ground_truth/{kind}") for kind in KINDS),
    ),
    marker="test",
    left_out=("validation/good",),
)
