"""Decode the source pictures into uint8 banks in memory, on the CPU or the GPU.

Memory-mapping the files instead stalls training on small reads; all banks together take about
0.5 GB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .fetch import SourceLibrary
from .sources import Source

OBJECT_SIDE = 192
TEXTURE_SIDE = 384
_MAX_TEXTURE_SIDE = 768


@dataclass(frozen=True)
class Banks:
    """Decoded sources.

    Attributes:
        objects: RGBA, uint8, (O, 4, OBJECT_SIDE, OBJECT_SIDE); the longer side fills the square.
        object_labels: Family index of each object, int64, (O,), in [0, object_families).
        textures: RGB, uint8, (T, 3, TEXTURE_SIDE, TEXTURE_SIDE).
        texture_labels: Family index of each texture, int64, (T,), in [0, texture_families).
        object_families: Number of object families.
        texture_families: Number of texture families.
    """

    objects: Tensor
    object_labels: Tensor
    textures: Tensor
    texture_labels: Tensor
    object_families: int
    texture_families: int


def load_object(image: Image.Image, side: int = OBJECT_SIDE) -> np.ndarray:
    """Crop a cut-out to its alpha and centre it in a square, RGBA uint8, (side, side, 4)."""
    cutout = image.convert("RGBA")
    box = cutout.getchannel("A").point(lambda value: 255 * (value > 16)).getbbox()
    cutout = cutout.crop(box)
    scale = side / max(cutout.size)
    size = (max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale)))
    # Colours under alpha 0 are arbitrary: resizing in RGBa keeps them off the edges.
    resized = cutout.convert("RGBa").resize(size, Image.Resampling.BICUBIC).convert("RGBA")
    square = Image.new("RGBA", (side, side))
    square.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square)


def load_texture(image: Image.Image, side: int = TEXTURE_SIDE) -> np.ndarray:
    """Bring a texture to a square, RGB uint8, (side, side, 3); a strip is cropped at its centre."""
    texture = image.convert("RGB")
    shorter = min(texture.size)
    left, top = (texture.width - shorter) // 2, (texture.height - shorter) // 2
    texture = texture.crop((left, top, left + shorter, top + shorter))
    if shorter > _MAX_TEXTURE_SIDE:
        texture = texture.resize((_MAX_TEXTURE_SIDE, _MAX_TEXTURE_SIDE), Image.Resampling.BOX)
    return np.asarray(texture.resize((side, side), Image.Resampling.BICUBIC))


def _family_labels(sources: list[Source]) -> tuple[Tensor, int]:
    families = sorted({source.family for source in sources})
    index = {family: position for position, family in enumerate(families)}
    return torch.tensor([index[source.family] for source in sources]), len(families)


def load_banks(
    library: SourceLibrary, objects: list[Source], textures: list[Source], device: torch.device
) -> Banks:
    """Decode sources into banks on a device.

    Args:
        library: Where the pictures are.
        objects: O object sources.
        textures: T texture sources.
        device: Device that holds the banks and composes the images.
    """
    cutouts = np.stack([load_object(library.open(source.key)) for source in objects])
    surfaces = np.stack([load_texture(library.open(source.key)) for source in textures])
    object_labels, object_families = _family_labels(objects)
    texture_labels, texture_families = _family_labels(textures)
    return Banks(
        objects=torch.from_numpy(cutouts).permute(0, 3, 1, 2).contiguous().to(device),
        object_labels=object_labels.to(device),
        textures=torch.from_numpy(surfaces).permute(0, 3, 1, 2).contiguous().to(device),
        texture_labels=texture_labels.to(device),
        object_families=object_families,
        texture_families=texture_families,
    )
