"""What metrics are called, how they are written and where they are shown."""

from __future__ import annotations

import pytest

from uniformaly_pipeline.evaluation.metrics import (
    BRIEF_COSTS,
    BRIEF_METRICS,
    CLUSTER_METRICS,
    METRIC_ORDER,
    METRICS,
    NOT_AVERAGED,
    PIXEL_METRICS,
    SWEPT_METRICS,
    Metric,
    find_metric,
    metric_label,
)


def test_metrics_are_listed_in_one_order() -> None:
    assert list(METRIC_ORDER) == [
        "image_auroc", "image_ap", "image_f1_max",
        "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro",
        "nmi", "ari", "f1", "num_clusters",
        "images_per_second", "bank_size", "bank_bytes",
        "num_train", "num_test", "covering_radius", "false_positive_rate", "threshold",
    ]  # fmt: skip
    assert list(METRIC_ORDER.values()) == list(range(len(METRICS)))


def test_groups_and_choices_hold_the_metrics_that_are_meant() -> None:
    assert PIXEL_METRICS == ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
    assert CLUSTER_METRICS == ("nmi", "ari", "f1")
    assert BRIEF_METRICS == ("image_auroc", "pixel_auroc", "aupro", "nmi", "ari", "f1")
    assert BRIEF_COSTS == ("images_per_second", "bank_size")
    quality = [m.key for m in METRICS if m.group in {"Image level", "Pixel level", "Clusters"}]
    assert list(SWEPT_METRICS) == quality


def test_the_headline_has_four_panels() -> None:
    panels: dict[str, list[str]] = {}
    for metric in METRICS:
        panels.setdefault(metric.group, []).append(metric.name)
    assert panels == {
        "Image level": ["AUROC", "AP", "F1-max"],
        "Pixel level": ["AUROC", "AP", "F1-max", "AUPRO"],
        "Clusters": ["NMI", "ARI", "F1"],
        "Cost": ["Images/s", "Bank size", "Bank memory"],
        "": [
            "Clusters",
            "Train images",
            "Test images",
            "Covering radius",
            "False alarms",
            "Threshold",
        ],
    }


def test_a_full_name_says_what_the_panel_says_otherwise() -> None:
    for metric in METRICS:
        level = metric.key.partition("_")[0]
        prefix = f"{level.capitalize()} " if level in {"image", "pixel"} else ""
        assert metric.label == prefix + metric.name


def test_ratios_are_all_but_costs_counts_and_thresholds() -> None:
    assert {metric.key: metric.kind for metric in METRICS if metric.kind != "ratio"} == {
        "num_clusters": "count",
        "images_per_second": "rate",
        "bank_size": "count",
        "bank_bytes": "bytes",
        "num_train": "count",
        "num_test": "count",
        "covering_radius": "plain",
        "threshold": "plain",
    }


def test_distances_are_not_averaged_over_categories() -> None:
    assert NOT_AVERAGED == ("covering_radius", "threshold")


@pytest.mark.parametrize(
    ("key", "metric"),
    [
        ("bank_size", Metric("bank_size", "Cost", "Bank size", "Bank size", "count", brief=True)),
        ("my_own", Metric("my_own", "Other", "My own", "My own", "plain")),
        ("", Metric("", "Other", "", "", "plain")),
        ("paper", Metric("paper", "", "Paper", "Paper", "ratio")),
        ("difference", Metric("difference", "", "Difference", "Difference", "difference")),
        ("paper_aupro", Metric("paper_aupro", "", "AUPRO, paper", "AUPRO, paper", "ratio")),
        (
            "difference_pixel_auroc",
            Metric(
                "difference_pixel_auroc",
                "",
                "Pixel AUROC, difference",
                "Pixel AUROC, difference",
                "difference",
            ),
        ),
    ],
)
def test_every_metric_is_described_known_or_not(key: str, metric: Metric) -> None:
    assert find_metric(key) == metric


@pytest.mark.parametrize(
    ("key", "label"),
    [("f1", "F1"), ("aupro", "AUPRO"), ("pixel_ap", "pixel AP"), ("num_test", "test images"),
     ("x", "x"), ("", "")],
)  # fmt: skip
def test_a_name_within_a_sentence_is_not_capitalised_unless_it_is_an_abbreviation(
    key: str, label: str
) -> None:
    assert metric_label(key) == label
