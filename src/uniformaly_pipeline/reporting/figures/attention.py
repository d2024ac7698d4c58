"""Pictures of the attention: how much of it each sort of image has (paper Fig. 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from uniformaly_pipeline.features.masking import counted, smooth_attention
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.reporting.figures.style import (
    ANOMALOUS_COLOUR,
    COLOURS,
    INK,
    NORMAL_COLOUR,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_BINS = 40
_STYLES = (
    (NORMAL_COLOUR, "-", ""),
    (ANOMALOUS_COLOUR, "--", "////"),
    (COLOURS[2], "-.", "...."),
    (COLOURS[-1], ":", ""),
)


MOST_GROUPS = len(_STYLES)
"""Groups that one histogram shows."""


MOST_IMAGES = 50
"""Images whose attention is shown: some ten thousand patches."""


def smoothed_attention(
    features: FeatureStore, content_hashes: Sequence[str], kernel_size: int
) -> np.ndarray:
    """The smoothed attention of the patches of some images, where they count.

    Args:
        features: The feature store.
        content_hashes: The images; of more than :data:`MOST_IMAGES` as many, evenly spread.
        kernel_size: ``bpm.kernel_size``.

    Returns:
        float32 [number of patches], 0..1.
    """
    number = min(len(content_hashes), MOST_IMAGES)
    values = [np.zeros(0, np.float32)]
    for place in np.linspace(0, len(content_hashes) - 1, number).astype(int):
        # One by one: images that are cut into tiles have grids of different sizes.
        grid = features.attention([content_hashes[place]])
        values.append(smooth_attention(grid, kernel_size)[counted(grid)])
    return np.concatenate(values)


def most_different(smoothed: Mapping[str, np.ndarray], threshold: float) -> dict[str, np.ndarray]:
    """Of more groups than a histogram shows those that keep the fewest and the most patches.

    Args:
        smoothed: As for :func:`attention_histogram`, but of any number of groups.
        threshold: ``bpm.threshold``.

    Returns:
        All groups that have values in their order where they are few enough; else as many of
        either end as there is room for, the one that keeps the fewest patches first.
    """
    known = {name: values for name, values in smoothed.items() if values.size}
    if len(known) <= MOST_GROUPS:
        return known
    ordered = sorted(known, key=lambda name: float(np.mean(known[name] > threshold)))
    ends = ordered[: MOST_GROUPS // 2] + ordered[-(MOST_GROUPS // 2) :]
    return {name: known[name] for name in ends}


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
