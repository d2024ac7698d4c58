"""The paper's tables and figures, each from what the tasks' own reports show.

Nothing is computed here: tables are parts of leaderboards and of the reports' sections, figures
are theirs, so that the page of the paper says what the tasks say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from uniformaly_pipeline.evaluation.leaderboard import SUMMARY_ROWS
from uniformaly_pipeline.evaluation.metrics import CLUSTER_METRICS, find_metric
from uniformaly_pipeline.evaluation.paper.coverage import (
    ITEMS,
    NO_RESULT,
    NOT_REPRODUCIBLE,
    OTHER_DATA,
    SHOWN,
    Kind,
    PaperItem,
)
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet
from uniformaly_pipeline.reporting.figures.style import figure_png
from uniformaly_pipeline.reporting.figures.sweeps import sweep_figure
from uniformaly_pipeline.reporting.gallery.drawing import encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.reporting.page.page import ReportSection, ReportTable, sections_to_json
from uniformaly_pipeline.reporting.page.sections import TOP_K, caption_of, masking_sheets

DETECTION = ("image_auroc", "pixel_auroc")
MASKED_COLUMNS = 6
"""Pictures in a row of Figure 12: an image and what is kept of it stand side by side."""

FIGURE_8 = ("wood", "hazelnut")
"""The paper's two categories; the first ones stand in for those that are not there."""

NAMES = {
    "defect": "Defects, one memory bank a category",
    "semantic": "One class normal",
    "multiclass": "Many classes in one memory bank",
    "ablation": "One memory bank a category",
    "multiclass_ablation": "One memory bank of many classes",
}
"""Tasks where several stand in one item."""


@dataclass(frozen=True)
class PaperResults:
    """What the tasks left.

    Attributes:
        dataset: Key of the data set.
        kind: What it shows.
        leaderboards: By task.
        sections: The task's own part of its report, by task.
        galleries: Images of ``defect`` or ``semantic`` by category.
        attention: How the attention is distributed (PNG), where masking heeds it.
        cluster_maps: Clusters by each choice of features (PNG), by category.
        left_out: Why tasks that the paper has did not run.
    """

    dataset: str
    kind: Kind
    leaderboards: Mapping[str, pd.DataFrame]
    sections: Mapping[str, Sequence[ReportSection]]
    galleries: Mapping[str, Sequence[GalleryImage]] = field(default_factory=dict)
    attention: bytes | None = None
    cluster_maps: Mapping[str, bytes] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def paper_items(results: PaperResults) -> list[dict[str, Any]]:
    """Every item of the paper with what became of it.

    Returns:
        A map for each of :data:`.coverage.ITEMS`, in the paper's order, as JSON holds it:
        ``item``, ``title``, ``tasks`` (pipelines that give it on such data), ``status``
        (``shown``, ``of other data``, ``no result`` or ``not reproducible``), ``reason`` where it
        is not shown, ``missing`` (what of it is not reproducible), and ``section`` with its tables
        and pictures where it is shown, see :func:`.page.sections_to_json`.
    """
    return [_item(item, results) for item in ITEMS]


def _item(item: PaperItem, results: PaperResults) -> dict[str, Any]:
    section: ReportSection | None = None
    tasks = item.tasks.get(results.kind, ())
    done = [task for task in tasks if task in results.leaderboards]
    if not item.tasks:
        status, reason = NOT_REPRODUCIBLE, item.missing
    elif reason := item.refusal(results.dataset, results.kind):
        status = OTHER_DATA
    elif not done or done[0] != tasks[0]:
        status, reason = NO_RESULT, results.left_out.get(tasks[0], f"{tasks[0]} did not run")
    else:
        made = _BUILDERS[item.name](results, done)
        if isinstance(made, str):
            status, reason = NO_RESULT, made
        else:
            status, section = SHOWN, made
    title = f"{item.name}: {item.title}"
    return {
        "item": item.name,
        "title": item.title,
        "tasks": list(tasks),
        "status": status,
        "reason": reason,
        "missing": item.missing,
        "section": None
        if section is None
        else sections_to_json(
            [ReportSection(title, section.text, section.tables, section.figures)]
        )[0],
    }


Builder = Callable[[PaperResults, Sequence[str]], ReportSection | str]
"""Gives an item of some tasks' results, or says why they have none of it; its title comes after."""


