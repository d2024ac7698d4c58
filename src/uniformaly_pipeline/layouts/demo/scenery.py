"""What lies behind and beside the demo's objects: tables of many materials, clutter, cast shadows.

The scenery differs from picture to picture far more than the objects do: that is what Back Patch
Masking is for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from uniformaly_pipeline.layouts.demo.canvas import (
    Light,
    Picture,
    Plane,
    Size,
    bump,
    cells,
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

# Difficulty: how much the scenery distracts, (low, high).
CLUTTER = (4, 11)  # things lying about
CLUTTER_RADIUS = (9.0, 30.0)  # pixels
DAPPLE = (0.0, 0.45)  # share of the light that a cast shadow takes

Colour = NDArray[np.float64]
"""Red, green, blue, (3,), 0..1."""


_HUES = (0.2, 0.6, 0.8, 1.1, 1.7, 3.4, 3.9, 4.2)
"""Hues that tables and workshops have (radians; 0 red, 1 yellow, 2.1 green, 4.2 blue)."""


def _colour(rng: np.random.Generator, value: tuple[float, float], saturation: float) -> Colour:
    """A random colour of the given brightness (low, high) and largest saturation."""
    hue = _HUES[int(rng.integers(len(_HUES)))] + 0.25 * rng.normal()
    swing = np.cos(hue - np.array([0.0, 2.1, 4.2]))
    return np.clip(rng.uniform(*value) * (1 + rng.uniform(0, saturation) * swing), 0.02, 0.95)


def _wood_tone(rng: np.random.Generator) -> Colour:
    shades = np.array([1.0, rng.uniform(0.68, 0.85), rng.uniform(0.4, 0.65)])
    return rng.uniform(0.25, 0.85) * shades


def _planks(rng: np.random.Generator, size: Size, _light: Light) -> Picture:
    angle = rng.uniform(0, np.pi)
    _, v = turn(*grid(size), angle)
    board = v / rng.uniform(38, 90) + rng.random()
    number = np.floor(board)
    ring = v + 7 * fibres(rng, size, 120, 30, angle) + 400 * curve(rng, number, 1.0)
    tone = 0.16 * curve(rng, ring, 5.0) + 0.09 * fibres(rng, size, 24, 1.0, angle)
    tone += 0.22 * curve(rng, number, 1.0)
    seam = bump(np.abs(board - number - 0.5) - 0.5, 0.03)
    colour = _wood_tone(rng) * np.clip(1 + tone, 0.2, 1.8)[..., None]
    return colour * (1 - 0.75 * seam)[..., None]


def _stone(rng: np.random.Generator, size: Size, _light: Light) -> Picture:
    ground = mix(
        _colour(rng, (0.25, 0.75), 0.15),
        _colour(rng, (0.2, 0.8), 0.25),
        step(-1.2, 1.2, clouds(rng, size, 60)),
    )
    scale = rng.uniform(0.8, 2.6)
    dark = step(0.7, 1.5, fibres(rng, size, scale, scale))
    bright = step(1.0, 1.8, fibres(rng, size, 1.3 * scale, 1.3 * scale))
    speckled = mix(ground, _colour(rng, (0.08, 0.2), 0.2), dark * rng.uniform(0.3, 0.9))
    return mix(speckled, _colour(rng, (0.75, 0.92), 0.1), bright * rng.uniform(0.3, 0.9))


def _cloth(rng: np.random.Generator, size: Size, light: Light) -> Picture:
    u, v = turn(*grid(size), rng.uniform(0, np.pi))
    u, v = u + 3 * fibres(rng, size, 50, 50), v + 3 * fibres(rng, size, 50, 50)
    thread, stripe = rng.uniform(3.0, 5.0), rng.uniform(22, 60)
    weave = np.sin(2 * np.pi * u / thread) * np.sin(2 * np.pi * v / thread)
    first, second = _colour(rng, (0.2, 0.8), 0.4), _colour(rng, (0.1, 0.85), 0.5)
    bands = step(-0.1, 0.1, np.sin(2 * np.pi * u / stripe) + rng.uniform(-0.6, 0.6))
    if rng.random() < 0.6:
        bands = 0.5 * bands + 0.5 * step(-0.1, 0.1, np.sin(2 * np.pi * v / stripe))
    folds = shade(5 * fibres(rng, size, 34, 34) + 0.5 * weave, light).diffuse
    return mix(first, second, bands) * (0.45 + 0.55 * folds)[..., None]


def _tiles(rng: np.random.Generator, size: Size, light: Light) -> Picture:
    u, v = turn(*grid(size), rng.uniform(0, np.pi))
    width = rng.uniform(34, 80)
    u, v = u / width + rng.random(), v / width * rng.uniform(1.0, 2.0)
    row = np.floor(v)
    u = u + 0.5 * row
    edge = np.minimum(0.5 - np.abs(u % 1 - 0.5), 0.5 - np.abs(v % 1 - 0.5)) * width
    tone = 0.12 * curve(rng, np.floor(u) + 37.0 * row, 1.0) + 0.08 * clouds(rng, size, 30)
    glaze = _colour(rng, (0.3, 0.85), 0.4) * (1 + tone)[..., None]
    relief = shade(3 * step(1.0, 4.5, edge) + 0.1 * fibres(rng, size, 2, 2), light)
    laid = mix(_colour(rng, (0.3, 0.7), 0.1), glaze, step(1.0, 2.4, edge))
    return laid * (0.4 + 0.6 * relief.diffuse)[..., None] + (0.25 * relief.highlight(30))[..., None]


def _gravel(rng: np.random.Generator, size: Size, light: Light) -> Picture:
    x, y = grid(size)
    pebble = rng.uniform(11, 24)
    warp = 0.10 * fibres(rng, size, 9, 9)
    nearest, border, owner = cells(rng, x / pebble + warp, y / pebble - warp)
    tones = rng.uniform(0.35, 1.1, size=int(owner.max()) + 1)[owner]
    warm = rng.uniform(-0.12, 0.12, size=int(owner.max()) + 1)[owner]
    stone = tones[..., None] * _colour(rng, (0.4, 0.75), 0.25)
    stone = stone * (1 + warm[..., None] * np.array([1.0, 0.0, -1.0]))
    body = np.clip(border, 0, 0.45)
    relief = shade(
        pebble * (0.6 * body + 0.25 * (1 - nearest**2)) + 0.2 * fibres(rng, size, 1, 1), light
    )
    return stone * (step(-0.15, 0.25, border) * (0.35 + 0.65 * relief.diffuse))[..., None]


def _print(rng: np.random.Generator, size: Size, _light: Light) -> Picture:
    """A printed sheet: lines of marks such as letters, and a picture's block of colour."""
    u, v = turn(*grid(size), rng.uniform(0, np.pi))
    pitch = rng.uniform(6, 11)
    row = np.floor(v / pitch)
    letters = step(-0.1, 0.25, curve(rng, u + 517.0 * row, rng.uniform(1.0, 1.6)))
    words = step(-0.9, -0.7, curve(rng, u + 911.0 * row, pitch))
    ink = letters * words * step(0.28, 0.2, np.abs(v / pitch - row - 0.5))
    sheet = _colour(rng, (0.6, 0.9), 0.12) * (1 + 0.04 * clouds(rng, size, 60))[..., None]
    page = mix(sheet, _colour(rng, (0.08, 0.3), 0.6), 0.9 * ink)
    block = coverage(
        np.maximum(np.abs(u - rng.normal() * 70) - 45, np.abs(v - rng.normal() * 70) - 35)
    )
    return mix(page, _colour(rng, (0.25, 0.75), 0.8), block * rng.uniform(0.5, 0.95))


