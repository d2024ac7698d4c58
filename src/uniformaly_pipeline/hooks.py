"""What happens around a run, in the process that drives it: checks, tracking, the last words.

Hooks ask for a node's tags and build the names of datasets from the run's plans: nothing here
depends on how a name is spelt.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

import click
from kedro.config import AbstractConfigLoader, MissingConfigException
from kedro.framework import project
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Node, Pipeline
from pydantic import ValidationError

from uniformaly_pipeline.common import interruption
from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.cores import keep_threads, usable_cores, use_threads
from uniformaly_pipeline.common.errors import (
    RUN_AGAIN,
    CommandError,
    InputError,
    InputErrorFilter,
    find_input_error,
    first_line,
)
from uniformaly_pipeline.common.file_cache import cache_limit
from uniformaly_pipeline.common.garbage import collect_garbage
from uniformaly_pipeline.common.log_files import filter_all_handlers, prepare_log_files
from uniformaly_pipeline.common.machine import machine_fault
from uniformaly_pipeline.common.processes import be_a_worker
from uniformaly_pipeline.common.progress import watched_by
from uniformaly_pipeline.common.provenance import git_commit
from uniformaly_pipeline.common.secrets import SecretsFilter, hide_secrets, without_secrets
from uniformaly_pipeline.common.shell import runnable
from uniformaly_pipeline.common.storage import check_buckets, refuse_memory, shown_path
from uniformaly_pipeline.datasets.damage import set_aside_damage
from uniformaly_pipeline.datasets.origins import forget_announced
from uniformaly_pipeline.datasets.sources import (
    announce_sources,
    check_origins,
    check_sources,
    name_at,
)
from uniformaly_pipeline.detector.decisions import check_rate, check_same_masking
from uniformaly_pipeline.detector.detector import state_of_run
from uniformaly_pipeline.detector.exported import load_translated
from uniformaly_pipeline.detector.finished_run import TASKS as TASKS_THAT_JUDGE
from uniformaly_pipeline.detector.finished_run import read_run
from uniformaly_pipeline.detector.state import with_asked_threshold
from uniformaly_pipeline.evaluation.sweep import own_values
from uniformaly_pipeline.features.backbone import Backbone, check_backbone, fetch_checkpoint
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.pretrained import fetch_pretrained
from uniformaly_pipeline.memory_bank.bank import check_same_preprocessing
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.parameters.schema import ExportParameters, PredictParameters
from uniformaly_pipeline.pipelines import features
from uniformaly_pipeline.pipelines.freshness import SELECTIONS, check_images
from uniformaly_pipeline.pipelines.ingestion.nodes import refuse_task
from uniformaly_pipeline.pipelines.places import places_of
from uniformaly_pipeline.pipelines.prediction.detector_nodes import take_detector
from uniformaly_pipeline.pipelines.selection import check_selection
from uniformaly_pipeline.pipelines.stages import STAGES
from uniformaly_pipeline.pipelines.sweep.pipeline import SWEEPS
from uniformaly_pipeline.pipelines.tasks.plan import PLANNERS, TaskPlan, plan_task, refusals_of
from uniformaly_pipeline.reporting.prose import (
    command_for,
    notes_on,
    notes_on_seeds,
    title_of,
    with_command,
)
from uniformaly_pipeline.reporting.stages import CompletedNodes, StageDisplay
from uniformaly_pipeline.reporting.terminal import (
    print_decisions,
    print_export,
    print_findings,
    print_paper,
    print_summary,
    print_sweep,
)
from uniformaly_pipeline.tracking import runs, views
from uniformaly_pipeline.tracking.address import VARIABLE as TRACKING_VARIABLE
from uniformaly_pipeline.tracking.address import check_address
from uniformaly_pipeline.tracking.lifecycle import (
    NAME_TAG,
    begin_run,
    child_run,
    close_lost_runs,
    close_runs_of_this_process,
    ending,
    is_ours,
    leave_active_runs,
    one_line,
)
from uniformaly_pipeline.tracking.models import log_embedded, log_exported
from uniformaly_pipeline.tracking.server import without_user

logger = logging.getLogger(__name__)

SOURCES = {
    "raw_images", "predict.new_images", "predict.detector", "export.detector",
    "export.sample_images", "parameters",
}  # fmt: skip
"""What pipelines start from that no earlier run made."""

EXPORT, EXPORTED = "export", "export.folder"
"""The task that has no report, and what it writes in its place."""

PAPER = "paper"
"""The pipeline that holds other tasks; all that is its own is a page."""

ROOT_RECORD = "data_set_root"
"""The record of the root that a data set's name stands for."""

