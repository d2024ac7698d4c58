"""Curves of a metric against a parameter, by category."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.docs.curves import category_curves
from uniformaly_pipeline.reporting.figures.style import figure_png

K = "scoring.top_k_ratio"


def per_category(number: int) -> pd.DataFrame:
    """Category c has 0.5 + c / 100 at the first of three values, and 0.01 more at each next one."""
    return pd.DataFrame(
        [
            {"category": f"c{c}", "parameter": K, "value": v, "image_auroc": 0.5 + (c + s) / 100}
            for c in range(number)
            for s, v in enumerate(["0.01", "0.05", "1.0"])
        ]
    )


def only_axes(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def curve(figure: Figure, number: int) -> list[tuple[float, float]]:
    line = only_axes(figure).get_lines()[number]
    return [(float(x), round(float(y), 6)) for x, y in line.get_xydata()]


def test_each_category_has_a_curve_and_the_mean_is_bold() -> None:
    figure = category_curves(per_category(3), "image_auroc", K)
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert names == ["c0", "c1", "c2", "mean"]
    *thin, bold = only_axes(figure).get_lines()
    assert len(thin) == 3
    assert bold.get_linewidth() > 2 * max(line.get_linewidth() for line in thin)
    assert curve(figure, -1) == [(0.01, 0.51), (0.05, 0.52), (1.0, 0.53)]
    assert only_axes(figure).get_xlabel() == "top-k ratio"
    assert only_axes(figure).get_ylabel() == "image AUROC"
    assert "mean of 3 categories" in only_axes(figure).get_title(loc="left")
    assert figure_png(figure)


def test_values_stand_in_ascending_order_whatever_the_tables_order() -> None:
    figure = category_curves(per_category(2)[::-1], "image_auroc", K)
    assert curve(figure, 0) == [(0.01, 0.5), (0.05, 0.51), (1.0, 0.52)]


@pytest.mark.parametrize("drop", [True, False], ids=["no row", "undefined"])
def test_a_category_that_lacks_a_value_has_a_line_between_the_others(drop: bool) -> None:
    table = per_category(2)
    if drop:
        table = table.drop(index=1)
    else:
        table.loc[1, "image_auroc"] = np.nan
    figure = category_curves(table, "image_auroc", K)
    assert curve(figure, 0) == [(0.01, 0.5), (1.0, 0.52)]
    assert curve(figure, -1) == [(0.01, 0.505), (0.05, 0.52), (1.0, 0.525)]


def test_draws_of_a_category_are_averaged_before_the_categories_are() -> None:
    table = pd.DataFrame(
        {
            "category": ["a", "a", "a", "b"],
            "parameter": K,
            "value": "1",
            "image_auroc": [0.6, 0.7, 0.8, 0.9],
        }
    )
    figure = category_curves(table, "image_auroc", K)
    assert [curve(figure, i)[0][1] for i in range(3)] == [0.7, 0.9, 0.8]


def test_only_the_rows_of_the_parameter_are_drawn() -> None:
    others = per_category(2).assign(parameter="bpm.mode", value="soft")
    figure = category_curves(pd.concat([per_category(2), others]), "image_auroc", K)
    assert len(curve(figure, 0)) == 3


def test_values_close_to_each_other_share_a_label() -> None:
    table = per_category(1).assign(value=["0.19", "0.2", "1"])
    figure = category_curves(table, "image_auroc", K)
    assert [label.get_text() for label in only_axes(figure).get_xticklabels()] == ["0.19", "1"]
