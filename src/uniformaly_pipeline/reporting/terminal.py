"""What a run says at its end: the leaderboard and where to look next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from uniformaly_pipeline.common.shell import runnable
from uniformaly_pipeline.common.words import number_of, significant
from uniformaly_pipeline.detector.conformal import describe_p_values
from uniformaly_pipeline.detector.exported import describe_card
from uniformaly_pipeline.detector.results import PLACE_LEGEND
from uniformaly_pipeline.evaluation.leaderboard import (
    SUMMARY_ROWS,
    hardest_rows,
    partial_means,
    passing_none,
)
from uniformaly_pipeline.evaluation.metrics import (
    BRIEF_COSTS,
    BRIEF_METRICS,
    OVER_SEEDS,
    find_metric,
    metric_label,
)
from uniformaly_pipeline.evaluation.paper.coverage import NO_RESULT

SHOWN = frozenset((*BRIEF_METRICS, "paper", "difference", *BRIEF_COSTS))
"""Columns of a leaderboard that a terminal has room for, besides the category: the paper's stand
right after the metric they belong to, as in the leaderboard."""

NO_NORMAL_PASSES = "Every normal test image is a false alarm at the threshold of the best F1"
ANY_WIDTH = 1000
"""Columns of a terminal that holds every table."""
MAX_DECISIONS = 20
MAX_ROWS = 50
MAX_COUNTS = 60
DECIMALS = {"count": 0, "rate": 1}
"""Digits after the point by kind of metric, where they are not 4."""


def print_summary(title: str, leaderboard: pd.DataFrame, hints: Sequence[tuple[str, str]]) -> None:
    """Print a task's leaderboard and where to look next to standard output.

    Args:
        title: Heading of the table.
        leaderboard: A row per category, then ``mean`` and ``std``.
        hints: What there is to see, and the path or command that shows it.
    """
    console = Console()
    columns = [name for name in leaderboard if name in SHOWN and leaderboard[name].notna().any()]
    shown = hardest_rows(leaderboard, MAX_ROWS)
    partial = partial_means(leaderboard)
    table = _leaderboard(title, shown, columns, partial)
    roomy = console.options.update(width=ANY_WIDTH)
    if console.measure(table, options=roomy).maximum > console.width:
        # Otherwise names and numbers may be cut off.
        columns = [name for name in columns if name not in BRIEF_COSTS]
        table = _leaderboard(title, shown, columns, partial)
    console.print(table)
    if len(shown) < len(leaderboard):
        number = len(shown) - len(SUMMARY_ROWS)
        of = len(leaderboard) - len(SUMMARY_ROWS)
        console.print(f"{number} of {of:,} categories, those with the lowest image AUROC")
    if any(name in partial for name in columns):
        console.print("(of n): mean of the n categories that have the metric", highlight=False)
    if spreads := _over_seeds(leaderboard, columns):
        console.print(f"means over seeds: {spreads}", highlight=False)
    if passing := passing_none(leaderboard):
        names = ", ".join(passing[:MAX_ROWS])
        more = f" and {len(passing) - MAX_ROWS} more" if len(passing) > MAX_ROWS else ""
        console.print(f"{NO_NORMAL_PASSES}: {names}{more}", markup=False, highlight=False)
    _print_hints(console, hints)


def _leaderboard(
    title: str, leaderboard: pd.DataFrame, columns: Sequence[str], partial: Mapping[str, int]
) -> Table:
    """The rows of a leaderboard, with the number of categories below a mean that is over fewer."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("category")
    for name in columns:
        table.add_column(metric_label(name), justify="right")
    for _, row in leaderboard.iterrows():
        last = row["category"] == leaderboard["category"].iloc[-3:].iloc[0]
        cells = [escape(str(row["category"])), *(metric_cell(name, row[name]) for name in columns)]
        table.add_row(*cells, end_section=bool(last))
        if row["category"] == SUMMARY_ROWS[0] and any(name in partial for name in columns):
            over = [f"(of {partial[name]})" if name in partial else "" for name in columns]
            table.add_row("", *over)
    return table


