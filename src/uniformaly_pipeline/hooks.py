"""What happens around a run, in the process that drives it: checks, tracking, the last words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import (
    CommandError,
    InputError,
    InputErrorFilter,
    find_input_error,
)
from uniformaly_pipeline.common.provenance import git_commit
from uniformaly_pipeline.detector.decisions import check_rate, check_same_masking
from uniformaly_pipeline.features.backbone import Backbone, check_backbone
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.parameters.refusal import REFUSAL
from uniformaly_pipeline.reporting.terminal import print_decisions, print_findings, print_summary
from uniformaly_pipeline.tracking import runs

logger = logging.getLogger(__name__)


class CheckHooks:
    """Finds bad input before any work and reports it as one line."""

    @hook_impl
    def after_context_created(self) -> None:
        """Keep Kedro's logs about input errors off the terminal."""
        for handler in logging.getLogger().handlers:
            handler.addFilter(InputErrorFilter())

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Check what the run starts from, and the backbone of a run that encodes images.

        Raises:
            CommandError: Something is missing or cannot be used.
        """
        for node in pipeline.nodes:
            if node.name.endswith(f".{REFUSAL}"):
                raise CommandError(node.func.keywords["reason"])  # type: ignore[attr-defined]
        run = current_run()
        results = {name for name in pipeline.inputs() if _is_result(name)}
        _require(results - {"features"}, catalog, run)
        if "predict.metrics" in pipeline.all_outputs():
            _check_prediction(results, catalog, run)
        _require(results & {"features"}, catalog, run)
        if not any(node.name.endswith("_features") for node in pipeline.nodes):
            return
        parameters = run.parameters
        preprocessing = Preprocessing(**parameters.chosen_dataset.preprocessing.model_dump())
        backbone = Backbone(**parameters.chosen_backbone.model_dump())
        if "layered_features" in pipeline.all_outputs():
            layers = {layer for choice in run.layer_choices or [] for layer in choice}
            backbone = replace(backbone, layers=tuple(sorted(layers)))
        try:
            check_backbone(backbone, preprocessing.input_size)
        except InputError as error:
            raise CommandError(str(error)) from error
        for note in run.notes:
            logger.warning(note)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Turn what the user can mend into one line; leave other errors their traceback.

        Raises:
            CommandError: The error is or was caused by an input error.
        """
        input_error = find_input_error(error)
        if input_error is not None:
            raise CommandError(str(input_error)) from error


def _is_result(name: str) -> bool:
    """Whether a dataset that a pipeline starts from is what an earlier run made."""
    is_source = name.startswith(("params:", "predict.")) or name in {"raw_images", "parameters"}
    return not is_source


