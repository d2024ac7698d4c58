"""A finished run in MLflow: a parent run for the task, a child run per category.

Everything is logged by the process that drives the run, after it, so that every Kedro runner
tracks alike.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from uniformaly_pipeline.evaluation.metrics import BRIEF_COSTS, BRIEF_METRICS, SWEPT_METRICS
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.reporting.figures.style import figure_png
from uniformaly_pipeline.reporting.figures.sweeps import sweep_figure
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
NOTE_TAG = "mlflow.note.content"
CATEGORY_TAG = "category"
SETTING_TAG = "setting"
VIEW_TAG = "mlflow.sharedViewState."
VIEW_COLUMN_PX = 90
VIEW_COLUMNS = [
    *(f"tags.`{tag}`" for tag in ("task", "dataset", "backbone", "bpm")),
    *(f"tags.`{tag}`" for tag in ("top_k_ratio", "coreset_ratio", "seed", "run_key")),
    *(f"metrics.`{name}`" for name in (*BRIEF_METRICS, *BRIEF_COSTS)),
    *(f"tags.`{tag}`" for tag in ("data_hash", "git_commit")),
]
VIEWS: dict[str, Any] = {
    "runs": {
        "name": "Compare runs",
        "only": f"tags.{CATEGORY_TAG} IS NULL AND tags.{SETTING_TAG} IS NULL",
        "columns": VIEW_COLUMNS,
    },
    "categories": {
        "name": "Compare categories and settings",
        "only": "",
        "columns": [f"tags.`{CATEGORY_TAG}`", f"tags.`{SETTING_TAG}`", *VIEW_COLUMNS],
    },
}
"""Saved views of the experiment, by key: ``.../runs?viewStateShareKey=<key>`` opens one."""

IDENTITY_COLUMNS = ["class", "split", "defect", "label", "content_hash", "mask_pixels"]


@dataclass(frozen=True)
class CategoryArtifacts:
    """What a category's child run shows.

    Attributes:
        metrics: The category's metrics.
        image_scores: A row per test image.
        figures: Pictures (PNG) by name.
        plots: Plotly figures by name.
        gallery: The test images that say most.
    """

    metrics: Mapping[str, Any]
    image_scores: pd.DataFrame
    figures: Mapping[str, bytes]
    plots: Mapping[str, Any]
    gallery: list[GalleryImage]


def run_tags(
    task: str,
    parameters: Mapping[str, Any],
    names: Mapping[str, str],
    commit: str | None = None,
) -> dict[str, str]:
    """What tells runs apart in a list of them.

    Args:
        task: The task, or several joined by ``+``.
        parameters: The resolved parameters.
        names: ``dataset``, ``backbone`` and ``run_key``, see :meth:`.CurrentRun.names`.
        commit: The project's git commit, where it has one.

    Returns:
        ``task``, ``dataset``, ``backbone``, ``bpm``, ``top_k_ratio``, ``coreset_ratio`` (that of
        the task's memory banks), ``seed``, ``run_key`` and ``git_commit``.
    """
    bank = "multiclass_coreset_ratio" if task == "multiclass" else "coreset_ratio"
    tags = {
        "task": task,
        "dataset": names["dataset"],
        "backbone": names["backbone"],
        "bpm": parameters["bpm"]["mode"],
        "top_k_ratio": parameters["scoring"]["top_k_ratio"],
        "coreset_ratio": parameters["memory_bank"][bank],
        "seed": parameters["seed"],
        "run_key": names["run_key"],
        "git_commit": commit,
    }
    return {key: str(value) for key, value in tags.items() if value is not None}


def run_name(tags: Mapping[str, str]) -> str:
    """A run in a few words.

    Example:
        >>> tags = {"task": "defect", "dataset": "demo", "backbone": "quickstart", "bpm": "off"}
        >>> run_name({**tags, "seed": "0"})
        'defect demo quickstart bpm=off seed=0'
    """
    words = [tags[key] for key in ("task", "dataset", "backbone")]
    return " ".join([*words, *(f"{key}={tags[key]}" for key in ("bpm", "seed"))])


def data_hash(manifest: pd.DataFrame) -> str:
    """A short hash of which pictures are learned from and tested, as what; not of their names.

    Args:
        manifest: See :func:`.manifest.build_manifest`.

    Returns:
        12 hexadecimal digits.
    """
    rows = sorted(manifest[IDENTITY_COLUMNS].astype(str).agg("\t".join, axis=1))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


def save_views(run_id: str) -> None:
    """Put tables with the columns that matter into MLflow's menu "Views", unless they are there.

    Args:
        run_id: A run of the experiment.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
    for number, (key, view) in enumerate(VIEWS.items()):
        tag = f"{VIEW_TAG}{key}"
        if tag not in experiment.tags:
            # The menu lists the newest first.
            time = len(VIEWS) - number
            about = {"name": view["name"], "createdAt": time, "updatedAt": time}
            content = {**about, "state": json.dumps(_view_state(view["only"], view["columns"]))}
            client.set_experiment_tag(experiment.experiment_id, tag, json.dumps(content))


def _view_state(only: str, columns: list[str]) -> dict[str, Any]:
    """What MLflow's page of runs shows: filter, order and columns."""
    return {
        "searchFilter": only,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": ["attributes.`Created`", *columns],
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, VIEW_COLUMN_PX),
    }


