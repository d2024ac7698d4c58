"""What a decision threshold does to a category's test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Confusion:
    """How often a threshold is right and wrong; anomalous is the positive class.

    Attributes:
        tp: Anomalous images called anomalous (found).
        fp: Normal images called anomalous (false alarms).
        tn: Normal images called normal (passed).
        fn: Anomalous images called normal (missed).

    Example:
        >>> counts = confusion(np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 4.0]), 2.0)
        >>> counts
        Confusion(tp=2, fp=1, tn=1, fn=0)
        >>> counts.recall, counts.accuracy
        (1.0, 0.75)
    """

    tp: int
    fp: int
    tn: int
    fn: int

    def __add__(self, other: Confusion) -> Confusion:
        """The counts of two categories together."""
        return Confusion(
            self.tp + other.tp, self.fp + other.fp, self.tn + other.tn, self.fn + other.fn
        )

    @property
    def precision(self) -> float | None:
        """Share of the images called anomalous that are; None if none is called so."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Share of the anomalous images that are found; None if there are none."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the normal images called anomalous; None if there are none."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if nothing is or is called anomalous."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def accuracy(self) -> float | None:
        """Share of right decisions; None without images."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Confusion:
    """Count the decisions of a threshold.

    Args:
        labels: int [n], 0 normal, 1 anomalous.
        scores: float [n].
        threshold: Score at and above which an image is called anomalous.
    """
    anomalous = np.asarray(labels) == 1
    called = np.asarray(scores) >= threshold
    return Confusion(
        tp=int((anomalous & called).sum()),
        fp=int((~anomalous & called).sum()),
        tn=int((~anomalous & ~called).sum()),
        fn=int((anomalous & ~called).sum()),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