_MATERIALS: tuple[Callable[[np.random.Generator, Size, Light], Picture], ...] = (
    _planks,
    _stone,
    _cloth,
    _tiles,
    _gravel,
    _print,
)


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


def _strew(table: Picture, rng: np.random.Generator, light: Light) -> None:
    """Lay things about on the table, in place."""
    height, width = table.shape[:2]
    x, y = grid((height, width))
    lx, ly, _ = light.direction
    for _ in range(int(rng.integers(*CLUTTER))):
        thing = _THINGS[int(rng.integers(len(_THINGS)))]
        radius, angle = rng.uniform(*CLUTTER_RADIUS), rng.uniform(0, 2 * np.pi)
        colour, gloss = _colour(rng, (0.15, 0.85), 0.6), rng.random()
        column, row = int(rng.integers(width)), int(rng.integers(height))
        reach = int(2.2 * radius + 10)
        window = np.s_[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
        part = table[window]
        shape, relief = thing(*turn(x[window] - x[0, column], y[window] - y[row, 0], angle), radius)
        cover = coverage(shape)
        shadow = shifted(soften(cover, 3.0), -4 * ly, -4 * lx)
        lit = shade(relief, light)
        body = colour * (0.3 + 0.7 * lit.diffuse)[..., None]
        body = body + (0.5 * gloss * lit.highlight(25))[..., None]
        part[:] = mix(part * (1 - 0.6 * shadow)[..., None], body, cover)


def random_scenery(rng: np.random.Generator, size: Size, light: Light) -> Picture:
    """A table of a random material with things and shadows on it, (H, W, 3).

    It is lit from `light`'s direction; multiply by its field afterwards.
    """
    table = _MATERIALS[int(rng.integers(len(_MATERIALS)))](rng, size, light)
    _strew(table, rng, light)
    dapple = step(-0.5, 0.9, clouds(rng, size, 140, 2.6))
    return table * (1 - rng.uniform(*DAPPLE) * dapple)[..., None]
