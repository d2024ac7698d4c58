"""The demo's button."""

from __future__ import annotations

import numpy as np

from uniformaly_pipeline.ingestion.drawings.body import Body, Pose, dim, drift, nothing
from uniformaly_pipeline.ingestion.drawings.canvas import (
    Mask,
    Plane,
    clouds,
    coverage,
    fibres,
    mix,
    shade,
    step,
)
from uniformaly_pipeline.ingestion.drawings.flaws import Flaw, crack, jagged

RADIUS, RIM, HOLE, HOLE_AT = 80.0, 66.0, 12.0, 20.0


def button(pose: Pose, rng: np.random.Generator, flaw: Flaw | None) -> Body:
    """A four-hole horn button. Flaws: chipped, cracked, misdrilled."""
    x, y, size = pose.x, pose.y, pose.size
    r = np.hypot(x, y)
    holes = np.hypot(np.abs(x) - HOLE_AT, np.abs(y) - HOLE_AT) - HOLE
    outline = r - RADIUS
    sound = np.maximum(outline, -holes)
    swirl = clouds(rng, size, 60, 2.0)
    streak = np.sin(0.11 * x + 1.8 * swirl + rng.uniform(0, 2 * np.pi))
    horn = np.array([0.56, 0.43, 0.30]) * drift(rng)
    colour = mix(horn * 0.76, horn * 1.16, 0.5 + 0.25 * streak)
    rim = np.clip(1 - ((r - (RIM + RADIUS) / 2) / ((RADIUS - RIM) / 2 + 1)) ** 2, 0, None)
    height = 8 * np.sqrt(rim) + 0.0016 * r * r + 0.02 * fibres(rng, size, 1.5, 1.5)
    depth, relief, mask = np.zeros(size), np.zeros(size), nothing(pose)
    if flaw is not None and flaw.kind == "cracked":
        depth, relief, mask = _crack_button(flaw, pose)
    elif flaw is not None and flaw.kind == "misdrilled":
        holes, mask = _misdrill(flaw, pose, holes)
    elif flaw is not None and flaw.kind == "chipped":
        outline, relief, mask = _chip(flaw, pose, outline)
        height = np.where(mask, np.minimum(height, 3.0), height)
    height = height + relief + 2.5 * step(-0.5, 3.5, holes)
    lit = shade(height, pose.light)
    picture = colour * (0.30 + 0.70 * lit.diffuse)[..., None]
    picture = picture + (0.5 * lit.highlight(40) + 0.14 * lit.highlight(6) - 0.1)[..., None]
    cover = coverage(np.maximum(outline, -holes))
    return Body(cover, dim(picture, depth), step(1.0, -1.0, holes), mask & (sound < 0.5))


def button_outside(x: Plane, y: Plane) -> Plane:
    """Distance to a button's outline, negative inside, (H, W)."""
    return np.hypot(x, y) - RADIUS


def _crack_button(flaw: Flaw, pose: Pose) -> tuple[Plane, Plane, Mask]:
    """Split the dish from rim to rim past the middle: depth, relief and changed pixels."""
    start = flaw.rng.uniform(0, 2 * np.pi)
    out = start + np.pi + flaw.rng.uniform(-0.7, 0.7)
    first, last = ((RADIUS + 2) * np.array([np.cos(way), np.sin(way)]) for way in (start, out))
    path = jagged(flaw.rng, tuple(first), tuple(last), 0.035)
    return crack(flaw, pose.x, pose.y, path)


def _misdrill(flaw: Flaw, pose: Pose, holes: Plane) -> tuple[Plane, Mask]:
    """Drill one hole anew, off its place and too large: the holes and the changed pixels."""
    quarter = np.pi / 4 + np.pi / 2 * int(flaw.rng.integers(4))
    way = quarter + flaw.rng.uniform(-0.8, 0.8)
    by = 18 + 5 * flaw.strength
    cx = HOLE_AT * np.sqrt(2) * np.cos(quarter) + by * np.cos(way)
    cy = HOLE_AT * np.sqrt(2) * np.sin(quarter) + by * np.sin(way)
    slip = np.hypot(pose.x - cx, pose.y - cy) - 1.8 * HOLE
    return np.minimum(holes, slip), slip < 4.5


def _chip(flaw: Flaw, pose: Pose, outline: Plane) -> tuple[Plane, Plane, Mask]:
    """Bite a piece off the rim: the new outline, relief of the break and changed pixels."""
    angle, bite = flaw.rng.uniform(0, 2 * np.pi), flaw.rng.uniform(42, 52)
    cx, cy = (RADIUS + 4) * np.cos(angle), (RADIUS + 4) * np.sin(angle)
    ragged = 1.3 * fibres(flaw.rng, pose.size, 7, 7)
    distance = np.hypot(pose.x - cx, pose.y - cy) + ragged
    shell = 0.7 * np.cos(distance * 0.8) + 0.3 * distance
    inside = distance < bite
    through = bite * (0.25 + 0.45 * flaw.strength) - distance
    return np.maximum(outline, through), np.where(inside, shell - 0.25 * bite, 0.0), inside
