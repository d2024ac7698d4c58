"""Synthetic damage for training: blots, scratches and foreign patches of random contents.

The evaluation draws its defects with other code (`defects.py`): these shapes teach that a local
irregularity matters, not what the test's scratches look like.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CURVE_POINTS = 14
_EDGE_FREE = 0.9  # damage stays where the foreground covers the image at least this much


def add_damage(
    images: Tensor,
    alpha: Tensor,
    foreign: Tensor,
    damaged: Tensor,
    generator: torch.Generator,
    stains: float = 1 / 3,
) -> tuple[Tensor, Tensor]:
    """Damage the foreground of some images.

    Args:
        images: RGB in [0, 1], (B, 3, S, S).
        alpha: Foreground coverage, (B, 1, S, S).
        foreign: Textures that foreign patches are cut from, (B, 3, S, S).
        damaged: Which images to damage, (B,).
        generator: Source of randomness.
        stains: Share of the damage that only changes the light and the tint.

    Returns:
        The images, and the mean absolute colour change, (B, 1, S, S).
    """
    change = torch.zeros_like(alpha)
    chosen = damaged.nonzero().squeeze(1)
    if not len(chosen):
        return images, change
    sound = images[chosen]
    mask = _shapes(alpha[chosen], generator) * (alpha[chosen] > _EDGE_FREE)
    broken = torch.lerp(sound, _contents(sound, foreign[chosen], stains, generator), mask)
    result = images.clone()
    result[chosen] = broken
    change[chosen] = (broken - sound).abs().mean(1, keepdim=True)
    return result, change


def _rand(generator: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, device=like.device)


def _shapes(alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Soft masks of a blot or a curve, centred on the foreground, (B, 1, S, S)."""
    batch, side = alpha.shape[0], alpha.shape[-1]
    half = side // 2
    weights = F.interpolate(alpha, size=(half, half), mode="area").flatten(1) + 1e-4
    spot = torch.multinomial(weights, 1, generator=generator).squeeze(1)
    centre = torch.stack([spot % half, spot // half], dim=1).float()
    is_curve = _rand(generator, alpha, batch) < 0.45

    # A quadratic curve through the centre; a blot is the curve of no length with ragged radius.
    reach = (4 + 26 * _rand(generator, alpha, batch, 1)) * is_curve[:, None]
    angle = 6.2832 * _rand(generator, alpha, batch, 1)
    bend = (2 * _rand(generator, alpha, batch, 1) - 1) * reach * 0.5
    along = torch.cat([angle.cos(), angle.sin()], 1)
    across = torch.cat([-angle.sin(), angle.cos()], 1)
    time = torch.linspace(-1, 1, _CURVE_POINTS, device=alpha.device)[None, :, None]
    points = centre[:, None] + time * (reach * along)[:, None] + time**2 * (bend * across)[:, None]

    axis = torch.arange(half, device=alpha.device, dtype=torch.float32)
    across_distance = (axis - points[..., :1]) ** 2
    down_distance = (axis - points[..., 1:]) ** 2
    squared = torch.full((batch, half, half), torch.inf, device=alpha.device)
    for step in range(_CURVE_POINTS):
        candidate = across_distance[:, step, None, :] + down_distance[:, step, :, None]
        squared = torch.minimum(squared, candidate)

    ragged = _rand(generator, alpha, batch, 1, 14, 14) - 0.5
    ragged = F.interpolate(ragged, size=(half, half), mode="bicubic", align_corners=False)[:, 0]
    thin = 0.35 + 1.65 * _rand(generator, alpha, batch, 1, 1)
    thick = 2.5 + 11 * _rand(generator, alpha, batch, 1, 1) ** 2
    radius = torch.where(is_curve[:, None, None], thin, thick * (1 + 1.2 * ragged))
    soft = (radius - squared.sqrt() + 0.5).clamp(0, 1)[:, None]
    return F.interpolate(soft, size=(side, side), mode="bilinear", align_corners=False)


def _contents(sound: Tensor, foreign: Tensor, stains: float, generator: torch.Generator) -> Tensor:
    """What fills the damage: a change of light, a colour, a foreign texture or a blur."""
    batch = sound.shape[0]
    colour = _rand(generator, sound, batch, 3, 1, 1)
    gain = 0.35 + 1.1 * _rand(generator, sound, batch, 1, 1, 1)
    gain = gain * (1 + 0.4 * (_rand(generator, sound, batch, 3, 1, 1) - 0.5))
    lift = 0.15 * (_rand(generator, sound, batch, 3, 1, 1) - 0.5)
    stained = (sound * gain + lift).clamp(0, 1)
    pool = sound.shape[-1] // 16
    blurred = F.interpolate(F.avg_pool2d(sound, pool), size=sound.shape[-2:], mode="bilinear")
    # Another image's content, moved: a foreign patch even where the surface is this image's own.
    moved = torch.roll(foreign, (1, 37, 53), dims=(0, 2, 3))
    grey = colour.mean(1, keepdim=True)
    is_stain = _rand(generator, sound, batch, 1, 1, 1) < stains
    pick = torch.randint(4, (batch, 1, 1, 1), generator=generator, device=sound.device)
    filled = torch.where(pick == 0, colour, grey)
    filled = torch.where(pick == 2, moved, filled)
    filled = torch.where(pick == 3, blurred, filled)
    return torch.where(is_stain, stained, filled)
