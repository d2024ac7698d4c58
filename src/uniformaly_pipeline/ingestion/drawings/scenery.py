"""What lies behind and beside the demo's objects: a bench a class, clutter, cast shadows.

An inspection station has one bench; its light, its wear and what is strewn about it change. The
clutter keeps clear of the object but differs far more than the objects do: that is what Back Patch
Masking is for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from uniformaly_pipeline.ingestion.drawings.canvas import (
    Light,
    Mask,
    Picture,
    Plane,
    Size,
    box_distance,
    bump,
    clouds,
    coverage,
    curve,
    fibres,
    grid,
    mix,
    shade,
    shifted,
    soften,
    step,
    turn,
)

# Difficulty: how much the scenery distracts. Half-ranges or (low, high).
CLEARANCE = 44.0  # pixels from an object's outline to anything strewn, at least
CLUTTER = (4, 24)  # things lying about, at most
CLUTTER_RADIUS = (6.0, 11.0)  # pixels
THING_VALUE = (0.12, 0.65)  # brightness
CLUTTER_GAP = 12.0  # pixels between two things, about
ATTEMPTS = 60  # to find free places for them
SHEETS = (0, 5)  # cards and papers lying about
SHEET_DEPTH = (30.0, 110.0)  # pixels
SHEET_WIDTH = (80.0, 220.0)  # pixels
PAPER_VALUE = (0.2, 0.45)  # brightness
PAPER_SATURATION = 0.25  # at most
PRINT = (0.3, 0.6)  # how strong the print on a sheet is
DAPPLE = (0.0, 0.10)  # share of the light that a cast shadow takes
TABLE_DRIFT = 0.015  # of each colour channel
TABLE_TURN = 0.12  # radians

Colour = NDArray[np.float64]
"""Red, green, blue, (3,), 0..1."""


_HUES = (0.2, 0.6, 0.8, 1.1, 1.7, 3.4, 3.9, 4.2)
"""Hues that tables and workshops have (radians; 0 red, 1 yellow, 2.1 green, 4.2 blue)."""


def _colour(rng: np.random.Generator, value: tuple[float, float], saturation: float) -> Colour:
    """A random colour of the given brightness (low, high) and largest saturation."""
    hue = _HUES[int(rng.integers(len(_HUES)))] + 0.25 * rng.normal()
    swing = np.cos(hue - np.array([0.0, 2.1, 4.2]))
    return np.clip(rng.uniform(*value) * (1 + rng.uniform(0, saturation) * swing), 0.02, 0.95)


def _drift(rng: np.random.Generator, colour: tuple[float, float, float]) -> Colour:
    """A table's colour as it comes out on one day."""
    return np.array(colour) * (1 + TABLE_DRIFT * rng.uniform(-1, 1, size=3))


def _planks(rng: np.random.Generator, size: Size, _light: Light) -> Picture:
    """A workbench of oiled boards."""
    angle = TABLE_TURN * rng.uniform(-1, 1)
    _, v = turn(*grid(size), angle)
    board = v / 58.0 + rng.random()
    number = np.floor(board)
    ring = v + 7 * fibres(rng, size, 120, 30, angle) + 400 * curve(rng, number, 1.0)
    tone = 0.10 * curve(rng, ring, 5.0) + 0.05 * fibres(rng, size, 24, 1.0, angle)
    tone += 0.05 * curve(rng, number, 1.0)
    seam = bump(np.abs(board - number - 0.5) - 0.5, 0.03)
    colour = _drift(rng, (0.47, 0.34, 0.22)) * np.clip(1 + tone, 0.2, 1.8)[..., None]
    return colour * (1 - 0.7 * seam)[..., None]


def _stone(rng: np.random.Generator, size: Size, _light: Light) -> Picture:
    """A speckled slab of granite."""
    ground = _drift(rng, (0.30, 0.32, 0.35)) * (1 + 0.06 * clouds(rng, size, 40))[..., None]
    dark = step(0.7, 1.5, fibres(rng, size, 1.5, 1.5))
    bright = step(1.0, 1.8, fibres(rng, size, 1.9, 1.9))
    speckled = mix(ground, (0.13, 0.13, 0.14), 0.6 * dark)
    return mix(speckled, (0.60, 0.59, 0.57), 0.5 * bright)


def _cloth(rng: np.random.Generator, size: Size, light: Light) -> Picture:
    """Coarse linen, a little creased."""
    u, v = turn(*grid(size), TABLE_TURN * rng.uniform(-1, 1))
    u, v = u + 2 * fibres(rng, size, 60, 60), v + 2 * fibres(rng, size, 60, 60)
    weave = np.sin(2 * np.pi * u / 4.6) * np.sin(2 * np.pi * v / 4.6)
    yarn = 0.05 * fibres(rng, size, 16, 1.0) + 0.05 * fibres(rng, size, 1.0, 16)
    relief = shade(2.2 * fibres(rng, size, 44, 44) + 0.5 * weave, light).diffuse
    linen = _drift(rng, (0.46, 0.53, 0.55)) * (1 + yarn)[..., None]
    return linen * (0.45 + 0.55 * relief)[..., None]


TABLES: dict[str, Callable[[np.random.Generator, Size, Light], Picture]] = {
    "planks": _planks,
    "stone": _stone,
    "cloth": _cloth,
}


def _ring(u: Plane, v: Plane, radius: float) -> tuple[Plane, Plane]:
    """A washer: shape and height."""
    band = np.abs(np.hypot(u, v) - 0.7 * radius) - 0.3 * radius
    return band, 3 * step(0.0, -2.5, band)


