"""What all figures share: palette, ink, markers, and how an empty one is made and encoded.

Figures are plain ``matplotlib.figure.Figure`` objects drawn without pyplot, so several threads can
draw at once. Colours are Okabe and Ito's and the inferno map: both can be told apart by
colour-blind readers and in grey print.
"""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    # Matplotlib takes long to import, and most runs draw no figure.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Colour = tuple[int, int, int]

NORMAL_COLOUR = "#0072B2"
ANOMALOUS_COLOUR = "#D55E00"
COLOURS = (NORMAL_COLOUR, ANOMALOUS_COLOUR, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's without the yellow, which is lost on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Matplotlib's. One more than there are colours: cycling together they tell 56 groups apart."""

INK = "#333333"
"""Text and lines that are no data."""

GROUND_TRUTH_COLOUR: Colour = (240, 228, 66)
FOREGROUND_COLOUR: Colour = (86, 180, 233)

_FIGURE_SIZE_INCHES = (3.8, 3.0)
_FIGURE_DPI = 140
_TITLE_CHARACTERS = 42


def figure_png(figure: Figure) -> bytes:
    """Encode a figure as a small PNG; equal figures give equal bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_FIGURE_DPI)
    # 64 colours are plenty for lines and text, and take a third of the space.
    Image.open(drawn).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return small.getvalue()


def sized_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, laid out with little space around its parts."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08)
    return Figure(figsize=(width, height), layout=layout)


def new_figure(title: str) -> tuple[Figure, Axes]:
    """An empty figure in the project's style; an empty title takes no space."""
    figure = sized_figure(*_FIGURE_SIZE_INCHES)
    axes = figure.add_subplot()
    # Category names are folder names: long at times, and a dollar sign in one starts no formula.
    # Matplotlib's own wrapping would read it as one, whatever parse_math says.
    title = textwrap.fill(title, _TITLE_CHARACTERS)
    axes.set_title(title, fontsize=10, loc="left", color=INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)
    return figure, axes
