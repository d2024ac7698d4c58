"""The reporting stage."""

from collections.abc import Iterable, Sequence

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.by_category import inputs_by_category
from uniformaly_pipeline.pipelines.reporting.nodes import (
    collect_plots,
    draw_attention_histogram,
    draw_bank,
    draw_gallery,
    draw_plots,
    write_ablation_sections,
    write_clustering_sections,
    write_lowshot_sections,
    write_multiclass_ablation_sections,
    write_multiclass_sections,
    write_report,
)

STAGE = "reporting"

SWEEP_SECTIONS = {
    "clustering": write_clustering_sections,
    "lowshot": write_lowshot_sections,
    "ablation": write_ablation_sections,
    "multiclass_ablation": write_multiclass_ablation_sections,
}
"""What writes a task's own part of the report from its sweep."""


def create_pipeline() -> Pipeline:
    """A category's scores and metrics to pictures."""
    return Pipeline(
        [
            Node(
                draw_plots,
                inputs=["image_scores", "metrics", "params:category"],
                outputs=["roc_plot", "score_plot"],
                name="draw_interactive_figures",
            ),
            Node(
                draw_gallery,
                inputs=[
                    "raw_images",
                    "images",
                    "features",
                    "patch_scores",
                    "image_scores",
                    "metrics",
                    "params:preprocessing",
                    "params:bpm",
                    "params:reporting.gallery_images",
                    "params:category",
                ],
                outputs="gallery",
                name="draw_gallery",
            ),
        ],
        tags=STAGE,
    )


def create_bank_figure() -> Pipeline:
    """A memory bank of many classes to a picture of it."""
    node = Node(
        draw_bank,
        inputs=["images", "memory_bank", "params:seed", "params:category"],
        outputs="bank_figure",
        name="draw_memory_bank",
    )
    return Pipeline([node], tags=STAGE)


def create_overview(keys: Sequence[str]) -> Pipeline:
    """All categories' interactive figures to one of each kind.

    Args:
        keys: Namespaces of the categories.
    """
    node = Node(
        collect_plots,
        inputs={"task": "params:task", **inputs_by_category(keys, "roc_plot", "score_plot")},
        outputs=["roc_plots", "score_plots"],
        name="collect_interactive_figures",
    )
    return Pipeline([node], tags=STAGE)


def create_attention_histogram(keys: Sequence[str]) -> Pipeline:
    """All categories' attention to a picture of how it is distributed.

    Args:
        keys: Namespaces of the categories.
    """
    node = Node(
        draw_attention_histogram,
        inputs={
            "features": "features",
            "metrics": "metrics",
            "bpm": "params:bpm",
            "task": "params:task",
            **inputs_by_category(keys, "image_scores"),
        },
        outputs="attention_histogram",
        name="draw_attention_histogram",
    )
    return Pipeline([node], tags=STAGE)


def create_sweep_sections(task: str) -> Pipeline:
    """A task's sweep to its own part of the report.

    Args:
        task: A key of :data:`SWEEP_SECTIONS`.
    """
    node = Node(
        SWEEP_SECTIONS[task],
        inputs=["sweep_metrics", "parameters"],
        outputs="sections",
        name="write_sections_of_report",
    )
    return Pipeline([node], tags=STAGE)


def create_bank_sections(keys: Iterable[str]) -> Pipeline:
    """Pictures of memory banks to their part of the report.

    Args:
        keys: Namespaces of the memory banks.
    """
    node = Node(
        write_multiclass_sections,
        inputs=inputs_by_category(keys, "bank_figure"),
        outputs="sections",
        name="write_sections_of_report",
    )
    return Pipeline([node], tags=STAGE)


def create_report(
    keys: Sequence[str],
    figures: Sequence[str] = (),
    *,
    has_sections: bool = False,
    has_attention: bool = False,
) -> Pipeline:
    """All categories' pictures and the leaderboard to the report.

    Args:
        keys: Namespaces of the categories.
        figures: Further figures of each category, names in the catalog.
        has_sections: Whether the task has ``sections`` of its own.
        has_attention: Whether there is a picture of the attention.
    """
    inputs = {
        "metrics": "metrics",
        "leaderboard": "leaderboard",
        "parameters": "parameters",
        "task": "params:task",
    }
    if has_sections:
        inputs["sections"] = "sections"
    if has_attention:
        inputs["attention_histogram"] = "attention_histogram"
    inputs |= inputs_by_category(keys, "gallery", "image_scores", *figures)
    node = Node(write_report, inputs=inputs, outputs="report", name="write_report")
    return Pipeline([node], tags=STAGE)
