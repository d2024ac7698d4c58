"""Finished runs side by side, from MLflow, as a table."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from uniformaly_pipeline.common.errors import CommandError, InputError, did_you_mean, first_line
from uniformaly_pipeline.evaluation.metrics import BRIEF_COSTS, BRIEF_METRICS
from uniformaly_pipeline.tracking.address import check_address, usual_address
from uniformaly_pipeline.tracking.lifecycle import PARENT_TAG
from uniformaly_pipeline.tracking.runs import CATEGORY_TAG, SETTING_TAG
from uniformaly_pipeline.tracking.search import search
from uniformaly_pipeline.tracking.server import tracking_errors, without_user

logger = logging.getLogger(__name__)

EXPERIMENT = "uniformaly_pipeline"

UNDOTTED = {"seeds"}
"""Parameters that are in no section, beside those of :data:`SETTINGS`."""

SETTINGS = {
    "task": None,
    "dataset": "dataset",
    "backbone": "backbone",
    "categories": "categories",
    "bpm": "bpm.mode",
    "top_k_ratio": "scoring.top_k_ratio",
    "coreset_ratio": "memory_bank.coreset_ratio",
    "seed": "seed",
    "run_key": None,
    "git_commit": None,
    "data_hash": None,
}
"""Tags that tell runs apart, and the parameter that stands in where an older run lacks one."""

TASK_SECTIONS = {"clustering", "lowshot", "ablation", "predict", "export"}
"""Sections of parameters that only the task of that name uses."""

DIGESTS = "settings"
"""Attribute of a table of runs: by ``run_id``, a digest of all its settings but the seed."""

WORDS = ("task", "dataset", "backbone", "categories", "bpm", "run_key", "git_commit", "data_hash")


def runs_table(
    tracking_uri: str | None = None,
    *,
    experiment: str = EXPERIMENT,
    task: str | None = None,
    dataset: str | None = None,
    category: str | None = None,
    metrics: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    sort: str | None = None,
    last: int | None = None,
    differing: bool = False,
) -> pd.DataFrame:
    """Finished runs with their settings and metrics, newest first.

    Args:
        tracking_uri: Where the runs are; None for ``MLFLOW_TRACKING_URI``, or else ``mlflow.db``
            in the working directory.
        experiment: Name of the MLflow experiment.
        task: Only runs of this task.
        dataset: Only runs on this data set.
        category: Compare the runs of this category instead of the means over categories.
        metrics: Metrics to show; none stands for all.
        where: Values that settings (:data:`SETTINGS`) or parameters by dotted key must have.
        sort: A column to sort by: metrics from the highest, all else from the lowest.
        last: Only this many runs, the newest.
        differing: Leave out what is the same in all runs, if there are several. ``metrics`` asked
            for stay.

    Returns:
        A row per run, by ``run_id``; a run of some stages only, which has no metrics, is left out,
        and the log says how many. Columns: ``run`` (its name), ``started``; the tags of
        :data:`SETTINGS`; further parameters by dotted key, if all runs have them and they differ;
        metrics, those of :data:`.metrics.BRIEF_METRICS` first. Its attribute :data:`DIGESTS` tells
        by ``run_id`` which runs have the same settings but for the seed.

    Raises:
        InputError: There is no such database, experiment, metric, setting or column, or no run
            fits.
    """
    where = dict(where or {})
    wanted = {"task": task, "dataset": dataset, CATEGORY_TAG: category}
    found, without_metrics = [], 0
    known: set[str] = set(SETTINGS)
    for run in _finished(tracking_uri, experiment, of_category=category is not None):
        known |= set(run.data.params)
        fits = all(value in (None, _setting(run, name)) for name, value in wanted.items())
        if not (fits and all(_is(_setting(run, name), value) for name, value in where.items())):
            continue
        if run.data.metrics:
            found.append(run)
        else:
            without_metrics += 1
        if len(found) == last:
            break
    for name in where:
        if name not in known:
            raise InputError(f"no run has a setting '{name}'{did_you_mean(name, sorted(known))}")
    left_out = f"runs of some stages only have no metrics: {without_metrics} left out"
    if not found:
        reason = f" ({left_out})" if without_metrics else ""
        raise InputError(f"no finished run of the experiment '{experiment}' fits{reason}")
    if without_metrics:
        logger.warning(left_out)
    parts = [_heads(found), _settings(found), _parameters(found), _metrics(found, metrics)]
    table = pd.concat(parts, axis=1)
    table.attrs[DIGESTS] = {run.info.run_id: _digest(run) for run in found}
    if sort is not None:
        table = sort_table(table, sort)
    if differing and len(table) > 1:
        kept = ["run", "started", *metrics]
        table = table[[name for name in table if name in kept or _differs(table[name])]]
    return table


def _finished(tracking_uri: str | None, experiment: str, of_category: bool) -> Iterator[Any]:
    """Finished runs of whole tasks, or of categories, newest first, a page at a time."""
    client = client_of(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = [known.name for known in client.search_experiments()]
        raise InputError(
            f"{client.tracking_uri} has no experiment '{experiment}'"
            f"{did_you_mean(experiment, names)}"
        )
    wanted = (
        "attributes.status = 'FINISHED' AND tags.task IS NOT NULL "
        f"AND tags.{SETTING_TAG} IS NULL "
        f"AND tags.{CATEGORY_TAG} {'IS NOT NULL' if of_category else 'IS NULL'}"
    )
    # A category is done when its task is: a run may break off after some of its categories.
    statuses: dict[str, str] = {}

    def belongs_to_a_finished_run(run: Any) -> bool:
        parent = run.data.tags.get(PARENT_TAG)
        if not of_category or parent is None:
            return True
        if parent not in statuses:
            statuses[parent] = client.get_run(parent).info.status
        return statuses[parent] == "FINISHED"

    runs = search(client, found.experiment_id, wanted)
    yield from filter(belongs_to_a_finished_run, runs)


@contextmanager
def reading_runs(tracking_uri: str | None = None) -> Iterator[None]:
    """Around a command that reads runs: one line where they are not to be had.

    Args:
        tracking_uri: As of :func:`client_of`.

    Raises:
        CommandError: They are not, or are asked for in a way that a user can mend.
    """
    try:
        yield
    except InputError as error:
        raise CommandError(str(error)) from error
    except tracking_errors() as error:
        place = tracking_uri or usual_address()
        raise CommandError(f"the runs in {place} cannot be read ({first_line(error)})") from error


def client_of(tracking_uri: str | None) -> Any:
    """MLflow's client for an address, which is not made the address of the process.

    Args:
        tracking_uri: See :func:`runs_table`.

    Raises:
        InputError: It is a database that does not exist, or of which nothing can be read; nobody
            answers there; or it is no address.
    """
    uri = without_user(tracking_uri or usual_address())
    check_address(uri, make=False)
    from mlflow import MlflowClient

    # mlflow.search_runs takes no address: it would change where the whole process tracks to.
    return MlflowClient(uri)


def _setting(run: Any, name: str) -> str | None:
    """A tag or, where there is none, the parameter that stands in for it or bears the name."""
    stand_in = run.data.params.get(SETTINGS.get(name) or name)
    return run.data.tags.get(name, stand_in)


def _is(value: str | None, wanted: str) -> bool:
    """Whether two texts say the same, also as numbers: ``0.10`` is ``0.1``."""
    try:
        return value is not None and float(value) == float(wanted)
    except ValueError:
        return value == wanted


def sort_table(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows by a column: metrics from the highest, all else from the lowest; gaps last.

    Raises:
        InputError: There is no such column.
    """
    if column not in table:
        names = [str(name) for name in table]
        raise InputError(f"there is no column '{column}' to sort by{did_you_mean(column, names)}")
    ascending = column not in metric_columns(table)
    return table.sort_values(column, ascending=ascending, kind="stable", na_position="last")


