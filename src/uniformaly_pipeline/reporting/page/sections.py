"""What the report of a task shows besides the leaderboard, the images and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from uniformaly_pipeline.detector.drift import compare
from uniformaly_pipeline.evaluation.metrics import BRIEF_METRICS, CLUSTER_METRICS
from uniformaly_pipeline.evaluation.paper import category_names, follows_paper, paper_sweep
from uniformaly_pipeline.evaluation.sweep import MULTICLASS_RATIO
from uniformaly_pipeline.memory_bank.growth import GROWN
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet
from uniformaly_pipeline.reporting.figures.style import figure_png
from uniformaly_pipeline.reporting.figures.sweeps import AXIS_NAMES, sweep_figure
from uniformaly_pipeline.reporting.gallery.drawing import encode_jpeg
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage
from uniformaly_pipeline.reporting.page.page import ReportSection, ReportTable, ScoreHistogram

TOP_K, FEATURES = "scoring.top_k_ratio", "clustering.features"

MASKING_STEPS = {
    "image": "image",
    "attention": "attention",
    "smoothed_attention": "smoothed",
    "foreground": "kept",
}
"""Views of an image from its attention to its masking, with their titles."""

ATTENTION_CAPTION = "Smoothed attention of the patches, by category (paper Fig. 11)"

MOST_MASKED = 6
"""Images whose masking is shown step by step, one of a category."""

VIEWS_APART = {"looked_at", "attention", "smoothed_attention"}
"""Views that an image has for a section of their own."""

_TITLES = {
    TOP_K: "Top-k ratio (paper Fig. 7)",
    "bpm.kernel_size": "Smoothing kernel (paper Table 9)",
    "bpm.threshold": "Masking threshold (paper Table 10)",
    "bpm.mode": "Masking mode (paper Table 10)",
    FEATURES: "Features for clustering (paper Table 8)",
    "memory_bank.coreset_ratio": "Coreset ratio",
    MULTICLASS_RATIO: "Coreset ratio",
    "backbone.layers": "Blocks of the backbone",
    "scoring.method": "Methods on the same features",
}


def shown_apart(
    galleries: Mapping[str, Sequence[GalleryImage]], attention: bytes | None = None
) -> tuple[dict[str, list[GalleryImage]], list[ReportSection]]:
    """Galleries without the views that only some images have, and sections of these views.

    Args:
        galleries: Images by category, see :func:`.selection.show_place` and
            :func:`.selection.show_attention`.
        attention: Picture (PNG) of how the smoothed attention is distributed, if there is one.
    """
    drawn = [(name, image) for name, gallery in galleries.items() for image in gallery]
    bare = {
        name: [
            replace(image, views={k: v for k, v in image.views.items() if k not in VIEWS_APART})
            for image in gallery
        ]
        for name, gallery in galleries.items()
    }
    return bare, [*_masking_steps(drawn, attention), *_places(drawn)]


def _places(drawn: Sequence[tuple[str, GalleryImage]]) -> list[ReportSection]:
    """Where of an image of each category was looked, where that is not all of it."""
    figures = {
        f"{name}: {image.seen_share:.0%} of {image.image}": image.views["looked_at"]
        for name, image in drawn
        if "looked_at" in image.views
    }
    text = (
        "What is outlined was looked at, shown on an image of each category of which a part is "
        "left out. The rest was cropped off, or lies outside of the region of interest: it has no "
        "part in any score, map or pixel metric. Of other categories all of every image was "
        "looked at."
    )
    return [ReportSection("Where was looked", text, figures=figures)] if figures else []


def _masking_steps(
    drawn: Sequence[tuple[str, GalleryImage]], attention: bytes | None
) -> list[ReportSection]:
    """How the masking comes about, on an image of some categories (paper Fig. 5, 11 and 12)."""
    figures = masking_sheets(drawn)
    text = (
        "From the image to what Back Patch Masking (BPM) keeps: the attention that the class "
        "token pays to each patch, the same smoothed and scaled to a maximum of 1, and the "
        "patches above the threshold, the rest dimmed. Objects stand out from their background; "
        "a texture is kept whole."
    )
    if attention is not None:
        figures[ATTENTION_CAPTION] = attention
        text += (
            "\n\nThe bars show how the smoothed attention of the patches of normal test images is "
            "distributed: a background piles up at 0, left of the threshold, and is masked; of a "
            "texture hardly a patch lies there. Of many categories those that keep the fewest and "
            "the most patches are shown."
        )
    title = "Back Patch Masking, step by step"
    return [ReportSection(title, text, figures=figures)] if figures else []


def masking_sheets(drawn: Sequence[tuple[str, GalleryImage]]) -> dict[str, bytes]:
    """Pictures (JPEG) of the masking step by step, by category and image; of :data:`MOST_MASKED`.

    Args:
        drawn: Category and image of each picture of the galleries.
    """
    examples = [(name, image) for name, image in drawn if "attention" in image.views]
    return {
        f"{name}: {image.image}": _sheet_of(
            {title: image.views[view] for view, title in MASKING_STEPS.items()}
        )
        for name, image in examples[:MOST_MASKED]
    }


def _sheet_of(views: Mapping[str, bytes]) -> bytes:
    """Pictures (JPEG) side by side, each over its title."""
    pictures = [Image.open(BytesIO(content)) for content in views.values()]
    return encode_jpeg(np.asarray(contact_sheet(pictures, len(pictures), list(views))))


def clustering_sections(
    parameters: dict[str, Any], sweep_metrics: pd.DataFrame
) -> list[ReportSection]:
    """The comparison of features, like the paper's Table 8."""
    ratio = parameters["clustering"]["compared_ratios"][0]
    section = _section(
        "Which patches stand for an image (paper Table 8)",
        f"Mean over categories, ± their standard deviation. 'top {ratio:.3g}' is the mean feature "
        f"of the {100 * ratio:.3g} % of the patches with the highest scores, 'max' the single "
        "highest one, 'all' the mean of every patch.",
        "clustering",
        parameters,
        sweep_metrics,
    )
    return [section]


