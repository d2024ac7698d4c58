"""Pictures of a run: ROC curve, score histogram, heat map, outline and contact sheet.

Figures are plain ``matplotlib.figure.Figure`` objects drawn without pyplot, so several threads can
draw at once. Colours are Okabe and Ito's and the inferno map: both can be told apart by
colour-blind readers and in grey print.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import binary_dilation, binary_erosion

Colour = tuple[int, int, int]

NORMAL_COLOUR = "#0072B2"
ANOMALOUS_COLOUR = "#D55E00"
GROUND_TRUTH_COLOUR: Colour = (240, 228, 66)
FOREGROUND_COLOUR: Colour = (86, 180, 233)

_FIGURE_SIZE_INCHES = (3.8, 3.0)
_FIGURE_DPI = 140
_TITLE_CHARACTERS = 42
_INK = "#333333"
_MAX_OPACITY = 0.85
_GAP_PX = 8


def roc_figure(image_scores: pd.DataFrame, category: str) -> Figure:
    """Draw the image-level ROC curve, with the AUROC in the legend.

    Args:
        image_scores: A row per test image; columns ``label`` (0 normal, 1 anomalous) and
            ``score`` (float).
        category: Name for the title.

    Returns:
        The figure; where one class is missing it says so in place of a curve.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    labels, scores = _labels_and_scores(image_scores, category)
    figure, axes = new_figure(f"{category}: ROC curve")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal")
    if len(np.unique(labels)) < 2:
        message = "undefined: only one class\nin the test set"
        axes.text(0.5, 0.5, message, ha="center", va="center", color=_INK)
        return figure
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":", label="chance")
    label = f"AUROC {roc_auc_score(labels, scores):.3f}"
    axes.plot(
        false_positive_rate,
        true_positive_rate,
        color=NORMAL_COLOUR,
        linewidth=2,
        label=label,
        # A perfect curve runs along the frame: let all of the line be seen.
        clip_on=False,
    )
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def score_histogram(
    image_scores: pd.DataFrame,
    category: str,
    threshold: float | None = None,
    names: tuple[str, str] = ("normal", "anomalous"),
) -> Figure:
    """Draw how the image scores of normal and of anomalous images are distributed.

    Bars show the share of each class's images, so a small class stays visible beside a large one.

    Args:
        image_scores: A row per test image; columns ``label`` (0 normal, 1 anomalous) and
            ``score`` (float, squared distance).
        category: Name for the title.
        threshold: Score at and above which an image is called anomalous, drawn as a line; None
            where it is undefined.
        names: What labels 0 and 1 stand for.

    Returns:
        The figure.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    labels, scores = _labels_and_scores(image_scores, category)
    figure, axes = new_figure(f"{category}: image scores")
    axes.set(xlabel="image score (squared distance)", ylabel="share of the class")
    axes.yaxis.set_major_formatter("{x:.0%}")
    edges = np.histogram_bin_edges(scores, bins=int(np.clip(np.sqrt(len(scores)), 10, 40)))
    # The hatch tells the classes apart without colour.
    styles = ((0, names[0], NORMAL_COLOUR, ""), (1, names[1], ANOMALOUS_COLOUR, "////"))
    for label, name, colour, hatch in styles:
        of_class = scores[labels == label]
        shares = np.histogram(of_class, edges)[0] / max(len(of_class), 1)
        axes.stairs(
            shares,
            edges,
            fill=True,
            facecolor=(colour, 0.25),
            edgecolor=colour,
            linewidth=1.4,
            hatch=hatch,
            label=f"{name} ({len(of_class)})",
        )
    if threshold is not None:
        axes.axvline(
            threshold, color=_INK, linewidth=1.4, linestyle="--", label=f"threshold {threshold:.4g}"
        )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    # Outside the axes: a legend inside would hide some of the bars.
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=1.4,
        columnspacing=1.2,
    )
    return figure


def figure_png(figure: Figure) -> bytes:
    """Encode a figure as a small PNG; equal figures give equal bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_FIGURE_DPI)
    # 64 colours are plenty for lines and text, and take a third of the space.
    Image.open(drawn).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return small.getvalue()


