"""Split-conformal decisions: the promised rate of false alarms, exactly and by simulation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.conformal import conformal_p_values, conformal_threshold

QUICK = settings(deadline=None, derandomize=True, max_examples=200)

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

# Sevenths tie often and are not exact in binary.
levels = st.integers(0, 12).map(lambda value: value / 7)
calibrations = hnp.arrays(np.float32, st.integers(1, 60), elements=levels.map(np.float32))
new_scores = hnp.arrays(np.float32, st.integers(1, 20), elements=levels.map(np.float32))
rates = st.one_of(
    st.floats(0.001, 0.999),
    st.integers(1, 999).map(lambda thousandths: thousandths / 1000),
    st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda pair: pair[0] / sum(pair)),
)

CONTINUOUS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "gamma, as squared distances": lambda rng, shape: 50 * rng.gamma(0.5, size=shape),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(shape),
}
DISCRETE: dict[str, Draw] = {
    "Poisson": lambda rng, shape: rng.poisson(2.0, shape).astype(np.float64),
    "mostly 0": lambda rng, shape: rng.binomial(1, 0.1, shape).astype(np.float64),
    "all the same": lambda rng, shape: np.full(shape, 3.5),
}


def admitted(n: int, rate: Fraction) -> int:
    """How many of n + 1 exchangeable scores may be flagged."""
    return math.floor((n + 1) * rate)


# --- the threshold --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [
        (19, 0.05, 19),  # 20 * 0.95 is 19 exactly; one image fewer is too few
        (20, 0.05, 20),  # 21 * 0.95 = 19.95
        (39, 0.05, 38),
        (9, 0.1, 9),
        (99, 0.01, 99),
        (99, 0.07, 93),  # 100 * (1 - 0.07) is 92.99999999999999 in floating point
        (9, 0.9, 1),
        (1, 0.5, 1),
        (2, 1 / 3, 2),  # the decimals of the float fall short of a third
        (48, 1 / 49, 48),  # 1 / (1 / 49) is not 49 in floating point
        (2, 0.999, 1),
        (10, 0.1, 10),
    ],
)
def test_threshold_is_the_score_of_a_known_rank(n: int, rate: float, rank: int) -> None:
    scores = np.random.default_rng(n).permutation(n) + 1.0
    assert conformal_threshold(scores, rate) == rank


@QUICK
@given(st.integers(1, 300), st.integers(1, 999))
def test_rank_is_that_of_exact_arithmetic(n: int, thousandths: int) -> None:
    rank = math.ceil((n + 1) * (1 - Fraction(thousandths, 1000)))
    scores = np.arange(1.0, n + 1)
    if rank > n:
        with pytest.raises(InputError):
            conformal_threshold(scores, thousandths / 1000)
    else:
        assert conformal_threshold(scores, thousandths / 1000) == rank


def test_every_rate_that_n_can_keep_exactly_is_kept_exactly() -> None:
    for n in range(1, 250):
        for num_above in {1, 2, n // 2, n} - {0, n + 1}:
            threshold = conformal_threshold(np.arange(1.0, n + 1), num_above / (n + 1))
            assert threshold == n + 1 - num_above, (n, num_above)


@QUICK
@given(calibrations, rates, rates)
def test_a_higher_rate_never_raises_the_threshold(
    calibration: np.ndarray, first: float, second: float
) -> None:
    low, high = sorted((first, second))
    try:
        cautious = conformal_threshold(calibration, low)
    except InputError:
        return
    assert conformal_threshold(calibration, high) <= cautious


def test_only_the_set_of_scores_counts_and_it_is_left_as_it_was() -> None:
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0], np.float32)
    before = scores.copy()
    assert conformal_threshold(scores, 0.4) == conformal_threshold(scores[::-1], 0.4) == 4
    conformal_p_values(scores, scores)
    assert (scores == before).all()


# --- p-values -------------------------------------------------------------------------------------


@QUICK
@given(calibrations, new_scores)
def test_p_values_count_the_scores_as_high(calibration: np.ndarray, scores: np.ndarray) -> None:
    expected = [
        (1 + sum(other >= score for other in calibration.tolist())) / (len(calibration) + 1)
        for score in scores.tolist()
    ]
    found = conformal_p_values(calibration, scores)
    assert found.dtype == np.float64
    assert found.tolist() == expected


@QUICK
@given(calibrations, new_scores, rates)
def test_flagged_are_those_whose_p_value_is_at_most_the_rate(
    calibration: np.ndarray, scores: np.ndarray, rate: float
) -> None:
    small = conformal_p_values(calibration, scores) <= rate
    try:
        threshold = conformal_threshold(calibration, rate)
    except InputError:
        # Then no score, however high, is rare enough.
        assert not small.any()
        assert conformal_p_values(calibration, np.array([1e9]))[0] > rate
    else:
        assert (small == (scores > threshold)).all()
        assert conformal_p_values(calibration, np.array([1e9]))[0] <= rate


@QUICK
@given(calibrations, new_scores)
def test_p_values_fall_as_scores_rise_and_stay_above_0(
    calibration: np.ndarray, scores: np.ndarray
) -> None:
    found = conformal_p_values(calibration, np.sort(scores))
    assert (np.diff(found) <= 0).all()
    assert found.max() <= 1
    assert found.min() >= 1 / (len(calibration) + 1)


def test_no_scores_have_no_p_values() -> None:
    assert conformal_p_values(np.arange(3.0), np.zeros(0)).shape == (0,)


# --- the rate of false alarms ---------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("rate", [0.2, 0.25, 0.3, 0.5, 0.75])
def test_without_ties_the_rate_is_exact(n: int, rate: float) -> None:
    # Any of the n + 1 exchangeable scores is as likely to be the new one.
    scores = np.random.default_rng(n).permutation(n + 1).astype(np.float64)
    expected = admitted(n, Fraction(str(rate)))
    if expected == 0:
        with pytest.raises(InputError):
            conformal_threshold(scores[1:], rate)
        return
    alarms = sum(
        bool(scores[new] > conformal_threshold(np.delete(scores, new), rate))
        for new in range(n + 1)
    )
    assert alarms == expected


@pytest.mark.parametrize(
    ("n", "rate"),
    [
        (1, 0.5),
        (1, 0.75),
        (2, 0.34),
        (2, 0.75),
        (3, 0.25),
        (3, 0.5),
        (4, 0.2),
        (4, 0.34),
        (4, 0.75),
    ],
)
def test_with_ties_no_discrete_distribution_exceeds_the_rate(n: int, rate: float) -> None:
    for weights in [(1, 1, 1), (8, 1, 1), (1, 1, 8), (1, 8, 1)]:
        alarms = Fraction(0)
        for scores in product(range(3), repeat=n + 1):
            chance = math.prod(Fraction(weights[score], sum(weights)) for score in scores)
            if scores[-1] > conformal_threshold(np.array(scores[:-1]), rate):
                alarms += chance
        assert alarms <= Fraction(str(rate))


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
@pytest.mark.parametrize(("n", "rate"), [(9, 0.1), (19, 0.05), (25, 0.1), (50, 0.33), (7, 0.75)])
def test_simulated_rate_of_false_alarms(name: str, n: int, rate: float) -> None:
    num_draws, num_new = 2000, 20
    rng = np.random.default_rng([n, round(100 * rate), *name.encode()])
    draw = {**CONTINUOUS, **DISCRETE}[name]
    calibration, new = draw(rng, (num_draws, n)), draw(rng, (num_draws, num_new))
    thresholds = np.array([conformal_threshold(scores, rate) for scores in calibration])
    # New images that share a threshold are not independent: a draw counts once.
    alarms = (new > thresholds[:, None]).mean(axis=1)
    error = alarms.std() / math.sqrt(num_draws)
    assert alarms.mean() <= rate + 4 * error
    if name in CONTINUOUS:
        assert alarms.mean() >= rate - 1 / (n + 1) - 4 * error
        exact = admitted(n, Fraction(str(rate))) / (n + 1)
        assert abs(alarms.mean() - exact) <= 4 * error


# --- errors ---------------------------------------------------------------------------------------


def test_too_few_images_are_one_clear_line() -> None:
    with pytest.raises(InputError) as error:
        conformal_threshold(np.arange(18.0), 0.05)
    assert str(error.value) == (
        "predict.false_alarm_rate is 0.05, which takes at least 19 held-out normal images, but "
        "there are 18: add images or raise it to 0.05264 or more"
    )


@QUICK
@given(st.integers(1, 60), st.one_of(rates, st.floats(1e-5, 0.05)))
def test_what_the_error_asks_for_is_enough_and_no_more_than_that(n: int, rate: float) -> None:
    try:
        conformal_threshold(np.zeros(n), rate)
    except InputError as error:
        found = re.search(r"at least (\d+) held-out .* raise it to (\S+) or more", str(error))
        assert found is not None
        needed, smallest = int(found[1]), float(found[2])
        conformal_threshold(np.zeros(needed), rate)
        with pytest.raises(InputError):
            conformal_threshold(np.zeros(needed - 1), rate)
        conformal_threshold(np.zeros(n), smallest)
        assert smallest <= 1.002 / (n + 1)
    else:
        assert n + 1 >= 1 / rate * (1 - 1e-12)


@pytest.mark.parametrize("denominator", [3, 10, 20, 49, 98, 103, 107, 1000])
def test_the_number_of_images_needed_is_not_off_by_a_rounding(denominator: int) -> None:
    with pytest.raises(InputError, match=f"at least {denominator - 1} held-out"):
        conformal_threshold(np.zeros(1), 1 / denominator)


@pytest.mark.parametrize("rate", [1e-12, 1e-300, 5e-324])
def test_an_absurdly_small_rate_is_refused_all_the_same(rate: float) -> None:
    with pytest.raises(InputError, match=r"raise it to 0\.25 or more"):
        conformal_threshold(np.zeros(3), rate)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_a_rate_outside_0_to_1_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match=r"^predict\.false_alarm_rate is .* between 0 and 1"):
        conformal_threshold(np.arange(100.0), rate)


def test_no_held_out_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"^predict\.false_alarm_rate .* no held-out normal"):
        conformal_threshold(np.zeros(0), 0.1)
    with pytest.raises(InputError, match="no held-out normal images"):
        conformal_p_values(np.zeros(0), np.ones(2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    good, spoilt = np.arange(20.0), np.append(np.arange(20.0), bad)
    with pytest.raises(ValueError, match="finite"):
        conformal_threshold(spoilt, 0.1)
    with pytest.raises(ValueError, match="finite"):
        conformal_p_values(spoilt, good)
    with pytest.raises(ValueError, match="finite"):
        conformal_p_values(good, spoilt)
