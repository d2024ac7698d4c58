"""The report of a run: one HTML page that needs no server, no network and no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from uniformaly_pipeline.dotted import flatten
from uniformaly_pipeline.gallery import GalleryImage

MISSING = "–"
"""Shown for a figure that is undefined, such as pixel AUROC without masks."""

_SUMMARY_ROWS = ("mean", "std")
_FIGURE_TITLES = {"roc": "ROC curve", "histogram": "Score histogram"}
_VIEW_TITLES = {"image": "Image", "heat_map": "Anomaly map", "foreground": "BPM foreground"}

Kind = Literal["figure", "rate", "count", "bytes", "plain"]


@dataclass(frozen=True)
class Metric:
    """How a metric of ``metrics.json`` is named and written.

    Attributes:
        key: Name in ``metrics.json``.
        group: Panel of the headline it belongs to; empty to keep it out of the headline.
        name: Name within the panel.
        label: Full name, for the leaderboard.
        kind: ``figure`` (0..1), ``rate`` (1/s), ``count``, ``bytes`` or ``plain``.
    """

    key: str
    group: str
    name: str
    label: str
    kind: Kind = "figure"


_KNOWN_METRICS = (
    Metric("image_auroc", "Image level", "AUROC", "Image AUROC"),
    Metric("image_ap", "Image level", "AP", "Image AP"),
    Metric("image_f1_max", "Image level", "F1-max", "Image F1-max"),
    Metric("pixel_auroc", "Pixel level", "AUROC", "Pixel AUROC"),
    Metric("pixel_ap", "Pixel level", "AP", "Pixel AP"),
    Metric("pixel_f1_max", "Pixel level", "F1-max", "Pixel F1-max"),
    Metric("aupro", "Pixel level", "AUPRO", "AUPRO"),
    Metric("nmi", "Clusters", "NMI", "NMI"),
    Metric("ari", "Clusters", "ARI", "ARI"),
    Metric("f1", "Clusters", "F1", "F1"),
    Metric("images_per_second", "Cost", "Images/s", "Images/s", "rate"),
    Metric("bank_size", "Cost", "Bank size", "Bank size", "count"),
    Metric("bank_bytes", "Cost", "Bank memory", "Bank memory", "bytes"),
    Metric("num_train", "", "Train images", "Train images", "count"),
    Metric("num_test", "", "Test images", "Test images", "count"),
    # A mean of thresholds says nothing: squared distances differ in scale between categories.
    Metric("threshold", "", "Threshold", "Threshold", "plain"),
)
_METRIC_BY_KEY = {metric.key: metric for metric in _KNOWN_METRICS}
_KEY_ORDER = {metric.key: position for position, metric in enumerate(_KNOWN_METRICS)}


def leaderboard_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Lay the metrics of a run out as a table.

    Args:
        metrics: As in ``metrics.json``: ``mean`` and ``std`` map a metric to a number or None,
            ``categories`` maps a category to such a map.

    Returns:
        A row per category in the given order, then the rows ``mean`` and ``std``; column
        ``category``, then a column per metric: the known ones first, in a fixed order, then any
        others. Undefined figures are NaN. Lists and maps (curves) are left out.
    """
    per_category: Mapping[str, Mapping[str, Any]] = metrics["categories"]
    rows = [{"category": name, **figures} for name, figures in per_category.items()]
    rows += [{"category": name, **metrics.get(name, {})} for name in _SUMMARY_ROWS]
    keys = _ordered_keys(rows)
    table = pd.DataFrame(
        [[row["category"], *(row.get(key) for key in keys)] for row in rows],
        columns=["category", *keys],
    )
    texts = {key for key in keys if any(isinstance(row.get(key), str) for row in rows)}
    return table.astype({key: float for key in keys if key not in texts})


