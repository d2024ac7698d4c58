"""Finished runs side by side, from MLflow: a table for notebooks, and the same in the terminal.

``python -m uniformaly_pipeline.tracking.compare --task=defect --differing``
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from uniformaly_pipeline.common.errors import CommandError, InputError, did_you_mean
from uniformaly_pipeline.evaluation.metrics import (
    BRIEF_COSTS,
    BRIEF_METRICS,
    METRIC_ORDER,
    metric_label,
)
from uniformaly_pipeline.reporting.terminal import metric_cell
from uniformaly_pipeline.tracking.runs import CATEGORY_TAG, SETTING_TAG

DEFAULT_URI = "sqlite:///mlflow.db"
"""Where a run tracks to unless ``MLFLOW_TRACKING_URI`` says otherwise, as in ``mlflow.yml``."""

EXPERIMENT = "uniformaly_pipeline"

SETTINGS = {
    "task": None,
    "dataset": "dataset",
    "backbone": "backbone",
    "bpm": "bpm.mode",
    "top_k_ratio": "scoring.top_k_ratio",
    "coreset_ratio": "memory_bank.coreset_ratio",
    "seed": "seed",
    "run_key": None,
    "git_commit": None,
    "data_hash": None,
}
"""Tags that tell runs apart, and the parameter that stands in where an older run lacks one."""

TASK_SECTIONS = {"clustering", "lowshot", "ablation", "predict"}
"""Sections of parameters that only the task of that name uses."""

WORDS = ("task", "dataset", "backbone", "bpm", "run_key", "git_commit", "data_hash")
_WIDE = 200
_SHORT = 7
_LONG_HASH = rf"^(\w{{{_SHORT}}})\w*"


def runs_table(
    tracking_uri: str | None = None,
    *,
    experiment: str = EXPERIMENT,
    task: str | None = None,
    dataset: str | None = None,
    category: str | None = None,
    metrics: Sequence[str] = (),
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
        last: Only this many runs, the newest.
        differing: Leave out what is the same in all runs. ``metrics`` asked for stay.

    Returns:
        A row per run, by ``run_id``: ``run`` (its name), ``started``; the tags of
        :data:`SETTINGS`; further parameters by dotted key, if all runs have them and they differ;
        metrics, those of :data:`.metrics.BRIEF_METRICS` first.

    Raises:
        InputError: There is no such database, experiment or metric, or no run fits.
    """
    wanted = {"task": task, "dataset": dataset, CATEGORY_TAG: category}
    found = []
    for run in _finished(tracking_uri, experiment, of_category=category is not None):
        if all(value in (None, _setting(run, name)) for name, value in wanted.items()):
            found.append(run)
        if len(found) == last:
            break
    if not found:
        raise InputError(f"no finished run of the experiment '{experiment}' fits")
    parts = [_heads(found), _settings(found), _parameters(found), _metrics(found, metrics)]
    table = pd.concat(parts, axis=1)
    if differing:
        kept = ["run", "started", *metrics]
        table = table[[name for name in table if name in kept or _differs(table[name])]]
    return table


