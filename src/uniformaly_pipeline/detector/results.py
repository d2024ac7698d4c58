"""What a detector says of an image."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from uniformaly_pipeline.detector.picture import close_up, heat, lay_out
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.scoring.scores import anomaly_map

PLACE_LEGEND = "where: centre of the strangest patch, (x, y) in pixels of the image"
"""What a table of results says of its column of places."""


@dataclass(frozen=True)
class Place:
    """A patch in an image.

    Attributes:
        x: Its centre, pixels from the left of the image.
        y: Pixels from the top.
        row: Its row in the grid of patches.
        column: Its column.
    """

    x: float
    y: float
    row: int
    column: int


@dataclass(frozen=True)
class Evidence:
    """The normal patch that comes nearest to the strangest patch of an image.

    Attributes:
        distance: Squared distance between their features, the strangest patch's score.
        normal_image: Name of the normal image.
        place: The patch in the encoder's view of that image, whose size is the encoder's input.
        thumbnail: JPEG of that view, reduced where it is large; ``None`` where the detector
            carries none.
    """

    distance: float
    normal_image: str
    place: Place
    thumbnail: bytes | None = field(repr=False)

    @property
    def view(self) -> Image.Image | None:
        """The thumbnail as a picture."""
        return None if self.thumbnail is None else Image.open(io.BytesIO(self.thumbnail))


@dataclass(frozen=True)
class Result:
    """What a detector says of an image.

    Attributes:
        name: What the image is called.
        score: The image's score, as the pipeline computes it; higher is stranger.
        threshold: The score strictly above which an image is anomalous.
        is_anomalous: Whether ``score`` is above ``threshold``.
        p_value: Share of normal images that would score as high, see
            :func:`.conformal.conformal_p_values`; ``None`` where no image was held out.
        patch_scores: float32 [grid height, grid width], 0 for background, NaN for padding.
        foreground: bool [grid height, grid width], the patches that count.
        place: The strangest patch; ``None`` where the whole image is background.
        evidence: What that patch was compared with; ``None`` likewise.
        image_size: (width, height) of the image in pixels.
        preprocessing: From the image to the encoder's input.
        remarks: What is odd about the image's file and how that is read, in words that follow its
            name, such as ``is nearly black``.
    """

    name: str
    score: float
    threshold: float
    is_anomalous: bool
    p_value: float | None
    patch_scores: np.ndarray = field(repr=False)
    foreground: np.ndarray = field(repr=False)
    place: Place | None
    evidence: Evidence | None
    image_size: tuple[int, int]
    preprocessing: Preprocessing = field(repr=False)
    _reopen: Callable[[], Image.Image] = field(repr=False)
    remarks: tuple[str, ...] = ()

    @property
    def view(self) -> tuple[float, float, float, float]:
        """What the encoder saw of the image: left, top, right and bottom in its pixels.

        The rest was cut off and is not judged; a view larger than the image is padding.
        """
        height, width = self.preprocessing.input_size
        left, top = self.preprocessing.to_image(0, 0, self.image_size)
        right, bottom = self.preprocessing.to_image(width, height, self.image_size)
        return left, top, right, bottom

    @property
    def view_map(self) -> np.ndarray:
        """The anomaly map of the encoder's input, float32 [H, W], as the pipeline computes it."""
        grid = (self.patch_scores.shape[0], self.patch_scores.shape[1])
        return anomaly_map(self.patch_scores, grid, self.preprocessing.input_size)

    @cached_property
    def anomaly_map(self) -> np.ndarray:
        """The anomaly map at the image's own size: float32 [height, width].

        0 outside :attr:`view`, where nothing was judged. Computed when it is asked for.
        """
        seen = self.view_map
        height, width = seen.shape
        left, top, right, bottom = self.view
        across, down = width / (right - left), height / (bottom - top)
        # Pillow asks for each pixel of the result where it lies in the source.
        spread = Image.fromarray(seen).transform(
            self.image_size,
            Image.Transform.AFFINE,
            (across, 0, -left * across, 0, down, -top * down),
            Image.Resampling.BILINEAR,
        )
        return np.asarray(spread)

    @property
    def image(self) -> Image.Image:
        """The image as RGB, read again where it was a file."""
        return self._reopen()

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """The strangest patch in the image: left, top, right and bottom in pixels."""
        if self.place is None:
            return None
        left, top, right, bottom = self.view
        half_width = (right - left) / self.patch_scores.shape[1] / 2
        half_height = (bottom - top) / self.patch_scores.shape[0] / 2
        x, y = self.place.x, self.place.y
        return x - half_width, y - half_height, x + half_width, y + half_height

    def draw(self) -> Image.Image:
        """The image with its anomaly map, and its strangest patch beside the nearest normal one.

        The brightest colour is the image's highest patch score, but at least twice the threshold,
        so that a sound image stays dark. A yellow frame marks the strangest patch.

        Returns:
            An RGB picture; the image is reduced to at most 1,024 pixels, with the patches on its
            right.
        """
        image = self.image
        vmax = max(float(np.nanmax(self.patch_scores, initial=0)), 2 * self.threshold, 0.0)
        heated = heat(image, self.anomaly_map, vmax, self.box)
        verdict = "ANOMALOUS" if self.is_anomalous else "normal"
        lines = [f"{verdict}: score {self.score:.5g}, threshold {self.threshold:.5g}"]
        if self.p_value is not None:
            lines.append(f"p-value {self.p_value:.3g}")
        panels = []
        if self.place is not None and self.evidence is not None:
            lines.append(f"nearest normal image: {self.evidence.normal_image}")
            seen = np.asarray(self.preprocessing.fit_image(image))
            rows, columns = self.patch_scores.shape
            patch = (seen.shape[0] // rows, seen.shape[1] // columns)
            place = self.place
            centre = ((place.column + 0.5) * patch[1], (place.row + 0.5) * patch[0])
            caption = f"strangest patch, at ({place.x:.0f}, {place.y:.0f})"
            panels.append((caption, close_up(seen, centre, patch)))
            normal = self.evidence.view
            if normal is not None:
                whole = np.asarray(normal.convert("RGB").resize((seen.shape[1], seen.shape[0])))
                there = (self.evidence.place.x, self.evidence.place.y)
                panels.append(("nearest normal patch", close_up(whole, there, patch)))
        return lay_out(heated, panels, lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold: all but the maps and pictures."""
        place, evidence = self.place, self.evidence
        return {
            "image": self.name,
            "score": self.score,
            "threshold": self.threshold,
            "is_anomalous": self.is_anomalous,
            "p_value": self.p_value,
            "x": None if place is None else round(place.x),
            "y": None if place is None else round(place.y),
            "normal_image": None if evidence is None else evidence.normal_image,
            "normal_x": None if evidence is None else round(evidence.place.x),
            "normal_y": None if evidence is None else round(evidence.place.y),
            "remarks": "; ".join(self.remarks) or None,
        }


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be judged.

    Attributes:
        name: What the image is called.
        reason: What is wrong with it, one line that names it.
    """

    name: str
    reason: str
