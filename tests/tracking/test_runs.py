"""What tells runs apart."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from uniformaly_pipeline.tracking.runs import data_hash, run_name, run_tags

PARAMETERS: dict[str, Any] = {
    "dataset": "demo",
    "backbone": "quickstart",
    "bpm": {"mode": "binary", "threshold": 0.1},
    "scoring": {"top_k_ratio": 0.05},
    "memory_bank": {"coreset_ratio": 0.1, "multiclass_coreset_ratio": 0.02},
    "seed": 3,
}
NAMES = {"dataset": "demo", "backbone": "quickstart", "run_key": "seed-3"}


def test_tags_equal_the_parameters() -> None:
    assert run_tags("defect", PARAMETERS, NAMES, "abc") == {
        "task": "defect",
        "dataset": "demo",
        "backbone": "quickstart",
        "bpm": "binary",
        "top_k_ratio": "0.05",
        "coreset_ratio": "0.1",
        "seed": "3",
        "run_key": "seed-3",
        "git_commit": "abc",
    }
    assert "git_commit" not in run_tags("defect", PARAMETERS, NAMES)


def test_coreset_ratio_is_that_of_the_tasks_banks() -> None:
    assert run_tags("multiclass", PARAMETERS, NAMES)["coreset_ratio"] == "0.02"


def test_name() -> None:
    name = run_name(run_tags("defect", PARAMETERS, NAMES))
    assert name == "defect demo quickstart bpm=binary seed=3"


@pytest.fixture
def manifest() -> pd.DataFrame:
    """Two images."""
    return pd.DataFrame(
        {
            "image": ["a.png", "b.png"],
            "class": ["bolt", "bolt"],
            "split": ["train", "test"],
            "defect": ["good", "dent"],
            "label": [0, 1],
            "content_hash": ["1", "2"],
            "mask_pixels": [-1, 7],
            "fingerprint": ["x", "y"],
        }
    )


def test_data_hash_follows_pictures_and_what_they_are_for(manifest: pd.DataFrame) -> None:
    of_all = data_hash(manifest)
    assert len(of_all) == 12
    # Names, times and order change nothing.
    moved = manifest.assign(image=["c", "d"], fingerprint="z").iloc[::-1]
    assert data_hash(moved) == of_all
    for column, value in (("content_hash", "3"), ("split", "test"), ("mask_pixels", 8)):
        assert data_hash(manifest.assign(**{column: value})) != of_all
