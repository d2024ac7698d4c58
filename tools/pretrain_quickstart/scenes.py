"""Evaluation pictures from held-out sources, rendered apart from the training's composer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from .banks import load_object, load_texture

SIDE = 224
_TEXTURE_SIDE = 448


@dataclass(frozen=True)
class Scene:
    """A picture and what is known about it.

    Attributes:
        image: RGB, SIDE x SIDE.
        alpha: Coverage by the object, or ones for a full-frame texture, float32 (SIDE, SIDE).
    """

    image: Image.Image
    alpha: np.ndarray


def texture_view(
    texture: Image.Image, rng: np.random.Generator, strength: float = 1.0
) -> Image.Image:
    """A crop of a texture under a slightly changed angle, scale and light.

    Args:
        texture: The source picture.
        rng: Source of randomness.
        strength: Scales all changes but the crop's place.
    """
    square = Image.fromarray(load_texture(texture, _TEXTURE_SIDE))
    angle = rng.uniform(-4, 4) * strength
    side = SIDE * (1 + rng.uniform(-0.06, 0.06) * strength)
    margin = side / 2 + 12
    x, y = rng.uniform(margin, _TEXTURE_SIDE - margin, 2)
    return _light(_sample(square, (x, y), angle, side / SIDE), rng, strength)


def plain_background(rng: np.random.Generator) -> Image.Image:
    """An even background with a faint gradient of light."""
    colour = rng.uniform(40, 215) + rng.uniform(-30, 30, 3)
    ramp = np.linspace(-1, 1, SIDE)
    light = rng.uniform(-10, 10) * ramp[:, None] + rng.uniform(-10, 10) * ramp[None, :]
    noise = rng.normal(0, 2, (SIDE, SIDE, 3))
    pixels = colour + light[..., None] + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def object_view(
    cutout: Image.Image,
    background: Image.Image,
    rng: np.random.Generator,
    size: float | None = None,
    strength: float = 1.0,
) -> Scene:
    """An object on a background, in a slightly changed pose and light.

    Args:
        cutout: RGBA source picture.
        background: RGB, SIDE x SIDE.
        rng: Source of randomness.
        size: Longer side of the object as a share of the frame; drawn from 0.5 to 0.9 if None.
        strength: Scales the changes of pose and light.
    """
    square = Image.fromarray(load_object(cutout, SIDE))
    size = rng.uniform(0.5, 0.9) if size is None else size * (1 + rng.uniform(-0.06, 0.06))
    angle = rng.uniform(-12, 12) * strength
    # The centre may move as far as the object stays inside, and a little at least.
    room = max(0.05, (1 - size) / 2) * SIDE * 0.8
    shift = rng.uniform(-room, room, 2)
    centre = (SIDE / 2 - shift[0] / size, SIDE / 2 - shift[1] / size)
    posed = _sample(square.convert("RGBa"), centre, angle, 1 / size).convert("RGBA")
    alpha = np.asarray(posed, dtype=np.float32)[..., 3:] / 255.0
    front = np.asarray(_light(posed.convert("RGB"), rng, strength), dtype=np.float32)
    pixels = alpha * front + (1 - alpha) * np.asarray(background, dtype=np.float32)
    return Scene(Image.fromarray(pixels.round().astype(np.uint8)), alpha[..., 0])


def _sample(
    image: Image.Image, centre: tuple[float, float], angle: float, scale: float
) -> Image.Image:
    """A SIDE x SIDE view around a centre of `image`; scale is source pixels per view pixel."""
    cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    half = SIDE / 2
    matrix = (
        cos, -sin, centre[0] - half * (cos - sin),
        sin, cos, centre[1] - half * (sin + cos),
    )  # fmt: skip
    affine = Image.Transform.AFFINE
    return image.transform((SIDE, SIDE), affine, matrix, Image.Resampling.BICUBIC)


def _light(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    brightness = 1 + rng.uniform(-0.1, 0.1) * strength
    contrast = 1 + rng.uniform(-0.08, 0.08) * strength
    image = ImageEnhance.Brightness(image).enhance(brightness)
    return ImageEnhance.Contrast(image).enhance(contrast)
