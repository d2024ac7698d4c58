"""Clusters of test images and how well they match the kinds of defect (section 5.4.1, Table 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.evaluation.metrics import CLUSTER_METRICS
from uniformaly_pipeline.scoring.scores import top_k_mean_features

FeatureChoice = Literal["top_k", "max", "all"]
"""Which patches stand for an image (Table 8)."""

NUM_STARTS = 10
"""Runs of K-means, of which the best is kept."""

SEED = 42
"""Seed of K-means."""


def choose_features(
    features: np.ndarray, patch_scores: np.ndarray, choice: FeatureChoice, top_k_ratio: float
) -> np.ndarray:
    """The vector that stands for one image (section 5.4.1, Table 8).

    Of equal scores the first patch counts as the higher; an image without foreground, whose
    scores are all 0, is thus represented by its first patches.

    Args:
        features: float [N, D], the image's patch features.
        patch_scores: float [N], zeros for background; of patches that count only.
        choice: ``top_k`` takes the mean of the highest-scoring patches, ``max`` the highest alone,
            ``all`` the mean of all patches, background included.
        top_k_ratio: Share of all N patches that ``top_k`` takes, 0..1.

    Returns:
        float32 [D].

    Raises:
        ValueError: The lengths differ, there is no patch or ``choice`` is unknown.
    """
    # A feature store may hold float16, in which a mean loses digits.
    features = np.asarray(features, dtype=np.float32)
    patch_scores = np.asarray(patch_scores)
    if len(features) != len(patch_scores):
        raise ValueError(f"{len(features)} patch features for {len(patch_scores)} patch scores")
    if len(features) == 0:
        raise ValueError("an image must have patches")
    chosen: np.ndarray
    if choice == "top_k":
        chosen = top_k_mean_features(features[None], patch_scores[None], top_k_ratio)[0]
    elif choice == "max":
        chosen = features[np.argmax(patch_scores)].copy()
    elif choice == "all":
        chosen = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    else:
        raise ValueError(f"unknown choice of features: {choice!r}")
    return chosen


def cluster(features: np.ndarray, num_clusters: int) -> np.ndarray:
    """K-means with the authors' settings (METHOD "Evaluation").

    Args:
        features: float [n, D], a vector per image.
        num_clusters: How many clusters to form, 1..n.

    Returns:
        int64 [n], cluster numbers from 0 in order of first appearance, so that they do not hang
        on K-means' own numbering. Where vectors coincide there may be fewer clusters.

    Raises:
        InputError: There are fewer images than clusters, or none are asked for.
    """
    if not 1 <= num_clusters <= len(features):
        raise InputError(
            f"clustering: {len(features)} test images cannot form {num_clusters} clusters, one for "
            "each kind of test image: add images or leave the category out"
        )
    # scikit-learn takes a second to import, which "kedro registry list" need not wait for.
    from sklearn.cluster import KMeans

    found = KMeans(num_clusters, n_init=NUM_STARTS, random_state=SEED).fit_predict(features)
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    # The position of a cluster among all clusters by first appearance.
    rank = np.argsort(np.argsort(first))
    renumbered: np.ndarray = rank[number].astype(np.int64)
    return renumbered


def cluster_metrics(truth: Sequence[str], found: np.ndarray) -> dict[str, float | None]:
    """How well clusters agree with the true kinds (section 5.4.1, METHOD "Evaluation").

    Args:
        truth: Kind of each of n images, ``good`` included.
        found: int [n], their clusters.

    Returns:
        ``nmi`` in 0..1, normalised by the arithmetic mean of the two entropies; ``ari``, the
        adjusted Rand index, at most 1, 0 by chance and possibly below; ``f1`` in 0..1, the
        micro-F1 after :func:`match_clusters`. Each image has one kind and one cluster, so the
        micro-F1 is the share of images whose cluster is matched to their kind; images of an
        unmatched cluster count as wrong. Each is ``None`` where all images are of one kind: any
        single group would agree with it.

    Raises:
        ValueError: The lengths differ or there are no images.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    kind_of = match_clusters(truth, found)
    if len(set(truth)) == 1:
        return dict.fromkeys(CLUSTER_METRICS)
    hits = [kind_of.get(int(number)) == kind for kind, number in zip(truth, found, strict=True)]
    return {
        "nmi": float(normalized_mutual_info_score(truth, found, average_method="arithmetic")),
        "ari": float(adjusted_rand_score(truth, found)),
        "f1": float(np.mean(hits)),
    }


def match_clusters(truth: Sequence[str], found: np.ndarray) -> dict[int, str]:
    """The one-to-one matching of clusters to kinds that most images agree with (Hungarian).

    Args:
        truth: Kind of each of n images.
        found: int [n], their clusters.

    Returns:
        Kind by cluster, in order of the clusters. With more clusters than kinds some are left
        out; with more kinds, or as many, every cluster has one, even one of which it holds no
        image.

    Raises:
        ValueError: The lengths differ or there are no images.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    if len(truth) != len(found):
        raise ValueError(f"{len(truth)} kinds for {len(found)} clusters")
    if len(truth) == 0:
        raise ValueError("there must be images to match clusters of")
    kinds, numbers = np.unique(np.asarray(truth)), np.unique(found)
    together = contingency_matrix(truth, found)  # [kinds, clusters], both sorted
    rows, columns = linear_sum_assignment(together, maximize=True)
    matched = {
        int(numbers[column]): str(kinds[row]) for row, column in zip(rows, columns, strict=True)
    }
    return dict(sorted(matched.items()))
