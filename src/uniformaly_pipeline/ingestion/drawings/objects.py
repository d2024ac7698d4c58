"""The demo's objects, lying on cluttered benches: bolt, button and gear, sound or flawed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from uniformaly_pipeline.ingestion.drawings.body import Body, Pose
from uniformaly_pipeline.ingestion.drawings.bolt import bolt, bolt_outside
from uniformaly_pipeline.ingestion.drawings.button import button, button_outside
from uniformaly_pipeline.ingestion.drawings.canvas import (
    STATION,
    Light,
    Mask,
    Picture,
    Plane,
    Size,
    grid,
    mix,
    random_light,
    shifted,
    soften,
    turn,
)
from uniformaly_pipeline.ingestion.drawings.flaws import Flaw
from uniformaly_pipeline.ingestion.drawings.gear import gear, gear_outside
from uniformaly_pipeline.ingestion.drawings.scenery import random_scenery

# Difficulty: how objects lie. Half-ranges or (low, high).
SHIFT = 6.0  # pixels
ZOOM = (0.97, 1.03)
SHADOW = (0.55, 0.65)  # how dark an object's shadow is
HOLLOW = 0.75  # share of the light that does not reach the table through an object's holes
DEFOCUS = (1.1, 1.5)  # blur of the table, pixels: the camera is focused on the object


@dataclass(frozen=True)
class _Station:
    """Where a kind of object is inspected."""

    draw: Callable[[Pose, np.random.Generator, Flaw | None], Body]
    outside: Callable[[Plane, Plane], Plane]
    """Distance to the object's rough outline in its own coordinates, negative inside, (H, W)."""
    table: str
    scale: float
    """Size in the picture."""
    turn: float
    """Half-range of how it lies, radians."""


_STATIONS = {
    "bolt": _Station(bolt, bolt_outside, "planks", 0.92, 0.3),
    "button": _Station(button, button_outside, "cloth", 0.90, np.pi),
    "gear": _Station(gear, gear_outside, "stone", 0.80, 0.4),
}
OBJECTS = tuple(_STATIONS)


def _random_pose(rng: np.random.Generator, size: Size, light: Light, station: _Station) -> Pose:
    angle, zoom = station.turn * rng.uniform(-1, 1), station.scale * rng.uniform(*ZOOM)
    shift_x, shift_y = rng.uniform(-SHIFT, SHIFT, size=2)
    x, y = grid(size)
    x, y = turn((x - shift_x) / zoom, (y - shift_y) / zoom, angle)
    lx, ly, _ = light.direction
    return Pose(size, x, y, light, float(np.arctan2(ly, lx)) - angle)


def _cast_shadow(table: Picture, cover: Plane, light: Light, depth: float) -> Picture:
    """Darken the table where the object keeps the lamp or the sky off it."""
    right, down, up = light.direction
    contact = shifted(soften(cover, 2.0), -3 * down, -3 * right)
    reach = 9 / max(up, 0.3)  # pixels: the lower the lamp, the longer the shadow
    cast = shifted(soften(cover, 6.0), -reach * down, -reach * right)
    return table * ((1 - depth * cast) * (1 - 0.35 * contact))[..., None]


def draw_object(
    name: str, size: Size, rng: np.random.Generator, flaw: Flaw | None
) -> tuple[Picture, Mask, Plane]:
    """An object on its table.

    Args:
        name: One of `OBJECTS`.
        size: Height and width of the picture.
        rng: Draws everything but the flaw, so that a sound twin differs by the flaw alone.
        flaw: The defect to add, or None.

    Returns:
        The lit picture (H, W, 3), the flaw's mask (H, W) and the object's cover (H, W), 0..1.
    """
    station = _STATIONS[name]
    light = random_light(rng, size, STATION)
    pose = _random_pose(rng, size, light, station)
    outside = station.outside(pose.x, pose.y) * station.scale
    table = random_scenery(station.table, rng, size, light, outside)
    table = soften(table, rng.uniform(*DEFOCUS))
    depth = rng.uniform(*SHADOW)
    body = station.draw(pose, rng, flaw)
    table = table * (1 - HOLLOW * body.hollow)[..., None]
    picture = mix(_cast_shadow(table, body.cover, light, depth), body.picture, body.cover)
    return picture * light.field, body.mask, body.cover
