"""Compose training images on the fly: cut-outs and textured blobs on surfaces, with damage.

Every function works on whole batches on the banks' device. Colours run from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .banks import TEXTURE_SIDE, Banks
from .damage import add_damage

PLAIN_BACKGROUND_SHARE = 0.35
UNEVEN_SHARE = 0.5  # of the full-frame textures: unevenly lit
_WINDOW = 256  # side of the part of a texture that is warped, in bank pixels
_BLOB_RESOLUTION = 7
_CONTROL_GRID = 4


@dataclass(frozen=True)
class Composed:
    """A batch of B composed images of side S.

    Attributes:
        images: RGB in [0, 1], (B, 3, S, S).
        alpha: Coverage by the foreground; all ones where a texture fills the frame, (B, 1, S, S).
        change: Mean absolute colour change by the damage, (B, 1, S, S).
        foreground: Family of the object or texture in front, (B,), -1 for none.
        background: Family of the texture behind it, (B,), -1 for a plain background.
    """

    images: Tensor
    alpha: Tensor
    change: Tensor
    foreground: Tensor
    background: Tensor


@dataclass(frozen=True)
class Mixture:
    """How often each kind of image is composed; the rest shows a texture alone.

    Attributes:
        objects: Share of cut-outs on a background.
        blobs: Share of textured blobs on a background.
        panelled: Of the full-frame textures, share built of two materials, as walls are.
        damage: Share of the images with a first and with a second damage.
        litter: Of the backgrounds, share with small things lying about on them.
    """

    objects: float
    blobs: float
    panelled: float
    damage: tuple[float, float]
    litter: float = 0.0


OBJECTS = Mixture(objects=0.48, blobs=0.2, panelled=0.35, damage=(0.6, 0.4))
TEXTURES = Mixture(objects=0.28, blobs=0.1, panelled=0.2, damage=(0.75, 0.5))


class Composer:
    """Draws composed batches from the banks.

    Texture families are numbered after the object families. All randomness comes from one
    generator, so a resumed run continues the very sequence.
    """

    def __init__(
        self, banks: Banks, generator: torch.Generator, mixture: Mixture = OBJECTS
    ) -> None:
        """Draw a mixture from `banks` with `generator`, which lives on the banks' device."""
        self.banks = banks
        self.generator = generator
        self.device = banks.objects.device
        self.mixture = mixture
        self.classes = banks.object_families + banks.texture_families
        # A family is drawn first, then its member: near duplicates would crowd out the rest.
        self._object_members = _members(banks.object_labels, banks.object_families)
        self._texture_members = _members(banks.texture_labels, banks.texture_families)

    def _uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def _integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def _draw(self, members: list[Tensor], batch: int) -> Tensor:
        families = self._integers(len(members), batch).tolist()
        picks = self._integers(1 << 20, batch).tolist()
        return torch.stack(
            [members[f][p % len(members[f])] for f, p in zip(families, picks, strict=True)]
        )

    def compose(self, batch: int, side: int) -> Composed:
        """Compose `batch` images of `side` pixels."""
        surface, surface_label = self._surfaces(batch, side)
        front, front_label = self._surfaces(batch, side)
        kind = self._uniform(batch)
        mixture = self.mixture
        is_object = kind < mixture.objects
        is_texture = kind >= mixture.objects + mixture.blobs
        is_plain = (self._uniform(batch) < PLAIN_BACKGROUND_SHARE) & ~is_texture

        alpha = self._blobs(batch, side)
        chosen = is_object.nonzero().squeeze(1)
        if len(chosen):
            cutouts, labels = self._objects(len(chosen), side)
            # One cut-out in six lends only its outline: shapes without the familiar inside.
            lends = (self._uniform(len(chosen)) < 1 / 6)[:, None, None, None]
            front[chosen] = torch.where(lends, front[chosen], cutouts[:, :3])
            front_label[chosen] = torch.where(lends.flatten(), front_label[chosen], labels)
            alpha[chosen] = cutouts[:, 3:]
        alpha[is_texture] = 1.0
        panelled = is_texture & (self._uniform(batch) < mixture.panelled)
        pattern = self._panels(batch, side) * panelled[:, None, None, None]
        front = torch.lerp(front, surface, pattern)
        front_label = torch.where(panelled, -1, front_label)
        uneven = (is_texture & (self._uniform(batch) < UNEVEN_SHARE))[:, None, None, None]
        front = torch.where(uneven, (front * self._light(batch, side)).clamp(0, 1), front)

        behind = torch.where(is_plain[:, None, None, None], self._plain(batch, side), surface)
        if mixture.litter:
            littered = (self._uniform(batch) < mixture.litter)[:, None, None, None]
            behind = torch.where(littered, self._litter(behind), behind)
        behind = behind * (1 - self._shadow(alpha))
        images = alpha * front + (1 - alpha) * behind
        change = torch.zeros_like(alpha)
        for share in mixture.damage:
            damaged = self._uniform(batch) < share
            images, more = add_damage(images, alpha, surface, damaged, self.generator)
            change = torch.maximum(change, more)
        return Composed(
            images=self._camera(images),
            alpha=alpha,
            change=change,
            foreground=front_label,
            background=torch.where(is_plain, -1, surface_label),
        )

    def compose_products(self, products: int, views: int, sound: int, side: int) -> Composed:
        """Compose several views of each of some textures, as an inspection line sees a product.

        Args:
            products: Number of textures.
            views: Views of each, next to each other in the batch.
            sound: The first views of each are sound, the others damaged.
            side: Side of the images in pixels.

        Returns:
            A batch of `products * views` images, each all foreground.
        """
        batch = products * views
        index = self._draw(self._texture_members, products).repeat_interleave(views)
        zoom = self._uniform(products, low=0.5, high=0.9).repeat_interleave(views)
        zoom = zoom * self._uniform(batch, low=0.94, high=1.06)
        grid = self._grid(batch, side, zoom, angle=0.07, wobble=0.0, stretch=0.03, mirrored=False)
        warped = self._warped_textures(index, grid)
        # The views of a product as one tall image: they are recoloured alike, then lit apart.
        tall = warped.unflatten(0, (products, views)).transpose(1, 2).flatten(2, 3)
        tall = self._recolour(tall, 0.25).unflatten(2, (views, side)).transpose(1, 2)
        images = self._recolour(tall.flatten(0, 1), 0.05)

        alpha = torch.ones_like(images[:, :1])
        change = torch.zeros_like(alpha)
        damaged = torch.arange(batch, device=self.device) % views >= sound
        another = torch.roll(images, views, dims=0)  # of another product, if there are several
        images, change = add_damage(images, alpha, another, damaged, self.generator, stains=0.4)
        label = self.banks.texture_labels[index] + self.banks.object_families
        nothing = torch.full_like(label, -1)
        return Composed(self._camera(images, 0.06), alpha, change, label, nothing)

    def _surfaces(self, batch: int, side: int) -> tuple[Tensor, Tensor]:
        """Warped, recoloured textures (batch, 3, side, side) and their families."""
        index = self._draw(self._texture_members, batch)
        # A smaller image shows a smaller part: the grain keeps its size in pixels.
        zoom = self._uniform(batch, low=0.5, high=1.0) * (side / 224) ** 0.5
        grid = self._grid(batch, side, zoom, angle=0.3, wobble=0.05)
        labels = self.banks.texture_labels[index] + self.banks.object_families
        return self._recolour(self._warped_textures(index, grid), 0.25), labels

    def _warped_textures(self, index: Tensor, grid: Tensor) -> Tensor:
        """Random windows of textures (B,) sampled at a grid (B, S, S, 2)."""
        corners = self._integers(TEXTURE_SIDE - _WINDOW + 1, len(index), 2).tolist()
        windows = torch.stack(
            [
                self.banks.textures[i, :, top : top + _WINDOW, left : left + _WINDOW]
                for i, (top, left) in zip(index.tolist(), corners, strict=True)
            ]
        )
        return F.grid_sample(windows.float() / 255, grid, "bilinear", "reflection", False)

    def _objects(self, batch: int, side: int) -> tuple[Tensor, Tensor]:
        """Warped, recoloured cut-outs RGBA (batch, 4, side, side) and their families."""
        index = self._draw(self._object_members, batch)
        cutouts = self.banks.objects[index].float() / 255
        shown = self._uniform(batch, low=0.4, high=1.05)
        grid = self._grid(batch, side, 1 / shown, angle=0.5, wobble=0.1, shift=True)
        warped = F.grid_sample(cutouts, grid, "bilinear", "zeros", False)
        # Colours next to the outline mix with the transparent black around it: divide it out.
        alpha = F.grid_sample(
            (cutouts[:, 3:] > 0.02).float(), grid, "bilinear", "zeros", False
        ).clamp_min(1e-3)
        colour = self._recolour((warped[:, :3] / alpha).clamp(0, 1), 0.3)
        return torch.cat([colour, warped[:, 3:]], dim=1), self.banks.object_labels[index]

    def _grid(
        self,
        batch: int,
        side: int,
        zoom: Tensor,
        angle: float,
        wobble: float,
        shift: bool = False,
        stretch: float = 0.15,
        mirrored: bool = True,
    ) -> Tensor:
        """Random flip, rotation, scale, shear and smooth wobble as a sampling grid (B, S, S, 2)."""
        turn = self._uniform(batch, low=-angle, high=angle)
        longer = self._uniform(batch, low=1 - stretch, high=1 + stretch)
        flip = torch.where(self._uniform(batch) < 0.5 * mirrored, -1.0, 1.0)
        cos, sin = turn.cos() * zoom, turn.sin() * zoom
        rows = torch.stack([cos * flip * longer, -sin * longer, sin * flip, cos], dim=1)
        matrix = rows.view(batch, 2, 2)
        if shift:
            # Keeps most of the object in the frame; a large one may leave it on one side.
            room = (1 - 1 / zoom).clamp_min(0.12)
            offset = self._uniform(batch, 2, low=-1, high=1) * room[:, None]
            translation = -(matrix @ offset[:, :, None])
        else:
            slack = (1 - zoom).clamp_min(0.0)
            translation = (self._uniform(batch, 2, low=-1, high=1) * slack[:, None])[:, :, None]
        grid = F.affine_grid(torch.cat([matrix, translation], 2), [batch, 1, side, side], False)
        control = self._uniform(batch, 2, _CONTROL_GRID, _CONTROL_GRID, low=-1, high=1)
        bend = F.interpolate(control, size=(side, side), mode="bicubic", align_corners=False)
        return grid + wobble * zoom[:, None, None, None] * bend.permute(0, 2, 3, 1)

    def _recolour(self, colours: Tensor, strength: float) -> Tensor:
        """Random gain per channel, contrast, brightness and saturation."""
        batch = colours.shape[0]
        gain = 1 + self._uniform(batch, 1, 1, 1, low=-strength, high=strength)
        tint = 1 + self._uniform(batch, 3, 1, 1, low=-strength / 3, high=strength / 3)
        lift = self._uniform(batch, 1, 1, 1, low=-strength / 3, high=strength / 3)
        grey = colours.mean(1, keepdim=True)
        saturation = 1 + self._uniform(batch, 1, 1, 1, low=-2 * strength, high=strength)
        return ((grey + (colours - grey) * saturation) * gain * tint + lift).clamp(0, 1)

    def _plain(self, batch: int, side: int) -> Tensor:
        """Plain backgrounds with a soft gradient of light, (batch, 3, side, side)."""
        colour = self._uniform(batch, 3, 1, 1)
        grey = self._uniform(batch, 1, 1, 1)
        colour = grey + (colour - grey) * self._uniform(batch, 1, 1, 1, high=0.8)
        light = self._uniform(batch, 1, 2, 2, low=-0.12, high=0.12)
        gradient = F.interpolate(light, size=(side, side), mode="bilinear", align_corners=True)
        return (colour + gradient).clamp(0, 1)

    def _panels(self, batch: int, side: int) -> Tensor:
        """Soft masks of stripes, tiles or bricks that fill the frame, (batch, 1, side, side).

        What repeats over the whole frame is a texture, however distinct its parts: no panel may
        draw the attention as an object does.
        """
        turn = self._uniform(batch, low=-0.15, high=0.15)
        turn = turn + 1.5708 * self._integers(2, batch)
        axis = torch.arange(side, device=self.device, dtype=torch.float32) * (224 / side)
        cos, sin = (f(turn)[:, None, None] for f in (torch.cos, torch.sin))
        along = cos * axis[None, None, :] + sin * axis[None, :, None]
        across = cos * axis[None, :, None] - sin * axis[None, None, :]
        period = self._uniform(batch, 2, 1, 1, low=24, high=110)
        start = self._uniform(batch, 2, 1, 1, high=110)
        # The first material's share of a period: from thin joints to halves.
        share = self._uniform(batch, 2, 1, 1, low=0.06, high=0.5)
        row = (across + start[:, 0]) / period[:, 0]
        # Bricks: every other row is moved by half a brick. Stripes have no joints along them.
        kind = self._integers(3, batch)[:, None, None]
        moved = 0.5 * (row.floor() % 2) * (kind == 1)
        column = (along + start[:, 1]) / period[:, 1] + moved
        distances = []
        for position, index in ((row, 0), (column, 1)):
            inside = position - position.floor()
            edge = torch.minimum(inside, share[:, index] - inside)  # positive inside the joint
            edge = torch.maximum(edge, inside - 1)  # the next joint comes near
            distances.append(edge * period[:, index] * (side / 224))
        joints = torch.where(kind == 2, distances[0], torch.maximum(*distances))
        return (joints + 0.5).clamp(0, 1)[:, None]

    def _litter(self, surfaces: Tensor) -> Tensor:
        """Surfaces with crumbs of all colours and, on one side, the edge of another surface."""
        batch, side = surfaces.shape[0], surfaces.shape[-1]
        axis = torch.linspace(-1, 1, side, device=self.device)
        angle = self._uniform(batch, 1, 1, high=2 * math.pi)
        along = angle.cos() * axis[None, None, :] + angle.sin() * axis[None, :, None]
        edge = along - self._uniform(batch, 1, 1, low=0.6, high=1.4)
        corner = (edge * side / 4).clamp(0, 1)[:, None]
        littered = torch.lerp(surfaces, torch.roll(surfaces, 1, dims=0), corner)

        grain = self._integers(24, 2).tolist()
        noise = self._uniform(batch, 1, 10 + grain[0], 10 + grain[1])
        field = F.interpolate(noise, size=(side, side), mode="bicubic", align_corners=False)
        sparse = self._uniform(batch, 1, 1, 1, low=0.88, high=0.99)
        crumbs = ((field - sparse) * side / 8).clamp(0, 1)
        colours = F.interpolate(self._uniform(batch, 3, 14, 14), size=(side, side))
        return torch.lerp(littered, colours, crumbs)

    def _light(self, batch: int, side: int) -> Tensor:
        """Pools of light and shade, (batch, 1, side, side), about 1."""
        coarse = self._uniform(batch, 1, 4, 4, low=-1, high=1)
        field = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
        return 1 + self._uniform(batch, 1, 1, 1, high=0.45) * field

    def _blobs(self, batch: int, side: int) -> Tensor:
        """Alpha of smooth random shapes near the middle, (batch, 1, side, side)."""
        noise = self._uniform(batch, 1, _BLOB_RESOLUTION, _BLOB_RESOLUTION, low=-1, high=1)
        field = F.interpolate(noise, size=(side, side), mode="bicubic", align_corners=False)
        axis = torch.linspace(-1, 1, side, device=self.device)
        centre = self._uniform(batch, 2, 1, low=-0.3, high=0.3)
        extent = self._uniform(batch, 2, 1, low=0.35, high=0.8)
        across, down = (((axis - centre[:, i]) / extent[:, i]) ** 2 for i in range(2))
        distance = (across[:, None, None, :] + down[:, None, :, None]).sqrt()
        inside = 1 - distance + 0.35 * field
        return (inside * side / 8).clamp(0, 1)

    def _shadow(self, alpha: Tensor) -> Tensor:
        """Darkness of a soft shadow beside the foreground, (batch, 1, S, S)."""
        batch, side = alpha.shape[0], alpha.shape[-1]
        small = F.interpolate(alpha, size=(side // 8, side // 8), mode="area")
        move = self._integers(3, 2).tolist()
        small = torch.roll(small, (move[0], move[1] - 1), dims=(2, 3))
        soft = F.avg_pool2d(small, 3, 1, 1)
        soft = F.interpolate(soft, size=(side, side), mode="bilinear", align_corners=False)
        strength = self._uniform(batch, 1, 1, 1, low=-0.4, high=0.6).clamp_min(0)
        return strength * soft

    def _camera(self, images: Tensor, exposures: float = 0.15) -> Tensor:
        """Blur a share of the images a little, change the exposure, add sensor noise."""
        batch = images.shape[0]
        soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), "replicate"), 3, 1)
        amount = self._uniform(batch, 1, 1, 1, low=-1.0, high=0.8).clamp_min(0)
        images = images + amount * (soft - images)
        exposure = 1 + self._uniform(batch, 1, 1, 1, low=-exposures, high=exposures)
        sigma = self._uniform(batch, 1, 1, 1, high=0.03)
        noise = torch.randn(images.shape, generator=self.generator, device=self.device)
        return (images * exposure + sigma * noise).clamp(0, 1)


def _members(labels: Tensor, families: int) -> list[Tensor]:
    return [(labels == family).nonzero().squeeze(1) for family in range(families)]
