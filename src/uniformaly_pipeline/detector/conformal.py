"""When to flag a new image: split-conformal decisions from held-out normal images.

Not in the paper, which ranks images but never decides. The bound is that of split conformal
prediction (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005); Bates et
al., "Testing for outliers with conformal p-values" (Annals of Statistics 51(1), 2023, arXiv
2104.08279), apply it to anomaly scores. It assumes nothing of the scores but that the held-out
images and a new normal one are exchangeable.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context
from fractions import Fraction

import numpy as np

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.arguments import check_number

FALSE_ALARM_RATE = 0.1
"""Share of normal images that may be flagged where nothing else is asked for."""


def conformal_threshold(
    calibration_scores: np.ndarray,
    false_alarm_rate: float,
    called: str = "predict.false_alarm_rate",
) -> float:
    """The score strictly above which an image is flagged.

    It is the ceil((n + 1)(1 - rate))-th smallest of the n calibration scores. A new normal image
    is flagged with a probability of at most ``false_alarm_rate``, taken over the draw of both the
    calibration images and the new one, and of at least ``rate - 1 / (n + 1)`` where scores do not
    tie; ties only make false alarms rarer. Flagged are the images whose
    :func:`conformal_p_values` are at most ``false_alarm_rate``.

    Args:
        calibration_scores: float [n], scores of normal images that are not in the memory bank.
        false_alarm_rate: Highest probability of flagging a normal image, strictly in 0..1.
        called: What an error calls the rate.

    Returns:
        The threshold [unit of the scores], one of ``calibration_scores``. Compare it in their
        precision: float64 scores rounded to float32 may fall on the other side.

    Raises:
        InputError: ``false_alarm_rate`` is no number between 0 and 1 or n is too small for it.
        ValueError: A score is not finite.
    """
    ordered = _ordered(calibration_scores, called)
    check_false_alarm_rate(false_alarm_rate, called)
    rate, n = float(false_alarm_rate), len(ordered)
    # (n + 1)(1 - rate) in floating point misses whole numbers. A quotient is rounded as the rate
    # was, so 1/20 meets 0.05 and 1/3 meets 1 / 3: count the p-values that the rate admits.
    num_above = int(np.count_nonzero(np.arange(1, n + 1) / (n + 1) <= rate))
    if num_above == 0:
        raise InputError(
            f"{called} is {rate}, which takes at least {images_needed(rate)} "
            f"held-out normal images, but there are {n}: add images or raise it to "
            f"{_smallest_rate(n)} or more"
        )
    return float(ordered[n - num_above])


def check_false_alarm_rate(rate: object, called: str = "false_alarm_rate") -> None:
    """Refuse what no false-alarm rate can be, however many images are held out.

    Raises:
        InputError: It is no number strictly in 0..1.
    """
    check_number(
        called, rate, lambda share: 0 < share < 1, "a number between 0 and 1, both excluded"
    )


def conformal_p_values(calibration_scores: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How rare a score as high would be among normal images.

    Args:
        calibration_scores: float [n], scores of normal images that are not in the memory bank.
        scores: float [m], scores of the images to judge.

    Returns:
        float64 [m]: (1 + number of calibration scores at or above the score) / (n + 1), from
        1 / (n + 1) to 1. For a normal image, the chance of a value of at most t is at most t.

    Raises:
        InputError: There are no calibration scores.
        ValueError: A score is not finite.
    """
    ordered = _ordered(calibration_scores, "the false-alarm rate")
    scores = np.asarray(scores)
    _require_finite(scores)
    at_or_above = len(ordered) - np.searchsorted(ordered, scores, side="left")
    p_values: np.ndarray = (1 + at_or_above) / (len(ordered) + 1)
    return p_values


def describe_p_values(num_calibration: int) -> str:
    """What a p-value is, for people who have never seen one.

    >>> describe_p_values(9)
    'p-value: share of normal images that score as high, by 9 held out: 0.1 or more'
    >>> describe_p_values(12)[-14:]
    '0.0769 or more'
    """
    least = f"{smallest_rate(num_calibration):.3g}"
    share = "p-value: share of normal images that score as high"
    return f"{share}, by {num_calibration:,} held out: {least} or more"


def smallest_rate(num_calibration: int) -> float:
    """The lowest false-alarm rate that so many held-out normal images can keep."""
    return 1 / (num_calibration + 1)


def images_needed(rate: float) -> int:
    """How many held-out normal images a false-alarm rate takes: the least n, 1 / (n + 1) <= rate.

    >>> images_needed(0.1), images_needed(0.05), images_needed(1 / 3)
    (9, 19, 2)
    """
    steps = math.ceil(1 / Fraction(str(rate)))
    # The decimals of a rate such as 1 / 3 fall just short of it.
    return steps - 2 if 1 / (steps - 1) <= rate else steps - 1


def _ordered(calibration_scores: np.ndarray, called: str) -> np.ndarray:
    """The scores in ascending order; raises where there is none or one is not finite."""
    scores = np.asarray(calibration_scores).ravel()
    if len(scores) == 0:
        raise InputError(f"{called} cannot be kept: there are no held-out normal images")
    _require_finite(scores)
    return np.sort(scores)


def _require_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")


def _smallest_rate(n: int) -> str:
    """``1 / (n + 1)`` in four digits, rounded up so that it is itself admissible."""
    return f"{float(Context(prec=4, rounding=ROUND_CEILING).divide(1, n + 1)):g}"
