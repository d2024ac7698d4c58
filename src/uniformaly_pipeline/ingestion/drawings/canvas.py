"""The brushes of the demo pictures: noise, shapes, relief, light and the camera.

Shapes are implicit functions (negative inside), so edges are antialiased exactly and nothing needs
supersampling. Everything is float64: then the last bits in which machines and numpy versions differ
practically never reach a pixel's 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Plane = NDArray[np.float64]
"""One value per pixel, (H, W)."""
Picture = NDArray[np.float64]
"""A colour per pixel, (H, W, 3), 0..1."""
Mask = NDArray[np.bool_]
"""A decision per pixel, (H, W)."""
Size = tuple[int, int]
"""Height and width in pixels."""

GRAIN = (0.008, 0.018)  # standard deviation of the camera's noise


_CURVE_KNOTS = 1024


@lru_cache(maxsize=8)
def grid(size: Size) -> tuple[Plane, Plane]:
    """Pixel coordinates (x to the right, y down), in pixels from the picture's centre."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    for plane in (x, y):  # shared by every caller
        plane.flags.writeable = False
    return x, y


def turn(x: Plane, y: Plane, angle: float) -> tuple[Plane, Plane]:
    """Coordinates along axes turned by `angle` radians."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


@lru_cache(maxsize=8)
def _frequencies(size: Size) -> tuple[Plane, Plane]:
    """Cycles per pixel along x (1, W // 2 + 1) and y (H, 1) of a real Fourier transform."""
    fx, fy = np.fft.rfftfreq(size[1])[None, :], np.fft.fftfreq(size[0])[:, None]
    return np.asarray(fx, dtype=np.float64), np.asarray(fy, dtype=np.float64)


def _spectral_noise(rng: np.random.Generator, size: Size, amplitude: Plane) -> Plane:
    """Gaussian noise of the given spectrum, mean 0 and standard deviation 1, (H, W)."""
    parts = rng.normal(size=(size[0], size[1] // 2 + 1, 2))
    spectrum = parts.view(np.complex128)[..., 0] * amplitude
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=size)
    return field / field.std()


def clouds(rng: np.random.Generator, size: Size, coarsest: float, slope: float = 1.6) -> Plane:
    """Fractal noise without details coarser than `coarsest` pixels; unit deviation, (H, W)."""
    fx, fy = _frequencies(size)
    return _spectral_noise(rng, size, (fx**2 + fy**2 + coarsest**-2) ** (-slope / 2))


def fibres(
    rng: np.random.Generator, size: Size, along: float, across: float, angle: float = 0.0
) -> Plane:
    """Smooth noise of correlation lengths `along` and `across` (pixels) a direction, (H, W).

    Equal lengths give round blobs, unequal ones streaks at `angle` radians. Unit deviation.
    """
    fx, fy = _frequencies(size)
    fu, fv = turn(fx, fy, angle)
    return _spectral_noise(rng, size, np.exp(-4.0 * ((along * fu) ** 2 + (across * fv) ** 2)))


def curve(rng: np.random.Generator, at: Plane, step: float) -> Plane:
    """A one-dimensional unit noise, new about every `step`, read at positions `at`; (H, W).

    A position's value does not depend on the other positions: moving some pixels, as a flaw does,
    leaves the rest of the picture alone. Repeats after `_CURVE_KNOTS` steps.
    """
    knots = rng.normal(size=_CURVE_KNOTS)
    closed = np.append(knots, knots[0])
    return np.interp(np.mod(at / step, _CURVE_KNOTS), np.arange(_CURVE_KNOTS + 1), closed)


def cells(
    rng: np.random.Generator, x: Plane, y: Plane, jitter: float = 0.8
) -> tuple[Plane, Plane, NDArray[np.intp]]:
    """Cellular (Worley) noise with one cell per unit square of the coordinates.

    Returns:
        Distance to the nearest seed, gap to the second nearest (0 on the border between two cells)
        and the index of the nearest seed, each (H, W).
    """
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    column -= column.min() - 1
    row -= row.min() - 1
    fx, fy = x - np.floor(x), y - np.floor(y)
    width = int(column.max()) + 2
    number = (int(row.max()) + 2) * width
    seeds_x, seeds_y = 0.5 + jitter * (rng.random((2, number)) - 0.5)
    nearest = np.full(x.shape, np.inf)
    second = nearest.copy()
    owner = np.zeros(x.shape, dtype=np.intp)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            index = (row + dy) * width + column + dx
            distance = (seeds_x[index] + dx - fx) ** 2 + (seeds_y[index] + dy - fy) ** 2
            second = np.minimum(second, np.maximum(nearest, distance))
            owner = np.where(distance < nearest, index, owner)
            nearest = np.minimum(nearest, distance)
    nearest, second = np.sqrt(nearest), np.sqrt(second)
    return nearest, second - nearest, owner


def step(low: Plane | float, high: Plane | float, value: Plane) -> Plane:
    """0 below `low`, 1 above `high`, smooth between (the other way round if low > high)."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(distance: Plane, width: float) -> Plane:
    """1 at distance 0, falling to 0 as a Gaussian of the given width."""
    return np.exp(-((distance / width) ** 2))


def coverage(shape: Plane) -> Plane:
    """Share of each pixel inside a shape given as an implicit function (negative inside)."""
    gy, gx = np.gradient(shape)
    return np.clip(0.5 - shape / np.maximum(np.hypot(gx, gy), 1e-3), 0.0, 1.0)


def box_distance(x: Plane, y: Plane, half_width: float, half_height: float) -> Plane:
    """Distance to a box about the origin, negative inside, (H, W)."""
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)


def mix(first: ArrayLike, second: ArrayLike, share: Plane) -> Picture:
    """From the first colour (or picture) at share 0 to the second at share 1, (H, W, 3)."""
    t = share[..., None]
    return np.asarray(first) * (1.0 - t) + np.asarray(second) * t


def path_distance(x: Plane, y: Plane, path: ArrayLike) -> tuple[Plane, Plane]:
    """Distance of every pixel to a polyline (N, 2), and how far along (0..1) its nearest point."""
    points = np.asarray(path, dtype=np.float64)
    parts = points[1:] - points[:-1]
    lengths = np.hypot(parts[:, 0], parts[:, 1])
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    best, along = np.full(x.shape, np.inf), np.zeros(x.shape)
    for (px, py), (dx, dy), length, start in zip(points, parts, lengths, starts, strict=False):
        t = np.clip(((x - px) * dx + (y - py) * dy) / length**2, 0.0, 1.0)
        square = (x - px - t * dx) ** 2 + (y - py - t * dy) ** 2
        closer = square < best
        best = np.where(closer, square, best)
        along = np.where(closer, (start + t * length) / starts[-1], along)
    return np.sqrt(best), along


@dataclass(frozen=True)
class Light:
    """Where the light of one picture comes from and how it falls."""

    direction: tuple[float, float, float]
    """Unit vector towards the light: right, down, towards the camera."""
    field: Picture
    """Brightness and colour of the light, (H, W, 3)."""


@dataclass(frozen=True)
class Lamp:
    """How far the light differs from one picture to another. Half-ranges or (low, high)."""

    turn: float
    """Radians the light turns about the upper left."""
    height: tuple[float, float]
    """Radians above the table."""
    exposure: tuple[float, float]
    fall_off: tuple[float, float]
    """Share of the light lost or gained from the centre to an edge."""
    warmth: float
    """Share of red gained and blue lost."""


WINDOW = Lamp(
    turn=0.7, height=(0.6, 1.0), exposure=(0.78, 1.12), fall_off=(0.05, 0.28), warmth=0.06
)
"""Daylight, which changes."""
STATION = Lamp(
    turn=0.2, height=(0.74, 0.86), exposure=(0.93, 1.07), fall_off=(0.02, 0.1), warmth=0.015
)
"""The lamp of an inspection station, which is screwed down."""


def random_light(rng: np.random.Generator, size: Size, lamp: Lamp = WINDOW) -> Light:
    """A light from about the upper left, uneven over the picture."""
    azimuth = -2.2 + lamp.turn * rng.uniform(-1, 1)
    elevation = rng.uniform(*lamp.height)
    x, y = (plane / (max(size) / 2) for plane in grid(size))
    slant, side = rng.uniform(0, 2 * np.pi), rng.uniform(*lamp.fall_off)
    spot_x, spot_y = rng.uniform(-0.6, 0.6, size=2)
    field = rng.uniform(*lamp.exposure) * (1 + side * (x * np.cos(slant) + y * np.sin(slant)))
    field *= 1 - rng.uniform(*lamp.fall_off) * np.minimum(
        ((x - spot_x) ** 2 + (y - spot_y) ** 2) / 2, 1
    )
    warmth = lamp.warmth * rng.uniform(-1, 1)
    direction = (
        float(np.cos(azimuth) * np.cos(elevation)),
        float(np.sin(azimuth) * np.cos(elevation)),
        float(np.sin(elevation)),
    )
    return Light(direction, field[..., None] * np.array([1 + warmth, 1.0, 1 - warmth]))


@dataclass(frozen=True)
class Shade:
    """How a relief meets the light; each (H, W)."""

    diffuse: Plane
    """Cosine between normal and light, relative to that of a flat sheet: 1 where flat."""
    facing: Plane
    """How far the normal tilts towards the light in the picture's plane, -1..1."""
    gleam: Plane
    """Cosine between normal and the mirror direction, 0..1."""

    def highlight(self, sharpness: float) -> Plane:
        """The lamp's mirror image, 0..1, smaller and crisper with `sharpness`; (H, W)."""
        return np.exp(sharpness * (self.gleam - 1.0))


def shade(height: Plane, light: Light) -> Shade:
    """Light a relief whose height is in pixels, (H, W)."""
    lx, ly, lz = light.direction
    gy, gx = np.gradient(height)
    nz = 1.0 / np.sqrt(1.0 + gx * gx + gy * gy)
    nx, ny = -gx * nz, -gy * nz
    towards = nx * lx + ny * ly
    flat = np.hypot(lx, ly)
    middle = np.sqrt(2.0 + 2.0 * lz)
    gleam = np.clip((towards + nz * (lz + 1.0)) / middle, 0.0, 1.0)
    return Shade(np.clip(towards + nz * lz, 0.0, None) / lz, towards / flat, gleam)


def soften(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur of a plane (H, W) or picture (H, W, 3), `sigma` in pixels."""
    blurred = ndimage.gaussian_filter(plane, sigma, truncate=2.5, mode="nearest", axes=(0, 1))
    return np.asarray(blurred)


def shifted(plane: Plane, down: float, right: float) -> Plane:
    """A plane moved by whole pixels, zero where nothing moves in; (H, W)."""
    rows, columns = round(down), round(right)
    height, width = plane.shape
    moved = np.zeros_like(plane)
    to_rows = slice(max(rows, 0), height + min(rows, 0))
    to_columns = slice(max(columns, 0), width + min(columns, 0))
    from_rows = slice(max(-rows, 0), height + min(-rows, 0))
    from_columns = slice(max(-columns, 0), width + min(-columns, 0))
    moved[to_rows, to_columns] = plane[from_rows, from_columns]
    return moved


def photograph(picture: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What the camera makes of lit colours: soft highlights, noise, 8 bits; (H, W, 3)."""
    bright = np.maximum(picture, 0.0)
    knee = 0.8
    over = np.maximum(bright - knee, 0.0)
    exposed = np.minimum(bright, knee) + (1 - knee) * over / (over + 1 - knee)
    grain = rng.uniform(*GRAIN)
    bright_noise, colour_noise = grain * rng.normal(size=(2, *picture.shape[:2], 1))
    noise = bright_noise + 0.5 * colour_noise * np.array([1.0, -0.5, -1.0])
    return np.rint(255 * np.clip(exposed + noise, 0.0, 1.0)).astype(np.uint8)