def _ball(u: Plane, v: Plane, radius: float) -> tuple[Plane, Plane]:
    """A ball or berry: shape and height."""
    r = 0.75 * radius
    return np.hypot(u, v) - r, np.sqrt(np.maximum(r * r - u * u - v * v, 0.0))


def _rod(u: Plane, v: Plane, radius: float) -> tuple[Plane, Plane]:
    """A stick or cable end: shape and height."""
    r = 0.22 * radius + 2
    bent = v + 0.004 * u * u
    return np.hypot(np.maximum(np.abs(u) - 1.6 * radius, 0), bent) - r, np.sqrt(
        np.maximum(r * r - bent * bent, 0.0)
    )


def _leaf(u: Plane, v: Plane, radius: float) -> tuple[Plane, Plane]:
    """A leaf with its ribs: shape and height."""
    shape = np.abs(v) - 0.45 * radius * (1 - (u / (1.3 * radius)) ** 2)
    ribs = np.cos((np.abs(v) * 1.2 + u) * 9 / radius * 2)
    return shape, 0.5 * ribs - 2.0 * bump(v, 1.2) + 0.02 * v * v


def _scrap(u: Plane, v: Plane, radius: float) -> tuple[Plane, Plane]:
    """A scrap of card: shape and height."""
    edge = np.maximum(np.abs(u) - radius, np.abs(v + 0.15 * u) - 0.65 * radius)
    return edge, step(0.0, -2.0, edge)


_THINGS = (_ring, _ball, _rod, _leaf, _scrap)


def _strew(table: Picture, rng: np.random.Generator, light: Light, clear: Mask) -> None:
    """Lay things about on the table, in place, none where it is to be kept clear."""
    height, width = table.shape[:2]
    x, y = grid((height, width))
    lx, ly, _ = light.direction
    wanted, taken = int(rng.integers(*CLUTTER)), clear.copy()
    for _ in range(ATTEMPTS):
        thing = _THINGS[int(rng.integers(len(_THINGS)))]
        radius, angle = rng.uniform(*CLUTTER_RADIUS), rng.uniform(0, 2 * np.pi)
        colour, gloss = _colour(rng, THING_VALUE, 0.8), rng.random()
        column, row = int(rng.integers(width)), int(rng.integers(height))
        reach = int(2.2 * radius + 10)
        window = np.s_[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
        part = table[window]
        shape, relief = thing(*turn(x[window] - x[0, column], y[window] - y[row, 0], angle), radius)
        cover = coverage(shape)
        if wanted == 0 or taken[window][cover > 0].any():
            continue
        wanted -= 1
        taken[window] |= shape < CLUTTER_GAP
        shadow = shifted(soften(cover, 3.0), -4 * ly, -4 * lx)
        lit = shade(relief, light)
        body = colour * (0.3 + 0.7 * lit.diffuse)[..., None]
        body = body + (0.5 * gloss * lit.highlight(25))[..., None]
        part[:] = mix(part * (1 - 0.6 * shadow)[..., None], body, cover)


def _sheet(rng: np.random.Generator, size: Size, u: Plane, v: Plane) -> Picture:
    """What is printed on a card or paper with the coordinates u and v, (H, W, 3)."""
    paper = (
        _colour(rng, PAPER_VALUE, PAPER_SATURATION) * (1 + 0.04 * clouds(rng, size, 60))[..., None]
    )
    ink, pitch = _colour(rng, (0.05, 0.6), PAPER_SATURATION), rng.uniform(7, 18)
    row = np.floor(v / pitch)
    letters = step(-0.1, 0.25, curve(rng, u + 517.0 * row, 1.6))
    text = letters * step(0.30, 0.22, np.abs(v / pitch - row - 0.5))
    stripes = step(-0.1, 0.1, np.sin(2 * np.pi * v / pitch))
    squares = step(-0.05, 0.05, np.sin(np.pi * u / pitch) * np.sin(np.pi * v / pitch))
    printed = (text, stripes, squares)[int(rng.integers(3))]
    return mix(paper, ink, rng.uniform(*PRINT) * printed)


def _lay_sheets(table: Picture, rng: np.random.Generator, light: Light, clear: Mask) -> None:
    """Lay cards and papers on the table, in place, beside what is to be kept clear."""
    size = table.shape[0], table.shape[1]
    lx, ly, _ = light.direction
    for _ in range(int(rng.integers(*SHEETS))):
        u, v = turn(*grid(size), rng.uniform(0, 2 * np.pi))
        near = u[clear].max() + rng.uniform(0, 12)
        depth, width = rng.uniform(*SHEET_DEPTH), rng.uniform(*SHEET_WIDTH)
        off = box_distance(u - near - depth / 2, v - rng.uniform(-60, 60), depth / 2, width / 2)
        cover = coverage(off)
        shadow = shifted(soften(cover, 2.0), -2 * ly, -2 * lx)
        shaded = table * (1 - 0.5 * shadow)[..., None]
        table[:] = mix(shaded, _sheet(rng, size, u, v), cover)


def random_scenery(
    name: str, rng: np.random.Generator, size: Size, light: Light, outside: Plane
) -> Picture:
    """A table with things and shadows on it, (H, W, 3).

    It is lit from `light`'s direction; multiply by its field afterwards.

    Args:
        name: One of `TABLES`.
        rng: Draws it.
        size: Height and width of the picture.
        light: What lights it.
        outside: Pixels from the outline of the object that will lie on it, (H, W).
    """
    table = TABLES[name](rng, size, light)
    clear = outside < CLEARANCE
    _lay_sheets(table, rng, light, clear)
    _strew(table, rng, light, clear)
    dapple = step(-0.5, 0.9, clouds(rng, size, 140, 2.6))
    return table * (1 - rng.uniform(*DAPPLE) * dapple)[..., None]
