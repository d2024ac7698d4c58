"""The demo's textures, filling the frame: denim, leather and oak, sound or flawed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from uniformaly_pipeline.ingestion.drawings.canvas import (
    Mask,
    Picture,
    Plane,
    Size,
    bump,
    cells,
    clouds,
    curve,
    fibres,
    grid,
    mix,
    random_light,
    shade,
    step,
    turn,
)
from uniformaly_pipeline.ingestion.drawings.flaws import (
    GROOVE_SHADE,
    Flaw,
    blob,
    crack,
    gouge,
    jagged,
)

# Difficulty: how far sound sheets differ from one another. Half-ranges or (low, high).
TURN = {"denim": 0.35, "leather": np.pi, "oak": 0.25}  # radians
ZOOM = (0.92, 1.1)
TINT_DRIFT = 0.05  # of each colour channel
FLAW_REACH = 62.0  # pixels from the centre to a flaw's centre, at most


def _cloth_axes(
    rng: np.random.Generator, size: Size, turn_by: float, waviness: float
) -> tuple[Plane, Plane]:
    """Coordinates along a sheet that lies turned, zoomed and a little wavy, in pixels."""
    x, y = turn(*grid(size), turn_by * rng.uniform(-1, 1))
    zoom = rng.uniform(*ZOOM)
    return (
        (x + waviness * fibres(rng, size, 60, 60)) / zoom,
        (y + waviness * fibres(rng, size, 60, 60)) / zoom,
    )


def _drift(rng: np.random.Generator) -> np.ndarray:
    """One sheet's dye lot: a factor per colour channel, (3,)."""
    return 1 + TINT_DRIFT * rng.uniform(-1, 1, size=3)


def _place(flaw: Flaw) -> tuple[float, float]:
    """Where a flaw's centre goes, in pixels from the picture's centre."""
    x, y = flaw.rng.uniform(-FLAW_REACH, FLAW_REACH, size=2)
    return float(x), float(y)


def _line(flaw: Flaw, length: tuple[float, float], angle: float, jag: float) -> np.ndarray:
    """A broken line (N, 2) of the given length (low, high; pixels) through a random place."""
    (x, y), half = _place(flaw), flaw.rng.uniform(*length) / 2
    dx, dy = half * np.cos(angle), half * np.sin(angle)
    return jagged(flaw.rng, (x - dx, y - dy), (x + dx, y + dy), jag)


def _nothing(size: Size) -> Mask:
    return np.zeros(size, dtype=np.bool_)


def denim(size: Size, rng: np.random.Generator, flaw: Flaw | None) -> tuple[Picture, Mask]:
    """A 3/1 twill: indigo warp over white weft. Flaws: hole, misweave, snag."""
    yarn = 6.5
    u, v = (plane / yarn for plane in _cloth_axes(rng, size, TURN["denim"], 2.0))
    mask = _nothing(size)
    direction, pulled, cloth = np.ones(size), np.zeros(size), np.ones(size)
    if flaw is not None and flaw.kind == "snag":
        u, pulled, mask = _snag(flaw, u, v)
    elif flaw is not None:
        spot = blob(flaw.rng, *grid(size), _place(flaw), size)
        if flaw.kind == "hole":
            fringe = 3.0 * fibres(flaw.rng, size, 7, 0.9)
            cloth = step(-1.0, 1.5, spot + 5 + fringe)
            mask = cloth < 1
        elif flaw.kind == "misweave":
            mask = spot < 4
            direction = np.where(mask, -1.0, 1.0)
    return _weave(size, rng, u, v, direction, pulled, cloth), mask


def _snag(flaw: Flaw, u: Plane, v: Plane) -> tuple[Plane, Plane, Mask]:
    """Pull a few warp yarns out: the new u, where yarns are missing (0..1), changed pixels."""
    x, y = grid(u.shape)
    place = _place(flaw)
    centre = np.argmin(np.hypot(x - place[0], y - place[1]))
    off_u, off_v = u - np.rint(u.flat[centre]), v - v.flat[centre]
    reach = flaw.rng.uniform(5, 8) + curve(flaw.rng, np.rint(u), 1.0)
    inside = step(reach, reach - 1.5, np.abs(off_v))
    half = 0.5 + np.rint(2 * flaw.strength)
    pulled = inside * (np.abs(off_u) < half)
    bunched = u + 0.35 * inside * np.sign(off_u) * bump(np.abs(off_u) - half, 1.2)
    return bunched, pulled, (inside > 0.1) & (np.abs(off_u) < half + 1)