def multiclass_sections(*pictures: bytes) -> list[ReportSection]:
    """What the memory banks hold, like the paper's Fig. 10."""
    return [
        ReportSection(
            "Memory banks (paper Fig. 10)",
            "Vectors of each memory bank of many classes, similar ones close together (t-SNE).",
            [],
            {f"Memory bank {number}": content for number, content in enumerate(pictures, 1)},
        )
    ]


def lowshot_sections(
    parameters: dict[str, Any], sweep_metrics: pd.DataFrame
) -> list[ReportSection]:
    """AUROC against the number of normal images, like the paper's Fig. 6."""
    draws = parameters["lowshot"]["num_draws"]
    section = _section(
        "How many normal images it takes (paper Fig. 6)",
        f"Mean over categories; ± and the bars or band are the standard deviation over {draws} "
        "random draws of the normal images. Categories with fewer images are left out of a row.",
        "lowshot",
        parameters,
        sweep_metrics,
    )
    return [section]


def ablation_sections(
    parameters: dict[str, Any], sweep_metrics: pd.DataFrame, task: str = "ablation"
) -> list[ReportSection]:
    """A table and a curve for each parameter, like the paper's Tables 8 to 10 and Fig. 7.

    Args:
        parameters: All parameters.
        sweep_metrics: See :func:`.sweep.summarise_sweep`.
        task: ``ablation`` or ``multiclass_ablation``.
    """
    return [
        _section(
            _TITLES.get(str(key), str(key)),
            "Mean over categories, ± their standard deviation; all other parameters as below.",
            task,
            parameters,
            rows,
        )
        for key, rows in sweep_metrics.groupby("parameter", sort=False)
    ]


def threshold_facts(metrics: dict[str, Any]) -> dict[str, str]:
    """The decision rule as a fact of the page's head."""
    if metrics["false_alarm_rate"] is None:
        return {"Threshold": f"{metrics['threshold']:.4g}, set by hand"}
    return {"False-alarm rate": f"at most {metrics['false_alarm_rate']:g}"}


