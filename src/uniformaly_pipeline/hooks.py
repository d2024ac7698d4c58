"""What happens around a run, in the process that drives it: checks, tracking, the last words.

Hooks ask for a node's tags and build the names of datasets from the run's plans: nothing here
depends on how a name is spelt.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import click
from kedro.framework import project
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.common.array_bundle import ArrayBundle
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
from uniformaly_pipeline.memory_bank.bank import check_same_preprocessing
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.pipelines import features
from uniformaly_pipeline.pipelines.ingestion.nodes import refuse_task
from uniformaly_pipeline.pipelines.selection import check_selection
from uniformaly_pipeline.pipelines.tasks.plan import PLANNERS, TaskPlan, plan_task
from uniformaly_pipeline.reporting.prose import command_for, notes_on, title_of
from uniformaly_pipeline.reporting.terminal import print_decisions, print_findings, print_summary
from uniformaly_pipeline.tracking import runs

logger = logging.getLogger(__name__)

SOURCES = {"raw_images", "predict.new_images", "parameters"}
"""What pipelines start from that no earlier run made."""

ROOT_RECORD = "data_set_root"
"""The record of the root that a data set's name stands for."""


class CheckHooks:
    """Finds bad input before any work and reports it as one line."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Have the parameters checked and published, then look for what is to run.

        Raises:
            CommandError: The parameters are not usable, or what is to run is not there.
        """
        for handler in logging.getLogger().handlers:
            # Kedro's logs about input errors stay off the terminal.
            handler.addFilter(InputErrorFilter())
        context.config_loader["parameters"]
        # Kedro keeps the pipelines of the session before, which may have had other parameters.
        pipelines.configure(f"{project.PACKAGE_NAME}.pipeline_registry")
        command = click.get_current_context(silent=True)
        if command is not None and command.command.name == "run":
            try:
                check_selection(command.params, pipelines)
            except InputError as error:
                raise CommandError(str(error)) from error

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Check what the run starts from, and the backbone of a run that encodes images.

        Raises:
            CommandError: Something is missing or cannot be used.
        """
        run = _run()
        try:
            for node in pipeline.nodes:
                if node.func is refuse_task:
                    refuse_task(catalog.load(node.inputs[0]))
            _check_inputs(pipeline, catalog, run)
            if any(features.STAGE in node.tags for node in pipeline.nodes):
                _check_encoder(pipeline, run)
        except InputError as error:
            raise CommandError(str(error)) from error

    @hook_impl
    def after_node_run(self, node: Node, catalog: CatalogProtocol) -> None:
        """Record the root once its images are known to be sound: before any result is written."""
        run = current_run()  # other processes may have none
        if run is not None and "manifest" in node.inputs:
            _record_root(catalog, run)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Record the root where other processes did not."""
        if "manifest" in pipeline.all_outputs():
            _record_root(catalog, _run())

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Turn what the user can mend into one line; leave other errors their traceback.

        Raises:
            CommandError: The error is or was caused by an input error.
        """
        input_error = find_input_error(error)
        if input_error is not None:
            raise CommandError(str(input_error)) from error


def _run() -> CurrentRun:
    """The run that :class:`.config_loader.RunConfigLoader` published."""
    run = current_run()
    assert run is not None
    return run


def _check_inputs(pipeline: Pipeline, catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Refuse to start without what this run goes on from, or to judge by a bank that does not fit.

    Raises:
        InputError: Something is missing or does not fit; the line names it and what to do.
    """
    results = {
        name for name in pipeline.inputs() if not name.startswith("params:") and name not in SOURCES
    }
    if "downloaded" not in pipeline.all_outputs():
        _check_root(catalog, run)
    judges = "predict.metrics" in pipeline.all_outputs()
    if judges:
        plan = plan_task("predict", run)
        if plan.problem is not None:
            raise InputError(plan.problem)
    # A bank that does not fit is worth more of a word than features that are missing.
    _require(results - {"features"}, catalog, run)
    if results:
        _require_root(catalog, run, run.parameters.predict.task)
    if judges:
        made_by = run.parameters.predict.task
        ((key, category),) = plan.categories.items()
        bank, images = f"{made_by}.{category.bank or key}.memory_bank", f"{made_by}.{key}.images"
        if bank in results:
            loaded = catalog.load(bank)
            check_same_masking(loaded, run.parameters.bpm.model_dump())
            check_same_preprocessing(loaded, _preprocessing(run))
            _follow_precision(loaded, catalog)
        if images in results:
            check_rate(catalog.load(images), run.parameters.predict.false_alarm_rate)
    _require(results & {"features"}, catalog, run)


