"""A finished run in MLflow: a parent run for the task, a child run per category.

Everything is logged by the process that drives the run, after it, so that every Kedro runner
tracks alike.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from uniformaly_pipeline.common.tables import to_csv
from uniformaly_pipeline.detector.state import DetectorState
from uniformaly_pipeline.evaluation.leaderboard import leaderboard_table
from uniformaly_pipeline.evaluation.metrics import BRIEF_METRICS
from uniformaly_pipeline.evaluation.sweep import MULTICLASS_RATIO
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.naming import MULTICLASS_TASKS
from uniformaly_pipeline.reporting.figures.style import figure_png
from uniformaly_pipeline.reporting.figures.sweeps import sweep_figure
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.tracking.keys import LONGEST_VALUE, mlflow_key, mlflow_value
from uniformaly_pipeline.tracking.lifecycle import child_run

NOTE_TAG = "mlflow.note.content"
CATEGORY_TAG = "category"
SETTING_TAG = "setting"
LONGEST_TAG = 5000
TASKS_TAG = "tasks"
"""Of a run of several tasks, which are; each is a child of it, with metrics of its own."""

IDENTITY_COLUMNS = ["class", "split", "defect", "label", "content_hash", "mask_hash"]


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
        task: The task; empty for a part of one, and for several.
        parameters: The resolved parameters.
        names: ``dataset``, ``backbone`` and ``run_key``, see :meth:`.CurrentRun.names`.
        commit: The project's git commit, where it has one.

    Returns:
        ``task``, ``dataset``, ``backbone``, ``bpm``, ``top_k_ratio``, ``coreset_ratio`` (that of
        the task's memory banks), ``seed``, ``run_key`` and ``git_commit``.
    """
    bank = "multiclass_coreset_ratio" if task in MULTICLASS_TASKS else "coreset_ratio"
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


def detector_tags(state: DetectorState) -> dict[str, str]:
    """The settings that a detector judges by, which are not those of the run that uses it."""
    made = state.bank.metadata
    tags = {
        "bpm": made["bpm"]["mode"],
        "top_k_ratio": state.scoring.top_k_ratio,
        "coreset_ratio": made.get("coreset_ratio"),
        "seed": made.get("seed"),
    }
    # A parameter of the run would stand in for a tag that is not there.
    return {key: "unknown" if value is None else str(value) for key, value in tags.items()}


def origin_tags(computed: int, total: int, earlier: Collection[str]) -> dict[str, str]:
    """What a run computed itself, and what it took from runs before.

    Args:
        computed: The number of nodes that ran.
        total: The number of nodes that were asked for.
        earlier: The earlier results that the nodes started from.

    Returns:
        ``computed``, and ``earlier_results`` where there are any.
    """
    tags = {"computed": f"{computed} of {total} nodes"}
    if earlier:
        tags["earlier_results"] = ", ".join(sorted(earlier))[:LONGEST_TAG]
    return tags


def run_name(tags: Mapping[str, str]) -> str:
    """A run in a few words.

    Example:
        >>> tags = {"task": "defect", "dataset": "demo", "backbone": "quickstart"}
        >>> run_name({**tags, "run_key": "bpm.mode-off"})
        'defect bpm.mode-off demo quickstart'
    """
    # MLflow's tables cut names: what tells runs of one data set apart comes early.
    words = ("task", TASKS_TAG, "run_key", "dataset", "backbone")
    return " ".join(tags[key] for key in words if key in tags)


def data_hash(manifest: pd.DataFrame) -> str:
    """A short hash of which pictures and masks are learned from and tested, as what.

    Names have no part in it.

    Args:
        manifest: See :func:`.manifest.build_manifest`.

    Returns:
        12 hexadecimal digits.
    """
    rows = sorted(manifest[IDENTITY_COLUMNS].astype(str).agg("\t".join, axis=1))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


