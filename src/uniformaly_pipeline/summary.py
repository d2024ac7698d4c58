"""What a run says at its end: the leaderboard and where to look next."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

SHOWN = {
    "category": "category",
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "bank_size": "bank size",
    "images_per_second": "images/s",
}
DECIMALS = {"bank_size": 0, "images_per_second": 1}


def print_summary(title: str, leaderboard: pd.DataFrame, hints: Sequence[tuple[str, str]]) -> None:
    """Print a task's leaderboard and where to look next to standard output.

    Args:
        title: Heading of the table.
        leaderboard: A row per category, then ``mean`` and ``std``.
        hints: What there is to see, and the path or command that shows it.
    """
    console = Console()
    table = Table(title=title, title_justify="left")
    columns = [name for name in SHOWN if name in leaderboard]
    for name in columns:
        table.add_column(SHOWN[name], justify="left" if name == "category" else "right")
    for _, row in leaderboard.iterrows():
        last = row["category"] == leaderboard["category"].iloc[-3:].iloc[0]
        table.add_row(*[_cell(name, row[name]) for name in columns], end_section=bool(last))
    console.print(table)
    width = max(len(what) for what, _ in hints)
    for what, where in hints:
        # Paths and commands are copied from here: no wrapping, no markup.
        console.print(f"{what:<{width}}  {where}", soft_wrap=True, markup=False, highlight=False)


def _cell(name: str, value: object) -> str:
    if name == "category":
        return str(value)
    if pd.isna(value):
        return "–"
    return f"{value:,.{DECIMALS.get(name, 4)}f}"
