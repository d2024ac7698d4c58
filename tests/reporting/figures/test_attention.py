"""What the histogram of the attention shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from uniformaly_pipeline.features.masking import smooth_attention
from uniformaly_pipeline.reporting.figures.attention import (
    MOST_GROUPS,
    MOST_IMAGES,
    NUM_BINS,
    attention_histogram,
    most_different,
    smoothed_attention,
)
from uniformaly_pipeline.reporting.figures.style import figure_png


def test_each_group_has_its_shares_and_tells_what_lies_above_the_threshold() -> None:
    groups = {
        "objects": np.array([[0.0, 0.05], [0.5, 1.0]]),
        "textures": np.array([0.1, 0.9, 0.95, 1.0]),
    }
    figure = attention_histogram(groups, threshold=0.1, title="demo")
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    for bar in bars:
        shares, edges, _ = bar.get_data()
        assert shares.sum() == pytest.approx(1)
        assert len(shares) == NUM_BINS
        assert (edges[0], edges[-1]) == (0, 1)
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    # A value at the threshold is not above it, as in Back Patch Masking.
    assert names == ["objects: 50% above the threshold", "textures: 75% above the threshold"]
    assert axes.lines[0].get_xdata() == pytest.approx([0.1, 0.1])
    assert figure_png(figure)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_values_that_are_no_smoothed_attention_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="objects"):
        attention_histogram({"objects": np.array([0.5, value])}, 0.1)


@pytest.mark.parametrize("number", [0, 5])
def test_the_number_of_groups_is_limited(number: int) -> None:
    with pytest.raises(ValueError, match="groups"):
        attention_histogram({f"g{i}": np.ones(2) for i in range(number)}, 0.1)


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(ValueError, match="objects"):
        attention_histogram({"objects": np.zeros(0)}, 0.1)


def test_of_many_groups_those_at_either_end_are_shown() -> None:
    kept = {"half": 5, "none": 0, "most": 8, "all": 10, "few": 1, "some": 3}
    groups = {name: np.repeat([0.9, 0.0], [count, 10 - count]) for name, count in kept.items()}
    assert list(most_different(groups, 0.1)) == ["none", "few", "most", "all"]
    few = {name: groups[name] for name in ("all", "none")} | {"without images": np.zeros(0)}
    assert list(most_different(few, 0.1)) == ["all", "none"]
    assert len(most_different(groups, 0.1)) == MOST_GROUPS


def test_attention_is_smoothed_as_for_the_masking_and_of_a_choice_of_images(
    fake_encoder: Any, tmp_path: Path
) -> None:
    names = [f"{number}.png" for number in range(MOST_IMAGES + 30)]
    store = fake_encoder.store(tmp_path / "store", names)
    few = smoothed_attention(store, ["#3.png", "#5.png"], 3)
    grids = np.stack([fake_encoder.attention(name) for name in ("3.png", "5.png")])
    assert few == pytest.approx(smooth_attention(grids, 3).ravel())
    many = smoothed_attention(store, [f"#{name}" for name in names], 3)
    assert len(many) == MOST_IMAGES * grids[0].size
    last = smooth_attention(fake_encoder.attention(names[-1])[None], 3).ravel()
    assert many[-len(last) :] == pytest.approx(last)
    assert smoothed_attention(store, [], 3).size == 0
