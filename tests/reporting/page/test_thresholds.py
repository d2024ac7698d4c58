"""The threshold that decides for good as the page decides."""

from __future__ import annotations

import numpy as np
import pytest

from uniformaly_pipeline.reporting.page.thresholds import kept_threshold


@pytest.mark.parametrize("seed", range(5))
def test_above_the_kept_threshold_is_what_reaches_the_pages(seed: int) -> None:
    """Whether it is a score itself, lies between two, below or above all, or beside a near one."""
    rng = np.random.default_rng(seed)
    scores = rng.gamma(3.0, 40.0, 30).astype(np.float32).astype(np.float64)
    scores[7] = np.nextafter(np.float32(scores[3]), np.float32(np.inf))
    tried = [*scores, scores.min() - 1, scores.max() + 1, *rng.uniform(0, 300, 20)]
    for threshold in tried:
        kept = kept_threshold(scores, threshold)
        reaches = scores >= np.float64(np.float32(threshold))
        np.testing.assert_array_equal(scores > kept, reaches)


def test_a_threshold_between_scores_stays_and_numbers_are_short() -> None:
    scores = np.array([10.0, 20.0, 40.0])
    assert kept_threshold(scores, 31.5) == 31.5
    assert kept_threshold(scores, 40.0) == 30.0
    assert kept_threshold(scores, 10.0) == pytest.approx(9.99)
    assert repr(kept_threshold(scores, 100 / 3)) == "33.3333"
