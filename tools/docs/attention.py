"""Pictures of the attention: how much of it each sort of image has, as in the paper's Fig. 11."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from uniformaly_pipeline.reporting.figures.style import (
    ANOMALOUS_COLOUR,
    COLOURS,
    INK,
    NORMAL_COLOUR,
    new_figure,
)

NUM_BINS = 40
_STYLES = (
    (NORMAL_COLOUR, "-", ""),
    (ANOMALOUS_COLOUR, "--", "////"),
    (COLOURS[2], "-.", "...."),
    (COLOURS[-1], ":", ""),
)


def attention_histogram(
    smoothed: Mapping[str, np.ndarray], threshold: float, title: str = ""
) -> Figure:
    """Draw how the smoothed attention of the patches of some groups of images is distributed.

    Objects have many patches near 0, the background, which Back Patch Masking leaves out; textures
    have none, so that it leaves them alone.

    Args:
        smoothed: Values of :func:`.masking.smooth_attention` by the name of the group, 0..1, of
            any shape; up to four groups.
        threshold: ``bpm.threshold``, drawn as a line; the legend tells which share of each
            group's patches lies above it.
        title: Heading.

    Returns:
        The figure.

    Raises:
        ValueError: There is no group or more than four, a group is empty, or a value lies outside
            0..1.
    """
    if not 1 <= len(smoothed) <= len(_STYLES):
        raise ValueError(f"a histogram shows 1 to {len(_STYLES)} groups, not {len(smoothed)}")
    figure, axes = new_figure(title)
    axes.set(xlabel="smoothed attention of a patch", ylabel="share of the group's patches")
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    edges = np.linspace(0, 1, NUM_BINS + 1)
    for (name, values), (colour, line, hatch) in zip(smoothed.items(), _STYLES, strict=False):
        flat = np.asarray(values, np.float64).ravel()
        if not (flat.size and np.isfinite(flat).all() and flat.min() >= 0 and flat.max() <= 1):
            raise ValueError(f"{name}: smoothed attention lies in 0..1")
        axes.stairs(
            np.histogram(flat, edges)[0] / flat.size,
            edges,
            fill=True,
            facecolor=(colour, 0.22),
            edgecolor=colour,
            linewidth=1.4,
            linestyle=line,
            hatch=hatch,
            label=f"{name}: {np.mean(flat > threshold):.0%} above the threshold",
        )
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=":")
    axes.annotate(
        f"threshold {threshold:g}",
        (threshold, 1),
        xytext=(4, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=INK,
    )
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    # The legend's rows take no room from the bars.
    figure.set_figheight(figure.get_figheight() + 0.17 * len(smoothed))
    return figure
