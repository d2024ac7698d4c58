"""Back Patch Masking, against METHOD's definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uniformaly_pipeline.features.masking import BackPatchMasking, drops_patches, smooth_attention

QUICK = settings(deadline=None, derandomize=True, max_examples=40)

shapes = st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))
kernels = st.sampled_from([1, 3, 5, 7])
thresholds = st.floats(0.0, 0.99)
attentions = shapes.flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=st.integers(0, 1000))
).map(lambda counts: torch.from_numpy(counts / np.float32(4000)))


def smooth_naively(attention: torch.Tensor, kernel_size: int) -> np.ndarray:
    """METHOD's words, patch by patch, in double precision."""
    grids = attention.double().numpy()
    reach = kernel_size // 2
    padded = np.pad(grids, ((0, 0), (reach, reach), (reach, reach)))
    smoothed = np.zeros_like(grids)
    for image, row, column in np.ndindex(grids.shape):
        window = padded[image, row : row + kernel_size, column : column + kernel_size]
        smoothed[image, row, column] = window.sum() / kernel_size**2
    maximum = smoothed.max(axis=(1, 2), keepdims=True)
    return np.divide(smoothed, maximum, out=np.zeros_like(smoothed), where=maximum > 0)


@QUICK
@given(attentions, kernels)
def test_smoothing_is_a_zero_padded_mean_over_the_images_own_maximum(
    attention: torch.Tensor, kernel_size: int
) -> None:
    smoothed = smooth_attention(attention, kernel_size).numpy()
    np.testing.assert_allclose(smoothed, smooth_naively(attention, kernel_size), atol=1e-6)


@QUICK
@given(attentions, kernels)
def test_smoothed_attention_is_within_0_and_1_and_reaches_1(
    attention: torch.Tensor, kernel_size: int
) -> None:
    smoothed = smooth_attention(attention, kernel_size)
    assert bool(((smoothed >= 0) & (smoothed <= 1)).all())
    lit = attention.amax(dim=(1, 2)) > 0
    assert (smoothed.amax(dim=(1, 2)) == lit.float()).all()


@QUICK
@given(attentions, kernels)
def test_an_image_does_not_depend_on_its_batch(attention: torch.Tensor, kernel_size: int) -> None:
    batch = torch.cat([attention, 50 * attention.flip(2)])
    alone = torch.cat([smooth_attention(image[None], kernel_size) for image in batch])
    assert torch.equal(smooth_attention(batch, kernel_size), alone)


@QUICK
@given(attentions)
def test_kernel_of_1_only_rescales(attention: torch.Tensor) -> None:
    maximum = attention.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(smooth_attention(attention, 1) * maximum, attention)


@QUICK
@given(attentions, kernels, thresholds, thresholds)
def test_a_higher_threshold_keeps_fewer_patches(
    attention: torch.Tensor, kernel_size: int, first: float, second: float
) -> None:
    low, high = sorted((first, second))
    kept = BackPatchMasking("binary", kernel_size, low).foreground(attention)
    kept_high = BackPatchMasking("binary", kernel_size, high).foreground(attention)
    assert bool((kept | ~kept_high).all())


def test_the_threshold_itself_is_background() -> None:
    attention = torch.tensor([[[1.0, 0.5, 0.25], [0.75, 0.0, 0.5]]])
    foreground = BackPatchMasking(kernel_size=1, threshold=0.5).foreground(attention)
    assert foreground.tolist() == [[True, False, False, True, False, False]]


def test_the_defaults_are_the_papers() -> None:
    masking = BackPatchMasking()
    assert (masking.mode, masking.kernel_size, masking.threshold) == ("binary", 7, 0.1)


@QUICK
@given(attentions, kernels)
def test_soft_keeps_all_patches_and_weights_them(attention: torch.Tensor, kernel_size: int) -> None:
    masking = BackPatchMasking("soft", kernel_size)
    assert bool(masking.foreground(attention).all())
    smoothed = smooth_attention(attention, kernel_size)
    assert torch.equal(masking.weights(attention), smoothed.flatten(1))


@QUICK
@given(attentions)
def test_off_keeps_all_patches_as_they_are(attention: torch.Tensor) -> None:
    masking = BackPatchMasking("off")
    assert masking.foreground(attention).shape == attention.flatten(1).shape
    assert bool(masking.foreground(attention).all())
    assert bool((masking.weights(attention) == 1).all())


def test_binary_does_not_weight_what_it_keeps() -> None:
    attention = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    assert bool((BackPatchMasking().weights(attention) == 1).all())


@pytest.mark.parametrize(
    ("mode", "keep", "dropped"),
    [
        ("binary", "foreground", True),
        ("binary", "all", False),
        ("soft", "foreground", False),
        ("off", "foreground", False),
    ],
)
def test_only_a_binary_masking_lets_a_store_drop_patches(
    mode: str, keep: str, dropped: bool
) -> None:
    assert drops_patches(BackPatchMasking(mode), keep) is dropped  # type: ignore[arg-type]


@QUICK
@given(attentions, kernels, thresholds)
def test_arrays_give_exactly_what_tensors_give(
    attention: torch.Tensor, kernel_size: int, threshold: float
) -> None:
    """A detector without torch must drop the same patches, also those at the threshold."""
    smoothed = smooth_attention(attention.numpy(), kernel_size)
    np.testing.assert_array_equal(smoothed, smooth_attention(attention, kernel_size).numpy())
    for mode in ("binary", "soft", "off"):
        masking = BackPatchMasking(mode, kernel_size, threshold)
        for read in (masking.foreground, masking.weights):
            found = read(attention.numpy())
            assert isinstance(found, np.ndarray)
            expected = read(attention).numpy()
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
