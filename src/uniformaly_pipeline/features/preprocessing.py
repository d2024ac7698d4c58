"""From an image of any size to the encoder's input (METHOD "Preprocessing", paper appendix A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from uniformaly_pipeline.common.errors import InputError

if TYPE_CHECKING:
    import torch

Size = int | tuple[int, int] | list[int]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def height_width(size: Size) -> tuple[int, int]:
    """``size`` as (height, width) in pixels; a single number is a square."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop and zero padding; the same geometry serves images and masks.

    Attributes:
        resize: Shorter side, or (height, width), in pixels; ``None`` keeps the size.
        crop: Side or (height, width) of the centre crop; ``None`` does not crop.
        pad: Side or (height, width) that black padding extends the image to; ``None`` pads not.
        interpolation: Pillow's filter for images: nearest, bilinear, bicubic or lanczos.
            Masks are always resized bilinearly, as the authors' code does.
    """

    resize: Size | None = 256
    crop: Size | None = 224
    pad: Size | None = None
    interpolation: str = "bilinear"

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

    def _fit(self, image: Image.Image, interpolation: str) -> Image.Image:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        if self.resize is not None:
            resize = [self.resize] if isinstance(self.resize, int) else list(self.resize)
            image = F.resize(image, resize, InterpolationMode(interpolation))
        if self.crop is not None:
            image = F.center_crop(image, list(height_width(self.crop)))
        height, width = self.input_size
        if self.pad is not None:
            left, top = (width - image.width) // 2, (height - image.height) // 2
            padding = [left, top, width - image.width - left, height - image.height - top]
            image = F.pad(image, padding)
        if image.size != (width, height):
            raise InputError(
                f"preprocessing gives {image.width}x{image.height} pixels where the encoder "
                f"expects {width}x{height}: set crop or a resize of two numbers"
            )
        return image

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
        if isinstance(self.resize, int):
            # torchvision cuts the longer side's fraction off.
            short = min(width, height)
            fitted = (int(self.resize * width / short), int(self.resize * height / short))
        elif self.resize is not None:
            fitted = (self.resize[1], self.resize[0])
        else:
            fitted = (width, height)
        shown = height_width(self.crop) if self.crop is not None else fitted[::-1]
        scales = (width / fitted[0], height / fitted[1])
        # Padding moves the picture to the right and down, a crop to the left and up.
        padding = [(full - part) // 2 for full, part in zip(self.input_size, shown, strict=True)]
        cut = [round((a - b) / 2) for a, b in zip(fitted[::-1], shown, strict=True)]
        return (x - padding[1] + cut[1]) * scales[0], (y - padding[0] + cut[0]) * scales[1]

    def fit_image(self, image: Image.Image) -> Image.Image:
        """The picture that the encoder sees, before normalisation: PIL image of ``input_size``."""
        return self._fit(image, self.interpolation)

    def image_tensor(self, image: Image.Image) -> torch.Tensor:
        """The encoder's input: float32 [3, H, W], normalised with ImageNet's mean and deviation."""
        from torchvision.transforms import functional as F

        return F.normalize(F.to_tensor(self.fit_image(image)), IMAGENET_MEAN, IMAGENET_STD)

    def mask_tensor(self, mask: Image.Image) -> torch.Tensor:
        """A ground-truth mask in the input's geometry: float32 [H, W], 0 normal to 1 anomalous."""
        from torchvision.transforms import functional as F

        return F.to_tensor(self._fit(mask, "bilinear"))[0]
