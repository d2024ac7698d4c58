"""MVTec AD 2, eight scenes under several lights, with small defects and much normal variation.

``<class>/{train/good, validation/good, test_public/{good,bad},
test_public/ground_truth/bad/<stem>_mask.png}``. The private test images come without labels: they
are judged by the publishers' server, and ``predict`` scores them. The validation images are for
choosing thresholds; the memory bank does not see them. The numbers are of the public test.
"""

from __future__ import annotations

from uniformaly_pipeline.ingestion.layouts.interface import Counts
from uniformaly_pipeline.ingestion.layouts.published import Part, PublishedTree

MVTEC_AD2 = PublishedTree(
    "can/test_public/good",
    {
        "can": Counts(412, 72, 90),
        "fabric": Counts(387, 66, 90),
        "fruit_jelly": Counts(263, 20, 60),
        "rice": Counts(313, 42, 90),
        "sheet_metal": Counts(137, 24, 90),
        "vial": Counts(291, 35, 105),
        "wallplugs": Counts(293, 60, 90),
        "walnuts": Counts(432, 60, 90),
    },
    (
        Part("train/good", "train"),
        Part("test_public/good", "test"),
        Part("test_public/bad", "test", "bad", "test_public/ground_truth/bad"),
    ),
    marker="test_public",
    left_out=("validation/good", "test_private", "test_private_mixed"),
)