def overlay_heat_map(image: np.ndarray, anomaly_map: np.ndarray, vmax: float) -> np.ndarray:
    """Lay an anomaly map over its image; the higher the value, the more opaque.

    Args:
        image: uint8 [H, W, 3].
        anomaly_map: float [H, W], 0 where nothing is wrong.
        vmax: Value that gets the brightest colour, common to all images of a category so that
            their maps can be compared. Where it is 0 there is nothing to show.

    Returns:
        uint8 [H, W, 3]; equal to the image where the map is 0.

    Raises:
        ValueError: The sizes differ, or ``vmax`` or a value of the map is not a finite number,
            or ``vmax`` is negative.
    """
    _check_same_size(image, anomaly_map, "anomaly map")
    if not (np.isfinite(vmax) and vmax >= 0 and np.isfinite(anomaly_map).all()):
        raise ValueError(f"a heat map needs finite values and vmax >= 0, not vmax {vmax}")
    if vmax == 0:
        return image.copy()
    strength = np.clip(np.asarray(anomaly_map, np.float32) / np.float32(vmax), 0, 1)
    colours = matplotlib.colormaps["inferno"](strength)[..., :3].astype(np.float32) * 255
    opacity = _MAX_OPACITY * strength[..., None]
    return np.rint(image + opacity * (colours - image)).astype(np.uint8)


def outline_mask(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw a 2 px line along the border of a mask, with a 1 px rim that contrasts with it.

    The line lies half inside and half outside; the rim is black around a light colour and white
    around a dark one, so the outline shows on any background.

    Args:
        image: uint8 [H, W, 3].
        mask: bool [H, W]; regions that end at the frame are closed along it.
        colour: Red, green and blue of the line, 0..255.

    Returns:
        uint8 [H, W, 3]; only pixels within 2 px of a border differ from the image.

    Raises:
        ValueError: The sizes differ.
    """
    _check_same_size(image, mask, "mask")
    mask = np.asarray(mask, bool)
    square = np.ones((3, 3), bool)
    grown = binary_dilation(mask, square)
    line = grown & ~binary_erosion(mask, square)
    rim = binary_dilation(grown, square) & ~grown
    luminance = np.dot(colour, (0.299, 0.587, 0.114))
    drawn = image.copy()
    drawn[rim] = 0 if luminance > 127 else 255
    drawn[line] = colour
    return drawn


def contact_sheet(
    pictures: Sequence[Image.Image | np.ndarray],
    columns: int,
    captions: Sequence[str] | None = None,
    tile: int = 160,
) -> Image.Image:
    """Put pictures on one sheet, row by row, each fitted into a square tile.

    Args:
        pictures: PIL images or uint8 arrays [H, W, 3], of any sizes.
        columns: Pictures per row.
        captions: A line below each picture, cut where it is too long; None for no captions.
        tile: Side of a tile [px].

    Returns:
        An RGB image.

    Raises:
        ValueError: There are no pictures, ``columns`` or ``tile`` is below 1, or the number of
            captions differs from the number of pictures.
    """
    if not pictures or columns < 1 or tile < 1:
        raise ValueError("a contact sheet needs pictures, at least one column and a tile size")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures but {len(captions)} captions")
    font = ImageFont.load_default(size=12)
    columns = min(columns, len(pictures))
    caption_height = 18 if captions is not None else 0
    step = (tile + _GAP_PX, tile + caption_height + _GAP_PX)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * step[0] + _GAP_PX, rows * step[1] + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for position, picture in enumerate(pictures):
        left = _GAP_PX + position % columns * step[0]
        top = _GAP_PX + position // columns * step[1]
        opened = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        fitted = ImageOps.contain(opened.convert("RGB"), (tile, tile))
        sheet.paste(fitted, (left + (tile - fitted.width) // 2, top + (tile - fitted.height) // 2))
        if captions is not None:
            text = _cut_to_width(captions[position], font, tile)
            draw.text((left, top + tile + 2), text, fill=_INK, font=font)
    return sheet


def _labels_and_scores(image_scores: pd.DataFrame, category: str) -> tuple[np.ndarray, np.ndarray]:
    """The labels, int64 [n], and scores, float64 [n], of a table of image scores."""
    labels = image_scores["label"].to_numpy(np.int64)
    scores = image_scores["score"].to_numpy(np.float64)
    if not np.isfinite(scores).all():
        raise ValueError(f"{category}: an image score is not a finite number")
    return labels, scores


def new_figure(title: str) -> tuple[Figure, Axes]:
    """An empty figure in the project's style; an empty title takes no space."""
    figure = Figure(
        figsize=_FIGURE_SIZE_INCHES, layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08)
    )
    axes = figure.add_subplot()
    # Category names are folder names: long at times, and a dollar sign in one starts no formula.
    # Matplotlib's own wrapping would read it as one, whatever parse_math says.
    title = textwrap.fill(title, _TITLE_CHARACTERS)
    axes.set_title(title, fontsize=10, loc="left", color=_INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=_INK)
    return figure, axes


def _check_same_size(image: np.ndarray, other: np.ndarray, name: str) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or other.shape != image.shape[:2]:
        raise ValueError(f"{name} {other.shape} does not fit the image {image.shape}")


def _cut_to_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut a one-line text so that it fits ``width`` [px], with dots where it was cut."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
