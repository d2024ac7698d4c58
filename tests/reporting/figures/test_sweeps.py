"""Curves of metrics against a parameter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uniformaly_pipeline.reporting.figures.style import figure_png
from uniformaly_pipeline.reporting.figures.sweeps import sweep_figure

K = "scoring.top_k_ratio"


def sweep(values: Sequence[str], means: Sequence[float], parameter: str = K) -> pd.DataFrame:
    """A table of one metric's means at the values of a parameter, each ± 0.01."""
    return pd.DataFrame(
        {"parameter": parameter, "value": values, "image_auroc": means, "image_auroc_std": 0.01}
    )


def only_axes(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def tick_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in only_axes(figure).get_xticklabels()]


def shown_text(figure: Figure) -> str:
    return " ".join(text.get_text() for text in only_axes(figure).texts)


def curve(figure: Figure, number: int = 0) -> list[tuple[float, float]]:
    """The points of a line."""
    line = only_axes(figure).get_lines()[number]
    return [(float(x), float(y)) for x, y in line.get_xydata()]


def test_numbers_stand_at_their_own_place_in_ascending_order() -> None:
    figure = sweep_figure(sweep(["5", "1", "10"], [0.8, 0.7, 0.9]), K, ["image_auroc"])
    assert curve(figure) == [(1.0, 0.7), (5.0, 0.8), (10.0, 0.9)]
    assert only_axes(figure).get_xlabel() == "top-k ratio"
    assert only_axes(figure).get_ylabel() == "image AUROC"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0.01", "0.2"], "log"),
        (["0.01", "0.19"], "linear"),
        (["0", "100"], "linear"),
        (["1", "100", "all"], "linear"),
    ],
)
def test_a_wide_range_of_positive_numbers_makes_the_axis_logarithmic(
    values: list[str], expected: str
) -> None:
    figure = sweep_figure(sweep(values, [0.9] * len(values)), K, ["image_auroc"])
    assert only_axes(figure).get_xscale() == expected


def test_numbers_and_a_word_stand_side_by_side_in_the_tables_order() -> None:
    values = ["1", "2", "50", "all"]
    figure = sweep_figure(sweep(values, [0.6, 0.7, 0.8, 0.9]), K, ["image_auroc"])
    assert [x for x, _ in curve(figure)] == [0, 1, 2, 3]
    assert tick_labels(figure) == values
    assert only_axes(figure).get_lines()[0].get_linestyle() != "None"


def test_words_without_an_order_are_not_joined_by_a_line() -> None:
    figure = sweep_figure(sweep(["binary", "soft"], [0.6, 0.7]), K, ["image_auroc"])
    line = only_axes(figure).get_lines()[0]
    assert line.get_linestyle() == "None"
    assert line.get_marker() != "None"


def test_the_band_is_the_deviation_and_ends_at_1() -> None:
    figure = sweep_figure(sweep(["1", "2"], [0.5, 0.995]), K, ["image_auroc"])
    (band,) = only_axes(figure).collections
    corners = band.get_paths()[0].vertices
    at = {x: sorted({round(float(y), 6) for px, y in corners if px == x}) for x in (1.0, 2.0)}
    assert at[1.0][0] == 0.49
    assert at[1.0][-1] == 0.51
    assert at[2.0][0] == 0.985
    assert at[2.0][-1] == 1.0


def test_several_metrics_differ_in_more_than_colour_and_are_named() -> None:
    table = sweep(["1", "2"], [0.8, 0.9]).assign(nmi=[0.5, 0.6], aupro=np.nan)
    figure = sweep_figure(table, K, ["image_auroc", "nmi", "aupro", "absent"])
    assert legend(figure) == ["image AUROC", "NMI"]
    first, second = only_axes(figure).get_lines()
    assert first.get_marker() != second.get_marker()
    assert first.get_linestyle() != second.get_linestyle()


def test_only_the_rows_of_the_parameter_are_drawn() -> None:
    table = pd.concat([sweep(["1", "2"], [0.8, 0.9]), sweep(["7"], [0.1], "bpm.kernel_size")])
    assert len(curve(sweep_figure(table, K, ["image_auroc"]))) == 2


def test_an_undefined_metric_leaves_a_gap() -> None:
    figure = sweep_figure(sweep(["1", "2", "3"], [0.8, np.nan, 0.9]), K, ["image_auroc"])
    assert [bool(np.isnan(y)) for _, y in curve(figure)] == [False, True, False]
    assert figure_png(figure)


@pytest.mark.parametrize(
    "table",
    [pd.DataFrame(), sweep([], []), sweep(["1"], [np.nan]), sweep(["1"], [0.5], "other")],
    ids=["no columns", "no rows", "undefined", "another parameter"],
)
def test_where_there_is_nothing_to_show_the_figure_says_so(table: pd.DataFrame) -> None:
    assert "nothing to show" in shown_text(sweep_figure(table, K, ["image_auroc"]))


def test_labels_do_not_overlap_and_name_both_ends() -> None:
    values = ["0.001", "0.01", "0.05", "0.075", "0.1", "0.15", "0.19", "0.2"]
    figure = sweep_figure(sweep(values, [0.9] * 8), K, ["image_auroc"])
    labels = tick_labels(figure)
    assert {"0.001", "0.2"} <= set(labels)
    assert "0.19" not in labels
    figure.draw_without_rendering()
    widths = [label.get_window_extent() for label in only_axes(figure).get_xticklabels()]
    # Slanted labels that are this far apart do not touch.
    gaps = np.diff([box.x1 for box in widths])
    assert (gaps > 0.13 * figure.dpi).all()


def test_short_labels_stand_upright_and_all_are_shown() -> None:
    values = ["1", "3", "5", "7", "9", "11", "13"]
    figure = sweep_figure(sweep(values, [0.9] * 7), K, ["image_auroc"])
    assert tick_labels(figure) == values
    assert {label.get_rotation() for label in only_axes(figure).get_xticklabels()} == {0.0}


def test_a_dollar_sign_in_a_value_or_name_starts_no_formula() -> None:
    hostile = r"$\frac{$"
    table = sweep([hostile, "b"], [0.5, 0.6], hostile)
    assert figure_png(sweep_figure(table, hostile, ["image_auroc"]))


def test_error_bars_between_words_end_at_1_and_stand_side_by_side() -> None:
    table = sweep(["binary", "soft"], [0.5, 0.995]).assign(nmi=0.9, nmi_std=0.2)
    figure = sweep_figure(table, K, ["image_auroc", "nmi"])
    collections = only_axes(figure).collections
    bars = [np.array([path.vertices for path in group.get_paths()]) for group in collections]
    ends = [[(round(y0, 6), round(y1, 6)) for (_, y0), (_, y1) in group] for group in bars]
    assert ends == [[(0.49, 0.51), (0.985, 1.0)], [(0.7, 1.0), (0.7, 1.0)]]
    (first, second), aside = bars[0][:, 0, 0], bars[1][:, 0, 0]
    assert first < aside[0] < second < aside[1]
