"""An anomaly map over its image."""

from __future__ import annotations

import numpy as np
import pytest

from uniformaly_pipeline.scoring.heat_map import overlay_heat_map


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    """An image with both dark and light regions."""
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()


def test_heat_map_keeps_the_image_where_the_map_is_0() -> None:
    image = gradient()
    anomaly_map = np.zeros(image.shape[:2], np.float32)
    anomaly_map[5:9, 5:9] = 3.0
    heated = overlay_heat_map(image, anomaly_map, vmax=3.0)
    assert heated.dtype == np.uint8
    assert (heated[anomaly_map == 0] == image[anomaly_map == 0]).all()
    assert (heated[anomaly_map > 0] != image[anomaly_map > 0]).any(axis=-1).all()


def test_heat_map_grows_more_opaque_and_saturates_at_vmax() -> None:
    image = np.full((1, 4, 3), 128, np.uint8)
    anomaly_map = np.array([[0.0, 0.5, 1.0, 7.0]], np.float32)
    heated = overlay_heat_map(image, anomaly_map, vmax=1.0)[0].astype(int)
    change = np.abs(heated - 128).sum(axis=1)
    assert change[0] == 0 < change[1] < change[2]
    assert (heated[2] == heated[3]).all()


def test_heat_map_of_a_category_without_any_anomaly_is_the_image() -> None:
    image = gradient()
    heated = overlay_heat_map(image, np.zeros(image.shape[:2], np.float32), vmax=0.0)
    assert (heated == image).all()


@pytest.mark.parametrize("vmax", [-1.0, float("nan"), float("inf")])
def test_heat_map_refuses_an_impossible_scale(vmax: float) -> None:
    image = gradient()
    with pytest.raises(ValueError, match="vmax"):
        overlay_heat_map(image, np.zeros(image.shape[:2], np.float32), vmax)


def test_heat_map_refuses_another_size() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        overlay_heat_map(gradient(), np.zeros((3, 3), np.float32), 1.0)
