"""What Python code gives a detector is no schema's: each number that does not fit is one line."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.conformal import conformal_threshold
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.state import Threshold

IMAGES = [np.zeros((8, 8, 3), np.uint8)] * 4
NO_NUMBERS = ["0.1", [0.1], float("nan"), True]


@pytest.mark.parametrize(
    ("called", "values"),
    [
        ("threshold", [*NO_NUMBERS, float("inf")]),
        ("false_alarm_rate", [*NO_NUMBERS, 0, 1, -0.1, 2.5]),
        ("coreset_ratio", [*NO_NUMBERS[:3], None, 0, -1, 1.5]),
        ("seed", [*NO_NUMBERS, None, -1, 2.5]),
        ("feature_dtype", ["0.1", None, "float64", 16]),
        ("device", ["0.1", None, 0]),
        ("backbone", [None, 8, ["dino_vits8"]]),
        ("batch_size", [*NO_NUMBERS, None, 0, -1, 2.5]),
    ],
)
def test_what_cannot_be_used_for_a_fit_is_named(called: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InputError) as error:
            Detector.fit(IMAGES, **{"backbone": "untrained", called: value})
        assert called in str(error.value), value
        assert repr(value) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, 3.5, np.float32(2), np.int64(7), Fraction(1, 2)])
def test_any_kind_of_number_is_one(value: Any) -> None:
    assert Threshold.by_hand(value) == Threshold(float(value))


@pytest.mark.parametrize("value", [-5, -1e-9, float("inf"), float("nan")])
def test_a_threshold_that_flags_every_image_or_none_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"the threshold is .* but must be a finite number from 0"):
        Threshold.by_hand(value)


@pytest.mark.parametrize("rate", ["0.1", None, [0.1], True, 0, 1])
def test_a_rate_is_a_number_between_0_and_1(rate: Any) -> None:
    with pytest.raises(InputError, match="but must be a number between 0 and 1"):
        conformal_threshold(np.arange(20.0), rate)
