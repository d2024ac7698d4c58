"""Write the table of docs/paper.md: every table and figure of the paper, and what shows it.

    python -m tools.docs.paper

The items are those of ``uniformaly_pipeline.evaluation.paper.coverage``, which the page of the
pipeline ``paper`` shows, too.
"""

from __future__ import annotations

from pathlib import Path

from uniformaly_pipeline.evaluation.paper.coverage import ITEMS, PaperItem

PAGE = Path(__file__).parents[2] / "docs/paper.md"
START = '<!-- Made by "python -m tools.docs.paper" from evaluation/paper/coverage.py. -->'
END = "<!-- To here. -->"
HEAD = """\
| item | shows | command | what the seed decides | not reproducible, and why |
| --- | --- | --- | --- | --- |"""


def row(item: PaperItem) -> str:
    """An item as a row of the table."""
    cells = (
        item.name,
        item.title,
        commands(item),
        item.seed if item.tasks else "–",
        item.missing or "–",
    )
    return f"| {' | '.join(cells)} |"


def commands(item: PaperItem) -> str:
    """The pipelines that give it, by kind of data set where these differ."""
    told = {
        kind: ", ".join(f"`--pipelines={task}`" for task in tasks)
        for kind, tasks in item.tasks.items()
    }
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{kind}: {words}" for kind, words in told.items()) or "none"


def page() -> str:
    """The page with the table of today."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    table = "\n".join([HEAD, *map(row, ITEMS)])
    return f"{before}{START}\n\n{table}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