AT_ONCE = "UNIFORMALY_NODES_AT_ONCE"
"""How many nodes run at once; a variable of the environment, which worker processes inherit."""


ENDS = ("metrics", "leaderboard", "report")
"""What a task ends with, made from what it made of its categories."""

GOES_ON = "UNIFORMALY_GOES_ON"
"""Set where nodes are to compare what they are given; worker processes inherit it, too."""


class CheckHooks:
    """Finds bad input before any work and reports it as one line."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Have the parameters checked and published, then look for what is to run.

        Raises:
            CommandError: The parameters are not usable, or what is to run is not there.
        """
        prepare_log_files()
        # Kedro's logs about input errors stay off the terminal, and secrets out of all logs.
        filter_all_handlers(InputErrorFilter, SecretsFilter)
        context.config_loader["parameters"]
        # Kedro keeps the pipelines of the session before, which may have had other parameters.
        pipelines.configure(f"{project.PACKAGE_NAME}.pipeline_registry")
        command = click.get_current_context(silent=True)
        if command is not None and command.command.name == "run":
            try:
                check_selection(
                    command.params,
                    pipelines,
                    refusals_of(context.config_loader["parameters"]["run"]),
                    _versioned(context.config_loader) if command.params["load_versions"] else (),
                )
            except InputError as error:
                raise _command_error(error, []) from error

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Check what the run starts from, and the backbone of a run that encodes images.

        Raises:
            CommandError: Something is missing or cannot be used.
        """
        run = _run()
        try:
            cache_limit()
            if "ParallelRunner" in (run_params.get("runner") or ""):
                for place in chain(*places_of(pipeline, catalog)):
                    refuse_memory(place, "--runner=ParallelRunner", "processes")
            check_buckets(run.paths.values(), "written")
            _require_entries(pipeline, catalog)
            for node in pipeline.nodes:
                if node.func is refuse_task:
                    refuse_task(catalog.load(node.inputs[0]))
            _refuse_part_of_prediction(run_params, pipeline, catalog)
            _check_inputs(pipeline, catalog, run)
            _check_earlier_results(run_params, pipeline, catalog)
            if any(features.STAGE in node.tags for node in pipeline.nodes):
                _check_encoder(pipeline, run)
        except (InputError, DatasetError) as error:
            # Kedro wraps what a dataset says.
            input_error = find_input_error(error)
            if input_error is None:
                raise
            raise _command_error(input_error, _pipeline_names(run_params)) from error
        remember_ends(pipeline)
        collect_garbage()

    @hook_impl(tryfirst=True)
    def before_node_run(self) -> None:
        """Have the processes of ``ParallelRunner`` end with this one, and log as this one."""
        be_a_worker()
        if multiprocessing.parent_process() is not None:
            prepare_log_files()  # a worker that was not forked has set its handlers up anew

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """Turn what the user can mend into one line; leave other errors their traceback.

        Raises:
            CommandError: The error is or was caused by an input error.
        """
        input_error = find_input_error(error)
        if input_error is not None:
            raise _command_error(input_error, _pipeline_names(run_params)) from error


def _command_error(error: InputError, pipeline_names: Sequence[str]) -> CommandError:
    """An error line with what only the run knows."""
    return CommandError(with_command(str(error), _run(), pipeline_names))


def _versioned(config_loader: AbstractConfigLoader) -> set[str]:
    """The catalog's datasets of which Kedro keeps versions; none of those that ship."""
    entries = config_loader["catalog"].items()
    return {name for name, entry in entries if isinstance(entry, dict) and entry.get("versioned")}