def _over_seeds(leaderboard: pd.DataFrame, columns: Sequence[str]) -> str:
    """How far the shown means lie apart over seeds, in words; empty where there is one seed."""
    (mean,) = leaderboard[leaderboard["category"] == SUMMARY_ROWS[0]].to_dict("records")
    spreads = {name: mean.get(f"{name}{OVER_SEEDS}") for name in columns}
    return ", ".join(
        f"{metric_label(name)} ±{metric_cell(name, spread)}"
        for name, spread in spreads.items()
        if not pd.isna(spread)
    )


def print_sweep(
    title: str,
    sweep_metrics: pd.DataFrame,
    own: Mapping[str, str],
    hints: Sequence[tuple[str, str]],
) -> None:
    """Print the settings that a task compared, the run's own and the best of each marked.

    Args:
        title: Heading of the table.
        sweep_metrics: See :func:`.sweep.summarise_sweep`.
        own: The run's own value of each parameter, see :func:`.sweep.own_values`.
        hints: What there is to see, and the path or command that shows it.
    """
    console = Console()
    metrics = [name for name in BRIEF_METRICS if name in sweep_metrics]
    table = _sweep_table(title, sweep_metrics, own, metrics, spread=True)
    roomy = console.options.update(width=ANY_WIDTH)

    def fits() -> bool:
        return console.measure(table, options=roomy).maximum <= console.width

    # Deviations go first, then whole columns, never digits: the first metric stays.
    spread, dropped = fits(), []
    if not spread:
        table = _sweep_table(title, sweep_metrics, own, metrics, spread=False)
    while len(metrics) > 1 and not fits():
        dropped.append(metrics.pop())
        table = _sweep_table(title, sweep_metrics, own, metrics, spread=False)
    console.print(table)
    is_own = [own.get(key) == value for key, value in _settings(sweep_metrics)]
    told = ["* best of its parameter"]
    told += ["< this run's own setting"] if any(is_own) else []
    if spread:
        over = "categories" if any(is_own) else "random draws"
        told.append(f"± deviation over {over}")
    console.print(", ".join(told), markup=False, highlight=False)
    if dropped:
        left = ", ".join(metric_label(name) for name in dropped)
        console.print(f"no room for {left}: see the report", markup=False, highlight=False)
    _print_hints(console, hints)


def _settings(sweep_metrics: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(sweep_metrics["parameter"], sweep_metrics["value"].astype(str), strict=True))