def _require(results: set[str], catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Refuse to start without what this run goes on from.

    Raises:
        CommandError: Something is missing; the line names it and the command that makes it.
    """
    for name in sorted(results):
        if catalog.exists(name):
            continue
        task, _, rest = name.rpartition(".")[0].partition(".")
        of_category = f" of '{rest}'" if rest else ""
        command = run.command(task or run.parameters.predict.task, without="predict")
        raise CommandError(
            f"the {name.split('.')[-1].replace('_', ' ')}{of_category} for this data set and "
            f"backbone are missing: first run {command}"
        )


def _check_prediction(results: set[str], catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Refuse to judge by a bank of another masking, or at a rate that cannot be kept.

    Raises:
        CommandError: The bank does not fit, or too few normal images were held out.
    """
    bank = next((name for name in results if name.endswith(".memory_bank")), None)
    images = next((name for name in results if name.endswith(".images")), None)
    try:
        if bank is not None:
            check_same_masking(catalog.load(bank), run.parameters.bpm.model_dump())
        if images is not None:
            check_rate(catalog.load(images), run.parameters.predict.false_alarm_rate)
    except InputError as error:
        raise CommandError(str(error)) from error


class TrackingHooks:
    """Logs parameters, metrics and artifacts to the run that kedro-mlflow opened."""

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Log every resolved parameter, so that a failed run can be understood too."""
        run_id = _active_run_id()
        if run_id is None:
            return
        run = current_run()
        tags = _tags(run, pipeline)
        name = runs.run_name(tags) if tags["task"] else "part of a run"
        runs.log_parameters(run_id, run.parameters.resolved(), {**tags, runs.NAME_TAG: name})
        runs.save_views(run_id)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log each finished task and its categories, before kedro-mlflow closes the run."""
        run_id = _active_run_id()
        if run_id is None:
            return
        run = current_run()
        tags = _tags(run, pipeline) | _data_tags(pipeline, catalog)
        tasks = list(_tasks(pipeline))
        notes = "\n\n".join([f"`{run.command(task)}`" for task in tasks] + run.notes)
        runs.log_tags(run_id, {**tags, runs.NOTE_TAG: notes})
        for task in tasks:
            _log_task(run_id, task, pipeline, catalog, run, tags)


def _tags(run: CurrentRun, pipeline: Pipeline) -> dict[str, str]:
    """What tells this run apart from others."""
    commit = git_commit(run.project_path)
    return runs.run_tags("+".join(_tasks(pipeline)), run.parameters.resolved(), commit)


def _data_tags(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, str]:
    """Which pictures the run was about."""
    made = pipeline.all_outputs() | pipeline.inputs()
    name = next((name for name in ("predict.images", "manifest") if name in made), None)
    return {} if name is None else {"data_hash": runs.data_hash(catalog.load(name))}


def _log_task(
    run_id: str,
    task: str,
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    run: CurrentRun,
    tags: dict[str, str],
) -> None:
    """Log a finished task, its categories and its settings."""
    outputs = pipeline.all_outputs()
    metrics, report = catalog.load(f"{task}.metrics"), catalog.load(f"{task}.report")
    if f"{task}.leaderboard" not in outputs:
        runs.log_prediction(run_id, metrics, report)
        return
    keys = _category_keys(pipeline, task)
    runs.log_task(
        run_id,
        metrics,
        catalog.load(f"{task}.leaderboard"),
        report,
        _load_bank_figures(catalog, task, outputs, keys),
    )
    parameters = run.parameters.resolved()
    for key, category in zip(keys, metrics["categories"], strict=True):
        artifacts = _load_category(catalog, f"{task}.{key}", outputs)
        runs.log_category(run_id, category, artifacts, parameters, tags)
    if f"{task}.sweep_metrics" in outputs:
        sweep_metrics = catalog.load(f"{task}.sweep_metrics")
        runs.log_settings(run_id, sweep_metrics, parameters, tags)


class ClosingHooks:
    """Closes what kedro-mlflow leaves open, for processes that run several sessions.

    It enters the run again for each node but leaves it only once.
    """

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._outer_run_id: str | None = None

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Remember a run that someone opened around this session: it stays open."""
        self._outer_run_id = _active_run_id()

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Leave this session's run for good."""
        import mlflow

        while _active_run_id() not in (None, self._outer_run_id):
            mlflow.end_run()


class SummaryHooks:
    """Prints the leaderboard at the end of a run."""

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Print each finished task's leaderboard and where to look next."""
        run = current_run()
        if "ingestion.report" in pipeline.all_outputs():
            report = str(getattr(catalog["ingestion.report"], "_filepath", ""))
            print_findings(
                f"{run.parameters.dataset}: images",
                catalog.load("ingestion.counts"),
                catalog.load("ingestion.findings"),
                [("report", os.path.relpath(report))],
            )
        for task in _tasks(pipeline):
            if f"{task}.leaderboard" not in pipeline.all_outputs():
                _print_decisions(run, task, pipeline, catalog)
                continue
            report = str(getattr(catalog[f"{task}.report"], "_filepath", ""))
            print_summary(
                run.title(task),
                catalog.load(f"{task}.leaderboard"),
                [
                    ("report", os.path.relpath(report)),
                    ("compare runs", "python -m uniformaly_pipeline.tracking.compare"),
                    ("in a browser", "mlflow ui: the experiment's Views, Compare runs"),
                    ("see the lineage", "kedro viz run"),
                ],
            )


def _active_run_id() -> str | None:
    import mlflow

    active = mlflow.active_run()
    return active.info.run_id if active else None


def _tasks(pipeline: Pipeline) -> Iterator[str]:
    """Names of the tasks whose report the pipeline writes."""
    for name in sorted(pipeline.all_outputs()):
        if name.endswith(".report") and name != "ingestion.report":
            yield name.removesuffix(".report")


def _category_keys(pipeline: Pipeline, task: str) -> list[str]:
    """Namespaces of a task's categories, in the order in which its metrics list them."""
    collect = next(node for node in pipeline.nodes if f"{task}.metrics" in node.outputs)
    return [name.split(".")[1] for name in collect.inputs]


def _print_decisions(
    run: CurrentRun, task: str, pipeline: Pipeline, catalog: CatalogProtocol
) -> None:
    """Print what became of new images."""
    scores = next(name for name in pipeline.all_outputs() if name.endswith(".scores"))
    maps = scores.removesuffix("scores") + "heat_maps"
    print_decisions(
        run.title(task),
        catalog.load(scores),
        catalog.load(f"{task}.metrics"),
        [
            ("scores", os.path.relpath(str(catalog[scores]._filepath))),
            ("heat maps", os.path.relpath(str(catalog[maps]._path))),
            ("report", os.path.relpath(str(catalog[f"{task}.report"]._filepath))),
        ],
    )


_PICTURES = ("roc_figure", "score_histogram", "cluster_figure", "cluster_sheet", "bank_figure")


def _load_category(
    catalog: CatalogProtocol, namespace: str, outputs: set[str]
) -> runs.CategoryArtifacts:
    def load(name: str) -> Any:
        return catalog.load(f"{namespace}.{name}")

    return runs.CategoryArtifacts(
        metrics=load("metrics"),
        image_scores=load("image_scores"),
        figures={name: load(name) for name in _PICTURES if f"{namespace}.{name}" in outputs},
        gallery=load("gallery"),
    )


def _load_bank_figures(
    catalog: CatalogProtocol, task: str, outputs: set[str], categories: list[str]
) -> dict[str, bytes]:
    """Pictures of the memory banks that categories share, by the bank's name."""
    ends = (f"{task}.", ".bank_figure")
    banks = [
        name.removeprefix(ends[0]).removesuffix(ends[1])
        for name in sorted(outputs)
        if name.startswith(ends[0]) and name.endswith(ends[1])
    ]
    return {bank: catalog.load(bank.join(ends)) for bank in banks if bank not in categories}
