"""The demo's bolt."""

from __future__ import annotations

import numpy as np

from uniformaly_pipeline.ingestion.drawings.body import Body, Pose, dim, drift, metal, nothing
from uniformaly_pipeline.ingestion.drawings.canvas import (
    Mask,
    Plane,
    box_distance,
    clouds,
    coverage,
    fibres,
    shade,
    step,
)
from uniformaly_pipeline.ingestion.drawings.flaws import Flaw, crack, jagged

HEAD_END, NECK, THREAD, END = -96.0, -54.0, -20.0, 98.0
HEAD_HALF, SHANK, PITCH, THREAD_DEPTH = 50.0, 27.0, 9.0, 4.0


def bolt(pose: Pose, rng: np.random.Generator, flaw: Flaw | None) -> Body:
    """A zinc-plated hexagon bolt lying on its side. Flaws: chipped, cracked, stripped."""
    x, y, size = pose.x, pose.y, pose.size
    mask, thread_left = nothing(pose), np.ones(size)
    rough = fibres(rng, size, 1.3, 1.3)
    if flaw is not None and flaw.kind == "stripped":
        thread_left, mask = _strip(flaw, pose)
    outline, height = _bolt_relief(x, y, thread_left)
    sound = outline
    scuff = 0.9 * (1 - thread_left) * fibres(rng, size, 6, 1.0)
    height = height + 0.04 * rough + scuff
    depth = np.zeros(size)
    if flaw is not None and flaw.kind == "chipped":
        outline, relief, mask = _chip(flaw, pose, outline)
        height = height + relief
    elif flaw is not None and flaw.kind == "cracked":
        depth, relief, mask = _crack_bolt(flaw, pose)
        height = height + relief
    tone = 1 + 0.06 * clouds(rng, size, 50) + 0.03 * rough
    colour = np.array([0.80, 0.76, 0.64]) * drift(rng) * tone[..., None]
    picture = metal(colour, shade(height, pose.light))
    cover = coverage(outline)
    return Body(cover, dim(picture, depth), np.zeros(size), mask & (sound < 0.5))


def bolt_outside(x: Plane, y: Plane) -> Plane:
    """Distance to a bolt's rough outline, negative inside, (H, W)."""
    head = box_distance(x - (HEAD_END + NECK) / 2, y, (NECK - HEAD_END) / 2, HEAD_HALF)
    shank = box_distance(x - (NECK + END) / 2, y, (END - NECK) / 2, SHANK)
    return np.minimum(head, shank)


def _bolt_relief(x: Plane, y: Plane, thread_left: Plane) -> tuple[Plane, Plane]:
    """Outline and relief; `thread_left` is 0 where the thread is gone, 1 where it is whole."""
    # The thread climbs half a pitch from one visible edge of the shank to the other.
    phase = x / PITCH + np.arcsin(np.clip(y / SHANK, -1, 1)) / (2 * np.pi)
    ridge = 2 * np.abs(phase - np.rint(phase))
    radius = SHANK - step(THREAD, THREAD + 6, x) * THREAD_DEPTH * (
        thread_left * (1 - ridge) + (1 - thread_left) * 0.75
    )
    radius = radius - 6 * step(END - 9, END, x)
    shank = np.maximum(np.abs(y) - radius, np.maximum(NECK - x, x - END))
    shank_height = np.sqrt(np.maximum(radius**2 - y * y, 0.0))
    chamfer = 9 * (y / HEAD_HALF) ** 2
    head = np.maximum(np.abs(y) - HEAD_HALF, np.maximum(HEAD_END + chamfer - x, x - NECK))
    facet = np.minimum(43.0, 43.0 - 1.0 * (np.abs(y) - HEAD_HALF / 2))
    head_height = facet - 9 * step(8.0, 0.0, x - HEAD_END - chamfer) - 4 * step(-4.0, 0.0, x - NECK)
    washer = np.maximum(np.abs(y) - 40, np.abs(x - NECK - 2) - 4)
    outline = np.minimum(np.minimum(shank, head), washer)
    height = shank_height + step(0.8, -0.8, washer) * (33.0 - 0.012 * y * y - shank_height)
    height = height + step(0.8, -0.8, head) * (head_height - height)
    return outline, height


def _chip(flaw: Flaw, pose: Pose, outline: Plane) -> tuple[Plane, Plane, Mask]:
    """Break a corner of the head off: the new outline, relief of the break, changed pixels."""
    side = 1 if flaw.rng.random() < 0.5 else -1
    lean = flaw.rng.uniform(0.45, 1.1)
    ragged = 2.2 * fibres(flaw.rng, pose.size, 5, 5) + 2.0 * fibres(flaw.rng, pose.size, 14, 14)
    # Distance from the head's outer corner along the direction in which it came off.
    off = np.cos(lean) * (pose.x - HEAD_END) + np.sin(lean) * (HEAD_HALF - side * pose.y) + ragged
    gone = 26 + 12 * flaw.strength
    inside = (off < gone + 12) & (pose.x < NECK)
    shell = 1.4 * np.cos(0.7 * off) + 1.1 * (off - gone - 12) + 0.8 * ragged
    return np.maximum(outline, gone - off), np.where(inside, shell, 0.0), inside & (outline < 0.5)


def _strip(flaw: Flaw, pose: Pose) -> tuple[Plane, Mask]:
    """Wear the thread off over a length: what is left of it (0..1) and the changed pixels."""
    centre, half = flaw.rng.uniform(25, 62), flaw.rng.uniform(25, 34)
    ragged = 3 * fibres(flaw.rng, pose.size, 8, 8)
    off = np.abs(pose.x - centre) + ragged - half
    return 1 - (0.55 + 0.45 * flaw.strength) * step(3.0, -3.0, off), off < 0


def _crack_bolt(flaw: Flaw, pose: Pose) -> tuple[Plane, Plane, Mask]:
    """Crack the head or the shank across: depth, relief and changed pixels."""
    if flaw.rng.random() < 0.5:
        at, half = flaw.rng.uniform(HEAD_END + 14, NECK - 10), HEAD_HALF + 2
    else:
        at, half = flaw.rng.uniform(THREAD - 20, END - 30), SHANK + 2
    lean = flaw.rng.uniform(8, 24) * (1 if flaw.rng.random() < 0.5 else -1)
    path = jagged(flaw.rng, (at - lean, -half), (at + lean, half), 0.035)
    return crack(flaw, pose.x, pose.y, path)