def prediction_sections(
    scores: pd.DataFrame, calibration_scores: pd.DataFrame, metrics: dict[str, Any]
) -> list[ReportSection]:
    """The decision rule in words and as a picture, and every image's score."""
    number, rate = metrics["num_calibration"], metrics["false_alarm_rate"]
    text = f"An image is flagged when its score exceeds {metrics['threshold']:.4g}. "
    if rate is None:
        text += "This threshold was set by hand: no rate of false alarms is promised. "
    else:
        text += (
            f"Of normal images at most {rate:.3g} are flagged on average: the threshold comes from "
            f"the scores of {number} normal images that are not in the memory bank (split "
            "conformal prediction), and the rate holds as long as new normal images come about in "
            "the same way as these. "
        )
    text += (
        f"The p-value is the share of the {number} held-out normal images that score as high, the "
        "image itself included."
    )
    drift = compare(
        calibration_scores["score"].to_numpy(), scores["score"].to_numpy(), GROWN in metrics
    )
    if drift.is_drifting:
        text += (
            f" Taken together, these images score {drift.direction} than the held-out normal ones "
            f"(Kolmogorov-Smirnov test, p-value {drift.p_value:.1g}): many are anomalous, or "
            "light, camera or product have changed, and then the threshold does not hold."
        )
    both = pd.concat(
        [calibration_scores.assign(label=0), scores[["image", "score"]].assign(label=1)]
    )
    histogram = ScoreHistogram(
        "Scores of held-out normal and of new images",
        ("held-out normal", "new"),
        both["label"].to_numpy(),
        both["score"].to_numpy(),
        metrics["threshold"],
    )
    table = scores[["image", "score", "p_value", "flagged", "x", "y", "normal_image"]]
    table = table.assign(
        flagged=table["flagged"].map({0: "no", 1: "yes"}),
        # With the digits that the terminal shows.
        p_value=[float(f"{value:.3g}") for value in table["p_value"]],
    )
    return [
        ReportSection(
            "Decisions",
            text,
            [ReportTable(f"All {len(scores)} images, highest scores first", table)],
            histograms=[histogram],
        )
    ]


def _section(
    title: str, text: str, task: str, parameters: dict[str, Any], rows: pd.DataFrame
) -> ReportSection:
    key = str(rows["parameter"].iloc[0])
    metrics = [name for name in BRIEF_METRICS if name in rows]
    if key == FEATURES:
        metrics = [name for name in metrics if name in CLUSTER_METRICS]
    pictures = {
        caption: figure_png(sweep_figure(rows, key, shown))
        for caption, shown in (
            ("Detection", [name for name in metrics if name not in CLUSTER_METRICS]),
            ("Clusters", [name for name in metrics if name in CLUSTER_METRICS]),
        )
        if shown
    }
    table = _with_paper(rows, task, parameters, key, metrics)
    if any(f"{name}_count" in table for name in metrics):
        text += " (of n) is the number of categories that a mean is over."
    return ReportSection(title, text, [ReportTable(caption_of(key), table)], pictures)


def caption_of(key: str) -> str:
    """A swept parameter in words and by its dotted key, as the caption of its table.

    >>> caption_of("lowshot.shots")
    'Normal images (lowshot.shots)'
    """
    words = AXIS_NAMES.get(key)
    return f"{words[0].upper()}{words[1:]} ({key})" if words else key


def _with_paper(
    rows: pd.DataFrame, task: str, parameters: dict[str, Any], key: str, metrics: Sequence[str]
) -> pd.DataFrame:
    """The metrics of each value, with the paper's beside where it reports one.

    The paper's value is that of the same setting over the same categories: the parameter of the
    table may differ from the paper's default, no other.
    """
    columns = [f"{name}{suffix}" for name in metrics for suffix in ("", "_std", "_count")]
    table = rows[["value", *[column for column in columns if column in rows]]].copy()
    swept = {key} | ({TOP_K} if key == FEATURES and task == "clustering" else set())
    dataset, backbone = parameters["dataset"], parameters["backbone"]
    tasks = {
        "clustering": ["clustering"],
        "ablation": ["defect", "semantic", "clustering"],
        "multiclass_ablation": ["multiclass"],
    }
    for reported in tasks.get(task, []):
        if not follows_paper(parameters, reported, swept):
            continue
        paper = [_paper_row(reported, dataset, backbone, key, value) for value in rows["value"]]
        all_categories = len(category_names(reported, dataset, backbone))
        for name in metrics:
            over = rows.get(f"{name}_count", rows["num_categories"])
            known = [
                row.get(name) if count == all_categories else None
                for row, count in zip(paper, over, strict=True)
            ]
            if any(value is not None for value in known):
                table[f"paper_{name}"] = known
    return table


def _paper_row(task: str, dataset: str, backbone: str, key: str, value: str) -> Mapping[str, float]:
    """The paper's metrics of one value; "top 0.05" is the 0.05 of its top-k ratios."""
    kind, _, ratio = value.partition(" ")
    if key == FEATURES and kind == "top":
        key, value = TOP_K, ratio
    return paper_sweep(task, dataset, backbone, key).get(value, {})
