"""Means over seeds, and how far these lie apart."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from uniformaly_pipeline.evaluation.category import check_same_scores, summarise
from uniformaly_pipeline.evaluation.leaderboard import leaderboard_table, partial_means
from uniformaly_pipeline.evaluation.metrics import SEED_METRICS, find_metric
from uniformaly_pipeline.evaluation.seeds import seed_table, summarise_seeds


def metrics_of(auroc: float, aupro: float | None = None) -> dict[str, Any]:
    return {
        **dict.fromkeys(SEED_METRICS),
        "image_auroc": auroc,
        "aupro": aupro,
        "threshold": 10 * auroc,
        "bank_size": 7,
    }


NUTS = {0: metrics_of(0.5, 0.2), 3: metrics_of(0.7, 0.4)}
BOLTS = {0: metrics_of(0.9), 3: metrics_of(0.8)}
OWN = {"nuts": NUTS[0], "bolts": BOLTS[0]}
TABLES = {"nuts": seed_table(NUTS), "bolts": seed_table(BOLTS)}


def test_a_table_has_a_row_for_each_seed() -> None:
    table = TABLES["nuts"]
    assert list(table["seed"]) == [0, 3]
    assert list(table["image_auroc"]) == [0.5, 0.7]
    assert table["pixel_auroc"].isna().all()
    assert table["pixel_auroc"].dtype.kind == "f"


def test_categories_are_means_over_seeds_and_say_how_far_these_lie_apart() -> None:
    found = summarise_seeds(OWN, TABLES)["categories"]
    assert found["nuts"]["image_auroc"] == pytest.approx(0.6)
    assert found["nuts"]["image_auroc_over_seeds"] == pytest.approx(0.1)
    assert found["bolts"]["image_auroc_over_seeds"] == pytest.approx(0.05)
    assert found["nuts"]["aupro"] == pytest.approx(0.3)
    # What is no share of anything is the run's own.
    assert (found["nuts"]["threshold"], found["nuts"]["bank_size"]) == (5, 7)
    assert found["bolts"]["aupro"] is None
    assert "aupro_over_seeds" not in found["bolts"]


def test_the_means_spread_is_that_of_the_means() -> None:
    """Means over categories are 0.7 and 0.75: the categories' own spreads do not add up."""
    whole = summarise_seeds(OWN, TABLES)
    assert whole["mean"]["image_auroc"] == pytest.approx(0.725)
    assert whole["mean"]["image_auroc_over_seeds"] == pytest.approx(0.025)
    assert whole["std"]["image_auroc"] == pytest.approx(0.125)
    assert "image_auroc_over_seeds" not in whole["std"]
    assert whole["mean"]["aupro_over_seeds"] == pytest.approx(0.1)
    assert whole["mean"]["pixel_auroc_over_seeds"] is None


def test_of_one_seed_the_means_are_its_metrics() -> None:
    tables = {name: table[:1] for name, table in TABLES.items()}
    whole, plain = summarise_seeds(OWN, tables), summarise(OWN)
    for part in ("mean", "std"):
        for name, value in plain[part].items():
            assert whole[part][name] == (value if value is None else pytest.approx(value))
    assert not any(name.endswith("_over_seeds") for name in whole["mean"])
    assert not any(name.endswith("_over_seeds") for name in whole["categories"]["nuts"])


def test_the_leaderboard_has_columns_of_the_spread() -> None:
    table = leaderboard_table(summarise_seeds(OWN, TABLES)).set_index("category")
    assert table.at["mean", "image_auroc_over_seeds"] == pytest.approx(0.025)
    assert pd.isna(table.at["std", "image_auroc_over_seeds"])
    assert "image_auroc_over_seeds" not in partial_means(table.reset_index())
    assert find_metric("image_auroc_over_seeds").label == "Image AUROC ± over seeds"
    assert find_metric("image_auroc_over_seeds").kind == "ratio"


def test_means_over_seeds_need_not_be_those_of_the_scores_at_hand() -> None:
    scores = pd.DataFrame({"label": [0, 1, 0, 1], "score": [1.0, 2.0, 3.0, 4.0]})
    means = {"image_auroc": 0.1, "image_auroc_over_seeds": 0.0}
    check_same_scores(means, scores)
    with pytest.raises(ValueError, match=r"image_auroc is 0\.75"):
        check_same_scores({"image_auroc": 0.1}, scores)
