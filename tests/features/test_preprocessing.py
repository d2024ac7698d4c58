"""From image to the encoder's input, against torchvision's own composition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    height_width,
)

SIZES = [(300, 200), (200, 300), (256, 256), (64, 100), (257, 513)]


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A colour image of (width, height)."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_image_is_resized_cropped_and_normalised(size: tuple[int, int], interpolation: str) -> None:
    expected = transforms.Compose(
        [
            transforms.Resize(256, InterpolationMode(interpolation)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    tensor = Preprocessing(interpolation=interpolation).image_tensor(noise(size))
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, expected(noise(size)))


def test_default_is_the_papers_and_normalised_with_imagenets_figures() -> None:
    image = Image.new("RGB", (400, 400), (255, 0, 128))
    tensor = Preprocessing().image_tensor(image)
    assert tensor.shape == (3, 224, 224)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(tensor[:, 100, 100], torch.tensor(expected))


@pytest.mark.parametrize("size", SIZES)
def test_mask_shares_the_images_geometry(size: tuple[int, int]) -> None:
    # A mask that equals the image's red channel must stay equal to it.
    image = noise(size)
    preprocessing = Preprocessing(resize=96, crop=(64, 80))
    mask = preprocessing.mask_tensor(image.getchannel("R"))
    fitted = np.asarray(preprocessing.fit_image(image))[..., 0]
    assert mask.shape == (64, 80)
    np.testing.assert_allclose(mask.numpy(), fitted / 255, atol=1e-6)


def test_mask_is_bilinear_whatever_the_images_filter() -> None:
    mask = noise((300, 200)).getchannel("R")
    plain = Preprocessing().mask_tensor(mask)
    assert torch.equal(Preprocessing(interpolation="lanczos").mask_tensor(mask), plain)
    assert float(plain.min()) >= 0.0
    assert float(plain.max()) <= 1.0


def test_cifar_is_enlarged_with_lanczos_and_padded_with_black() -> None:
    image = noise((32, 32))
    preprocessing = Preprocessing(resize=112, crop=None, pad=224, interpolation="lanczos")
    fitted = np.asarray(preprocessing.fit_image(image)).copy()
    inner = np.asarray(image.resize((112, 112), Image.Resampling.LANCZOS))
    assert fitted.shape == (224, 224, 3)
    assert (fitted[56:168, 56:168] == inner).all()
    fitted[56:168, 56:168] = 0
    assert not fitted.any()
    # Black before normalisation, not 0 after it.
    corner = preprocessing.image_tensor(image)[:, 0, 0]
    black = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    torch.testing.assert_close(corner, torch.tensor(black))


def test_padding_leaves_the_mask_normal_and_an_odd_border_goes_right_and_down() -> None:
    preprocessing = Preprocessing(resize=(4, 6), crop=None, pad=(9, 9))
    mask = preprocessing.mask_tensor(Image.new("L", (6, 4), 255))
    expected = torch.zeros(9, 9)
    expected[2:6, 1:7] = 1
    assert torch.equal(mask, expected)


def test_non_square_crop_takes_the_centre() -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[14:46, 18:82] = 200
    preprocessing = Preprocessing(resize=None, crop=(32, 64))
    assert preprocessing.input_size == (32, 64)
    assert (np.asarray(preprocessing.fit_image(Image.fromarray(pixels))) == 200).all()


def test_resize_of_two_numbers_is_height_and_width() -> None:
    preprocessing = Preprocessing(resize=[48, 80], crop=None)
    assert preprocessing.input_size == (48, 80)
    assert preprocessing.fit_image(noise((33, 55))).size == (80, 48)


@pytest.mark.parametrize(
    ("preprocessing", "size"),
    [
        (Preprocessing(), (224, 224)),
        (Preprocessing(resize=112, crop=None), (112, 112)),
        (Preprocessing(resize=112, crop=96, pad=(128, 160)), (128, 160)),
    ],
)
def test_input_size_is_that_of_the_last_step(
    preprocessing: Preprocessing, size: tuple[int, int]
) -> None:
    assert preprocessing.input_size == size


def test_no_size_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="set one of resize, crop and pad"):
        _ = Preprocessing(resize=None, crop=None).input_size


@pytest.mark.parametrize(("size", "expected"), [(7, (7, 7)), ((3, 5), (3, 5)), ([3, 5], (3, 5))])
def test_height_and_width(
    size: int | tuple[int, int] | list[int], expected: tuple[int, int]
) -> None:
    assert height_width(size) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing(resize=[120, 160], crop=[96, 128]),
        Preprocessing(resize=None, crop=48),
        Preprocessing(resize=112, crop=112, pad=224),
    ],
)
def test_a_point_of_the_input_is_found_in_the_image(
    size: tuple[int, int], preprocessing: Preprocessing
) -> None:
    """A white square's centre in the input leads back to its centre in the image."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    side = min(size) // 6
    left, top = width // 2 - side // 3, height // 2 - side // 2
    image[top : top + side, left : left + side] = 255
    seen = np.asarray(preprocessing.fit_image(Image.fromarray(image)))[..., 0].astype(float)
    y, x = (float((np.indices(seen.shape)[axis] + 0.5)[seen > 127].mean()) for axis in (0, 1))
    found = preprocessing.to_image(x, y, size)
    expected = (left + side / 2, top + side / 2)
    assert found == pytest.approx(expected, abs=2.0)