def _means(metrics: Sequence[str]) -> Builder:
    """Mean and deviation over the categories of the item's first task."""

    def build(results: PaperResults, tasks: Sequence[str]) -> ReportSection:
        board = results.leaderboards[tasks[0]]
        rows = board[board["category"].isin(SUMMARY_ROWS)]
        text = "Mean over the categories, and their standard deviation."
        return ReportSection("", text, [ReportTable(f"By {tasks[0]}", _chosen(rows, metrics))])

    return build


def _each(results: PaperResults, tasks: Sequence[str]) -> ReportSection:
    """Every category of the item's first task."""
    board = results.leaderboards[tasks[0]]
    text = "Each category, their mean and their standard deviation."
    return ReportSection("", text, [ReportTable(f"By {tasks[0]}", _chosen(board, DETECTION))])


def _multiclass(results: PaperResults, tasks: Sequence[str]) -> ReportSection:
    """One bank of many classes, and what a bank a category gives beside it."""
    tables = [
        ReportTable(NAMES[task], _chosen(results.leaderboards[task], DETECTION)) for task in tasks
    ]
    text = "Each category, their mean and their standard deviation."
    return ReportSection("", text, tables)


def _own_section(results: PaperResults, tasks: Sequence[str]) -> ReportSection:
    """The only section of the item's first task."""
    section = results.sections[tasks[0]][0]
    tables = [ReportTable(each.caption, _with_differences(each.table)) for each in section.tables]
    return ReportSection("", section.text, tables, section.figures)


def _ablated(*keys: str) -> Builder:
    """The tables and curves of some parameters of the ablations."""

    def build(results: PaperResults, tasks: Sequence[str]) -> ReportSection | str:
        tables: list[ReportTable] = []
        figures: dict[str, bytes] = {}
        for task, section, table in _of_parameters(results, tasks, keys):
            caption = f"{NAMES[task]}: {table.caption}"
            tables.append(ReportTable(caption, _with_differences(table.table)))
            figures |= {f"{caption}, {name.lower()}": png for name, png in section.figures.items()}
        if not tables:
            return _emptied(keys)
        text = "Mean over categories, ± their standard deviation; all other parameters as below."
        return ReportSection("", text, tables, figures)

    return build


def _top_k(results: PaperResults, tasks: Sequence[str]) -> ReportSection | str:
    """Image AUROC of each task against the top-k ratio, in one picture."""
    tables, curves = [], []
    for task, _, table in _of_parameters(results, tasks, [TOP_K]):
        rows = table.table
        tables.append(ReportTable(f"{NAMES[task]}: {TOP_K}", _with_differences(rows)))
        label = "many classes" if task == "multiclass_ablation" else "one class"
        curves.append(
            pd.DataFrame({"value": rows["value"], label: rows["image_auroc"].astype(float)})
        )
    if not tables:
        return _emptied([TOP_K])
    together = curves[0]
    for curve in curves[1:]:
        together = together.merge(curve, on="value", how="outer", sort=False)
    names = [str(name) for name in together.columns if name != "value"]
    figure = sweep_figure(together.assign(parameter=TOP_K), TOP_K, names)
    figure.axes[0].set_ylabel("image AUROC")
    picture = {"Image AUROC against the top-k ratio": figure_png(figure)}
    return ReportSection("", "Mean over categories, ± their standard deviation.", tables, picture)


def _of_parameters(
    results: PaperResults, tasks: Sequence[str], keys: Sequence[str]
) -> list[tuple[str, ReportSection, ReportTable]]:
    """Task, section and table of each parameter that a task varied."""
    return [
        (task, section, section.tables[0])
        for task in tasks
        for key in keys
        for section in results.sections[task]
        # Older results have the key alone.
        if section.tables[0].caption in (key, caption_of(key))
    ]


def _emptied(keys: Sequence[str]) -> str:
    names = " and ".join(f"ablation.{key.rpartition('.')[2]}" for key in keys)
    return f"{names} gives no values to try"


_OUTLINED = "A yellow outline is of a defect, as the ground truth marks it."


def _steps(results: PaperResults, _tasks: Sequence[str]) -> ReportSection | str:
    """The masking of an image of some categories, step by step."""
    if results.attention is None:
        return "bpm.mode is off: nothing is masked"
    sheets = masking_sheets(_drawn(results))
    text = "The image, the class token's attention, the same smoothed, and the patches kept."
    return ReportSection("", f"{text} {_OUTLINED}", figures=sheets) if sheets else _no_images()


