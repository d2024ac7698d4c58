"""What defects have in common: where they go, how large and how strong they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniformaly_pipeline.ingestion.drawings.canvas import (
    Mask,
    Plane,
    Size,
    bump,
    clouds,
    path_distance,
)

# Difficulty: the defects' reach and strength, (low, high).
BLOB_RADIUS = (22.0, 33.0)  # pixels
CRACK_WIDTH = (3.6, 4.8)  # pixels, half
GROOVE_SHADE = 0.12  # share of brightness a groove loses a pixel of depth, its burr gains
STRENGTH = (0.75, 1.0)  # 1 is the plainest


@dataclass(frozen=True)
class Flaw:
    """One defect to be drawn: its kind, its own random stream and its strength."""

    kind: str
    rng: np.random.Generator
    strength: float


def random_flaw(kind: str, rng: np.random.Generator) -> Flaw:
    """A defect of the given kind, as plain as chance has it."""
    return Flaw(kind, rng, rng.uniform(*STRENGTH))


def jagged(
    rng: np.random.Generator, start: tuple[float, float], end: tuple[float, float], jag: float
) -> NDArray[np.float64]:
    """A broken line (N, 2) between two points, straying by about `jag` of its length."""
    first, last = np.array(start), np.array(end)
    number = 13
    along = np.linspace(0.0, 1.0, number)
    along[1:-1] += rng.uniform(-0.4, 0.4, size=number - 2) / number
    stray = rng.normal(size=number) * jag + np.sin(np.pi * along) * rng.normal() * jag
    stray[[0, -1]] = 0.0
    across = np.array([first[1] - last[1], last[0] - first[0]])
    return first + along[:, None] * (last - first) + stray[:, None] * across


def blob(
    rng: np.random.Generator, x: Plane, y: Plane, centre: tuple[float, float], size: Size
) -> Plane:
    """An irregular spot about a point: signed distance in pixels, negative inside; (H, W)."""
    radius = rng.uniform(*BLOB_RADIUS)
    stretch, angle = rng.uniform(1.0, 1.5), rng.uniform(0, np.pi)
    dx, dy = x - centre[0], y - centre[1]
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / stretch**0.5
    v = (dy * np.cos(angle) - dx * np.sin(angle)) * stretch**0.5
    return np.hypot(u, v) - radius * (1 + 0.16 * clouds(rng, size, 40.0, 2.4))


def crack(flaw: Flaw, x: Plane, y: Plane, path: NDArray[np.float64]) -> tuple[Plane, Plane, Mask]:
    """An open crack along a path (N, 2).

    Returns:
        How deep (0..1) the crack is, the relief it leaves (pixels, raised lips included) and the
        pixels it changes, each (H, W).
    """
    distance, along = path_distance(x, y, path)
    width = flaw.rng.uniform(*CRACK_WIDTH) * (1.0 - 0.6 * along**2)
    depth = np.exp(-((distance / width) ** 2))
    relief = flaw.strength * (1.2 * bump(distance - 2.2 * width, 1.5) - 4.0 * depth)
    return flaw.strength * depth, relief, distance < 2.2 * width + 1.5


def gouge(
    flaw: Flaw, x: Plane, y: Plane, path: NDArray[np.float64], width: float
) -> tuple[Plane, Mask]:
    """A ploughed groove along a path (N, 2): its relief in pixels and the pixels it changes."""
    distance, along = path_distance(x, y, path)
    taper = np.sqrt(np.clip(8 * along * (1 - along), 0.05, 1.0))
    burr = bump(distance - 1.7 * width, 0.7 * width)
    relief = flaw.strength * taper * width * (0.7 * burr - 1.2 * bump(distance, width))
    return relief, distance < 2.2 * width * taper
