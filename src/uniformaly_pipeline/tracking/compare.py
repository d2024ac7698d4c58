"""Finished runs side by side, from MLflow: a table for notebooks, and the same in the terminal.

``python -m uniformaly_pipeline.tracking.compare --task=defect --differing``
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from uniformaly_pipeline.common.errors import CommandError, InputError, first_line
from uniformaly_pipeline.common.files import new_file
from uniformaly_pipeline.common.tables import to_csv
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.evaluation.metrics import (
    BRIEF_COSTS,
    BRIEF_METRICS,
    METRIC_ORDER,
    metric_label,
)
from uniformaly_pipeline.evaluation.significance import AurocDifference
from uniformaly_pipeline.reporting.terminal import metric_cell
from uniformaly_pipeline.tracking.pairs import PairComparison, compare_pair
from uniformaly_pipeline.tracking.run_table import (
    EXPERIMENT,
    SETTINGS,
    differing_columns,
    is_setting,
    metric_columns,
    reading_runs,
    runs_table,
)
from uniformaly_pipeline.tracking.seeds import INTERVAL, group_seeds

__all__ = ["group_seeds", "main", "print_runs", "runs_table"]

Format = Literal["table", "csv", "markdown", "latex"]
FORMATS: tuple[Format, ...] = ("table", "csv", "markdown", "latex")

ANY_WIDTH = 10_000
"""Columns of a page that holds every table."""

DROPPED_FIRST = ("data_hash", "git_commit", "started")
"""Where the terminal is narrow, columns go in this order, then costs, then :data:`DROPPED_NEXT`,
then the last metrics."""

DROPPED_NEXT = ("run_key", "coreset_ratio", "top_k_ratio")

_SHORT = 7
_LONG_HASH = rf"^(\w{{{_SHORT}}})\w*"


def print_runs(
    table: pd.DataFrame,
    metrics: Sequence[str] = (),
    style: Format = "table",
    console: Console | None = None,
) -> None:
    """Print runs side by side to standard output, and in a line what they have in common.

    Where a terminal is too narrow whole columns are left out and named; numbers are never cut.

    Args:
        table: See :func:`.run_table.runs_table` and :func:`.seeds.group_seeds`.
        metrics: Metrics to show; none stands for the headline metrics and the cost.
        style: ``table`` for a terminal, ``markdown`` or ``latex`` for a paper; ``csv`` has every
            column and no rounding.
        console: Where to print tables and Markdown, None for standard output.
    """
    if style == "csv":
        click.echo(to_csv(table.reset_index()), nl=False)
        return
    shown = _shown(table, metrics)
    # LaTeX has no line below: a run alone keeps its settings in the table.
    same = [] if style == "latex" and len(table) == 1 else _shared(table, shown)
    cells = _as_text(shown.drop(columns=same))
    if style == "latex":
        latex = cells.rename(columns=_label)
        click.echo(latex.to_latex(index=False, escape=True), nl=False)
        return
    console = console or Console()
    if style == "markdown" or not console.is_terminal:
        # A pipe or file has no width of its own: cut no column.
        console = Console(width=ANY_WIDTH, file=console.file)
    kept, dropped = _fitting(cells, console, style)
    console.print(_as_rich(cells[kept], style))
    whose = "all" if len(table) > 1 else "settings"
    for line in (
        f"{whose}: {', '.join(f'{_label(n)} {_as_text(shown)[n].iloc[0]}' for n in same)}"
        * bool(same),
        f"no room for: {', '.join(map(_label, dropped))} (--format csv has all)" * bool(dropped),
    ):
        if line:
            console.print(line, highlight=False, markup=False, soft_wrap=style == "markdown")


def _shared(table: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """Settings that all rows have in common, of a run alone each: said once, below."""
    differing = set(differing_columns(table))
    return [name for name in SETTINGS if name in shown and name not in differing]


def _shown(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The columns worth a terminal's room: a run's name repeats its settings."""
    numbers = metrics or [
        name
        for name in (*BRIEF_METRICS, *BRIEF_COSTS)
        if name in table and table[name].notna().any()
    ]
    # Parameters are dotted, but for those with a tag.
    settings = [name for name in table if is_setting(name)]
    sure = [f"{name}{INTERVAL}" for name in numbers if name not in BRIEF_COSTS]
    intervals = [name for name in sure if name in table]
    counts = ["runs"] if "runs" in table and table["runs"].gt(1).any() else []
    shown = table[[*settings, *counts, *numbers, *intervals]].copy()
    shown.insert(0, "started", table["started"].dt.strftime("%m-%d %H:%M"))
    shown.insert(0, "row", range(1, len(shown) + 1))
    for name in ("git_commit", "data_hash"):
        if name in shown:
            shown[name] = shown[name].str.replace(_LONG_HASH, r"\1", regex=True)
    return shown