def _weave(
    size: Size,
    rng: np.random.Generator,
    u: Plane,
    v: Plane,
    direction: Plane,
    pulled: Plane,
    cloth: Plane,
) -> Picture:
    """Yarns at whole u (warp) and v (weft): `pulled` warp is missing, `cloth` 0 is a hole."""
    light = random_light(rng, size)
    column, row = np.rint(u), np.rint(v)
    phase = np.mod(column * direction + row, 4)
    under = (phase == 0) | (pulled > 0.5)
    slub = 0.10 * curve(rng, column, 1.0)
    fuzz = fibres(rng, size, 1.2, 0.8)
    # A float arches from where its yarn comes up to where it dives under the weft again.
    warp_arch = np.cos(np.pi * (u - column)) * (0.55 + 0.45 * np.sin(np.pi * (phase + v - row) / 4))
    weft_arch = np.cos(np.pi * (v - row)) * (0.45 + 0.35 * np.cos(np.pi * (u - column)))
    arch = np.where(under, weft_arch, warp_arch)
    twist = 0.08 * np.sin(2 * np.pi * (u * 1.3 + v * 1.1))
    relief = shade(2.6 * arch * cloth - 6 * (1 - cloth) + 0.12 * fuzz, light)
    wear = 0.10 * clouds(rng, size, 90)
    indigo = np.array([0.19, 0.25, 0.39]) * _drift(rng)
    weft = np.array([0.66, 0.69, 0.72]) * _drift(rng)
    warp = mix(indigo, indigo * 1.35 + 0.06, np.clip(0.4 + wear + slub + twist, 0, 1))
    yarns = np.where(under[..., None], weft, warp)
    yarns = yarns * (0.42 + 0.58 * np.clip(arch, 0, 1) + 0.06 * fuzz)[..., None]
    lit = yarns * (0.35 + 0.65 * relief.diffuse)[..., None]
    return mix(np.array([0.035, 0.03, 0.03]), lit, cloth) * light.field * 1.25


def leather(size: Size, rng: np.random.Generator, flaw: Flaw | None) -> tuple[Picture, Mask]:
    """Pebbled hide. Flaws: cut, fold, worn."""
    light = random_light(rng, size)
    u, v = _cloth_axes(rng, size, TURN["leather"], 5.0)
    pebble = 9.5
    ragged = 0.12 * fibres(rng, size, 4, 4), 0.12 * fibres(rng, size, 4, 4)
    nearest, border, _ = cells(rng, u / pebble + ragged[0], v / (0.8 * pebble) + ragged[1], 0.9)
    crease = step(0.0, 0.30, border)
    grain = 1.5 * crease + 0.8 * (1 - nearest)
    height = grain + 0.8 * fibres(rng, size, 26, 26) + 0.14 * fibres(rng, size, 1.3, 1.3)
    tone = 0.05 * clouds(rng, size, 120) + 0.03 * fibres(rng, size, 2, 2)
    pores = 1 - 0.26 * (1 - crease)
    hide = np.array([0.47, 0.27, 0.16]) * _drift(rng)
    mask, slit = _nothing(size), np.zeros(size)
    if flaw is not None:
        x, y = grid(size)
        if flaw.kind == "worn":
            spot = blob(flaw.rng, x, y, _place(flaw), size)
            rubbed = flaw.strength * step(5.0, -5.0, spot)
            height = height - rubbed * 0.92 * grain
            pores = pores + rubbed * (1.0 - pores)
            hide = mix(hide, hide * (1.35, 1.5, 1.6), rubbed)
            mask = spot < -2
        elif flaw.kind == "cut":
            path = _line(flaw, (80, 120), flaw.rng.uniform(0, np.pi), 0.015)
            slit, opening, mask = crack(flaw, x, y, path)
            height = height + 2.0 * opening
        elif flaw.kind == "fold":
            height, mask = _fold(flaw, x, y, height)
    relief = shade(height, light)
    colour = hide * (pores * (1 + tone))[..., None]
    lit = colour * (0.30 + 0.72 * relief.diffuse)[..., None]
    lit = lit + (0.10 * relief.highlight(14))[..., None]
    return mix(lit, np.array([0.10, 0.05, 0.03]), 0.9 * slit) * light.field * 1.2, mask


def _fold(flaw: Flaw, x: Plane, y: Plane, height: Plane) -> tuple[Plane, Mask]:
    """Two or three wrinkles side by side: the new relief and the pixels they change."""
    angle = flaw.rng.uniform(0, np.pi)
    path = _line(flaw, (80, 120), angle, 0.012)
    mask = _nothing(height.shape)
    for shift in (-7.0, 1.0, 8.0)[: int(flaw.rng.integers(2, 4))]:
        offset = shift * np.array([-np.sin(angle), np.cos(angle)])
        groove, changed = gouge(flaw, x, y, path + offset, flaw.rng.uniform(2.4, 3.2))
        height = height * (1 - 0.5 * changed) + 1.9 * groove
        mask |= changed
    return height, mask


