"""An anomaly map over its image."""

from __future__ import annotations

import numpy as np

_MAX_OPACITY = 0.85


def overlay_heat_map(image: np.ndarray, anomaly_map: np.ndarray, vmax: float) -> np.ndarray:
    """Lay an anomaly map over its image; the higher the value, the more opaque.

    Args:
        image: uint8 [H, W, 3].
        anomaly_map: float [H, W], 0 where nothing is wrong.
        vmax: Value that gets the brightest colour, common to all images of a category so that
            their maps can be compared. Where it is 0 there is nothing to show.

    Returns:
        uint8 [H, W, 3]; equal to the image where the map is 0.

    Raises:
        ValueError: The sizes differ, or ``vmax`` or a value of the map is not a finite number,
            or ``vmax`` is negative.
    """
    check_same_size(image, anomaly_map, "anomaly map")
    if not (np.isfinite(vmax) and vmax >= 0 and np.isfinite(anomaly_map).all()):
        raise ValueError(f"a heat map needs finite values and vmax >= 0, not vmax {vmax}")
    if vmax == 0:
        return image.copy()
    import matplotlib

    strength = np.clip(np.asarray(anomaly_map, np.float32) / np.float32(vmax), 0, 1)
    colours = matplotlib.colormaps["inferno"](strength)[..., :3].astype(np.float32) * 255
    opacity = _MAX_OPACITY * strength[..., None]
    return np.rint(image + opacity * (colours - image)).astype(np.uint8)


def check_same_size(image: np.ndarray, other: np.ndarray, name: str) -> None:
    """Refuse a map or mask [H, W] of another size than its image [H, W, 3]: ``ValueError``."""
    if image.ndim != 3 or image.shape[2] != 3 or other.shape != image.shape[:2]:
        raise ValueError(f"{name} {other.shape} does not fit the image {image.shape}")
