"""Is the difference of two AUROCs more than chance? Two runs on the same test images.

Both tests are paired: what makes an image hard for one run makes it hard for the other, and only
what remains counts. Of several categories the mean AUROC is compared, as in the leaderboard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
RESAMPLES_AT_ONCE = 100


@dataclass(frozen=True)
class PairedScores:
    """Scores that two runs gave the test images of one category.

    Attributes:
        labels: int [B], 1 anomalous.
        first: Scores of the first run [B], higher is more anomalous.
        second: Scores of the second run [B], in the same order.
    """

    labels: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what has no AUROC.

        Raises:
            ValueError: Lengths differ, or all images have the same label.
        """
        if not len(self.labels) == len(self.first) == len(self.second):
            raise ValueError("two runs on the same images have as many scores as labels")
        if len(np.unique(self.labels)) != 2:
            raise ValueError("an AUROC needs normal and anomalous images")


@dataclass(frozen=True)
class AurocDifference:
    """Two AUROCs and what their difference may be.

    Attributes:
        first: AUROC of the first run, the mean over categories.
        second: AUROC of the second.
        low: Lower end of the 95% interval of ``first - second``.
        high: Its upper end.
        p_value: How often chance alone makes a difference at least as large, 0..1.
    """

    first: float
    second: float
    low: float
    high: float
    p_value: float

    @property
    def difference(self) -> float:
        """How much higher the first AUROC is."""
        return self.first - self.second

    @property
    def is_significant(self) -> bool:
        """Whether chance makes such a difference in fewer than one of twenty cases."""
        return self.p_value < 1 - CONFIDENCE


def delong(categories: Sequence[PairedScores]) -> AurocDifference:
    """The test of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988), from mid-ranks.

    Categories have no images in common, so that the variance of their mean is the mean of their
    variances over their number.
    """
    aurocs, variances = [], []
    for category in categories:
        anomalous = category.labels == 1
        scores = np.stack([category.first, category.second]).astype(np.float64)
        found, missed = _placements(scores, anomalous)
        aurocs.append(found.mean(axis=1))
        variance = _variance(found[0] - found[1]) + _variance(missed[0] - missed[1])
        variances.append(variance)
    first, second = np.mean(aurocs, axis=0)
    deviation = float(np.sqrt(np.sum(variances))) / len(categories)
    difference = first - second
    if deviation == 0.0:
        # Equal rankings, or a difference without any spread.
        return AurocDifference(first, second, difference, difference, float(difference == 0))
    reach = float(norm.ppf(0.5 + CONFIDENCE / 2)) * deviation
    p_value = 2 * float(norm.sf(abs(difference) / deviation))
    return AurocDifference(first, second, difference - reach, difference + reach, p_value)


def _placements(scores: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each anomalous image the share of normal ones below it, and the other way round.

    Args:
        scores: float64 [2, B].
        anomalous: bool [B].
    """
    num_anomalous, num_normal = int(anomalous.sum()), int((~anomalous).sum())
    ranks = rankdata(scores, axis=1)
    within = rankdata(scores[:, anomalous], axis=1)
    among_normal = rankdata(scores[:, ~anomalous], axis=1)
    found = (ranks[:, anomalous] - within) / num_normal
    missed = 1 - (ranks[:, ~anomalous] - among_normal) / num_anomalous
    return found, missed


def _variance(values: np.ndarray) -> float:
    """Variance of a mean; a single value tells nothing of it."""
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0


def paired_bootstrap(
    categories: Sequence[PairedScores], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> AurocDifference:
    """Draw the test images anew, with replacement, the same ones for both runs.

    Normal and anomalous images are drawn apart, in each category, so that their numbers stay.

    Args:
        categories: The scores.
        num_resamples: How often to draw.
        seed: Seed of the draws.

    Returns:
        The interval holds the middle 95% of the differences; the p-value is twice the share of
        draws on the other side of zero.
    """
    rng = np.random.default_rng(seed)
    aurocs = [
        np.concatenate(
            [_aurocs(category, block) for block in _blocks(category, num_resamples, rng)]
        )
        for category in categories
    ]
    differences = np.mean([own[:, 0] - own[:, 1] for own in aurocs], axis=0)
    whole = [_aurocs(category, np.ones((1, len(category.labels))))[0] for category in categories]
    first, second = np.mean(whole, axis=0)
    low, high = np.quantile(differences, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    sides = (np.sum(differences <= 0), np.sum(differences >= 0))
    p_value = min(1.0, 2 * (min(sides) + 1) / (num_resamples + 1))
    return AurocDifference(first, second, float(low), float(high), float(p_value))


def _blocks(
    category: PairedScores, num_resamples: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """How often each image is drawn: [resamples, B] a block."""
    groups = [np.flatnonzero(category.labels == label) for label in (0, 1)]
    blocks = []
    for start in range(0, num_resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, num_resamples - start)
        counts = np.zeros((size, len(category.labels)))
        for group in groups:
            even = np.full(len(group), 1 / len(group))
            counts[:, group] = rng.multinomial(len(group), even, size=size)
        blocks.append(counts)
    return blocks


def _aurocs(category: PairedScores, counts: np.ndarray) -> np.ndarray:
    """AUROCs of both runs where each image stands as often as ``counts`` [R, B] says: [R, 2]."""
    anomalous = (category.labels == 1).astype(np.float64)
    results = []
    for scores in (category.first, category.second):
        order = np.argsort(scores, kind="stable")
        ranked = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        # Images of equal score share a place: half of their pairs count.
        up = np.add.reduceat((counts * anomalous)[:, order], starts, axis=1)
        down = np.add.reduceat((counts * (1 - anomalous))[:, order], starts, axis=1)
        below = np.cumsum(down, axis=1) - down
        wins = np.sum(up * (below + down / 2), axis=1)
        results.append(wins / (up.sum(axis=1) * down.sum(axis=1)))
    return np.stack(results, axis=1)
