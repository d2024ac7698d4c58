"""BTAD, the BeanTech data set of three products: ``01``, ``02`` and ``03``.

``<product>/{train/ok, test/{ok,ko}, ground_truth/ko}``; a mask has its image's stem, but not
always its suffix. The data set's normal images are called ok.
"""

from __future__ import annotations

from uniformaly_pipeline.ingestion.layouts.interface import Counts
from uniformaly_pipeline.ingestion.layouts.published import Part, PublishedTree

BTAD = PublishedTree(
    "01/train/ok",
    {"01": Counts(400, 21, 49), "02": Counts(399, 30, 200), "03": Counts(1000, 400, 41)},
    (
        Part("train/ok", "train"),
        Part("test/ok", "test"),
        Part("test/ko", "test", "ko", "ground_truth/ko"),
    ),
)
