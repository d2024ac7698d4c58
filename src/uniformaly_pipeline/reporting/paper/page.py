"""The page of the paper: what is covered, then each table and figure in the paper's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from uniformaly_pipeline.reporting.page.page import (
    ReportSection,
    ReportTable,
    render_report,
    sections_from_json,
)

COVERAGE = "What is shown"


def render_paper(
    items: Sequence[Mapping[str, Any]],
    *,
    title: str,
    dataset: str,
    backbone: str,
    parameters: Mapping[str, Any],
    command: str,
    notes: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> str:
    """Render the page.

    Args:
        items: See :func:`.items.paper_items`.
        title: Heading and window title.
        dataset: Name of the data set.
        backbone: Name of the backbone.
        parameters: The resolved parameters, nested.
        command: Command line that repeats the run.
        notes: What a reader must see first.
        facts: Further facts for the page's header, by name.

    Returns:
        One self-contained page of HTML.
    """
    shown = sections_from_json([item["section"] for item in items if item["section"] is not None])
    return render_report(
        title=title,
        task="paper",
        dataset=dataset,
        backbone=backbone,
        metrics=None,
        leaderboard=None,
        galleries={},
        figures={},
        parameters=parameters,
        command=command,
        notes=notes,
        sections=[coverage_section(items, shown), *shown],
        facts={"Tables and figures": f"{len(shown)} of {len(items)}", **(facts or {})},
    )


def coverage_section(
    items: Sequence[Mapping[str, Any]], shown: Sequence[ReportSection]
) -> ReportSection:
    """The list of all items, and whether the paper's figures stand beside ours.

    Args:
        items: See :func:`.items.paper_items`.
        shown: The sections of those that are shown.
    """
    compared = any(
        str(name).startswith("paper_") and each.table[name].notna().any()
        for section in shown
        for each in section.tables
        for name in each.table.columns
    )
    text = (
        "The paper's values stand beside ours where everything that changes a metric is as in the "
        "paper; the difference is ours less the paper's."
        if compared
        else "No value of the paper stands beside ours: it has none for this data set and "
        "backbone, or a setting that changes the metrics is not the paper's."
    )
    rows = [
        {
            "item": item["item"],
            "what": item["title"],
            "status": item["status"],
            "by": ", ".join(item["tasks"]),
            "remark": _remark(item),
        }
        for item in items
    ]
    return ReportSection(COVERAGE, text, [ReportTable(COVERAGE, pd.DataFrame(rows))])


def _remark(item: Mapping[str, Any]) -> str:
    """Why an item is not shown, or what is left out of it; as plain text."""
    missing = f"without {item['missing']}" if item["missing"] else "all of it"
    return str(item["reason"] or missing).replace("`", "")