def _sweep_table(
    title: str,
    sweep_metrics: pd.DataFrame,
    own: Mapping[str, str],
    metrics: Sequence[str],
    *,
    spread: bool,
) -> Table:
    """A block of rows for each parameter; every metric's best within it bears a star."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("parameter", no_wrap=True)
    table.add_column("value", no_wrap=True)
    for name in metrics:
        label = metric_label(name).replace(" ", "\n")
        table.add_column(label, justify="right", no_wrap=True)
    for key, rows in sweep_metrics.groupby("parameter", sort=False):
        # A metric that a parameter does not move has no best.
        best = {name: rows[name].max() for name in metrics if rows[name].nunique() > 1}
        for number, (_, row) in enumerate(rows.iterrows()):
            value = str(row["value"])
            cells = []
            for name in metrics:
                mean = metric_cell(name, row[name])
                std = row.get(f"{name}_std")
                reach = f" ±{metric_cell(name, std)}" if spread and not pd.isna(std) else ""
                star = "*" if row[name] == best.get(name) else " "
                cells.append(f"{mean}{reach}{star}")
            table.add_row(
                str(key) if number == 0 else "",
                f"{value} <" if own.get(str(key)) == value else value,
                *cells,
                end_section=number == len(rows) - 1,
            )
    return table


def print_decisions(
    title: str, scores: pd.DataFrame, metrics: Mapping[str, Any], hints: Sequence[tuple[str, str]]
) -> None:
    """Print the new images with the highest scores, and how many were flagged at which threshold.

    Args:
        title: Heading of the table.
        scores: See :func:`.decisions.decide`.
        metrics: Numbers of images, the threshold and the false-alarm rate it stands for.
        hints: What there is to see, and the path that shows it.
    """
    console = Console()
    table = Table(title=escape(title), title_justify="left")
    # As "uniformaly predict" has them.
    table.add_column("image", overflow="fold")
    for name in ("score", "p-value", "anomalous", "where"):
        is_number = name in ("score", "p-value")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in scores.head(MAX_DECISIONS).itertuples():
        table.add_row(
            Text(row.image),
            significant(row.score),
            "" if pd.isna(row.p_value) else f"{row.p_value:.3g}",
            "[bold red]yes[/]" if row.flagged else "no",
            f"({row.x}, {row.y})",
        )
    console.print(table)
    if len(scores) > MAX_DECISIONS:
        more = len(scores) - MAX_DECISIONS
        console.print(f"and {more:,} more with lower scores: they are in scores.csv")
    if metrics["num_calibration"]:
        console.print(describe_p_values(metrics["num_calibration"]), highlight=False)
    console.print(PLACE_LEGEND, highlight=False)
    console.print(
        f"{metrics['num_flagged']} of {number_of(metrics['num_images'], 'image')} flagged"
        + f": score above {metrics['threshold']:.5g}, "
        + (
            "set by hand"
            if metrics["false_alarm_rate"] is None
            else f"which at most {100 * metrics['false_alarm_rate']:.3g} % of normal images exceed "
            f"(from {number_of(metrics['num_calibration'], 'held-out normal image')})"
        ),
        highlight=False,
    )
    _print_hints(console, hints)


def print_paper(
    title: str, items: Sequence[Mapping[str, Any]], hints: Sequence[tuple[str, str]]
) -> None:
    """Print how many of the paper's tables and figures the page shows, and which lack a result.

    Args:
        title: Heading.
        items: See :func:`.items.paper_items`.
        hints: What there is to see, and the path that shows it.
    """
    console = Console()
    shown = [item for item in items if item["section"] is not None]
    console.print(
        f"{title}: {len(shown)} of {len(items)} tables and figures", markup=False, highlight=False
    )
    for item in items:
        if item["status"] == NO_RESULT:
            console.print(f"{item['item']}: {item['reason']}", markup=False, highlight=False)
    _print_hints(console, hints)


def print_export(title: str, card: Mapping[str, Any], folder: str) -> None:
    """Print how an exported detector was checked, and where it lies.

    Args:
        title: Heading.
        card: See :func:`.export.export_detector`.
        folder: Its path.
    """
    console = Console()
    console.print(title, *describe_card(card), sep="\n", highlight=False, markup=False)
    judge = runnable(f"uniformaly predict {folder} new/")
    _print_hints(console, [("folder", folder), ("judge", judge)])


def print_findings(
    title: str,
    counts: pd.DataFrame,
    findings: pd.DataFrame,
    hints: Sequence[tuple[str, str]],
) -> None:
    """Print what is in a data set, and what the doctor says of it.

    Args:
        title: Heading of the table.
        counts: See :func:`.health.count_images`.
        findings: See :func:`.health.examine`.
        hints: What there is to see, and the path that shows it.
    """
    console = Console()
    table = Table(title=escape(title), title_justify="left")
    for name in counts.columns:
        table.add_column(name, justify="right" if counts[name].dtype.kind in "iuf" else "left")
    for row in counts.head(MAX_COUNTS).itertuples(index=False):
        table.add_row(*["–" if pd.isna(value) else escape(str(value)) for value in row])
    console.print(table)
    if len(counts) > MAX_COUNTS:
        console.print(f"and {len(counts) - MAX_COUNTS} more rows")
    for row in findings.head(MAX_DECISIONS).itertuples():
        console.print(
            f"{row.severity}: {row.finding}", soft_wrap=True, highlight=False, markup=False
        )
    if len(findings) > MAX_DECISIONS:
        console.print(f"and {len(findings) - MAX_DECISIONS:,} more findings: see the report")
    if findings.empty:
        console.print("nothing to remark")
    _print_hints(console, hints)


def _print_hints(console: Console, hints: Sequence[tuple[str, str]]) -> None:
    width = max(len(what) for what, _ in hints)
    for what, where in hints:
        # Paths and commands are copied from here: no wrapping, no markup.
        console.print(f"{what:<{width}}  {where}", soft_wrap=True, markup=False, highlight=False)


def metric_cell(name: str, value: Any) -> str:
    """A metric's value as a terminal shows it; undefined ones are a dash."""
    if pd.isna(value):
        return "–"
    return f"{value:,.{DECIMALS.get(find_metric(name).kind, 4)}f}"