class OriginHooks:
    """Has results say what they were made from, in the thread or process that saves them."""

    in_workers = True
    """Whether workers on other machines call them, too; see :mod:`.pipelines.ray_worker`."""

    _catalog: CatalogProtocol

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol) -> None:
        """Compare what a node is given, where that could not be done before the run.

        Raises:
            InputError: It was made from another state of what this run has made anew.
        """
        self._catalog = catalog
        if os.environ.get(GOES_ON):
            _come_from_now(node.inputs, set(), catalog)

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Announce what the node was given as what its result was made from."""
        if node.func not in SELECTIONS:  # these are compared with the images themselves
            announce_sources(dataset_name, data, node, self._catalog)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Compare what no node was given, and whether another run has put its own results there.

        Raises:
            CommandError: What this run has made and what lies there do not fit together.
        """
        is_open = os.environ.get(GOES_ON)
        self._forget()
        made = pipeline.all_outputs()
        try:
            if is_open:
                _come_from_now(pipeline.inputs() | made, set(), catalog)
            # What is logged and printed next is read from where it lies.
            ends = {f"{task}.{name}" for task in _finished_tasks(pipeline) for name in ENDS}
            check_sources(ends & made, catalog, partial(_what_lies_at, catalog=catalog))
        except InputError as error:
            with suppress(CommandError), one_line("the run could not be closed in MLflow"):
                leave_active_runs("FAILED")
            raise _command_error(error, _pipeline_names(run_params)) from error

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Forget what was to be compared, and what was to be saved."""
        self._forget()

    def _forget(self) -> None:
        os.environ.pop(GOES_ON, None)
        forget_announced()


class ThreadHooks:
    """Shares the cores among the nodes that runners other than Kedro's sequential one run at once.

    Encoding has all cores: nothing runs beside it. What categories do side by side shares them.
    """

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Tell this process's threads and the worker processes to come how many will work."""
        if "SequentialRunner" in (run_params.get("runner") or "SequentialRunner"):
            os.environ.pop(AT_ONCE, None)
            return
        namespaces = {node.namespace for node in pipeline.nodes}
        os.environ[AT_ONCE] = str(min(usable_cores(), len(namespaces)))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Give a node its share, in the thread or process that runs it."""
        at_once = int(os.environ.get(AT_ONCE, "1"))
        if at_once > 1:
            alone = features.STAGE in node.tags
            use_threads(usable_cores() if alone else max(1, usable_cores() // at_once))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Take back what was said."""
        self._restore()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Take back what was said."""
        self._restore()

    def _restore(self) -> None:
        if os.environ.pop(AT_ONCE, None) is not None:
            keep_threads()


def remember_ends(pipeline: Pipeline) -> None:
    """Have a pipeline work out its inputs and outputs once.

    Kedro's runners ask for them after every node to see what can be released, and each time the
    pipeline goes through all its nodes: with many categories that took longer than the nodes.
    """
    inputs, outputs = frozenset(pipeline.inputs()), frozenset(pipeline.outputs())
    vars(pipeline).update(inputs=lambda: inputs, outputs=lambda: outputs)


def _run() -> CurrentRun:
    """The run that :class:`.config_loader.RunConfigLoader` published."""
    run = current_run()
    assert run is not None
    return run


def _require_entries(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuse to keep in memory, for the length of a run, what the catalog is to keep.

    Raises:
        InputError: A file of the catalog, or an entry in it, is gone.
    """
    # A user's own nodes may use memory; of ours one does, which chooses a detector's threshold.
    ours = [node for node in pipeline.nodes if node.tags & STAGES]
    unkept = {name for node in ours if node.func is take_detector for name in node.outputs}
    named = {name for node in ours for name in (*node.inputs, *node.outputs)}
    for name in sorted(named - unkept):
        if not name.startswith("params:") and name not in catalog:
            raise InputError(
                f"the catalog has no entry for '{name}': put the files "
                f"conf/base/catalog_*.yml back as they came with the project"
            )


