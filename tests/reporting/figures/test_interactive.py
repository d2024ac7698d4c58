"""What the interactive figures tell, read back from the JSON that Kedro-Viz draws."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from uniformaly_pipeline.reporting.figures.interactive import (
    all_roc_curves,
    all_score_plots,
    roc_plot,
    score_plot,
    sweep_plot,
)


def content(figure: Any) -> dict[str, Any]:
    """The figure as stored; not a number is no JSON."""
    read: dict[str, Any] = json.loads(figure.to_json(), parse_constant=pytest.fail)
    return read


def image_scores() -> pd.DataFrame:
    return pd.DataFrame({"label": [0, 0, 0, 1, 1], "score": [1.0, 2.0, 4.0, 3.0, 9.0]})


def test_roc_passes_through_every_threshold() -> None:
    figure = content(roc_plot(image_scores(), "bolt"))
    assert figure["layout"]["title"]["text"] == "bolt: ROC curve, AUROC 0.833"
    chance, curve = figure["data"]
    assert chance["x"] == [0, 1]
    points = dict(zip(curve["text"], zip(curve["x"], curve["y"], strict=True), strict=True))
    assert points["none"] == (0, 0)
    assert points["9"] == (0, 0.5)
    assert points["3"] == pytest.approx((1 / 3, 1))


def test_roc_of_one_kind_says_so() -> None:
    figure = content(roc_plot(image_scores().assign(label=1), "bolt"))
    assert "one kind" in figure["layout"]["title"]["text"]
    assert figure["data"] == []


def test_bars_are_shares_of_a_class_and_tell_numbers() -> None:
    figure = content(score_plot(image_scores(), "bolt", 3.0))
    normal, anomalous = figure["data"]
    assert normal["name"] == "normal (3)"
    assert sum(normal["y"]) == pytest.approx(1)
    assert sum(map(int, normal["text"])) == 3
    assert sum(map(int, anomalous["text"])) == 2
    assert normal["x"] == anomalous["x"]
    (line,) = figure["layout"]["shapes"]
    assert (line["x0"], line["x1"]) == (3.0, 3.0)


def test_histogram_without_threshold_or_class() -> None:
    figure = content(score_plot(image_scores().assign(label=0), "bolt", None))
    assert "shapes" not in figure["layout"]
    assert sum(figure["data"][1]["y"]) == 0


def test_names_hold_no_markup() -> None:
    figure = content(score_plot(image_scores(), "<b>a & b", None))
    assert figure["layout"]["title"]["text"].startswith("&lt;b&gt;a &amp; b")


def settings() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "parameter": ["scoring.top_k_ratio"] * 2 + ["bpm.mode"] * 2,
            "value": ["0.01", "0.05", "binary", "soft"],
            "image_auroc": [0.8, 0.9, 0.9, 0.7],
            "image_auroc_std": [0.1, np.nan, 0.0, 0.2],
            "pixel_auroc": [np.nan] * 4,
            "pixel_auroc_std": [np.nan] * 4,
        }
    )


def test_menu_shows_the_curves_of_one_parameter() -> None:
    figure = content(sweep_plot(settings()))
    ratio, mode = figure["data"]
    assert ratio["x"] == ["0.01", "0.05"]
    assert ratio["y"] == [0.8, 0.9]
    assert ratio["error_y"]["array"] == [0.1, 0.0]
    assert (ratio["visible"], mode["visible"]) == (True, False)
    (menu,) = figure["layout"]["updatemenus"]
    assert [button["label"] for button in menu["buttons"]] == ["top-k ratio", "masking mode"]
    assert menu["buttons"][1]["args"][0]["visible"] == [False, True]
    assert menu["buttons"][1]["args"][1] == {"xaxis.title.text": "masking mode"}


def test_one_parameter_needs_no_menu() -> None:
    figure = content(sweep_plot(settings().head(2)))
    assert "updatemenus" not in figure["layout"]
    assert figure["layout"]["xaxis"]["title"]["text"] == "top-k ratio"


def test_all_curves_by_name() -> None:
    """A category without a curve is left out."""
    plots = {
        "bolt": roc_plot(image_scores(), "bolt"),
        "nut": roc_plot(image_scores().assign(label=1), "nut"),
        "gear": roc_plot(image_scores().assign(score=[1, 2, 3, 4, 5]), "gear"),
    }
    chance, bolt, gear = content(all_roc_curves(plots))["data"]
    assert chance["showlegend"] is False
    assert (bolt["name"], gear["name"]) == ("bolt", "gear")
    assert bolt["line"] != gear["line"]
    assert gear["y"][1:] == [0.5, 1.0, 1.0]
    assert content(all_roc_curves({"nut": plots["nut"]}))["data"] == []


def test_menu_shows_the_histogram_of_one_category() -> None:
    plots = {
        "bolt": score_plot(image_scores(), "bolt", 3.0),
        "nut": score_plot(image_scores(), "nut", None),
    }
    figure = content(all_score_plots(plots))
    assert [bars["visible"] for bars in figure["data"]] == [True, True, False, False]
    assert figure["layout"]["title"]["text"] == "bolt: image scores"
    ((bolt, nut),) = [menu["buttons"] for menu in figure["layout"]["updatemenus"]]
    assert bolt["args"][1]["shapes"][0]["x0"] == 3.0
    assert nut["args"][0]["visible"] == [False, False, True, True]
    assert nut["args"][1] == {"title.text": "nut: image scores", "shapes": [], "annotations": []}
    assert "updatemenus" not in content(all_score_plots({"bolt": plots["bolt"]}))["layout"]