def _masked(results: PaperResults, _tasks: Sequence[str]) -> ReportSection | str:
    """An image of every category, as it is and as the masking leaves it."""
    if results.attention is None:
        return "bpm.mode is off: nothing is masked"
    pictures, captions = [], []
    for name, gallery in results.galleries.items():
        for view, caption in (("image", name), ("foreground", "kept")):
            for image in gallery[:1]:
                pictures.append(np.asarray(Image.open(BytesIO(image.views[view]))))
                captions.append(caption)
    if not pictures:
        return _no_images()
    sheet = encode_jpeg(np.asarray(contact_sheet(pictures, MASKED_COLUMNS, captions)))
    text = f"An image of each category beside what Back Patch Masking keeps of it. {_OUTLINED}"
    return ReportSection("", text, figures={"Images and their foreground": sheet})


def _no_images() -> str:
    return "the run draws no images: reporting.gallery_images"


def _drawn(results: PaperResults) -> list[tuple[str, GalleryImage]]:
    return [(name, image) for name, gallery in results.galleries.items() for image in gallery]


def _attention(results: PaperResults, _tasks: Sequence[str]) -> ReportSection | str:
    """Shares of patches by their smoothed attention."""
    if results.attention is None:
        return "bpm.mode is off: no attention is heeded"
    text = (
        "Smoothed attention of the patches of normal test images. What lies left of the threshold "
        "is background and masked; a texture has hardly any."
    )
    return ReportSection("", text, figures={"Smoothed attention": results.attention})


def _two_maps(results: PaperResults, _tasks: Sequence[str]) -> ReportSection:
    """The clusters of two categories."""
    maps = results.cluster_maps
    papers_own = [name for name in FIGURE_8 if name in maps]
    chosen = [*papers_own, *(name for name in maps if name not in papers_own)][:2]
    text = (
        "t-SNE of the standardised features of the test images: the mean of all patches, the "
        "patch with the highest score, and the mean of the top-k. Above by their true kind, below "
        "by the cluster found."
    )
    return ReportSection("", text, figures={name: maps[name] for name in chosen})


def _all_maps(results: PaperResults, tasks: Sequence[str]) -> ReportSection | str:
    """The clusters of the categories that Figure 8 does not show."""
    shown = _two_maps(results, tasks).figures
    rest = {name: png for name, png in results.cluster_maps.items() if name not in shown}
    text = "As Figure 8, whose categories are not shown again."
    return ReportSection("", text, figures=rest) if rest else "Figure 8 shows all categories"


def _banks(results: PaperResults, tasks: Sequence[str]) -> ReportSection:
    """What the memory banks of many classes hold."""
    section = results.sections[tasks[0]][0]
    return ReportSection("", section.text, figures=section.figures)


_BUILDERS: dict[str, Builder] = {
    "Figure 5": _steps,
    "Table 1": _means(DETECTION),
    "Table 2": _means(DETECTION),
    "Table 3": _means(DETECTION),
    "Table 4": _multiclass,
    "Table 5": _each,
    "Table 6": _each,
    "Table 7": _means(CLUSTER_METRICS),
    "Figure 6": _own_section,
    "Figure 7": _top_k,
    "Table 8": _own_section,
    "Table 9": _ablated("bpm.kernel_size"),
    "Table 10": _ablated("bpm.threshold", "bpm.mode"),
    "Figure 8": _two_maps,
    "Figure 9": _all_maps,
    "Figure 11": _attention,
    "Figure 12": _masked,
    "Table 14": _each,
    "Table 15": _each,
    "Table 16": _each,
    "Table 17": _each,
    "Table 18": _each,
    "Figure 10": _banks,
}


def _chosen(board: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Some metrics of a leaderboard with the paper's beside them; undefined ones left out.

    The leaderboard calls the paper's value of the first metric that it has just ``paper``.
    """
    columns = list(board.columns)
    table = pd.DataFrame({"category": board["category"]})
    first = columns[columns.index("paper") - 1] if "paper" in columns else ""
    for metric in metrics:
        if metric not in columns or board[metric].isna().all():
            continue
        table[metric] = board[metric]
        suffix = "" if metric == first else f"_{metric}"
        for prefix in ("paper", "difference"):
            if f"{prefix}{suffix}" in columns and first:
                table[f"{prefix}_{metric}"] = board[f"{prefix}{suffix}"]
    return table


def _with_differences(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the paper's value right after each metric that has one, and ours less that."""
    columns: dict[str, Any] = {}
    for name in table.columns:
        if str(name).startswith("paper_"):
            continue
        columns[name] = table[name]
        paper, known = f"paper_{name}", find_metric(str(name))
        if paper in table and known.kind == "ratio":
            columns[paper] = table[paper].astype(float)
            columns[f"difference_{name}"] = table[name].astype(float) - columns[paper]
    return pd.DataFrame(columns)