def _finished(tracking_uri: str | None, experiment: str, of_category: bool) -> Iterator[Any]:
    """Finished runs of whole tasks, or of categories, newest first, a page at a time."""
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        # The client would make an empty database.
        raise InputError(f"there are no runs in {uri} yet: first kedro run")
    from mlflow import MlflowClient

    # mlflow.search_runs takes no address: it would change where the whole process tracks to.
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = [known.name for known in client.search_experiments()]
        raise InputError(f"{uri} has no experiment '{experiment}'{did_you_mean(experiment, names)}")
    wanted = (
        "attributes.status = 'FINISHED' AND tags.task IS NOT NULL "
        f"AND tags.{SETTING_TAG} IS NULL "
        f"AND tags.{CATEGORY_TAG} {'IS NOT NULL' if of_category else 'IS NULL'}"
    )
    token = None
    while token != "":
        page = client.search_runs(
            [found.experiment_id],
            wanted,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token or ""


def _setting(run: Any, name: str) -> str | None:
    stand_in = run.data.params.get(SETTINGS.get(name))
    return run.data.tags.get(name, stand_in)


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
    shared = set.intersection(*(set(run.data.params) for run in runs)) - set(SETTINGS.values())
    tasks = {_setting(run, "task") for run in runs}
    # What only other tasks use says nothing; kedro-mlflow logs a second copy of all parameters
    # where a node takes the lot.
    idle = {"parameters"} | (TASK_SECTIONS - tasks if len(tasks) == 1 else TASK_SECTIONS)
    keys = sorted(key for key in shared if key.partition(".")[0] not in idle)
    columns = {key: [run.data.params[key] for run in runs] for key in keys}
    table = pd.DataFrame(columns, index=_ids(runs))
    return table[[name for name in table if _differs(table[name])]].apply(_as_numbers)


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


def print_runs(table: pd.DataFrame, metrics: Sequence[str] = ()) -> None:
    """Print runs side by side to standard output, and in a line what they have in common.

    Args:
        table: See :func:`runs_table`.
        metrics: Metrics to show; none stands for the headline metrics and the cost.
    """
    same = [name for name in SETTINGS if name in table and table[name].nunique() == 1]
    same = [name for name in same if not _differs(table[name])] if len(table) > 1 else []
    console = Console()
    if not console.is_terminal:
        # A pipe or file has no width of its own: cut no column.
        console = Console(width=_WIDE)
    shown = _shown(table, metrics)
    console.print(_as_rich(shown.drop(columns=same)))
    if same:
        line = ", ".join(f"{_label(name)} {_cell(name, shown[name].iloc[0])}" for name in same)
        console.print(f"all: {line}", highlight=False)


def _shown(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The columns that fit a terminal: a run's name repeats its settings."""
    numbers = metrics or [
        name
        for name in (*BRIEF_METRICS, *BRIEF_COSTS)
        if name in table and table[name].notna().any()
    ]
    # Parameters are dotted, but for those with a tag.
    settings = [name for name in table if name in SETTINGS or "." in name]
    shown = table[[*settings, *numbers]].copy()
    shown.insert(0, "started", table["started"].dt.strftime("%m-%d %H:%M"))
    for name in ("git_commit", "data_hash"):
        if name in shown:
            shown[name] = shown[name].str.replace(_LONG_HASH, r"\1", regex=True)
    return shown


def _as_rich(table: pd.DataFrame) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in table:
        is_number = pd.api.types.is_numeric_dtype(table[name])
        drawn.add_column(
            _label(name).replace(" ", "\n"),
            justify="right" if is_number else "left",
            overflow="fold",
            # Words give way where the terminal is narrow.
            no_wrap=is_number or name == "started",
        )
    for row in table.itertuples(index=False, name=None):
        drawn.add_row(*[_cell(name, value) for name, value in zip(table, row, strict=True)])
    return drawn


def _label(name: str) -> str:
    if name in METRIC_ORDER:
        return metric_label(name)
    return name if "." in name else name.replace("_", " ")


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return "–"
    if not isinstance(value, float):
        return str(value)
    if name in SETTINGS or "." in name:
        return f"{value:g}"
    return metric_cell(name, value)


@click.command()
@click.option("--tracking-uri", help="Where the runs are: a path to mlflow.db or a server.")
@click.option("--experiment", default=EXPERIMENT, show_default=True, help="MLflow's experiment.")
@click.option("--task", help="Only runs of this task, for instance defect.")
@click.option("--dataset", help="Only runs on this data set.")
@click.option("--category", help="Compare this category instead of the means over categories.")
@click.option("--metric", "metrics", multiple=True, help="A metric to show; may be repeated.")
@click.option("--last", type=click.IntRange(min=1), help="Only this many runs, the newest.")
@click.option("--differing", is_flag=True, help="Only columns that differ between the runs.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False), help="Write all columns here.")
def main(
    tracking_uri: str | None,
    experiment: str,
    task: str | None,
    dataset: str | None,
    category: str | None,
    metrics: tuple[str, ...],
    last: int | None,
    differing: bool,
    csv_file: str | None,
) -> None:
    """Compare finished runs: settings and metrics, newest first."""
    if tracking_uri is not None and "://" not in tracking_uri:
        tracking_uri = f"sqlite:///{tracking_uri}"
    try:
        table = runs_table(
            tracking_uri,
            experiment=experiment,
            task=task,
            dataset=dataset,
            category=category,
            metrics=metrics,
            last=last,
            differing=differing,
        )
    except InputError as error:
        raise CommandError(str(error)) from error
    if csv_file is not None:
        table.to_csv(csv_file)
        click.echo(f"{len(table)} runs written to {csv_file}")
        return
    print_runs(table, metrics)


if __name__ == "__main__":
    main()
