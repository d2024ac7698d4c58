"""Whether images still are what a detector was calibrated on: its scores of late against then.

Not in the paper. A false-alarm rate holds while new normal images are exchangeable with the
held-out ones. When light, camera or product change, scores move, often of every image at once. The
last scores are compared with the calibration scores by the two-sample test of Kolmogorov and
Smirnov, which asks nothing of their distribution. The p-values that count are exact, so on
exchangeable images each comparison is wrong with at most the stated probability.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

WINDOWS = (20, 50, 200)
"""Last scores that are compared: the shorter, the sooner a great change shows; a small one takes
more images."""

FIRST = 10
"""Images before which nothing is said."""

FALSE_ALARMS = 1e-4
"""Chance of a drift that is none at an image: one in 10,000 images at most, on average."""


UNREMARKABLE = 0.01
"""P-values above this are Smirnov's approximation; only those below are computed exactly."""


@dataclass(frozen=True)
class Drift:
    """How the last scores compare with the calibration scores.

    Attributes:
        p_value: The least of the windows' p-values, times their number; 1 before
            :data:`FIRST` images.
        is_drifting: Whether it is below :data:`FALSE_ALARMS`.
        window: How many of the last images it is from.
        direction: Whether scores have risen or fallen, where they drift.
        num_images: Images seen so far.
    """

    p_value: float
    is_drifting: bool
    window: int
    direction: Literal["higher", "lower"] | None
    num_images: int

    def __str__(self) -> str:
        """A sentence for people."""
        if not self.is_drifting:
            return f"no drift (p-value {self.p_value:.2g} over the last {self.window} images)"
        return (
            f"scores drift: the last {self.window} are {self.direction} than those of the held-out "
            f"normal images (p-value {self.p_value:.1g}); look at light and camera, or fit anew"
        )


def compare(calibration_scores: np.ndarray, scores: np.ndarray, only_higher: bool = False) -> Drift:
    """How all scores of a folder of images compare with the calibration scores.

    Args:
        calibration_scores: float [n].
        scores: float [m].
        only_higher: See :class:`DriftMonitor`.
    """
    monitor = DriftMonitor(calibration_scores, (max(1, len(scores)),), only_higher)
    for score in scores[:-1]:
        monitor._last.append(float(score))
    return monitor.update(float(scores[-1])) if len(scores) else monitor.look()


class DriftMonitor:
    """Compares the scores of new images with those that a detector was calibrated on.

    All images count, flagged ones too: a change that lifts every score above the threshold would
    otherwise go unseen. So many true anomalies within a few images show as a drift as well.
    """

    def __init__(
        self,
        calibration_scores: np.ndarray,
        windows: tuple[int, ...] = WINDOWS,
        only_higher: bool = False,
    ) -> None:
        """Take the calibration scores, float [n]; with none of them nothing is ever said.

        Args:
            calibration_scores: float [n].
            windows: How many of the last scores are compared.
            only_higher: Whether lower scores are no drift: they fall with every image that a
                memory bank learns after the calibration, see :meth:`.detector.Detector.monitor`.
        """
        self._windows = windows
        self._only_higher = only_higher
        self._calibration = np.sort(np.asarray(calibration_scores, np.float64))
        self._last: deque[float] = deque(maxlen=max(windows))
        self._num_images = 0

    def update(self, score: float) -> Drift:
        """Take in an image's score.

        Args:
            score: The score of the image, as the detector gives it.

        Returns:
            How the last images compare.
        """
        self._last.append(float(score))
        self._num_images += 1
        return self.look()

    def look(self) -> Drift:
        """How the last images compare."""
        count = len(self._last)
        if count < FIRST or len(self._calibration) == 0:
            return Drift(1.0, False, count, None, self._num_images)
        scores = np.array(self._last)
        windows = sorted({min(window, count) for window in self._windows})
        found = [(self._p_value(scores[-window:]), window) for window in windows]
        p_value, window = min(found)
        p_value = min(1.0, p_value * len(windows))
        higher = np.median(scores[-window:]) > np.median(self._calibration)
        if self._only_higher and not higher:
            p_value = 1.0
        is_drifting = p_value < FALSE_ALARMS
        direction: Literal["higher", "lower"] = "higher" if higher else "lower"
        return Drift(p_value, is_drifting, window, direction if is_drifting else None,
                     self._num_images)  # fmt: skip

    def _p_value(self, scores: np.ndarray) -> float:
        both = np.concatenate([scores, self._calibration])
        shares = [
            np.searchsorted(ordered, both, side="right") / len(ordered)
            for ordered in (np.sort(scores), self._calibration)
        ]
        distance = float(np.abs(shares[0] - shares[1]).max())
        size = len(scores) * len(self._calibration) / len(both)
        rough = min(1.0, 2 * float(np.exp(-2 * size * distance**2)))
        if rough > UNREMARKABLE:
            return rough
        # SciPy's statistics take long to import, and exact values milliseconds to compute.
        from scipy.stats import ks_2samp

        return float(ks_2samp(scores, self._calibration, method="auto").pvalue)
