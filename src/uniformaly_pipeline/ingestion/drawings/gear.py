"""The demo's gear."""

from __future__ import annotations

import numpy as np

from uniformaly_pipeline.ingestion.drawings.body import Body, Pose, drift, metal, nothing
from uniformaly_pipeline.ingestion.drawings.canvas import (
    Mask,
    Plane,
    clouds,
    coverage,
    curve,
    fibres,
    mix,
    shade,
    step,
)
from uniformaly_pipeline.ingestion.drawings.flaws import GROOVE_SHADE, Flaw, blob, gouge, jagged

TEETH, TIP, ROOT, HUB, BORE = 12, 92.0, 73.0, 34.0, 16.0


def gear(pose: Pose, rng: np.random.Generator, flaw: Flaw | None) -> Body:
    """A turned steel gear. Flaws: broken_tooth, corroded, scratched."""
    x, y, size = pose.x, pose.y, pose.size
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    flank = np.clip(0.5 + 1.2 * np.cos(TEETH * angle), 0.0, 1.0)
    folded = np.mod(angle, 2 * np.pi / 5) - np.pi / 5
    window = np.hypot(r * np.cos(folded) - 47, r * np.sin(folded)) - 8.5
    keyway = np.maximum(np.abs(y) - 4.5, np.abs(x - BORE) - 6)
    hollow = np.minimum(np.minimum(r - BORE, keyway), window)
    sound = outline = np.maximum(r - ROOT - (TIP - ROOT) * flank, -hollow)
    raised = np.maximum(step(58.0, 61.0, r), step(HUB + 1.5, HUB - 1.5, r))
    rings = curve(rng, r, 0.8)
    rough = fibres(rng, size, 1.2, 1.2)
    tone = 1 + 0.05 * rings + 0.05 * clouds(rng, size, 40)
    colour = np.array([0.74, 0.77, 0.81]) * drift(rng) * tone[..., None]
    grain, mask = 0.035 * rings + 0.04 * rough, nothing(pose)
    polish: Plane | float = 1.0
    if flaw is not None and flaw.kind == "broken_tooth":
        outline, grain, face, mask = _break_teeth(flaw, pose, outline, grain)
        colour = mix(colour, np.array([0.34, 0.31, 0.29]) * (1 + 0.25 * rough)[..., None], face)
        polish = 1 - face
    elif flaw is not None and flaw.kind == "scratched":
        groove, mask = _scratch_gear(flaw, pose)
        grain = grain + groove
        colour = colour * (1 + GROOVE_SHADE * groove)[..., None]
    elif flaw is not None and flaw.kind == "corroded":
        polish, pits, mask = _corrode(flaw, pose)
        rust = np.array([0.52, 0.40, 0.32]) * (0.9 + 0.1 * rough)[..., None]
        colour = mix(rust, colour, 1 - (1 - polish) * 0.75 * flaw.strength)
        grain = grain + pits
    height = 3.0 * step(0.5, -3.5, outline) + 5 * raised + grain
    # Circular tool marks mirror the lamp in two opposite sectors.
    sectors = np.exp(6 * (np.abs(np.cos(angle - pose.azimuth)) - 1))
    sheen = 0.5 * sectors * (1 + 0.35 * rings) * polish - 0.05
    picture = metal(colour, shade(height, pose.light), sheen)
    return Body(coverage(outline), picture, step(1.0, -1.0, hollow), mask & (sound < 0.5))


def gear_outside(x: Plane, y: Plane) -> Plane:
    """Distance to the circle of a gear's tips, negative inside, (H, W)."""
    return np.hypot(x, y) - TIP


def _break_teeth(
    flaw: Flaw, pose: Pose, outline: Plane, grain: Plane
) -> tuple[Plane, Plane, Plane, Mask]:
    """Break teeth and a piece of the rim out: outline, grain, raw metal (0..1), changed pixels."""
    angle, bite = flaw.rng.uniform(0, 2 * np.pi), 32 + 12 * flaw.strength
    ragged = 1.5 * fibres(flaw.rng, pose.size, 3, 3) + 2.5 * fibres(flaw.rng, pose.size, 9, 9)
    distance = np.hypot(pose.x - TIP * np.cos(angle), pose.y - TIP * np.sin(angle)) + ragged
    broken = np.maximum(outline, bite - distance)
    face = step(bite + 15, bite + 12, distance)
    mask = (outline < 0.5) & (distance < bite + 15)
    return broken, grain * (1 - face) + face * (1.8 * ragged), face, mask


def _scratch_gear(flaw: Flaw, pose: Pose) -> tuple[Plane, Mask]:
    """Three to five deep scratches over rim and web: relief and changed pixels."""
    angle, relief, mask = flaw.rng.uniform(0, 2 * np.pi), np.zeros(pose.size), nothing(pose)
    heading = angle + flaw.rng.uniform(0.9, 2.2)
    for _ in range(int(flaw.rng.integers(3, 6))):
        centre = 58 * np.array([np.cos(angle), np.sin(angle)]) + flaw.rng.uniform(-14, 14, size=2)
        reach = flaw.rng.uniform(30, 40) * np.array([np.cos(heading), np.sin(heading)])
        path = jagged(flaw.rng, tuple(centre - reach), tuple(centre + reach), 0.004)
        groove, changed = gouge(flaw, pose.x, pose.y, path, flaw.rng.uniform(3.2, 4.2))
        relief, mask = relief + groove, mask | changed
    return relief, mask


def _corrode(flaw: Flaw, pose: Pose) -> tuple[Plane, Plane, Mask]:
    """Eat pits into the face: remaining polish (0..1), relief and changed pixels."""
    angle = flaw.rng.uniform(0, 2 * np.pi)
    centre = (60 * float(np.cos(angle)), 60 * float(np.sin(angle)))
    spot = blob(flaw.rng, pose.x, pose.y, centre, pose.size)
    pits = fibres(flaw.rng, pose.size, 2.2, 2.2)
    eaten = step(3.0, -3.0, spot)
    return 1 - eaten, -1.1 * flaw.strength * eaten * np.abs(pits), spot < 0
