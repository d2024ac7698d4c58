"""The report of a run: one HTML page that needs no server, no network and no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from uniformaly_pipeline.common.provenance import made_with
from uniformaly_pipeline.evaluation.leaderboard import partial_means, passing_none
from uniformaly_pipeline.evaluation.pixel_metrics import AUPRO_LIMIT
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.reporting.page.charts import Chart, histogram_chart
from uniformaly_pipeline.reporting.page.choice import GalleryChoice, choose_images, describe_choice
from uniformaly_pipeline.reporting.page.embedding import (
    data_url,
    picture_kind,
    picture_size,
    to_base64,
)
from uniformaly_pipeline.reporting.page.tables import (
    general,
    glossary,
    headline,
    leaderboard_view,
    table_view,
)
from uniformaly_pipeline.reporting.page.thresholds import (
    COUNTS,
    RATIOS,
    Panel,
    embedded_scores,
    panel_of,
    total_of,
)

MAX_BYTES = 15_000_000
"""Size of a page at most: images that do not fit are left out, the least informative ones first."""

_ROOM_BYTES = 20_000
"""For what depends on the images chosen: the filters' options and a sentence on the choice."""

_FIGURE_TITLES = {
    "cluster_figure": "Map of the images by true kind and by cluster",
    "cluster_sheet": "Contact sheet of each cluster",
}
_VIEW_TITLES = {
    "image": "Image",
    "heat_map": "Anomaly map",
    "foreground": "BPM foreground",
    "nearest_normal": "Highest patch and its nearest normal one",
}
_WIDE_PX = 700
"""A picture wider than this gets a row of its own."""
_TALL_ROWS = 40
"""Tables of more rows scroll by themselves: a page with one is still looked through."""


@dataclass(frozen=True)
class ReportTable:
    """A table of a section.

    Attributes:
        caption: What it shows, in one line.
        table: Shown column by column, the first as the rows' heading. Known metrics are named and
            written as in the leaderboard; a column ``<metric>_std`` is merged into ``<metric>`` as
            "± x", a column ``<metric>_count`` as "(of n)"; ``paper_<metric>`` and
            ``difference_<metric>`` are the paper's value and ours less that. Other names are shown
            with blanks for underscores.
    """

    caption: str
    table: pd.DataFrame


@dataclass(frozen=True)
class ScoreHistogram:
    """How the scores of two groups of images are distributed, and a threshold between them.

    Attributes:
        caption: What it shows, in one line.
        names: What labels 0 and 1 stand for.
        labels: int [n], 0 or 1.
        scores: float [n].
        threshold: Score drawn as a line.
    """

    caption: str
    names: tuple[str, str]
    labels: np.ndarray
    scores: np.ndarray
    threshold: float

    @property
    def chart(self) -> Chart:
        """The chart to draw."""
        return histogram_chart(self.labels, self.scores, "images")

    @property
    def key(self) -> list[tuple[str, str]]:
        """Class in the style sheet and name with the number of images of both groups."""
        counts = [int((self.labels == label).sum()) for label in (0, 1)]
        kinds = ("normal", "anomalous")
        return [
            (kind, f"{name} ({count})")
            for kind, name, count in zip(kinds, self.names, counts, strict=True)
        ]


@dataclass(frozen=True)
class ReportSection:
    """A task's own part of the report, between the results and the images.

    Attributes:
        title: Heading, also in the page's navigation.
        text: What to know first; empty lines start new paragraphs.
        tables: Tables, one below the other, above the figures.
        figures: PNG bytes by caption, which is the alternative text as well.
        histograms: Score histograms, beside the figures.
    """

    title: str
    text: str = ""
    tables: Sequence[ReportTable] = ()
    figures: Mapping[str, bytes] = field(default_factory=dict)
    histograms: Sequence[ScoreHistogram] = ()


def sections_to_json(sections: Sequence[ReportSection]) -> list[dict[str, Any]]:
    """Sections without histograms as JSON holds them: tables as lists, pictures in base 64."""
    return [
        {
            "title": section.title,
            "text": section.text,
            "tables": [
                {"caption": listed.caption, **_table_to_json(listed.table)}
                for listed in section.tables
            ],
            "figures": {name: to_base64(png) for name, png in section.figures.items()},
        }
        for section in sections
    ]