def oak(size: Size, rng: np.random.Generator, flaw: Flaw | None) -> tuple[Picture, Mask]:
    """A planed board, grain across the picture. Flaws: gouge, knot, wormholes."""
    light = random_light(rng, size)
    angle = TURN["oak"] * rng.uniform(-1, 1)
    x, y = grid(size)
    u, v = turn(x, y, angle)
    zoom = rng.uniform(*ZOOM)
    ring = (
        v + 9.0 * fibres(rng, size, 170, 45, angle) + 3e-4 * (u - rng.normal() * 80) ** 2
    ) / zoom
    mask, knot, height = _nothing(size), np.zeros(size), np.zeros(size)
    if flaw is not None and flaw.kind == "knot":
        ring, knot, mask = _knot(flaw, u, v, ring)
    rings = 0.55 * curve(rng, ring, 7.0) + 0.3 * curve(rng, ring, 2.5) + 0.35 * curve(rng, ring, 30)
    fibre = fibres(rng, size, 26, 0.9, angle)
    pores = step(1.5, 2.4, fibres(rng, size, 11, 0.8, angle)) * step(-0.4, 0.8, rings)
    tone = np.clip(0.5 + 0.26 * rings + 0.07 * fibre + 0.06 * clouds(rng, size, 150), 0, 1)
    pale = np.array([0.80, 0.62, 0.42]) * _drift(rng)
    dark = np.array([0.52, 0.34, 0.19]) * _drift(rng)
    board = mix(pale, dark, tone) * (1 - 0.42 * pores)[..., None]
    board = mix(board, dark * 0.5, 0.9 * knot)
    hollow = np.zeros(size)
    if flaw is not None and flaw.kind == "gouge":
        height, mask = _gouges(flaw, x, y, angle)
        board = board * (1 + GROOVE_SHADE * height)[..., None]
    elif flaw is not None and flaw.kind == "wormholes":
        hollow, mask = _wormholes(flaw, x, y)
        height = -3.0 * hollow
    relief = shade(height + 0.10 * fibre - 0.8 * pores, light)
    lit = (
        board * (0.30 + 0.70 * relief.diffuse)[..., None] + (0.05 * relief.highlight(20))[..., None]
    )
    return mix(lit, dark * 0.28, 0.85 * hollow) * light.field * 1.08, mask


def _knot(flaw: Flaw, u: Plane, v: Plane, ring: Plane) -> tuple[Plane, Plane, Mask]:
    """Grain flowing round a knot: the new ring coordinate, how dark (0..1), the changed pixels."""
    centre = np.ravel_multi_index(tuple(flaw.rng.integers(70, 186, size=2)), ring.shape)
    du, dv = u - u.flat[centre], v - v.flat[centre]
    radius = flaw.rng.uniform(11, 15)
    distance = np.hypot(du / 1.5, dv) * (1 + 0.05 * np.sin(3 * np.arctan2(dv, du)))
    push = dv * step(2.9 * radius, 0.0, np.hypot(du / 1.6, dv))
    core = step(1.15 * radius, 0.8 * radius, distance)
    dark = core * flaw.strength * (0.55 + 0.45 * step(0.5 * radius, 0.95 * radius, distance))
    return (ring - push) * (1 - core) + core * 1.9 * distance, dark, distance < 1.7 * radius


def _gouges(flaw: Flaw, x: Plane, y: Plane, angle: float) -> tuple[Plane, Mask]:
    """A few scratches across the grain: their relief and the pixels they change."""
    heading = angle + flaw.rng.uniform(0.9, 2.2)
    path = _line(flaw, (80, 120), heading, 0.004)
    height, mask = np.zeros_like(x), _nothing(x.shape)
    for _ in range(int(flaw.rng.integers(2, 4))):
        offset = flaw.rng.uniform(-9, 9, size=2)
        groove, changed = gouge(flaw, x, y, path + offset, flaw.rng.uniform(1.5, 2.4))
        height += groove
        mask |= changed
    return height, mask


def _wormholes(flaw: Flaw, x: Plane, y: Plane) -> tuple[Plane, Mask]:
    """A cluster of round holes: how deep (0..1) and the pixels they change."""
    (cx, cy), holes, mask = _place(flaw), np.zeros_like(x), _nothing(x.shape)
    for _ in range(int(flaw.rng.integers(9, 15))):
        dx, dy = flaw.rng.normal(size=2) * 17
        radius = flaw.rng.uniform(2.4, 4.2)
        distance = np.hypot(x - cx - dx, y - cy - dy)
        holes = np.maximum(holes, flaw.strength * step(radius + 0.8, radius - 0.8, distance))
        mask |= distance < radius + 1.5
    return holes, mask


TEXTURES: dict[str, Callable[..., tuple[Picture, Mask]]] = {
    "denim": denim,
    "leather": leather,
    "oak": oak,
}