def _as_text(shown: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is printed; a metric with its interval."""
    columns = {}
    for name in shown:
        if str(name).endswith(INTERVAL):
            continue
        reaches = shown.get(f"{name}{INTERVAL}", pd.Series(float("nan"), index=shown.index))
        columns[name] = [
            _cell(name, value) + ("" if pd.isna(reach) else f" ±{_cell(name, reach)}")
            for value, reach in zip(shown[name], reaches, strict=True)
        ]
    return pd.DataFrame(columns, index=shown.index)


def _fitting(cells: pd.DataFrame, console: Console, style: Format) -> tuple[list[str], list[str]]:
    """The columns that fit the console, and those that do not."""
    numbers = metric_columns(cells)
    costs = [name for name in numbers if name in BRIEF_COSTS]
    others = [name for name in numbers if name not in BRIEF_COSTS]
    # The first metric and what tells rows apart stay.
    order = [*DROPPED_FIRST, *reversed(costs), *DROPPED_NEXT, *reversed(others[1:])]
    order = [name for name in order if name in cells]
    kept, dropped = list(cells), []
    roomy = console.options.update(width=ANY_WIDTH)
    while order:
        needed = console.measure(_as_rich(cells[kept], style), options=roomy).maximum
        if needed <= console.width:
            break
        dropped.append(order.pop(0))
        kept.remove(dropped[-1])
    return kept, dropped


def _as_rich(cells: pd.DataFrame, style: Format = "table") -> Table:
    if style == "markdown":
        drawn = Table(box=box.MARKDOWN)
    else:
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    words = {"started", *SETTINGS} - {"seed", "top_k_ratio", "coreset_ratio"}
    for name in cells:
        label = _label(name)
        drawn.add_column(
            label if style == "markdown" else label.replace(" ", "\n"),
            justify="left" if name in words else "right",
            overflow="fold",
            no_wrap=name == "started" or name not in words,
        )
    for row in cells.itertuples(index=False, name=None):
        drawn.add_row(*row)
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
    if is_setting(name):
        return f"{value:g}"
    return metric_cell(name, value)


def verdict(rows: tuple[int, int], found: PairComparison) -> str:
    """Whether one of two runs is better, in sentences."""
    first, second = rows
    both = found.delong, found.bootstrap
    agreed = {test.is_significant for test in both}
    if agreed == {True}:
        better, worse = rows if found.delong.difference > 0 else (second, first)
        answer = f"Row {better} is better than row {worse}"
    elif agreed == {False}:
        answer = f"Rows {first} and {second} differ by no more than chance"
    else:
        answer = f"Whether rows {first} and {second} differ by more than chance is undecided"
    several = found.num_categories > 1
    over = f" of {found.num_categories} categories, mean over them" if several else ""
    return (
        f"{answer}: image AUROC {found.delong.first:.4f} (row {first}) and "
        f"{found.delong.second:.4f} (row {second}) on the same "
        f"{number_of(found.num_images, 'image')}{over}.\n"
        f"Difference {found.delong.difference:+.4f}; 95% intervals: {_interval(found.delong)} "
        f"(DeLong), {_interval(found.bootstrap)} (paired bootstrap)."
    )


def _interval(test: AurocDifference) -> str:
    p_value = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"
    return f"{test.low:+.4f} to {test.high:+.4f}, {p_value}"


@click.command()
@click.option("--tracking-uri", help="Where the runs are: a path to mlflow.db or a server.")
@click.option("--experiment", default=EXPERIMENT, show_default=True, help="MLflow's experiment.")
@click.option("--task", help="Only runs of this task, for instance defect.")
@click.option("--dataset", help="Only runs on this data set.")
@click.option("--category", help="Compare this category instead of the means over categories.")
@click.option("--metric", "metrics", multiple=True, help="A metric to show; may be repeated.")
@click.option("--last", type=click.IntRange(min=1), help="Only this many runs, the newest.")
@click.option("--where", multiple=True, help="Only runs with this setting: bpm=off. Repeatable.")
@click.option("--sort", help="A column to sort by; metrics from the highest.")
@click.option("--differing", is_flag=True, help="Only columns that differ between several runs.")
@click.option("--each-seed", is_flag=True, help="A row for each run, also of the same settings.")
@click.option(
    "--pair",
    nargs=2,
    type=click.IntRange(min=1),
    help="Two rows: is their difference more than chance? Two rows alone are always compared.",
)
@click.option("--format", "style", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False), help="Write all columns here.")
def main(
    tracking_uri: str | None,
    experiment: str,
    task: str | None,
    dataset: str | None,
    category: str | None,
    metrics: tuple[str, ...],
    last: int | None,
    where: tuple[str, ...],
    sort: str | None,
    differing: bool,
    each_seed: bool,
    pair: tuple[int, int] | None,
    style: Format,
    csv_file: str | None,
) -> None:
    """Compare finished runs: settings and metrics, newest first.

    Runs that differ in nothing but the seed are one row: their mean, and its 95% interval.
    """
    if tracking_uri is not None and "://" not in tracking_uri:
        tracking_uri = f"sqlite:///{tracking_uri}"
    with reading_runs(tracking_uri):
        table = runs_table(
            tracking_uri,
            experiment=experiment,
            task=task,
            dataset=dataset,
            category=category,
            metrics=metrics,
            where=dict(_key_and_value(setting) for setting in where),
            sort=sort,
            last=last,
        )
        table = table if each_seed else group_seeds(table)
        if differing and len(table) > 1:
            kept = {"run", "runs", "started", *metrics, *differing_columns(table)}
            table = table[[name for name in table if name in kept]]
        found = None if csv_file is not None else _compare_rows(tracking_uri, table, pair)
    if csv_file is not None:
        try:
            with new_file(Path(csv_file)) as part:
                part.write_text(to_csv(table.reset_index()), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{csv_file} cannot be written ({first_line(error)})") from error
        click.echo(f"{len(table)} rows written to {csv_file}")
        return
    print_runs(table, metrics, style)
    if found is not None and style == "table":
        click.echo(verdict(pair or (1, 2), found))


def _key_and_value(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise InputError(f"--where takes a setting and its value, such as bpm=off, not '{setting}'")
    return key.strip(), value.strip()


def _compare_rows(
    tracking_uri: str | None, table: pd.DataFrame, pair: tuple[int, int] | None
) -> PairComparison | None:
    """The verdict on two rows, if it is asked for or there are just two that allow one."""
    if pair is None:
        single = len(table) == 2 and ("runs" not in table or table["runs"].eq(1).all())
        if not single:
            return None
        try:
            return compare_pair(tracking_uri, *table.index)
        except InputError:
            # Nobody asked: other images, or a task that scores none.
            return None
    for row in pair:
        if row > len(table):
            raise InputError(f"there is no row {row}: the table has {len(table)}")
        if "runs" in table and table["runs"].iloc[row - 1] > 1:
            raise InputError(f"row {row} is of several seeds: --each-seed has a row for each run")
    first, second = (table.index[row - 1] for row in pair)
    return compare_pair(tracking_uri, first, second, (f"row {pair[0]}", f"row {pair[1]}"))


if __name__ == "__main__":
    main()