def _table_to_json(table: pd.DataFrame) -> dict[str, Any]:
    """A table by rows; pandas' own JSON would keep ten digits after the point."""
    columns = [[_json_cell(cell) for cell in table.iloc[:, i]] for i in range(table.shape[1])]
    return {
        "columns": table.columns.tolist(),
        "index": table.index.tolist(),
        "data": [list(row) for row in zip(*columns, strict=True)],
    }


def _json_cell(cell: Any) -> Any:
    """A number, text or truth as plain Python has it; None where it is undefined."""
    if pd.isna(cell):
        return None
    return cell.item() if isinstance(cell, np.generic) else cell


def sections_from_json(stored: Sequence[Mapping[str, Any]]) -> list[ReportSection]:
    """The sections that :func:`sections_to_json` wrote."""
    return [
        ReportSection(
            section["title"],
            section["text"],
            [
                ReportTable(
                    table["caption"], pd.DataFrame(table["data"], table["index"], table["columns"])
                )
                for table in section["tables"]
            ],
            {name: base64.b64decode(png) for name, png in section["figures"].items()},
        )
        for section in stored
    ]


def render_report(
    *,
    title: str,
    task: str,
    dataset: str,
    backbone: str,
    metrics: Mapping[str, Any] | None,
    leaderboard: pd.DataFrame | None,
    galleries: Mapping[str, Sequence[GalleryImage]],
    figures: Mapping[str, Mapping[str, bytes]],
    parameters: Mapping[str, Any],
    command: str,
    image_scores: Mapping[str, pd.DataFrame] = MappingProxyType({}),
    notes: Sequence[str] = (),
    sections: Sequence[ReportSection] = (),
    facts: Mapping[str, str] = MappingProxyType({}),
    max_bytes: int = MAX_BYTES,
) -> str:
    """Render the report of a run.

    Everything the page shows is inside it; its content policy forbids it to load anything else.

    Args:
        title: Heading and window title.
        task: Pipeline that ran, such as ``defect``.
        dataset: Name of the data set.
        backbone: Name of the backbone.
        metrics: As in ``metrics.json``, see :func:`.leaderboard_table`; None where nobody knows
            what is right.
        leaderboard: The table to show; rows named ``mean`` and ``std`` at its end are its foot.
            Columns ``paper`` and ``difference`` belong to the metric before them,
            ``paper_<metric>`` and ``difference_<metric>`` to the metric they name; the paper's
            means are shown in the headline, too. None where there is nothing to compare.
        galleries: Images of each category; shown together, worst mistake first, or highest score
            first where no image is labelled. Which of them are left out if there is no room, see
            :func:`.choice.by_importance`.
        figures: PNG bytes of each category's figures by name.
        parameters: The resolved parameters, nested.
        command: Command line that repeats the run.
        image_scores: A row per test image of each category, columns ``label`` and ``score``: the
            reader can then try other decision thresholds. Categories without are left out.
        notes: Warnings that a reader must see first.
        sections: The task's own sections, shown between the results and the images.
        facts: Further facts for the page's header, by name.
        max_bytes: Size of the page at most, as far as leaving out images of the galleries helps.

    Returns:
        The page, to be written as UTF-8.
    """
    per_category: Mapping[str, Mapping[str, Any]] = metrics["categories"] if metrics else {}
    panels = {
        category: panel_of(category, image_scores[category], of_category)
        for category, of_category in per_category.items()
        if category in image_scores
    }
    thresholds = {name: of_category.get("threshold") for name, of_category in per_category.items()}
    shown = {category: pictures for category, pictures in figures.items() if pictures}
    if panels and leaderboard is not None:
        # The table of decisions shows it, beside what it does.
        leaderboard = leaderboard.drop(columns="threshold", errors="ignore")
    context = {
        "title": title,
        "facts": {"Task": task, "Data set": dataset, "Backbone": backbone, **facts},
        "notes": notes,
        "headline": headline(metrics, leaderboard) if metrics else {},
        "num_categories": len(per_category),
        "leaderboard": None if leaderboard is None else leaderboard_view(leaderboard),
        "glossary": glossary(leaderboard),
        "is_partial": leaderboard is not None and bool(partial_means(leaderboard)),
        "passing_none": [] if leaderboard is None else passing_none(leaderboard),
        "aupro_limit": parameters.get("evaluation", {}).get("aupro_limit", AUPRO_LIMIT),
        "sections": [_section_view(section) for section in sections],
        "panels": panels,
        "total": total_of(panels),
        "scores": embedded_scores(image_scores, panels),
        "gallery_limit": parameters.get("reporting", {}).get("gallery_images"),
        "figures": shown,
        "parameters": _parameter_rows(parameters),
        "made_with": made_with(parameters),
        "command": command,
    }
    drawn = [image for gallery in galleries.values() for image in gallery]
    context["has_images"] = bool(galleries) or leaderboard is not None
    most_views = max((len(image.views) for image in drawn), default=0)
    template = _environment().get_template("report.html.j2")

    def page(choice: GalleryChoice) -> str:
        text = describe_choice(choice, _totals(panels), max_bytes)
        return template.render(context, **_gallery_view(choice, most_views), choice=text)

    without_images = len(page(GalleryChoice([], len(drawn))).encode())
    choice = choose_images(
        galleries, _card_maker(thresholds, most_views), max_bytes - without_images - _ROOM_BYTES
    )
    return page(choice)