def metric_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table of runs that are metrics: neither settings nor dotted parameters."""
    heads = {"run", "runs", "started"}
    return [name for name in table if name not in heads and not is_setting(name)]


def is_setting(name: str) -> bool:
    """Whether a column is of a setting or a parameter."""
    return name in SETTINGS or name in UNDOTTED or "." in name


def differing_columns(table: pd.DataFrame) -> list[str]:
    """The columns whose rows are not all the same."""
    return [name for name in table if _differs(table[name])]


def _heads(runs: Sequence[Any]) -> pd.DataFrame:
    started = [run.info.start_time for run in runs]
    return pd.DataFrame(
        {
            "run": [run.info.run_name for run in runs],
            "started": pd.to_datetime(started, unit="ms").floor("s"),
        },
        index=_ids(runs),
    )


def _settings(runs: Sequence[Any]) -> pd.DataFrame:
    columns = {name: [_setting(run, name) for run in runs] for name in SETTINGS}
    table = pd.DataFrame(columns, index=_ids(runs))
    return table.apply(lambda column: column if column.name in WORDS else _as_numbers(column))


def _parameters(runs: Sequence[Any]) -> pd.DataFrame:
    """Parameters that all runs have and that differ; those of :data:`SETTINGS` have columns."""
    keys = set().union(*(run.data.params for run in runs)) - set(SETTINGS.values())
    idle = _idle_sections(runs)
    used = sorted(key for key in keys if key.partition(".")[0] not in idle)
    columns = {key: [_parameter(run.data.params, key) for run in runs] for key in used}
    columns = {key: values for key, values in columns.items() if None not in values}
    table = pd.DataFrame(columns, index=_ids(runs))
    return table[[name for name in table if _differs(table[name])]].apply(_as_numbers)


def _idle_sections(runs: Sequence[Any]) -> set[str]:
    """Sections of parameters that say nothing of some runs: what only other tasks use.

    And a second copy of all parameters that kedro-mlflow logs where a node takes the lot.
    """
    tasks = {_setting(run, "task") for run in runs}
    return {"parameters"} | (TASK_SECTIONS - tasks if len(tasks) == 1 else TASK_SECTIONS)


def _digest(run: Any) -> str:
    """Tells runs of other settings apart, be they in the table or not; not by their seeds."""
    idle = _idle_sections([run])
    told = sorted(
        (key, value)
        for key, value in run.data.params.items()
        if key != "seed" and key.partition(".")[0] not in idle
    )
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _parameter(params: Mapping[str, str], key: str) -> str | None:
    """A parameter's value; of one that is a mapping in this run, and a value in others, in words.

    >>> _parameter({"tiles.size": "200", "tiles.overlap": "32"}, "tiles")
    'overlap 32, size 200'
    """
    prefix = f"{key}."
    inner = [name for name in sorted(params) if name.startswith(prefix)]
    words = ", ".join(f"{name.removeprefix(prefix)} {params[name]}" for name in inner)
    return params.get(key, words or None)


def _metrics(runs: Sequence[Any], wanted: Sequence[str]) -> pd.DataFrame:
    known = {name for run in runs for name in run.data.metrics}
    for name in wanted:
        if name not in known:
            raise InputError(f"no run has a metric '{name}'{did_you_mean(name, sorted(known))}")
    names = wanted or sorted(known, key=_place)
    columns = {name: [run.data.metrics.get(name) for run in runs] for name in names}
    return pd.DataFrame(columns, index=_ids(runs), dtype=float)


def _ids(runs: Sequence[Any]) -> pd.Index:
    return pd.Index([run.info.run_id for run in runs], name="run_id")


def _place(metric: str) -> tuple[bool, int, str]:
    """Headlines first, deviations last."""
    order = (*BRIEF_METRICS, *BRIEF_COSTS)
    place = order.index(metric) if metric in order else len(order)
    return metric.endswith("_std"), place, metric


def _as_numbers(column: pd.Series) -> pd.Series:
    """Text as numbers, where all of it is."""
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if numbers.notna().sum() == column.notna().sum() else column


def _differs(column: pd.Series) -> bool:
    return column.nunique(dropna=False) > 1