def render_report(
    *,
    title: str,
    task: str,
    dataset: str,
    backbone: str,
    metrics: Mapping[str, Any],
    leaderboard: pd.DataFrame,
    galleries: Mapping[str, Sequence[GalleryImage]],
    figures: Mapping[str, Mapping[str, bytes]],
    parameters: Mapping[str, Any],
    command: str,
    notes: Sequence[str] = (),
) -> str:
    """Render the report of a run.

    Everything the page shows is inside it; its content policy forbids it to load anything else.

    Args:
        title: Heading and window title.
        task: Pipeline that ran, such as ``defect``.
        dataset: Key of the data set.
        backbone: Key of the backbone.
        metrics: As in ``metrics.json``, see :func:`leaderboard_table`.
        leaderboard: The table to show; rows named ``mean`` and ``std`` at its end are its foot.
        galleries: Images of each category; shown together, worst mistake first.
        figures: PNG bytes of each category's figures by name (``roc``, ``histogram``, others).
        parameters: The resolved parameters, nested.
        command: Command line that repeats the run.
        notes: Warnings that a reader must see first.

    Returns:
        The page, to be written as UTF-8.
    """
    environment = Environment(
        loader=PackageLoader("uniformaly_pipeline"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"base64": _base64, "general": _general, "number": _format}
    style = environment.get_template("report.css.j2").render()
    script = environment.get_template("report.js.j2").render()
    images = sorted(
        (image for gallery in galleries.values() for image in gallery),
        key=lambda image: (-image.wrongness, image.verdict == "right"),
    )
    per_category: Mapping[str, Mapping[str, Any]] = metrics["categories"]
    return environment.get_template("report.html.j2").render(
        title=title,
        facts={"Task": task, "Data set": dataset, "Backbone": backbone},
        notes=notes,
        panels=_panels(metrics),
        num_categories=len(per_category),
        leaderboard=_leaderboard_view(leaderboard),
        images=images,
        thresholds={name: figures.get("threshold") for name, figures in per_category.items()},
        view_titles=_VIEW_TITLES,
        figures=figures,
        figure_titles=_FIGURE_TITLES,
        parameters=[
            (key, json.dumps(value, ensure_ascii=False, default=str))
            for key, value in flatten(parameters)
        ],
        command=command,
        # Rendered from our own templates, with no values in them: safe to embed as they are.
        style=Markup(style),
        script=Markup(script),
        style_hash=_content_hash(style),
        script_hash=_content_hash(script),
    )


def _ordered_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics found in any row, known ones first; keys whose values are not scalar are left out."""
    found = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key != "category" and not isinstance(value, Mapping | list | tuple)
    )
    return sorted(found, key=lambda key: _KEY_ORDER.get(key, len(_KEY_ORDER)))


def _metric(key: str) -> Metric:
    """The description of a metric; an unknown one is named after its key."""
    name = key[:1].upper() + key[1:].replace("_", " ")
    return _METRIC_BY_KEY.get(key) or Metric(key, "Other", name, name, "plain")


def _panels(metrics: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The headline: for each group the name, mean and spread of its metrics, written out."""
    mean, std = metrics.get("mean", {}), metrics.get("std", {})
    several = len(metrics["categories"]) > 1
    panels: dict[str, list[dict[str, Any]]] = {}
    for key in _ordered_keys([mean]):
        metric = _metric(key)
        if not metric.group:
            continue
        spread = _format(std.get(key), metric.kind)
        panel = panels.setdefault(metric.group, [])
        panel.append(
            {
                # The first figure of a panel is set large; counts and costs are not.
                "lead": not panel and metric.kind == "figure",
                "name": metric.name,
                "mean": _format(mean[key], metric.kind),
                "std": spread if several and spread != MISSING else "",
            }
        )
    return panels


def _leaderboard_view(leaderboard: pd.DataFrame) -> dict[str, Any]:
    """The leaderboard as texts with values to sort by: header, body and foot."""
    keys = [str(column) for column in leaderboard.columns if column != "category"]
    rows = [
        {
            "category": str(row["category"]),
            "cells": [
                {"text": _format(row[key], _metric(key).kind), "value": _sort_value(row[key])}
                for key in keys
            ],
        }
        for row in leaderboard.to_dict("records")
    ]
    has_foot = tuple(row["category"] for row in rows[-2:]) == _SUMMARY_ROWS
    body, foot = (rows[:-2], rows[-2:]) if has_foot else (rows, [])
    # A narrow heading breaks between words, not within "F1-max".
    header = [_metric(key).label.replace("-", "\N{NON-BREAKING HYPHEN}") for key in keys]
    return {"header": header, "body": body, "foot": foot}


def _format(value: Any, kind: Kind = "plain") -> str:
    """Write a metric's value; None and NaN become a dash."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return MISSING
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if kind == "figure":
        return f"{number:.3f}"
    if kind == "rate":
        return f"{number:.1f}"
    if kind == "count":
        return f"{number:,.0f}"
    if kind == "bytes":
        return _bytes(number)
    return _general(number)


def _general(number: float) -> str:
    """Write a number of unknown scale: whole numbers in full, others to four digits."""
    if float(number).is_integer():
        return f"{number:,.0f}"
    return f"{number:.4g}" if 1e-3 <= abs(number) < 1e4 else f"{number:.3g}"


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _sort_value(value: Any) -> str:
    """What a column is sorted by: a number as text, or nothing if it is undefined."""
    return "" if isinstance(value, str) or pd.isna(value) else repr(float(value))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _content_hash(text: str) -> str:
    """Hash by which a content security policy admits an inline style or script."""
    return f"sha256-{_base64(hashlib.sha256(text.encode()).digest())}"