def log_parameters(run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Log every resolved parameter by its dotted key, and tags to find the run by."""
    from mlflow import MlflowClient
    from mlflow.entities import Param

    MlflowClient().log_batch(
        run_id, params=[Param(key, str(value)) for key, value in flatten(parameters)]
    )
    log_tags(run_id, tags)


def log_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    from mlflow import MlflowClient
    from mlflow.entities import RunTag

    MlflowClient().log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def log_task(
    run_id: str,
    metrics: Mapping[str, Any],
    leaderboard: pd.DataFrame,
    report: str,
    figures: Mapping[str, bytes],
) -> None:
    """Log a task's mean metrics, their deviation as ``<name>_std``, leaderboard and report.

    Args:
        run_id: The run.
        metrics: The task's metrics.
        leaderboard: The task's leaderboard.
        report: The report, a page of HTML.
        figures: Pictures (PNG) of the whole task by name.
    """
    from mlflow import MlflowClient

    means = {**metrics["mean"], **{f"{key}_std": std for key, std in metrics["std"].items()}}
    client = MlflowClient()
    _log_metrics(client, run_id, means)
    client.log_dict(run_id, dict(metrics), "metrics.json")
    client.log_text(run_id, leaderboard.to_csv(index=False), "leaderboard.csv")
    client.log_text(run_id, report, "report.html")
    files = ((f"{name}.png", content) for name, content in figures.items())
    _log_files(client, run_id, files)


def log_prediction(run_id: str, metrics: Mapping[str, Any], report: str) -> None:
    """Log how many new images were flagged, and the report."""
    from mlflow import MlflowClient

    client = MlflowClient()
    _log_metrics(client, run_id, metrics)
    client.log_text(run_id, report, "report.html")


def log_settings(
    run_id: str,
    sweep_metrics: pd.DataFrame,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
) -> None:
    """Log each setting of a sweep as a child of a run, so that MLflow compares them side by side.

    Args:
        run_id: The parent run.
        sweep_metrics: See :func:`.sweep.summarise_sweep`.
        parameters: The run's resolved parameters; a child carries them with its own value in.
        tags: The run's tags; a child's say its own value.
    """
    from mlflow import MlflowClient
    from mlflow.entities import RunStatus

    client = MlflowClient()
    client.log_text(run_id, sweep_metrics.to_csv(index=False), "sweep_metrics.csv")
    _log_files(client, run_id, _curves(sweep_metrics))
    parent = client.get_run(run_id)
    for row in sweep_metrics.to_dict("records"):
        key, value = row["parameter"], row["value"]
        own_tags = {**tags, SETTING_TAG: key, **_own_tag(key, value)}
        name = {PARENT_TAG: run_id, NAME_TAG: f"{key} = {value}"}
        child_id = client.create_run(parent.info.experiment_id, tags=name).info.run_id
        log_parameters(child_id, {**dict(flatten(parameters)), key: value}, own_tags)
        metrics = {
            name: value
            for name, value in row.items()
            if name not in {"parameter", "value"} and not pd.isna(value)
        }
        _log_metrics(client, child_id, metrics)
        client.set_terminated(child_id, RunStatus.to_string(RunStatus.FINISHED))


def _curves(sweep_metrics: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Metrics against each parameter under study."""
    names = [name for name in SWEPT_METRICS if name in sweep_metrics and name != "bank_size"]
    for key in sweep_metrics["parameter"].unique():
        yield f"curves/{key}.png", figure_png(sweep_figure(sweep_metrics, key, names))


def _own_tag(key: str, value: str) -> dict[str, str]:
    """The tag that repeats a parameter under study."""
    names = {
        "bpm.mode": "bpm",
        "scoring.top_k_ratio": "top_k_ratio",
        "memory_bank.coreset_ratio": "coreset_ratio",
    }
    return {names[key]: value} if key in names else {}


def log_category(
    run_id: str,
    category: str,
    artifacts: CategoryArtifacts,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
) -> None:
    """Log a category as a child of a run: metrics, scores, heat maps and curves.

    Args:
        run_id: The parent run.
        category: Name of the category, which becomes the child's.
        artifacts: What to log.
        parameters: The run's resolved parameters; children carry them too, for comparison.
        tags: The run's tags; children carry them too.
    """
    from mlflow import MlflowClient
    from mlflow.entities import RunStatus

    client = MlflowClient()
    parent = client.get_run(run_id)
    child = client.create_run(
        parent.info.experiment_id, tags={PARENT_TAG: run_id, NAME_TAG: category}
    )
    child_id = child.info.run_id
    log_parameters(child_id, parameters, {**tags, CATEGORY_TAG: category})
    _log_metrics(client, child_id, artifacts.metrics)
    _log_files(client, child_id, _files(artifacts))
    for name, plot in artifacts.plots.items():
        client.log_figure(child_id, plot, f"{name}.html")
    client.set_terminated(child_id, RunStatus.to_string(RunStatus.FINISHED))


def _log_metrics(client: Any, run_id: str, metrics: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric

    known = {key: value for key, value in metrics.items() if value is not None}
    client.log_batch(run_id, metrics=[Metric(key, value, 0, 0) for key, value in known.items()])


def _log_files(client: Any, run_id: str, files: Iterator[tuple[str, bytes]]) -> None:
    """Log files by path, in one upload."""
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files:
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        client.log_artifacts(run_id, folder)


def _files(artifacts: CategoryArtifacts) -> Iterator[tuple[str, bytes]]:
    yield "image_scores.csv", artifacts.image_scores.to_csv(index=False).encode()
    for name, content in artifacts.figures.items():
        yield f"{name}.png", content
    for number, image in enumerate(artifacts.gallery):
        # Numbers keep the order, worst mistakes first.
        yield f"heat_maps/{number:03d}_{image.defect}.jpg", image.views["heat_map"]
