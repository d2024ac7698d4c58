"""Clusters of images: what stands for an image, K-means, and metrics against brute force."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.evaluation.clustering import (
    FeatureChoice,
    choose_features,
    cluster,
    cluster_metrics,
    match_clusters,
)
from uniformaly_pipeline.scoring.scores import top_k_mean_features

QUICK = settings(deadline=None, derandomize=True, max_examples=200)

KINDS = ["good", "crack", "cut", "hole", "print"]
NUMBERS = [0, 1, 2, 3, 7]

clusterings = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(NUMBERS)), min_size=1, max_size=30
).map(lambda pairs: ([kind for kind, _ in pairs], np.array([number for _, number in pairs])))

Clustering = tuple[list[str], np.ndarray]


def scattered(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def best_share(truth: Sequence[str], found: np.ndarray) -> float:
    """The highest share of images in agreement over all one-to-one assignments."""
    together = Counter(zip(truth, found.tolist(), strict=True))
    kinds, numbers = sorted(set(truth)), sorted(set(found.tolist()))
    # None stands for no cluster, in which no image is.
    slots: list[int | None] = [*numbers, *[None] * len(kinds)]
    best = max(
        sum(together[pair] for pair in zip(kinds, order, strict=True))
        for order in set(permutations(slots, len(kinds)))
    )
    return best / len(truth)


def entropy(counts: Sequence[int]) -> float:
    total = sum(counts)
    return -sum(count / total * math.log(count / total) for count in counts)


def hand_nmi(truth: Sequence[str], found: np.ndarray) -> float:
    """Mutual information over the mean of the two entropies, from the counts."""
    pairs = list(zip(truth, found.tolist(), strict=True))
    of_truth, of_found = entropy_of(truth), entropy_of(found.tolist())
    if of_truth == of_found == 0:
        return 1.0
    return (of_truth + of_found - entropy_of(pairs)) / ((of_truth + of_found) / 2)


def entropy_of(items: Sequence[object]) -> float:
    return entropy(list(Counter(items).values()))


def hand_ari(truth: Sequence[str], found: np.ndarray) -> float:
    """The Rand index over all pairs of images, set to 0 at its expectation and 1 at most."""
    pairs = list(zip(truth, found.tolist(), strict=True))
    both, kinds, numbers = (
        sum(math.comb(count, 2) for count in Counter(items).values())
        for items in (pairs, truth, found.tolist())
    )
    every = math.comb(len(pairs), 2)
    expected = kinds * numbers / every if every else 0.0
    most = (kinds + numbers) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


# --- what stands for an image ---------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.3, 1.0])
def test_top_k_is_the_mean_of_the_highest_patches(ratio: float) -> None:
    features, scores = scattered(0, 3, 40, 6), scattered(1, 3, 40)
    found = [
        choose_features(*image, "top_k", ratio) for image in zip(features, scores, strict=True)
    ]
    assert (np.stack(found) == top_k_mean_features(features, scores, ratio)).all()


def test_top_k_of_known_patches() -> None:
    features = np.array([[1, 0], [10, 2], [100, 4], [1000, 6]], np.float32)
    scores = np.array([0.1, 7.0, 0.0, 3.0], np.float32)
    assert choose_features(features, scores, "top_k", 0.5).tolist() == [505, 4]
    assert choose_features(features, scores, "max", 0.5).tolist() == [10, 2]
    assert choose_features(features, scores, "all", 0.5).tolist() == [277.75, 3]


def test_max_is_the_highest_patch_whatever_the_ratio() -> None:
    features, scores = scattered(0, 40, 6), scattered(1, 40)
    for ratio in (0.01, 1.0):
        found = choose_features(features, scores, "max", ratio)
        assert (found == features[scores.argmax()]).all()
    assert (found == choose_features(features, scores, "top_k", 0.001)).all()
    assert not np.shares_memory(found, features)


def test_all_is_the_mean_of_all_patches_whatever_their_scores() -> None:
    features, scores = scattered(0, 40, 6), scattered(1, 40)
    expected = features.astype(np.float64).mean(axis=0)
    for given_scores in (scores, np.zeros(40)):
        found = choose_features(features, given_scores, "all", 0.05)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_of_equal_scores_the_first_patch_is_the_higher() -> None:
    features, scores = scattered(0, 10, 4), np.zeros(10, np.float32)
    assert (choose_features(features, scores, "max", 0.3) == features[0]).all()
    np.testing.assert_allclose(
        choose_features(features, scores, "top_k", 0.3), features[:3].mean(axis=0), rtol=1e-6
    )


@pytest.mark.parametrize("choice", ["top_k", "max", "all"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_become_float32(choice: FeatureChoice, dtype: type) -> None:
    # In half precision, a sum of these would be infinite.
    features: np.ndarray = np.full((700, 3), 1000, dtype)
    found = choose_features(features, np.arange(700.0), choice, 0.5)
    assert found.dtype == np.float32
    assert found.shape == (3,)
    assert (found == 1000).all()


def test_features_that_cannot_be_chosen_from_are_refused() -> None:
    with pytest.raises(ValueError, match="4 patch features for 5 patch scores"):
        choose_features(scattered(0, 4, 3), np.zeros(5), "top_k", 0.05)
    with pytest.raises(ValueError, match="must have patches"):
        choose_features(np.zeros((0, 3)), np.zeros(0), "all", 0.05)
    with pytest.raises(ValueError, match="unknown choice of features: 'most'"):
        choose_features(scattered(0, 4, 3), np.zeros(4), "most", 0.05)  # type: ignore[arg-type]


# --- K-means --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_clusters", [1, 2, 5])
def test_well_separated_blobs_are_found(num_clusters: int) -> None:
    rng = np.random.default_rng(num_clusters)
    truth = rng.integers(num_clusters, size=60)
    truth[:num_clusters] = np.arange(num_clusters)
    features = 100 * np.eye(8)[truth] + rng.standard_normal((60, 8))
    found = cluster(features.astype(np.float32), num_clusters)
    # The blobs first appear in order, and so do the clusters' numbers.
    assert (found == truth).all()
    assert found.dtype == np.int64


def test_clusters_are_numbered_in_order_of_appearance() -> None:
    features = scattered(0, 50, 4)
    found = cluster(features, 6).tolist()
    assert list(dict.fromkeys(found)) == list(range(6))


def test_clusters_are_the_same_each_time_and_those_of_the_settings() -> None:
    from sklearn.cluster import KMeans

    features = scattered(0, 50, 4)
    found = cluster(features, 6)
    assert (found == cluster(features, 6)).all()
    theirs = KMeans(n_clusters=6, n_init=10, random_state=42).fit(features).labels_
    assert len(set(zip(found.tolist(), theirs.tolist(), strict=True))) == 6


def test_as_many_clusters_as_images() -> None:
    assert cluster(scattered(0, 5, 3), 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_images_that_coincide_form_fewer_clusters() -> None:
    features = np.repeat(np.array([[5.0], [0.0]], np.float32), [2, 3], axis=0)
    assert cluster(features, 4).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(("count", "num_clusters"), [(3, 4), (0, 1), (3, 0)])
def test_clusters_that_cannot_be_formed_are_one_clear_line(count: int, num_clusters: int) -> None:
    with pytest.raises(InputError) as error:
        cluster(scattered(0, count, 2), num_clusters)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(
        f"clustering: {count} test images cannot form {num_clusters} clusters"
    )


# --- metrics --------------------------------------------------------------------------------------


@QUICK
@given(clusterings)
def test_f1_is_the_best_of_all_assignments(data: Clustering) -> None:
    truth, found = data
    assume(len(set(truth)) > 1)
    assert cluster_metrics(truth, found)["f1"] == pytest.approx(best_share(truth, found))


@QUICK
@given(clusterings)
def test_matching_is_one_to_one_as_large_as_can_be_and_gives_the_f1(data: Clustering) -> None:
    truth, found = data
    matching = match_clusters(truth, found)
    assert set(matching) <= set(found.tolist())
    assert set(matching.values()) <= set(truth)
    assert len(set(matching.values())) == len(matching)
    assert len(matching) == min(len(set(truth)), len(set(found.tolist())))
    assert list(matching) == sorted(matching)
    hits = [
        matching.get(number) == kind for kind, number in zip(truth, found.tolist(), strict=True)
    ]
    assert np.mean(hits) == pytest.approx(best_share(truth, found))


@QUICK
@given(clusterings)
def test_f1_is_scikit_learns_micro_f1_of_the_relabelled_images(data: Clustering) -> None:
    from sklearn.metrics import f1_score

    truth, found = data
    assume(len(set(truth)) > 1)
    matching = match_clusters(truth, found)
    relabelled = [matching.get(number, "unmatched") for number in found.tolist()]
    expected = f1_score(truth, relabelled, average="micro")
    assert cluster_metrics(truth, found)["f1"] == pytest.approx(expected)


@QUICK
@given(clusterings)
def test_nmi_and_ari_are_those_of_the_counts(data: Clustering) -> None:
    truth, found = data
    assume(len(set(truth)) > 1)
    metrics = cluster_metrics(truth, found)
    assert list(metrics) == ["nmi", "ari", "f1"]
    assert metrics["nmi"] == pytest.approx(hand_nmi(truth, found), abs=1e-9)
    assert metrics["ari"] == pytest.approx(hand_ari(truth, found), abs=1e-9)


@QUICK
@given(clusterings, st.permutations(KINDS), st.permutations(NUMBERS))
def test_names_and_order_do_not_count(
    data: Clustering, kinds: list[str], numbers: list[int]
) -> None:
    truth, found = data
    rename, renumber = (
        dict(zip(KINDS, kinds, strict=True)),
        dict(zip(NUMBERS, numbers, strict=True)),
    )
    order = np.random.default_rng(len(truth)).permutation(len(truth))
    changed = cluster_metrics(
        [rename[truth[i]] for i in order], np.array([renumber[int(found[i])] for i in order])
    )
    assert changed == pytest.approx(cluster_metrics(truth, found), abs=1e-9)


def test_perfect_clusters() -> None:
    truth = ["good", "crack", "good", "cut", "cut"]
    found = np.array([4, 0, 4, 2, 2])
    assert cluster_metrics(truth, found) == pytest.approx({"nmi": 1.0, "ari": 1.0, "f1": 1.0})
    assert match_clusters(truth, found) == {0: "crack", 2: "cut", 4: "good"}


def test_one_cluster_for_everything_tells_nothing() -> None:
    metrics = cluster_metrics(["good"] * 3 + ["cut"], np.zeros(4, np.int64))
    assert metrics == pytest.approx({"nmi": 0.0, "ari": 0.0, "f1": 0.75})


def test_a_cluster_for_each_image() -> None:
    truth = ["good"] * 3 + ["cut"] * 2
    found = np.arange(5)
    # One image of each kind is matched; the three other clusters count as wrong.
    metrics = cluster_metrics(truth, found)
    assert metrics["f1"] == pytest.approx(2 / 5)
    assert metrics["ari"] == 0
    assert len(match_clusters(truth, found)) == 2


@pytest.mark.parametrize("found", [[8], [8, 8, 8], [0, 1, 1]])
def test_clusters_of_one_kind_alone_say_nothing(found: list[int]) -> None:
    metrics = cluster_metrics(["good"] * len(found), np.array(found))
    assert metrics == {"nmi": None, "ari": None, "f1": None}


def test_matching_each_cluster_to_its_largest_kind_would_be_worse_or_not_one_to_one() -> None:
    # Both clusters hold mostly good images; only one may be called good.
    truth = ["good"] * 6 + ["good"] * 5 + ["cut"] * 4
    found = np.array([0] * 6 + [1] * 9)
    assert match_clusters(truth, found) == {0: "good", 1: "cut"}
    assert cluster_metrics(truth, found)["f1"] == pytest.approx(10 / 15)


def test_ari_below_0_is_not_clipped() -> None:
    # Worse than chance: each cluster holds one image of each kind.
    metrics = cluster_metrics(["good", "good", "cut", "cut"], np.array([0, 1, 0, 1]))
    assert metrics["ari"] == pytest.approx(-0.5)


def test_lengths_that_differ_and_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 kinds for 3 clusters"):
        cluster_metrics(["good", "cut"], np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="must be images"):
        cluster_metrics([], np.zeros(0, np.int64))
