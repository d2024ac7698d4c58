"""Tests of the difference of two AUROCs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from uniformaly_pipeline.evaluation.significance import (
    AurocDifference,
    PairedScores,
    delong,
    paired_bootstrap,
)


def drawn(
    seed: int, normal: int = 60, anomalous: int = 40, gain: tuple[float, float] = (1.0, 1.0)
) -> PairedScores:
    """Two detectors of the same images that share half of their noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normal, anomalous])
    shared = rng.normal(size=len(labels))
    first, second = (labels * g + 0.7 * shared + 0.7 * rng.normal(size=len(labels)) for g in gain)
    return PairedScores(labels, first, second)


def by_definition(pair: PairedScores) -> tuple[float, float, float]:
    """Both AUROCs and the variance of their difference, pair by pair, as DeLong et al. have it."""
    anomalous, normal = pair.labels == 1, pair.labels == 0
    tables = []
    for scores in (pair.first, pair.second):
        above = scores[anomalous][:, None] - scores[normal][None]
        tables.append((above > 0) + 0.5 * (above == 0))
    one, two = tables
    v10 = np.cov(np.stack([one.mean(axis=1), two.mean(axis=1)]))
    v01 = np.cov(np.stack([one.mean(axis=0), two.mean(axis=0)]))
    s = v10 / anomalous.sum() + v01 / normal.sum()
    return one.mean(), two.mean(), s[0, 0] + s[1, 1] - 2 * s[0, 1]


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_what_its_definition_gives(ties: bool) -> None:
    pair = drawn(0, gain=(1.5, 0.8))
    if ties:
        pair = PairedScores(pair.labels, pair.first.round(), pair.second.round())
    first, second, variance = by_definition(pair)
    found = delong([pair])
    assert (found.first, found.second) == pytest.approx((first, second), rel=1e-12)
    assert found.first == pytest.approx(roc_auc_score(pair.labels, pair.first))
    reach = 1.959963984540054 * np.sqrt(variance)
    assert found.low == pytest.approx(first - second - reach, rel=1e-9)
    assert found.high == pytest.approx(first - second + reach, rel=1e-9)
    z = abs(first - second) / np.sqrt(variance)
    assert found.p_value == pytest.approx(2 * norm.sf(z), rel=1e-9)


def test_delong_of_several_categories_is_that_of_their_mean() -> None:
    pairs = [drawn(seed, normal, gain=(1.2, 0.9)) for seed, normal in enumerate((20, 50, 90))]
    each = [by_definition(pair) for pair in pairs]
    first, second = np.mean([one[:2] for one in each], axis=0)
    reach = 1.959963984540054 * np.sqrt(sum(one[2] for one in each)) / 3
    found = delong(pairs)
    assert (found.first, found.second) == pytest.approx((first, second))
    assert found.high - found.low == pytest.approx(2 * reach)


def test_the_bootstrap_agrees_with_delong() -> None:
    pairs = [drawn(seed, 150, 100, gain=(1.3, 1.0)) for seed in range(3)]
    exact, drawn_anew = delong(pairs), paired_bootstrap(pairs)
    assert drawn_anew.difference == pytest.approx(exact.difference)
    assert drawn_anew.low == pytest.approx(exact.low, abs=0.006)
    assert drawn_anew.high == pytest.approx(exact.high, abs=0.006)


def test_a_bootstrap_draws_with_replacement_and_keeps_the_numbers_of_both_labels() -> None:
    """Two images of each label: every AUROC of a resample is known."""
    labels = np.array([0, 0, 1, 1])
    pair = PairedScores(labels, np.array([1.0, 3.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0, 1.0]))
    found = paired_bootstrap([pair], num_resamples=4000)
    assert (found.first, found.second) == (0.75, 0.5)
    # Resamples give 0, 0.5, 0.75 or 1 by which normal and anomalous images are drawn.
    assert (found.low, found.high) == (-0.5, 0.5)


@pytest.mark.parametrize("test", [delong, paired_bootstrap])
def test_equal_scores_do_not_differ(test: object) -> None:
    pair = drawn(1)
    found = test([PairedScores(pair.labels, pair.first, pair.first)])  # type: ignore[operator]
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert found.p_value == 1
    assert not found.is_significant


@pytest.mark.parametrize("test", [delong, paired_bootstrap])
def test_chance_is_told_from_difference(test: object) -> None:
    """Of 40 pairs without a difference few are called different, of 40 with one most."""
    calls = {
        gain: sum(
            test([drawn(seed, gain=gain)]).is_significant  # type: ignore[operator]
            for seed in range(40)
        )
        for gain in ((1.0, 1.0), (2.0, 0.5))
    }
    assert calls[1.0, 1.0] <= 6
    assert calls[2.0, 0.5] >= 38


def test_the_seed_alone_decides() -> None:
    pair = drawn(2)
    assert paired_bootstrap([pair], seed=1) == paired_bootstrap([pair], seed=1)
    assert paired_bootstrap([pair], seed=1) != paired_bootstrap([pair], seed=2)


def test_a_difference_without_spread_is_certain() -> None:
    """A single image of each label, or perfect against reversed."""
    pair = PairedScores(np.array([0, 1]), np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert delong([pair]) == AurocDifference(1.0, 0.0, 1.0, 1.0, 0.0)


def test_what_has_no_auroc_is_refused() -> None:
    with pytest.raises(ValueError, match="normal and anomalous"):
        PairedScores(np.zeros(3), np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="as many scores"):
        PairedScores(np.array([0, 1]), np.zeros(3), np.zeros(2))
