"""What happens around a run, in the process that drives it: checks, tracking, the last words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from uniformaly_pipeline import tracking
from uniformaly_pipeline.backbone import Backbone, check_backbone
from uniformaly_pipeline.errors import InputError
from uniformaly_pipeline.logs import CommandError, InputErrorFilter, find_input_error
from uniformaly_pipeline.preprocessing import Preprocessing
from uniformaly_pipeline.run_parameters import current_run
from uniformaly_pipeline.summary import print_summary

logger = logging.getLogger(__name__)


class CheckHooks:
    """Finds bad input before any work and reports it as one line."""

    @hook_impl
    def after_context_created(self) -> None:
        """Keep Kedro's logs about input errors off the terminal."""
        for handler in logging.getLogger().handlers:
            handler.addFilter(InputErrorFilter())

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Check the backbone of a run that encodes images.

        Raises:
            CommandError: It cannot be used.
        """
        if "features" not in pipeline.all_outputs():
            return
        run = current_run()
        parameters = run.parameters
        preprocessing = Preprocessing(**parameters.chosen_dataset.preprocessing.model_dump())
        backbone = Backbone(**parameters.chosen_backbone.model_dump())
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


class TrackingHooks:
    """Logs parameters, figures and artifacts to the run that kedro-mlflow opened."""

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Log every resolved parameter, so that a failed run can be understood too."""
        run_id = _active_run_id()
        if run_id is None:
            return
        run = current_run()
        task = "+".join(_tasks(pipeline))
        tags = {
            tracking.NAME_TAG: run.title(task) if task else "part of a run",
            "task": task,
            "dataset": run.parameters.dataset,
            "backbone": run.parameters.backbone,
        }
        tracking.log_parameters(run_id, run.parameters.resolved(), tags)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log each finished task and its categories, before kedro-mlflow closes the run."""
        run_id = _active_run_id()
        if run_id is None:
            return
        for task in _tasks(pipeline):
            metrics = catalog.load(f"{task}.metrics")
            leaderboard = catalog.load(f"{task}.leaderboard")
            tracking.log_task(run_id, metrics, leaderboard, catalog.load(f"{task}.report"))
            parameters = current_run().parameters.resolved()
            for key, category in zip(
                _category_keys(pipeline, task), metrics["categories"], strict=True
            ):
                artifacts = _load_category(catalog, f"{task}.{key}")
                tracking.log_category(run_id, category, artifacts, parameters)


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
        for task in _tasks(pipeline):
            report = str(getattr(catalog[f"{task}.report"], "_filepath", ""))
            print_summary(
                run.title(task),
                catalog.load(f"{task}.leaderboard"),
                [
                    ("report", os.path.relpath(report)),
                    ("compare runs", "mlflow ui"),
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
        if name.endswith(".report"):
            yield name.removesuffix(".report")


def _category_keys(pipeline: Pipeline, task: str) -> list[str]:
    """Namespaces of a task's categories, in the order in which its metrics list them."""
    collect = next(node for node in pipeline.nodes if f"{task}.metrics" in node.outputs)
    return [name.split(".")[1] for name in collect.inputs]


def _load_category(catalog: CatalogProtocol, namespace: str) -> tracking.CategoryArtifacts:
    def load(name: str) -> Any:
        return catalog.load(f"{namespace}.{name}")

    return tracking.CategoryArtifacts(
        metrics=load("metrics"),
        image_scores=load("image_scores"),
        figures={name: load(name) for name in ("roc_figure", "score_histogram")},
        gallery=load("gallery"),
    )