def _check_inputs(pipeline: Pipeline, catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Refuse to start without what this run goes on from, or to judge by a bank that does not fit.

    Raises:
        InputError: Something is missing or does not fit; the line names it and what to do.
    """
    results = {
        name for name in pipeline.inputs() if not name.startswith("params:") and name not in SOURCES
    }
    judges = "predict.metrics" in pipeline.all_outputs()
    if judges:
        plan = plan_task("predict", run)
        if plan.problem is not None:
            raise InputError(plan.problem)
    if "predict.detector" in pipeline.inputs():
        _check_detector("predict", run.parameters.predict, catalog, run)
        return
    if "export.detector" in pipeline.inputs():
        if (problem := plan_task("export", run).problem) is not None:
            raise InputError(problem)
        _check_detector("export", run.parameters.export, catalog, run)
        _check_engine(run.parameters.export.format)
        return
    if "downloaded" not in pipeline.all_outputs():
        _check_root(catalog, run)
    # A bank that does not fit is worth more of a word than features that are missing.
    _require(results - {"features"}, catalog, run)
    if results:
        _require_root(catalog, run, run.parameters.predict.task)
    if judges:
        made_by = run.parameters.predict.task
        ((key, category),) = plan.categories.items()
        bank, images = f"{made_by}.{category.bank or key}.memory_bank", f"{made_by}.{key}.images"
        if bank in results:
            loaded = _load(bank, catalog, run, made_by)
            check_same_masking(loaded, run.parameters.bpm.model_dump())
            check_same_preprocessing(loaded, _preprocessing(run))
            _follow_precision(loaded, catalog)
        if images in results:
            wanted = run.parameters.predict
            listed = _load(images, catalog, run, made_by)
            check_rate(listed, wanted.false_alarm_rate, wanted.threshold)
    _require(results & {"features"}, catalog, run)


def _check_earlier_results(
    run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
) -> None:
    """Refuse to go on from results of another state; what is damaged is as if it were not there.

    Raises:
        InputError: Images, or what results were made from, have changed since an earlier run.
    """
    os.environ.pop(GOES_ON, None)
    made, earlier = pipeline.all_outputs(), _earlier_results(pipeline)
    made_anew = made
    if run_params.get("only_missing_outputs"):
        set_aside_damage(made, catalog)
        made_anew = computed_part(pipeline, catalog).all_outputs()
        earlier, made = earlier | (made - made_anew), set()
    elif not earlier:
        return
    whole = sum((pipelines[name] for name in _pipeline_names(run_params)), Pipeline([]))
    check_images(whole, made, catalog)
    if _come_from_now(earlier, made_anew, catalog):
        os.environ[GOES_ON] = "1"


def _come_from_now(names: Iterable[str], made: Set[str], catalog: CatalogProtocol) -> bool:
    """See :func:`.sources.check_origins`."""
    run = current_run()
    backbone = Backbone(**run.parameters.chosen_backbone.model_dump()) if run else None
    return check_origins(names, made, catalog, backbone, partial(_what_lies_at, catalog=catalog))


def _refuse_part_of_prediction(
    run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
) -> None:
    """Refuse to go on from what was found of images that may be others by now.

    Raises:
        InputError: The run would.
    """
    nodes = pipelines["predict"].nodes
    own = {name for node in nodes if features.STAGE not in node.tags for name in node.outputs}
    earlier = own & _earlier_results(pipeline)
    if run_params.get("only_missing_outputs"):
        made = own & pipeline.all_outputs()
        earlier |= {name for name in made if name in catalog and catalog.exists(name)}
    if earlier:
        raise InputError(f"predict judges the images that are there now, in one go: {RUN_AGAIN}")


def _check_detector(
    task: str,
    wanted: PredictParameters | ExportParameters,
    catalog: CatalogProtocol,
    run: CurrentRun,
) -> None:
    """Read the detector before any work, and find out whether it can be asked what it is asked.

    Raises:
        InputError: It cannot be read, its backbone cannot be had, or it cannot keep the rate.
    """
    # Torch takes seconds to import.
    from uniformaly_pipeline.features.encoder import choose_device

    choose_device(run.parameters.encoder.device)
    try:
        given = catalog.load(f"{task}.detector")
    except DatasetError as error:
        refused = find_input_error(error)
        raise refused or error from error
    with_asked_threshold(given, wanted.threshold, wanted.false_alarm_rate, task)
    if task == "predict" and given.translated is not None:
        load_translated(given.translated, run.parameters.encoder.device)
    elif not given.weights:
        check_backbone(given.backbone, given.reading.preprocessing.input_size)


def _load(name: str, catalog: CatalogProtocol, run: CurrentRun, task: str) -> Any:
    """What an earlier run made.

    Raises:
        InputError: It is damaged; the line names the file and the command that makes it again.
    """
    try:
        return catalog.load(name)
    except DatasetError as error:
        damage = find_input_error(error)
        if damage is None:
            raise
        if machine_fault(error) is not None:
            raise damage from error  # no command mends it
        command = command_for(run, task, without="predict")
        raise InputError(f"{damage}: {command}") from error


def _check_root(catalog: CatalogProtocol, run: CurrentRun) -> None:
    """Refuse to mix the results of two roots of one name.

    Raises:
        InputError: The name stands for another root; the line names both and what to do.
    """
    if catalog.exists(ROOT_RECORD):
        catalog[ROOT_RECORD].refuse_another(run.root_record)


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
        catalog.save("params:encoder", {**encoder, "precision": made_in})


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
            f"missing: the {what} on {run.data_set} with {run.backbone}, settings "
            f"{run.names(task)['run_key']}; first run {command}"
        )


def _described(name: str, run: CurrentRun) -> tuple[str, str]:
    """The task that makes a dataset, and what it is in words."""
    for plan in _plans(run):
        owners = [*plan.units, *plan.banks]
        for prefix, of in [
            *((f"{plan.task}.{key}.", f" of '{key}'") for key in owners),
            (f"{plan.task}.", ""),
        ]:
            if name.startswith(prefix):
                return plan.task, name.removeprefix(prefix).replace("_", " ") + of
    return run.parameters.predict.task, name.replace("_", " ")


def _what_lies_at(path: str, catalog: CatalogProtocol) -> str:
    """A result in words, by its path."""
    for pipeline in pipelines.values():
        if name := name_at(path, pipeline, catalog):
            return _described(name, _run())[1]
    return f"results at {path}"


def _plans(run: CurrentRun) -> Iterator[TaskPlan]:
    """What the tasks that fit the run are about."""
    for task in PLANNERS:
        try:
            yield plan_task(task, run)
        except InputError:
            continue


def _check_encoder(pipeline: Pipeline, run: CurrentRun) -> None:
    """Find out before any work whether the device and weights are there and suit the images.

    Raises:
        InputError: They are not, or do not.
    """
    # Torch takes seconds to import.
    from uniformaly_pipeline.features.encoder import choose_device

    parameters = run.parameters
    choose_device(parameters.encoder.device)
    backbone = Backbone(**parameters.chosen_backbone.model_dump())
    if "layered_features" in pipeline.all_outputs():
        layers = {layer for choice in parameters.layer_choices or [] for layer in choice}
        backbone = replace(backbone, layers=tuple(sorted(layers)))
    check_backbone(backbone, _preprocessing(run).input_size)
    _check_engine(parameters.encoder.engine)
    if backbone.checkpoint is None:
        fetch_pretrained(backbone.model)
    elif "://" in backbone.checkpoint:
        # Before any work; and nodes are not told the password, what is in the cache needs none.
        fetch_checkpoint(run.address(backbone.checkpoint), backbone.sha256)
    tasks = {node.namespace_prefixes[0] for node in pipeline.nodes if node.namespace}
    tasks = {"paper"} & tasks or tasks  # whose parts are tasks
    of_seeds = [note for task in sorted(tasks) for note in notes_on_seeds(task, parameters)]
    for note in (*notes_on(parameters), *of_seeds):
        logger.warning(note)


def _check_engine(engine: str) -> None:
    """Find out before any work whether an engine is installed.

    Raises:
        InputError: It is not.
    """
    # It imports torch, as the check of the backbone has by now.
    from uniformaly_pipeline.features.engines.choice import check_engine

    check_engine(engine)  # type: ignore[arg-type]


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
        """Read ``mlflow.yml`` and choose the tracking server and the experiment.

        Raises:
            CommandError: ``mlflow.yml`` makes no sense, or runs cannot be tracked where it says.
        """
        try:
            keep_user_aside(context.config_loader)
        except InputError as error:
            raise CommandError(str(error)) from error
        # It would print two lines for every category; the end of the run says where to look.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        # It draws them for a handful of small files, in the middle of our lines.
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        with one_line("runs cannot be tracked"):
            # What a run left active that was interrupted in this process, in a notebook say.
            leave_active_runs("KILLED")
            try:
                check_tracking(context.config_loader)
            except InputError as error:
                raise CommandError(str(error)) from error
            self._choose_experiment(context)

    def _choose_experiment(self, context: KedroContext) -> None:
        from mlflow.exceptions import MlflowException

        try:
            try:
                self._plugin.after_context_created(context)
            except MlflowException:
                # Another run may just have made the experiment that both lacked.
                self._plugin.after_context_created(context)
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}"
                for fault in error.errors()
            ]
            raise CommandError(f"mlflow.yml: {'; '.join(faults)}") from error

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open the run; its tags are what ``kedro run`` was told, without secrets.

        Raises:
            CommandError: MLflow failed.
        """
        told, _ = hide_secrets(run_params)
        with one_line("no run could be begun in MLflow"):
            if _is_tracked(run_params, self._plugin.mlflow_config):
                self._begin(run_params)
            self._plugin.before_pipeline_run(told, pipeline, catalog)

    def _begin(self, run_params: dict[str, Any]) -> None:
        """Begin a run for kedro-mlflow to take up: within the user's own, if there is one."""
        import mlflow

        config = self._plugin.mlflow_config
        around = mlflow.active_run()
        if around is not None:
            # kedro-mlflow would log to the run around ours, and close it after an error.
            self._plugin._already_active_mlflow = False
            experiment = mlflow.get_experiment(around.info.experiment_id)
            config.tracking.experiment._experiment = experiment
            parent = around.info.run_id
        elif config.tracking.run.id is not None:
            return  # mlflow.yml says which run to go on with
        else:
            experiment = config.tracking.experiment._experiment
            # Set by "mlflow run", and by who starts parts of a whole.
            parent = os.environ.get("MLFLOW_RUN_ID") or None
            _require_parent(parent)
        if lost := close_lost_runs(experiment.experiment_id):
            logger.info("MLflow: %d runs whose processes are gone are closed as KILLED", lost)
        name = config.tracking.run.name or "+".join(_pipeline_names(run_params))
        config.tracking.run.id = begin_run(experiment.experiment_id, name, parent)
        # Before MLflow's own at the exit, which takes every run that is left for FINISHED.
        atexit.unregister(_leave_at_exit)
        atexit.register(_leave_at_exit)
        interruption.at_hard_end(
            partial(close_runs_of_this_process, experiment.experiment_id, "KILLED")
        )

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Close the run.

        Raises:
            CommandError: MLflow failed.
        """
        with one_line("the results are complete, but the run could not be closed in MLflow"):
            self._plugin.after_pipeline_run(run_params, pipeline, catalog)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the run as failed, or as killed if a signal was behind it."""
        with one_line("the run failed, and could not be closed in MLflow"):
            leave_active_runs(ending(error))


def _require_parent(run_id: str | None) -> None:
    """Refuse to be a child of a run that is not where runs go.

    Raises:
        CommandError: There is no such run.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return
    try:
        mlflow.get_run(run_id)
    except MlflowException as error:
        raise CommandError(
            f"MLFLOW_RUN_ID is '{run_id}', and {without_secrets(mlflow.get_tracking_uri())} has no "
            f"such run ({first_line(error)}): unset it, or correct {TRACKING_VARIABLE}"
        ) from error


def _pipeline_names(run_params: dict[str, Any]) -> list[str]:
    return list(run_params.get("pipeline_names") or ["__default__"])


def _is_tracked(run_params: dict[str, Any], config: Any) -> bool:
    """Whether ``mlflow.yml`` lets one of the pipelines be tracked, by kedro-mlflow's rule."""
    untracked = config.tracking.disable_tracking.pipelines
    return not all(name in untracked for name in _pipeline_names(run_params))


def _leave_at_exit() -> None:
    """End what is still active when the process ends, for whatever reason."""
    with suppress(CommandError), one_line("the run could not be closed in MLflow"):
        leave_active_runs("KILLED" if interruption.was_interrupted() else "FAILED")


def check_tracking(config_loader: AbstractConfigLoader) -> None:
    """Find out before any work whether runs can be tracked; make the local database.

    Raises:
        InputError: They cannot; the line names the server or file and what to do.
    """
    import mlflow

    if mlflow.active_run() is None:
        check_address(_tracking_settings(config_loader)["server"]["mlflow_tracking_uri"], make=True)


def keep_user_aside(config_loader: AbstractConfigLoader) -> None:
    """Take a user and password out of the address of the tracking server, which MLflow prints.

    Raises:
        InputError: There is no address, or it makes no sense.
    """
    if not os.environ.get(TRACKING_VARIABLE):
        os.environ.pop(TRACKING_VARIABLE, None)  # empty, it would stand for MLflow's old files
    settings = _tracking_settings(config_loader)
    server = settings.get("server") or {}
    if not isinstance(server, dict):
        raise InputError("mlflow.yml: server: input should be a mapping of keys to values")
    uri = server.get("mlflow_tracking_uri")
    if not isinstance(uri, str) or not uri:
        found = "is missing" if uri is None else f"is {uri!r} but must be text"
        raise InputError(
            f"mlflow.yml: server.mlflow_tracking_uri {found}: an mlflow.yml of conf/local takes "
            "the place of that of conf/base, section by section; copy what it lacks from there"
        )
    config_loader["mlflow"] = {
        **settings,
        "server": {**server, "mlflow_tracking_uri": without_user(uri)},
    }
    if uri := os.environ.get(TRACKING_VARIABLE):
        os.environ[TRACKING_VARIABLE] = without_user(uri)


def _tracking_settings(config_loader: AbstractConfigLoader) -> dict[str, Any]:
    """What ``mlflow.yml`` says; nothing where there is none."""
    patterns = getattr(config_loader, "config_patterns", {})
    patterns.setdefault("mlflow", ["mlflow*", "mlflow*/**", "**/mlflow*"])
    try:
        settings: dict[str, Any] = config_loader["mlflow"]
    except MissingConfigException:
        settings = {}
    return settings


class TrackingHooks:
    """Logs parameters, metrics and artifacts to the run that kedro-mlflow opened."""

    _computed: Pipeline
    _tags: dict[str, str]

    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Log every resolved parameter, so that a failed run can be understood too.

        Raises:
            CommandError: MLflow failed.
        """
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
        with one_line("the parameters could not be logged in MLflow"):
            self._log_start(run_id, pipeline, total, catalog)

    def _log_start(
        self, run_id: str, pipeline: Pipeline, total: int, catalog: CatalogProtocol
    ) -> None:
        run, tasks = _run(), _finished_tasks(pipeline)
        tags = self._tags = _tags_of(tasks, run, catalog)
        name = runs.run_name(tags) if tasks else "part of a run"
        origin = runs.origin_tags(len(pipeline.nodes), total, _earlier_results(pipeline))
        runs.log_parameters(run_id, run.parameters.resolved(), {**tags, **origin, NAME_TAG: name})
        views.save_views(run_id)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Log what was computed of each task and category, before kedro-mlflow closes the run.

        Raises:
            CommandError: MLflow failed.
        """
        run_id = _active_run_id()
        if run_id is None:
            return
        with one_line("the results are complete, but could not be logged in MLflow"):
            self._log_results(run_id, catalog)

    def _log_results(self, run_id: str, catalog: CatalogProtocol) -> None:
        run, pipeline = _run(), self._computed
        images = _log_images(run_id, pipeline, catalog, run)
        tags, made = self._tags | images, pipeline.all_outputs()
        tasks = [
            task
            for task in _finished_tasks(pipeline)
            if f"{task}.metrics" in made or task == EXPORT
        ]
        commands = [f"`{command_for(run, task)}`" for task in tasks]
        shown = commands
        if f"{PAPER}.report" in made:
            shown = [f"`{command_for(run, PAPER)}`"]
            runs.log_page(run_id, catalog.load(f"{PAPER}.report"))
        notes = "\n\n".join([*shown, *notes_on(run.parameters)])
        runs.log_tags(run_id, {**tags, runs.NOTE_TAG: notes})
        if runs.TASKS_TAG not in tags:
            for task in tasks:  # one, or none of a part of a run
                _log_task(run_id, plan_task(task, run), pipeline, catalog, run, tags)
            return
        # Tasks have metrics of the same names: each gets a run of its own below this one.
        for task, command in zip(tasks, commands, strict=True):
            own = {**_tags_of([task], run, catalog), **images, runs.NOTE_TAG: command}
            with child_run(run_id, runs.run_name(own)) as of_task:
                runs.log_parameters(of_task, run.parameters.resolved(), own)
                _log_task(of_task, plan_task(task, run), pipeline, catalog, run, own)


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


def _tags_of(tasks: Sequence[str], run: CurrentRun, catalog: CatalogProtocol) -> dict[str, str]:
    """What tells a run of some tasks apart; several are no ``task`` that others compare with."""
    # Several tasks share all but their own sections of parameters.
    whole = PAPER if PAPER in tasks else ""
    task = tasks[0] if len(tasks) == 1 else whole
    commit = git_commit(run.project_path)
    tags = runs.run_tags(task, run.parameters.resolved(), run.names(task), commit)
    if len(tasks) > 1:
        del tags["task"]
        return {runs.TASKS_TAG: whole or "+".join(tasks), **tags}
    if run.detector_of(task) is None:
        return tags
    return tags | runs.detector_tags(catalog.load(f"{task}.detector"))


def _log_images(
    run_id: str, pipeline: Pipeline, catalog: CatalogProtocol, run: CurrentRun
) -> dict[str, str]:
    """Log which pictures the run was about; their hash as a tag."""
    made = pipeline.all_outputs() | pipeline.inputs()
    name = next((name for name in ("predict.images", "manifest") if name in made), None)
    if name is None:
        return {}
    images = catalog.load(name)
    if name == "manifest":
        runs.log_data_set(run_id, run.data_set, run.root_record["root"], images)
    return {"data_hash": runs.data_hash(images)}


def _finished_tasks(pipeline: Pipeline) -> list[str]:
    """Names of the tasks whose report the pipeline writes, or its folder, sorted."""
    last = {task: f"{task}.report" for task in PLANNERS} | {EXPORT: EXPORTED}
    return [task for task in sorted(PLANNERS) if last[task] in pipeline.all_outputs()]


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
    if task == EXPORT:
        log_exported(run_id, catalog.load(EXPORTED))
        return
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
    run_of = {}
    if plan.chunks:
        runs.log_categories(run_id, metrics)
        run_of = dict.fromkeys(plan.categories, run_id)
    for key, category in () if plan.chunks else plan.categories.items():
        if f"{task}.{key}.metrics" not in outputs:
            continue  # an earlier run computed and logged them
        artifacts = _load_category(catalog, f"{task}.{key}", outputs)
        run_of[key] = runs.log_category(run_id, category.name, artifacts, parameters, tags)
    if run.parameters.mlflow.log_detector and task in TASKS_THAT_JUDGE:
        _log_detectors(run_of, task, run)
    if f"{task}.sweep_metrics" in outputs:
        sweep_metrics = catalog.load(f"{task}.sweep_metrics")
        runs.log_settings(run_id, sweep_metrics, parameters, tags)


def _log_detectors(run_of: Mapping[str, str], task: str, run: CurrentRun) -> None:
    """Log the detector of each category as a model of its run in MLflow."""
    finished = "/".join([task, *run.names(task).values()])
    encoder = None
    for key, run_id in run_of.items():
        state = state_of_run(read_run(run.layers, key, finished))
        encoder = log_embedded(run_id, state, encoder)


class StageHooks:
    """Shows how far a run has come, stage by stage, in the process that drives it."""

    _runners = logging.getLogger("kedro.runner")

    def __init__(self) -> None:
        """Show nothing yet."""
        self._shown = ExitStack()
        self._display: StageDisplay | None = None

    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """List the stages of the run, in its order."""
        stages: dict[str, list[str]] = {}
        for node in pipeline.nodes:
            for stage in node.tags & STAGES:
                stages.setdefault(stage, []).append(node.name)
        self._display = StageDisplay(stages)
        listener = CompletedNodes(self._display)
        self._runners.addHandler(listener)
        self._shown.callback(self._runners.removeHandler, listener)
        self._shown.callback(self._display.stop)
        self._shown.enter_context(watched_by(self._display.tell))
        self._display.start()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note which node runs; workers cannot."""
        if self._display is not None and multiprocessing.parent_process() is None:
            self._display.begin(node.name)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self) -> None:
        """Leave the lines as they are: results follow."""
        self._stop()

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self) -> None:
        """Leave the lines as they are: the error line follows."""
        self._stop()

    def _stop(self) -> None:
        self._shown.close()
        self._display = None


class SummaryHooks:
    """Prints the leaderboard at the end of a run."""

    _experiment: str | None = None

    @hook_impl(trylast=True)
    def before_pipeline_run(self) -> None:
        """Remember where the run is tracked."""
        self._experiment = _active_experiment()

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
            if task == EXPORT:
                folder = _path(catalog, EXPORTED)
                print_export(title_of(task, run.parameters), catalog.load(EXPORTED).card, folder)
                continue
            if task == PAPER:
                continue  # after the tasks that it is of
            hints = [
                ("report", _path(catalog, f"{task}.report")),
                ("compare runs", runnable("uniformaly compare")),
                *_where_to_compare(self._experiment),
                ("lineage", runnable("kedro viz run")),
            ]
            title = title_of(task, run.parameters)
            if task in SWEEPS:
                sweep_metrics = catalog.load(f"{task}.sweep_metrics")
                print_sweep(title, sweep_metrics, own_values(run.parameters.resolved()), hints)
            else:
                print_summary(title, catalog.load(f"{task}.leaderboard"), hints)
        if f"{PAPER}.report" in pipeline.all_outputs():
            print_paper(
                title_of(PAPER, run.parameters),
                catalog.load(f"{PAPER}.items"),
                [("page", _path(catalog, f"{PAPER}.report"))],
            )


def _active_run_id() -> str | None:
    """The run of this session; another one that is active is the user's, and none of ours."""
    import mlflow

    active = mlflow.active_run()
    return active.info.run_id if active and is_ours(active) else None


def _active_experiment() -> str | None:
    """The experiment of this session's run."""
    import mlflow

    active = mlflow.active_run()
    return active.info.experiment_id if active and is_ours(active) else None


def _where_to_compare(experiment: str | None) -> list[tuple[str, str]]:
    """MLflow's table of runs, on the tracking server or served by ``mlflow ui``."""
    if experiment is None:
        return []
    import mlflow

    address = views.view_address(mlflow.get_tracking_uri(), experiment)
    if address.startswith(views.LOCAL_ADDRESS):
        return [("in a browser", f"{runnable('mlflow ui')}, then"), ("", address)]
    return [("in a browser", address)]


def _path(catalog: CatalogProtocol, name: str) -> str:
    """Where a dataset of one file lies, as seen from the working directory."""
    return shown_path(str(catalog[name]._location))


def _print_decisions(run: CurrentRun, task: str, catalog: CatalogProtocol) -> None:
    """Print what became of new images."""
    ((key, category),) = plan_task(task, run).categories.items()
    scores = f"{task}.{key}.scores"
    title = title_of(task, run.parameters)
    if run.detector_of(task) is None:
        title += f": {category.name}"
    print_decisions(
        title,
        catalog.load(scores),
        catalog.load(f"{task}.metrics"),
        [
            ("scores", _path(catalog, scores)),
            ("heat maps", shown_path(str(catalog[f"{task}.{key}.heat_maps"]._path))),
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
