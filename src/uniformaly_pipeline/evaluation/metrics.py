"""The metrics by name: the one list of them, which every table, chart and column is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["ratio", "difference", "rate", "count", "bytes", "plain"]


@dataclass(frozen=True)
class Metric:
    """How a metric of ``metrics.json`` is named and written.

    Attributes:
        key: Name in ``metrics.json``.
        group: Panel of the headline it belongs to; empty to keep it out of the headline.
        name: Name within the panel.
        label: Full name, for the leaderboard.
        kind: ``ratio`` (0..1), ``difference`` of two ratios, ``rate`` (1/s), ``count``, ``bytes``
            or ``plain``.
        brief: Whether it is shown where there is room for few: terminal, MLflow, comparison.
        swept: Whether a sweep compares it; what is brief as well stands in its tables and curves,
            the others in its file alone.
    """

    key: str
    group: str
    name: str
    label: str
    kind: Kind = "ratio"
    brief: bool = False
    swept: bool = False


METRICS = (
    Metric("image_auroc", "Image level", "AUROC", "Image AUROC", brief=True, swept=True),
    Metric("image_ap", "Image level", "AP", "Image AP", swept=True),
    Metric("image_f1_max", "Image level", "F1-max", "Image F1-max", swept=True),
    Metric("pixel_auroc", "Pixel level", "AUROC", "Pixel AUROC", brief=True, swept=True),
    Metric("pixel_ap", "Pixel level", "AP", "Pixel AP", swept=True),
    Metric("pixel_f1_max", "Pixel level", "F1-max", "Pixel F1-max", swept=True),
    Metric("aupro", "Pixel level", "AUPRO", "AUPRO", brief=True, swept=True),
    Metric("nmi", "Clusters", "NMI", "NMI", brief=True, swept=True),
    Metric("ari", "Clusters", "ARI", "ARI", brief=True, swept=True),
    Metric("f1", "Clusters", "F1", "F1", brief=True, swept=True),
    Metric("num_clusters", "", "Clusters", "Clusters", "count"),
    Metric("images_per_second", "Cost", "Images/s", "Images/s", "rate", brief=True),
    Metric("bank_size", "Cost", "Bank size", "Bank size", "count", brief=True),
    Metric("bank_bytes", "Cost", "Bank memory", "Bank memory", "bytes"),
    Metric("num_train", "", "Train images", "Train images", "count"),
    Metric("num_test", "", "Test images", "Test images", "count"),
    Metric("covering_radius", "", "Covering radius", "Covering radius", "plain"),
    Metric("false_positive_rate", "", "False alarms", "False alarms"),
    Metric("threshold", "", "Threshold", "Threshold", "plain"),
)

_BY_KEY = {metric.key: metric for metric in METRICS}

METRIC_ORDER = {metric.key: position for position, metric in enumerate(METRICS)}
"""Place of each known metric wherever metrics are listed."""

PIXEL_METRICS = tuple(m.key for m in METRICS if m.group == "Pixel level")
CLUSTER_METRICS = tuple(m.key for m in METRICS if m.group == "Clusters")
BRIEF_METRICS = tuple(m.key for m in METRICS if m.brief and m.kind == "ratio")
BRIEF_COSTS = tuple(m.key for m in METRICS if m.brief and m.kind != "ratio")
NOT_AVERAGED = tuple(m.key for m in METRICS if m.kind == "plain")
"""Distances differ in scale between categories: a mean of them would say nothing."""
SWEPT_METRICS = tuple(m.key for m in METRICS if m.swept)


OVER_SEEDS = "_over_seeds"
"""Ends the name of a metric's deviation over several seeds."""

SEED_METRICS = tuple(m.key for m in METRICS if m.group in ("Image level", "Pixel level"))
"""Metrics that are a mean over seeds where there are several."""


def find_metric(key: str) -> Metric:
    """The description of a metric; an unknown one is named after its key."""
    if key.endswith(OVER_SEEDS):
        label = f"{find_metric(key.removesuffix(OVER_SEEDS)).label} ± over seeds"
        return Metric(key, "", label, label)
    prefix, _, of = key.partition("_")
    if prefix in {"paper", "difference"}:
        kind: Kind = "ratio" if prefix == "paper" else "difference"
        label = f"{find_metric(of).label}, {prefix}" if of else prefix.capitalize()
        return Metric(key, "", label, label, kind)
    name = key[:1].upper() + key[1:].replace("_", " ")
    return _BY_KEY.get(key) or Metric(key, "Other", name, name, "plain")


def metric_label(key: str) -> str:
    """The name of a metric within a sentence or a figure.

    Example:
        >>> metric_label("image_auroc"), metric_label("nmi")
        ('image AUROC', 'NMI')
    """
    label = find_metric(key).label
    return label if label[1:2].isupper() or label[1:2].isdigit() else label[:1].lower() + label[1:]