def _check_root(catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Refuse to mix the results of two roots of one name.

    Raises:
        InputError: The name stands for another root; the line names both and what to do.
    """
    if not catalog.exists(ROOT_RECORD):
        return
    record = _path(catalog, ROOT_RECORD)
    try:
        recorded = catalog.load(ROOT_RECORD)
    except DatasetError as error:
        raise InputError(f"{record} cannot be read: delete it and run defect anew") from error
    if recorded == run.root_record:
        return
    key = run.parameters.dataset
    before, now = (
        f"{place.get('root')} (layout {place.get('layout')})"
        for place in (recorded, run.root_record)
    )
    raise InputError(
        f"datasets.{key}.root: the results of '{run.data_set}' are of {before}, not of {now}: give "
        f"this one another name with datasets.{key}.name, or, if the images have moved, write "
        f"their new place into {record}"
    )


def _record_root(catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Say which root the data set's name stands for, unless that is known."""
    if not catalog.exists(ROOT_RECORD):
        catalog.save(ROOT_RECORD, run.root_record)


def _require_root(catalog: CatalogProtocol, run: CurrentRun, task: str) -> None:
    """Refuse to go on from results of which nobody knows the root.

    Raises:
        InputError: There is no record of it.
    """
    if not catalog.exists(ROOT_RECORD):
        raise InputError(
            f"nothing says of which root the results of '{run.data_set}' are: first run "
            f"{command_for(run, task, without='predict')}"
        )


def _follow_precision(memory_bank: ArrayBundle, catalog: CatalogProtocol) -> None:
    """Let ``encoder.precision: auto`` be that of the memory bank, which judges in no other."""
    encoder = catalog.load("params:encoder")
    if encoder["precision"] == "auto":
        made_in = memory_bank.metadata["features"]["precision"]
        catalog["params:encoder"] = MemoryDataset({**encoder, "precision": made_in})


def _require(results: set[str], catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Refuse to start without what an earlier run made.

    Raises:
        InputError: Something is missing; the line names it and the command that makes it.
    """
    for name in sorted(results):
        if catalog.exists(name):
            continue
        task, what = _described(name, run)
        command = command_for(run, task, without="predict")
        raise InputError(
            f"the {what} on {run.data_set} with {run.backbone}, settings "
            f"{run.names(task)['run_key']}, are missing: first run {command}"
        )


def _described(name: str, run: CurrentRun) -> tuple[str, str]:
    """The task that makes a dataset, and what it is in words."""
    for plan in _plans(run):
        owners = {**plan.categories, **plan.banks}
        for prefix, of in [
            *((f"{plan.task}.{key}.", f" of '{key}'") for key in owners),
            (f"{plan.task}.", ""),
        ]:
            if name.startswith(prefix):
                return plan.task, name.removeprefix(prefix).replace("_", " ") + of
    return run.parameters.predict.task, name.replace("_", " ")


def _plans(run: CurrentRun) -> Iterator[TaskPlan]:
    """What the tasks that fit the run are about."""
    for task in PLANNERS:
        try:
            yield plan_task(task, run)
        except InputError:
            continue


def _check_encoder(pipeline: Pipeline, run: CurrentRun) -> None:
    """Find out before any work whether the backbone can be had and takes the images.

    Raises:
        InputError: It cannot, or does not.
    """
    parameters = run.parameters
    backbone = Backbone(**parameters.chosen_backbone.model_dump())
    if "layered_features" in pipeline.all_outputs():
        layers = {layer for choice in parameters.layer_choices or [] for layer in choice}
        backbone = replace(backbone, layers=tuple(sorted(layers)))
    check_backbone(backbone, _preprocessing(run).input_size)
    for note in notes_on(parameters):
        logger.warning(note)


def _preprocessing(run: CurrentRun) -> Preprocessing:
    return Preprocessing(**run.parameters.chosen_dataset.preprocessing.model_dump())


class MlflowRunHooks:
    """kedro-mlflow's hooks, but for those around single nodes.

    These log each node's parameters, which :class:`TrackingHooks` logs once for all, and enter the
    run again for every node without leaving it.
    """

    @cached_property
    def _plugin(self) -> Any:
        # MLflow takes seconds to import.
        from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook

        return MlflowHook()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read ``mlflow.yml`` and choose the tracking server and the experiment."""
        self._plugin.after_context_created(context)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open the run."""
        self._plugin.before_pipeline_run(run_params, pipeline, catalog)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Close the run."""
        self._plugin.after_pipeline_run(run_params, pipeline, catalog)

    @hook_impl
    def on_pipeline_error(
        self,
        error: Exception,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: CatalogProtocol,
    ) -> None:
        """Close the run as failed."""
        self._plugin.on_pipeline_error(error, run_params, pipeline, catalog)


class TrackingHooks:
    """Logs parameters, metrics and artifacts to the run that kedro-mlflow opened."""

    _computed: Pipeline

    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Log every resolved parameter, so that a failed run can be understood too."""
        total = len(pipeline.nodes)
        if run_params.get("only_missing_outputs"):
            pipeline = computed_part(pipeline, catalog)
            if earlier := total - len(pipeline.nodes):
                logger.warning(
                    "%d of %d nodes do not run: their results are those of an earlier run",
                    earlier,
                    total,
                )
        self._computed = pipeline
        run_id = _active_run_id()
        if run_id is None:
            return
        run = _run()
        tags = _tags(run, pipeline)
        name = runs.run_name(tags) if tags["task"] else "part of a run"
        tags |= runs.origin_tags(len(pipeline.nodes), total, _earlier_results(pipeline))
        runs.log_parameters(run_id, run.parameters.resolved(), {**tags, runs.NAME_TAG: name})
        runs.save_views(run_id)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Log what was computed of each task and category, before kedro-mlflow closes the run."""
        run_id = _active_run_id()
        if run_id is None:
            return
        run, pipeline = _run(), self._computed
        tags = _tags(run, pipeline) | _data_tags(pipeline, catalog)
        made = pipeline.all_outputs()
        tasks = [task for task in _finished_tasks(pipeline) if f"{task}.metrics" in made]
        commands = [f"`{command_for(run, task)}`" for task in tasks]
        notes = "\n\n".join([*commands, *notes_on(run.parameters)])
        runs.log_tags(run_id, {**tags, runs.NOTE_TAG: notes})
        for task in tasks:
            _log_task(run_id, plan_task(task, run), pipeline, catalog, run, tags)


def computed_part(pipeline: Pipeline, catalog: CatalogProtocol) -> Pipeline:
    """What ``--only-missing-outputs`` leaves of a pipeline, by Kedro's rule.

    A node runs if one of its outputs is missing, or is not kept and needed by a node that runs.
    """
    kept = {name for name in pipeline.all_outputs() if name in catalog}
    missing = {name for name in kept if not catalog.exists(name)}
    needed: set[str] = set()
    chosen = []
    for node in reversed(pipeline.nodes):
        outputs = set(node.outputs)
        if outputs & missing or (outputs - kept) & needed or not outputs:
            chosen.append(node)
            needed |= set(node.inputs)
    return Pipeline(chosen)


def _earlier_results(pipeline: Pipeline) -> set[str]:
    """What a pipeline starts from that an earlier run made."""
    names = (name for name in pipeline.inputs() if not name.startswith("params:"))
    return set(names) - SOURCES


def _tags(run: CurrentRun, pipeline: Pipeline) -> dict[str, str]:
    """What tells this run apart from others."""
    tasks, commit = _finished_tasks(pipeline), git_commit(run.project_path)
    # Several tasks share all but their own sections of parameters.
    names = run.names(tasks[0] if len(tasks) == 1 else "")
    return runs.run_tags("+".join(tasks), run.parameters.resolved(), names, commit)


def _data_tags(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, str]:
    """Which pictures the run was about."""
    made = pipeline.all_outputs() | pipeline.inputs()
    name = next((name for name in ("predict.images", "manifest") if name in made), None)
    return {} if name is None else {"data_hash": runs.data_hash(catalog.load(name))}


def _finished_tasks(pipeline: Pipeline) -> list[str]:
    """Names of the tasks whose report the pipeline writes, sorted."""
    return [task for task in sorted(PLANNERS) if f"{task}.report" in pipeline.all_outputs()]


def _log_task(
    run_id: str,
    plan: TaskPlan,
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    run: CurrentRun,
    tags: dict[str, str],
) -> None:
    """Log a finished task, its categories and its sweep."""
    outputs, task = pipeline.all_outputs(), plan.task
    metrics, report = catalog.load(f"{task}.metrics"), catalog.load(f"{task}.report")
    if task == "predict":
        runs.log_prediction(run_id, metrics, report)
        return
    bank_figures = {key: f"{task}.{key}.bank_figure" for key in plan.banks}
    runs.log_task(
        run_id,
        metrics,
        catalog.load(f"{task}.leaderboard"),
        report,
        {key: catalog.load(name) for key, name in bank_figures.items() if name in outputs},
    )
    parameters = run.parameters.resolved()
    for key, category in plan.categories.items():
        if f"{task}.{key}.metrics" not in outputs:
            continue  # an earlier run computed and logged them
        artifacts = _load_category(catalog, f"{task}.{key}", outputs)
        runs.log_category(run_id, category.name, artifacts, parameters, tags)
    if f"{task}.sweep_metrics" in outputs:
        sweep_metrics = catalog.load(f"{task}.sweep_metrics")
        runs.log_settings(run_id, sweep_metrics, parameters, tags)


class SummaryHooks:
    """Prints the leaderboard at the end of a run."""

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Print each finished task's leaderboard and where to look next."""
        run = _run()
        if "ingestion.report" in pipeline.all_outputs():
            print_findings(
                f"{run.data_set}: images",
                catalog.load("ingestion.counts"),
                catalog.load("ingestion.findings"),
                [("report", _path(catalog, "ingestion.report"))],
            )
        for task in _finished_tasks(pipeline):
            if task == "predict":
                _print_decisions(run, task, catalog)
                continue
            print_summary(
                title_of(task, run.parameters),
                catalog.load(f"{task}.leaderboard"),
                [
                    ("report", _path(catalog, f"{task}.report")),
                    ("compare runs", "python -m uniformaly_pipeline.tracking.compare"),
                    ("in a browser", "mlflow ui: the experiment's Views, Compare runs"),
                    ("see the lineage", "kedro viz run"),
                ],
            )


def _active_run_id() -> str | None:
    import mlflow

    active = mlflow.active_run()
    return active.info.run_id if active else None


def _path(catalog: CatalogProtocol, name: str) -> str:
    """Where a dataset of one file lies, as seen from the working directory."""
    return os.path.relpath(str(catalog[name]._filepath))


def _print_decisions(run: CurrentRun, task: str, catalog: CatalogProtocol) -> None:
    """Print what became of new images."""
    ((key, _),) = plan_task(task, run).categories.items()
    scores = f"{task}.{key}.scores"
    print_decisions(
        title_of(task, run.parameters),
        catalog.load(scores),
        catalog.load(f"{task}.metrics"),
        [
            ("scores", _path(catalog, scores)),
            ("heat maps", os.path.relpath(str(catalog[f"{task}.{key}.heat_maps"]._path))),
            ("report", _path(catalog, f"{task}.report")),
        ],
    )


_FIGURES = ("cluster_figure", "cluster_sheet", "bank_figure")
_PLOTS = ("roc_plot", "score_plot")


def _load_category(
    catalog: CatalogProtocol, namespace: str, outputs: set[str]
) -> runs.CategoryArtifacts:
    def load(name: str) -> Any:
        return catalog.load(f"{namespace}.{name}")

    return runs.CategoryArtifacts(
        metrics=load("metrics"),
        image_scores=load("image_scores"),
        figures={name: load(name) for name in _FIGURES if f"{namespace}.{name}" in outputs},
        plots={name: load(name) for name in _PLOTS if f"{namespace}.{name}" in outputs},
        gallery=load("gallery"),
    )