def log_data_set(run_id: str, name: str, root: str, manifest: pd.DataFrame) -> None:
    """Log which images a run is of, as one of MLflow's data sets.

    Args:
        run_id: The run.
        name: The data set's name.
        root: Where its images lie, without secrets.
        manifest: See :func:`.manifest.build_manifest`.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, DatasetInput, InputTag

    counts = {
        "classes": manifest["class"].nunique(),
        "train images": int((manifest["split"] == "train").sum()),
        "test images": int((manifest["split"] == "test").sum()),
        "anomalous test images": int((manifest["label"][manifest["split"] == "test"] != 0).sum()),
    }
    kind = root.partition("://")[0] if "://" in root else "local"
    data_set = Dataset(
        name=name,
        digest=data_hash(manifest),
        source_type=kind,
        source=json.dumps({"uri": root}),
        profile=json.dumps(counts),
    )
    tags = [InputTag("mlflow.data.context", "images")]
    MlflowClient().log_inputs(run_id, [DatasetInput(data_set, tags)])


def log_parameters(
    run_id: str,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    metrics: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Log every resolved parameter by its dotted key, tags to find the run by, and metrics.

    All go in one request: each waits for the database to write. Where MLflow takes a key or value
    only in another form (:mod:`.keys`) or in part, the run has ``parameters.json`` with what they
    are.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Param

    client, flat = MlflowClient(), dict(flatten(parameters))
    taken = {mlflow_key(key): mlflow_value(value) for key, value in flat.items()}
    client.log_batch(
        run_id,
        metrics=_metrics(metrics),
        params=[Param(key, value) for key, value in taken.items()],
        tags=_tags(tags),
    )
    is_cut = any(len(value) > LONGEST_VALUE for value in taken.values())
    if is_cut or taken != {key: str(value) for key, value in flat.items()}:
        client.log_dict(run_id, flat, "parameters.json")


def log_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    from mlflow import MlflowClient

    MlflowClient().log_batch(run_id, tags=_tags(tags))


def _tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    taken = {mlflow_key(key): mlflow_value(value) for key, value in tags.items()}
    return [RunTag(key, value) for key, value in taken.items()]


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
    client.log_text(run_id, to_csv(leaderboard), "leaderboard.csv")
    client.log_text(run_id, report, "report.html")
    files = ((f"{name}.png", content) for name, content in figures.items())
    _log_files(client, run_id, files)


def log_page(run_id: str, page: str) -> None:
    """Log the page of the paper."""
    from mlflow import MlflowClient

    MlflowClient().log_text(run_id, page, "report.html")


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

    client = MlflowClient()
    client.log_text(run_id, to_csv(sweep_metrics), "sweep_metrics.csv")
    _log_files(client, run_id, _curves(sweep_metrics))
    for row in sweep_metrics.to_dict("records"):
        key, value = row["parameter"], row["value"]
        own_tags = {**tags, SETTING_TAG: key, **_own_tag(key, value)}
        metrics = {
            name: value
            for name, value in row.items()
            if name not in {"parameter", "value"} and not pd.isna(value)
        }
        with child_run(run_id, f"{key} = {value}") as child_id:
            own = {**dict(flatten(parameters)), key: value}
            log_parameters(child_id, own, own_tags, metrics)


def _curves(sweep_metrics: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Metrics against each parameter under study."""
    names = [name for name in BRIEF_METRICS if name in sweep_metrics and name != "bank_size"]
    for key in sweep_metrics["parameter"].unique():
        yield f"curves/{key}.png", figure_png(sweep_figure(sweep_metrics, key, names))


def _own_tag(key: str, value: str) -> dict[str, str]:
    """The tag that repeats a parameter under study."""
    names = {
        "bpm.mode": "bpm",
        "scoring.top_k_ratio": "top_k_ratio",
        "memory_bank.coreset_ratio": "coreset_ratio",
        MULTICLASS_RATIO: "coreset_ratio",
    }
    return {names[key]: value} if key in names else {}


def log_categories(run_id: str, metrics: Mapping[str, Any]) -> None:
    """Log the metrics of many categories as one table of a run, in place of a child for each.

    Args:
        run_id: The run.
        metrics: The task's metrics.
    """
    from mlflow import MlflowClient

    table = leaderboard_table({"categories": metrics["categories"]})
    shown = table.iloc[: len(metrics["categories"])]
    MlflowClient().log_table(run_id, shown, "categories.json")


def log_category(
    run_id: str,
    category: str,
    artifacts: CategoryArtifacts,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
) -> str:
    """Log a category as a child of a run: metrics, scores, heat maps and curves.

    Args:
        run_id: The parent run.
        category: Name of the category, which becomes the child's.
        artifacts: What to log.
        parameters: The run's resolved parameters; children carry them too, for comparison.
        tags: The run's tags; children carry them too.

    Returns:
        The child's id.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    with child_run(run_id, category) as child_id:
        log_parameters(child_id, parameters, {**tags, CATEGORY_TAG: category}, artifacts.metrics)
        _log_files(client, child_id, _files(artifacts))
    return child_id


def _log_metrics(client: Any, run_id: str, metrics: Mapping[str, Any]) -> None:
    client.log_batch(run_id, metrics=_metrics(metrics))


def _metrics(metrics: Mapping[str, Any]) -> list[Any]:
    """What is defined of some metrics."""
    from mlflow.entities import Metric

    known = {key: value for key, value in metrics.items() if value is not None}
    return [Metric(key, value, 0, 0) for key, value in known.items()]


def _log_files(client: Any, run_id: str, files: Iterator[tuple[str, bytes]]) -> None:
    """Log files by path, in one upload."""
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files:
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        client.log_artifacts(run_id, folder)


def _files(artifacts: CategoryArtifacts) -> Iterator[tuple[str, bytes]]:
    yield "image_scores.csv", to_csv(artifacts.image_scores).encode()
    for name, content in artifacts.figures.items():
        yield f"{name}.png", content
    for name, plot in artifacts.plots.items():
        # As MLflow itself writes a plotly figure.
        yield f"{name}.html", plot.to_html(include_plotlyjs="cdn").encode()
    for number, image in enumerate(artifacts.gallery):
        # Numbers keep the order, worst mistakes first.
        yield f"heat_maps/{number:03d}_{image.defect}.jpg", image.views["heat_map"]