_OPTION = re.compile(r"--[a-z]+=[^\s&]*[^\s&.,;:]")


def _with_code(text: str) -> Markup:
    """A note with options of the command line marked up as code."""
    return Markup(_OPTION.sub(r"<code>\g<0></code>", str(escape(text))))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """The templates, with what they share."""
    environment = Environment(
        loader=PackageLoader("uniformaly_pipeline.reporting.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "data_url": data_url, "general": general, "kind": picture_kind, "size": picture_size,
        "with_code": _with_code,
    }  # fmt: skip
    style = environment.get_template("report.css.j2").render()
    script = environment.get_template("report.js.j2").render()
    environment.globals |= {
        # Rendered from our own templates, with no values in them: safe to embed as they are.
        "style": Markup(style),
        "script": Markup(script),
        "style_hash": _content_hash(style),
        "script_hash": _content_hash(script),
        "count_names": COUNTS,
        "ratio_names": RATIOS,
        "view_titles": _VIEW_TITLES,
        "figure_titles": _FIGURE_TITLES,
        "wide_px": _WIDE_PX,
        "tall_rows": _TALL_ROWS,
    }
    return environment


def _card_maker(
    thresholds: Mapping[str, float | None], most_views: int
) -> Callable[[GalleryImage], str]:
    """What draws the piece of the page that shows an image."""
    template = _environment().get_template("report_card.html.j2")

    def draw(image: GalleryImage) -> str:
        threshold = thresholds.get(image.category)
        return template.render(image=image, threshold=threshold, most_views=most_views)

    return draw


def _gallery_view(choice: GalleryChoice, most_views: int) -> dict[str, Any]:
    """The images shown and what the reader can filter them by."""
    images = choice.images
    return {
        "cards": [Markup(card) for _, card in choice.cards],
        "images": images,
        "is_labelled": any(image.label is not None for image in images),
        "verdicts": {image.verdict for image in images},
        "views": list(dict.fromkeys(view for image in images for view in image.views)),
        "most_views": most_views,
    }


def _totals(panels: Mapping[str, Panel]) -> tuple[int, int] | None:
    """Test images, and wrong ones among them; None where that is not known."""
    if not panels:
        return None
    known = [panel.confusion for panel in panels.values() if panel.confusion is not None]
    images = sum(panel.num_normal + panel.num_anomalous for panel in panels.values())
    return images, sum(counts.fp + counts.fn for counts in known)


def _section_view(section: ReportSection) -> dict[str, Any]:
    """A section with its text in paragraphs and its tables as texts."""
    return {
        "title": section.title,
        "paragraphs": [text for text in section.text.split("\n\n") if text.strip()],
        "tables": [(listed.caption, table_view(listed.table)) for listed in section.tables],
        "figures": section.figures,
        "histograms": section.histograms,
    }


def _parameter_rows(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each parameter by its dotted key, its value as JSON."""
    return [
        (key, json.dumps(value, ensure_ascii=False, default=str))
        for key, value in flatten(parameters)
    ]


def _content_hash(text: str) -> str:
    """Hash by which a content security policy admits an inline style or script."""
    return f"sha256-{to_base64(hashlib.sha256(text.encode()).digest())}"
