"""From an image of any size to the encoder's input (METHOD "Preprocessing", paper appendix A)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.light_torch import late_compiler
from uniformaly_pipeline.features.tiles import Tiles, lay_tiles

if TYPE_CHECKING:
    import torch

    from uniformaly_pipeline.ingestion.regions import Region

Size = int | tuple[int, int] | list[int]

MOST_RESIZED_PIXELS = 1 << 26
"""Where a resized image would have more pixels, what the crop cuts off is left out before."""
MARGIN_PX = 8
"""Pixels beside the crop that resizing looks at."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def height_width(size: Size) -> tuple[int, int]:
    """``size`` as (height, width) in pixels; a single number is a square."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop and zero padding; the same geometry serves images and masks.

    With a single number for ``resize`` and neither ``crop`` nor ``pad`` the whole image is seen,
    whatever its aspect: its longer side becomes so long, and the rest of the square is padding,
    whose patches never count. A square image just fills it.

    Attributes:
        resize: Shorter side, the longer one where the whole image is seen, or (height, width), in
            pixels; ``None`` keeps the size.
        crop: Side or (height, width) of the centre crop; ``None`` does not crop.
        pad: Side or (height, width) that black padding extends the image to; ``None`` pads not.
        interpolation: Pillow's filter for images: nearest, bilinear, bicubic or lanczos.
            Masks are always resized bilinearly, as the authors' code does.
        tiles: How large images are cut, where they are wholly seen; each tile is then resized to
            ``resize``. ``None`` cuts none.
    """

    resize: Size | None = 256
    crop: Size | None = 224
    pad: Size | None = None
    interpolation: str = "bilinear"
    tiles: Tiles | None = None

    def __post_init__(self) -> None:
        """Take tiles as parameters and headers hold them, too."""
        if isinstance(self.tiles, Mapping):
            object.__setattr__(self, "tiles", Tiles(**self.tiles))

    def to_dict(self) -> dict[str, Any]:
        """The settings as a header or a memory bank tells them; tiles only where there are any."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key != "tiles" or value}

    def is_cut(self, image_size: tuple[int, int]) -> bool:
        """Whether an image of (width, height) pixels is cut into tiles."""
        return self.tiles is not None and self.sees_all and self.tiles.cut(image_size)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the encoder's input in pixels.

        Raises:
            InputError: Neither ``pad``, ``crop`` nor ``resize`` fixes it.
        """
        for size in (self.pad, self.crop, self.resize):
            if size is not None:
                return height_width(size)
        raise InputError("preprocessing: set one of resize, crop and pad to fix the input size")

    @property
    def sees_all(self) -> bool:
        """Whether the whole image is seen, with padding where it is not square."""
        return isinstance(self.resize, int) and self.crop is None and self.pad is None

    def fitted_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the resized image, before any crop or padding."""
        width, height = image_size
        if self.resize is None:
            return width, height
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        if self.sees_all:
            longer = max(width, height)
            if self.tiles is not None and self.is_cut(image_size):
                longer = self.tiles.size
            return (
                max(1, round(self.resize * width / longer)),
                max(1, round(self.resize * height / longer)),
            )
        # torchvision cuts the longer side's fraction off.
        shorter = min(width, height)
        return int(self.resize * width / shorter), int(self.resize * height / shorter)

    def shown_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of what of the input shows the image: less than all of it with padding.

        Only padding of images that are wholly seen is meant; it is below and to the right.
        """
        height, width = self.input_size
        return self.fitted_size(image_size) if self.sees_all else (width, height)

    def counted(
        self, image_size: tuple[int, int], grid: tuple[int, int], region: Region | None = None
    ) -> np.ndarray:
        """The patches of an input that count: those that show anything of the image.

        Args:
            image_size: (width, height) of the image in pixels.
            grid: (height, width) in patches.
            region: What of the image counts: a patch does where the region covers half of what it
                shows.

        Returns:
            bool [grid height, grid width].
        """
        (width, height), (full_height, full_width) = self.shown_size(image_size), self.input_size
        rows = np.arange(grid[0]) * full_height < height * grid[0]
        columns = np.arange(grid[1]) * full_width < width * grid[1]
        counted = rows[:, None] & columns
        if region is None:
            return counted
        box, seen = self.input_box(image_size), self.seen_box(image_size)
        return counted & region.covers(box, grid, seen)

    def counted_views(
        self, image_size: tuple[int, int], grid: tuple[int, int], region: Region | None = None
    ) -> np.ndarray:
        """:meth:`counted` of each input of an image, one or one for each tile: bool [V, ...]."""
        if self.tiles is None or not self.is_cut(image_size):
            return self.counted(image_size, grid, region)[None]
        tiling = lay_tiles(image_size, self.tiles, grid)
        counted = np.stack([tiling.counted(origin) for origin in tiling.origins])
        if region is None:
            return counted
        (height, width), patch = tiling.whole, tiling.patch
        covered = region.covers((0.0, 0.0, width * patch, height * patch), tiling.whole)
        return counted & np.append(covered, False)[tiling.patches()].reshape(counted.shape)

    def num_inputs(self, image_size: tuple[int, int], grid: tuple[int, int]) -> int:
        """Inputs of an image of (width, height) pixels: its tiles where it is cut, or one."""
        if self.tiles is None or not self.is_cut(image_size):
            return 1
        return len(lay_tiles(image_size, self.tiles, grid).origins)

    def check_region(self, region: Region, grid: tuple[int, int]) -> None:
        """Refuse a region of interest in which no patch counts.

        Args:
            region: The region.
            grid: (height, width) of an input in patches.

        Raises:
            InputError: It is too small, or lies where a crop hides it.
        """
        if not self.counted_views(region.size, grid, region).any():
            raise InputError(
                "the region of interest covers half of no patch: draw it larger, raise "
                "preprocessing.resize, or do without crop"
            )

    def tensors(
        self, image: Image.Image, grid: tuple[int, int], region: Region | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The encoder's inputs of an image: one, or one for each tile.

        Args:
            image: The image, RGB.
            grid: (height, width) of an input in patches.
            region: What of the image counts; ``None`` for all.

        Returns:
            float32 [V, 3, H, W] and the patches that count, bool [V, grid height, grid width].
        """
        counted = self.counted_views(image.size, grid, region)
        if self.tiles is None or not self.is_cut(image.size):
            return self.image_array(image)[None], counted
        tiling = lay_tiles(image.size, self.tiles, grid)
        inputs = [_normalised(self._tile(image, tiling.box(origin))) for origin in tiling.origins]
        return np.stack(inputs), counted

    def _tile(self, image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
        """A part of an image as the encoder's input, padded with its own edge."""
        assert self.tiles is not None
        height, width = self.input_size
        scale = width / self.tiles.size
        fitted = image.resize(
            (
                min(width, max(1, round((box[2] - box[0]) * scale))),
                min(height, max(1, round((box[3] - box[1]) * scale))),
            ),
            Image.Resampling[self.interpolation.upper()],
            box=box,
        )
        return _extend(fitted, width, height)

    def __str__(self) -> str:
        """What is seen of an image, for people."""
        if self.sees_all and self.tiles is not None:
            return (
                f"all of every image; larger ones in tiles of {self.tiles.size} pixels that "
                f"overlap by {self.tiles.overlap}"
            )
        if self.sees_all:
            return f"all of every image, its longer side in {self.resize} pixels"
        height, width = height_width(self.crop) if self.crop is not None else self.input_size
        if self.crop is None:
            return f"all of every image, in {width} x {height} pixels"
        if height == width == self.resize:
            return f"the middle square of every image, in {width} x {height} pixels"
        resized = "as it is" if self.resize is None else f"resized to {self.resize} pixels"
        return f"the middle {width} x {height} pixels of every image, {resized}"

    def input_box(self, image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the input in pixels of the image; padding lies outside.

        Where less than all of an image is shown, what padding hides has a place in the image, too.
        """
        height, width = self.input_size
        return *self.to_image(0, 0, image_size), *self.to_image(width, height, image_size)

    def seen_box(self, image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is seen of an image, in its pixels."""
        if self.sees_all:  # in tiles, too, which are more than one input
            return 0.0, 0.0, float(image_size[0]), float(image_size[1])
        left, top, right, bottom = self.input_box(image_size)
        if self.crop is not None and self.pad is not None:
            # Padding shows nothing, whatever the crop has cut off there.
            (height, width), padding = height_width(self.crop), self._padding(image_size)
            first = self.to_image(padding[1], padding[0], image_size)
            last = self.to_image(padding[1] + width, padding[0] + height, image_size)
            left, top = max(left, first[0]), max(top, first[1])
            right, bottom = min(right, last[0]), min(bottom, last[1])
        return max(0.0, left), max(0.0, top), min(image_size[0], right), min(image_size[1], bottom)

    def _padding(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows above and columns left of what is shown; less than 0 where some are cut off."""
        cropped = height_width(self.crop) if self.crop is not None else None
        shown = cropped or self.fitted_size(image_size)[::-1]
        height, width = self.input_size
        return (height - shown[0]) // 2, (width - shown[1]) // 2

    def seen_share(self, image_size: tuple[int, int]) -> float:
        """Share of an image's pixels that the encoder sees, 0..1."""
        left, top, right, bottom = self.seen_box(image_size)
        return (right - left) * (bottom - top) / (image_size[0] * image_size[1])

    def _fit(self, image: Image.Image, interpolation: str, *, extend: bool = False) -> Image.Image:
        if self.sees_all:
            return self._fit_all(image, Image.Resampling[interpolation.upper()], extend)
        image = self._before_resize(image)
        if self.resize is not None:
            image = _resize(image, self.resize, Image.Resampling[interpolation.upper()])
        if self.crop is not None:
            image = _centre_crop(image, *height_width(self.crop))
        height, width = self.input_size
        if self.pad is not None:
            left, top = (width - image.width) // 2, (height - image.height) // 2
            image = image.crop((-left, -top, width - left, height - top))
        return image

    def _fit_all(
        self, image: Image.Image, interpolation: Image.Resampling, extend: bool
    ) -> Image.Image:
        """The whole image at the upper left of the input; padded with its own edge or with 0."""
        fitted = image.resize(self.fitted_size(image.size), interpolation)
        height, width = self.input_size
        if fitted.size == (width, height) or self.is_cut(image.size):
            return fitted
        if not extend:
            return fitted.crop((0, 0, width, height))
        return _extend(fitted, width, height)

    def _before_resize(self, image: Image.Image) -> Image.Image:
        """Cut the ends off an image so long that its resized self would fill the memory."""
        if not isinstance(self.resize, int) or self.crop is None:
            return image
        width, height = self.fitted_size(image.size)
        crop_height, crop_width = height_width(self.crop)
        if width * height <= MOST_RESIZED_PIXELS:
            return image
        shorter = min(image.size)
        kept_width, kept_height = (
            min(side, 2 * round((cut + MARGIN_PX) * shorter / self.resize / 2 + 1) + side % 2)
            for side, cut in zip(image.size, (crop_width, crop_height), strict=True)
        )
        left, top = (image.width - kept_width) // 2, (image.height - kept_height) // 2
        return image.crop((left, top, left + kept_width, top + kept_height))

    def to_image(self, x: float, y: float, image_size: tuple[int, int]) -> tuple[float, float]:
        """Where a point of the encoder's input lies in the image as it was.

        Args:
            x: Pixels from the left of the input.
            y: Pixels from its top.
            image_size: (width, height) of the image in pixels.

        Returns:
            (x, y) in pixels of the image; outside it for a point of the padding.
        """
        width, height = image_size
        fitted = self.fitted_size(image_size)
        if self.sees_all:
            return x * width / fitted[0], y * height / fitted[1]
        shown = height_width(self.crop) if self.crop is not None else fitted[::-1]
        scales = (width / fitted[0], height / fitted[1])
        # Padding moves the picture to the right and down, a crop to the left and up.
        padding = self._padding(image_size)
        cut = [_margin(a, b) for a, b in zip(fitted[::-1], shown, strict=True)]
        return (x - padding[1] + cut[1]) * scales[0], (y - padding[0] + cut[0]) * scales[1]

    def image_point(self, x: float, y: float, image_size: tuple[int, int]) -> tuple[float, float]:
        """The pixel of the image that is nearest to a point of the encoder's input.

        As :meth:`to_image`, but of what is seen of the image: the centre of a patch that shows an
        edge may lie in the padding beside it.
        """
        found, box = self.to_image(x, y, image_size), self.seen_box(image_size)
        return (
            max(min(max(found[0], box[0]), box[2] - 1.0), 0.0),
            max(min(max(found[1], box[1]), box[3] - 1.0), 0.0),
        )

    def fit_image(self, image: Image.Image) -> Image.Image:
        """The picture that the encoder sees, before normalisation: PIL image of ``input_size``.

        Of an image that is cut into tiles it is all of them together, of :meth:`shown_size`.
        """
        return self._fit(image, self.interpolation, extend=True)

    def image_array(self, image: Image.Image) -> np.ndarray:
        """The encoder's input: float32 [3, H, W], normalised with ImageNet's mean and deviation."""
        return _normalised(self.fit_image(image))

    def image_tensor(self, image: Image.Image) -> torch.Tensor:
        """:meth:`image_array` as a torch tensor."""
        import torch

        return torch.from_numpy(self.image_array(image))

    def mask_tensor(self, mask: Image.Image) -> torch.Tensor:
        """A ground-truth mask in the input's geometry: float32 [H, W], 0 normal to 1 anomalous."""
        with late_compiler():
            from torchvision.transforms import functional as F

        return F.to_tensor(self._fit(mask, "bilinear"))[0]


def _normalised(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture, np.float32).transpose(2, 0, 1)
    mean, std = np.array([IMAGENET_MEAN, IMAGENET_STD], np.float32)[:, :, None, None]
    return np.ascontiguousarray((pixels / np.float32(255) - mean) / std)


def _extend(picture: Image.Image, width: int, height: int) -> Image.Image:
    """A picture with its last column and row repeated to the right and below."""
    pixels = np.asarray(picture)
    margins = [(0, height - picture.height), (0, width - picture.width), (0, 0)]
    return Image.fromarray(np.pad(pixels, margins[: pixels.ndim], mode="edge"))


def _resize(image: Image.Image, size: Size, filter: Image.Resampling) -> Image.Image:
    """As torchvision does, which cuts the longer side's fraction off."""
    if isinstance(size, int):
        short = min(image.size)
        return image.resize(
            (int(size * image.width / short), int(size * image.height / short)), filter
        )
    return image.resize((size[1], size[0]), filter)


def _centre_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """As torchvision does; what lies outside the image is black."""
    left, top = _margin(image.width, width), _margin(image.height, height)
    return image.crop((left, top, left + width, top + height))


def _margin(side: int, wanted: int) -> int:
    return round((side - wanted) / 2) if side >= wanted else -((wanted - side) // 2)
