"""A finished run in MLflow: a parent run for the task, a child run per category.

Everything is logged by the process that drives the run, after it, so that every Kedro runner
tracks alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from uniformaly_pipeline.dotted import flatten
from uniformaly_pipeline.gallery import GalleryImage

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"


@dataclass(frozen=True)
class CategoryArtifacts:
    """What a category's child run shows.

    Attributes:
        metrics: The category's figures.
        image_scores: A row per test image.
        figures: Pictures (PNG) by name.
        gallery: The most telling test images.
    """

    metrics: Mapping[str, Any]
    image_scores: pd.DataFrame
    figures: Mapping[str, bytes]
    gallery: list[GalleryImage]


def log_parameters(run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Log every resolved parameter by its dotted key, and tags to find the run by."""
    from mlflow import MlflowClient
    from mlflow.entities import Param, RunTag

    MlflowClient().log_batch(
        run_id,
        params=[Param(key, str(value)) for key, value in flatten(parameters)],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def log_task(
    run_id: str, metrics: Mapping[str, Any], leaderboard: pd.DataFrame, report: str
) -> None:
    """Log a task's mean figures, their deviation as ``<name>_std``, leaderboard and report."""
    from mlflow import MlflowClient

    figures = {**metrics["mean"], **{f"{key}_std": std for key, std in metrics["std"].items()}}
    client = MlflowClient()
    _log_metrics(client, run_id, figures)
    client.log_dict(run_id, dict(metrics), "metrics.json")
    client.log_text(run_id, leaderboard.to_csv(index=False), "leaderboard.csv")
    client.log_text(run_id, report, "report.html")


def log_prediction(run_id: str, metrics: Mapping[str, Any], report: str) -> None:
    """Log how many new images were flagged, and the report."""
    from mlflow import MlflowClient

    client = MlflowClient()
    _log_metrics(client, run_id, metrics)
    client.log_text(run_id, report, "report.html")


def log_settings(run_id: str, settings: pd.DataFrame, parameters: Mapping[str, Any]) -> None:
    """Log each setting of a sweep as a child of a run, so that MLflow compares them side by side.

    Args:
        run_id: The parent run.
        settings: See :func:`.sweep.summarise_settings`.
        parameters: The run's resolved parameters; a child carries them with its own value in.
    """
    from mlflow import MlflowClient
    from mlflow.entities import RunStatus

    client = MlflowClient()
    client.log_text(run_id, settings.to_csv(index=False), "settings.csv")
    parent = client.get_run(run_id)
    for row in settings.to_dict("records"):
        key, value = row["parameter"], row["value"]
        tags = {PARENT_TAG: run_id, NAME_TAG: f"{key} = {value}"}
        child_id = client.create_run(parent.info.experiment_id, tags=tags).info.run_id
        own = {**dict(flatten(parameters)), key: value}
        log_parameters(child_id, own, {"setting": key, "task": parent.data.tags.get("task", "")})
        figures = {
            name: figure
            for name, figure in row.items()
            if name not in {"parameter", "value"} and not pd.isna(figure)
        }
        _log_metrics(client, child_id, figures)
        client.set_terminated(child_id, RunStatus.to_string(RunStatus.FINISHED))


def log_category(
    run_id: str, category: str, artifacts: CategoryArtifacts, parameters: Mapping[str, Any]
) -> None:
    """Log a category as a child of a run: figures, scores, heat maps and curves.

    Args:
        run_id: The parent run.
        category: Name of the category, which becomes the child's.
        artifacts: What to log.
        parameters: The run's resolved parameters; children carry them too, for comparison.
    """
    from mlflow import MlflowClient
    from mlflow.entities import RunStatus

    client = MlflowClient()
    parent = client.get_run(run_id)
    child = client.create_run(
        parent.info.experiment_id, tags={PARENT_TAG: run_id, NAME_TAG: category}
    )
    child_id = child.info.run_id
    log_parameters(child_id, parameters, {"category": category})
    _log_metrics(client, child_id, artifacts.metrics)
    with tempfile.TemporaryDirectory() as folder:
        for path, content in _files(artifacts):
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        client.log_artifacts(child_id, folder)
    client.set_terminated(child_id, RunStatus.to_string(RunStatus.FINISHED))


def _log_metrics(client: Any, run_id: str, figures: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric

    known = {key: value for key, value in figures.items() if value is not None}
    client.log_batch(run_id, metrics=[Metric(key, value, 0, 0) for key, value in known.items()])


def _files(artifacts: CategoryArtifacts) -> Iterator[tuple[str, bytes]]:
    yield "image_scores.csv", artifacts.image_scores.to_csv(index=False).encode()
    for name, content in artifacts.figures.items():
        yield f"{name}.png", content
    for number, image in enumerate(artifacts.gallery):
        # Numbers keep the order, worst mistakes first.
        yield f"heat_maps/{number:03d}_{image.defect}.jpg", image.views["heat_map"]
