"""The prediction stage."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.binding import bind
from uniformaly_pipeline.pipelines.prediction.nodes import (
    calibrate,
    draw_flagged,
    draw_heat_maps,
    judge_images,
    list_new_images,
    score_new_patches,
    summarise_prediction,
    write_prediction_report,
)


def create_listing() -> Pipeline:
    """The folder of new images to a manifest."""
    return Pipeline(
        [
            Node(
                list_new_images,
                inputs="new_images",
                outputs="images",
                name="list_new_images",
            )
        ]
    )


def create_pipeline(dataset: str, category: str, **report: Any) -> Pipeline:
    """New images and an old memory bank to decisions, pictures and a report.

    Args:
        dataset: A key of ``datasets``.
        category: The memory bank's category.
        report: Title, parameters, command and notes.
    """
    compared = ["memory_bank", "params:bpm", "params:scoring"]
    return Pipeline(
        [
            Node(
                score_new_patches,
                inputs=["new_manifest", "new_features", *compared],
                outputs="patch_scores",
                name="score_new_patches",
            ),
            Node(
                calibrate,
                inputs=["bank_images", "bank_features", *compared],
                outputs="calibration_scores",
                name="score_normal_test_images",
            ),
            Node(
                judge_images,
                inputs=[
                    "new_manifest",
                    "patch_scores",
                    "calibration_scores",
                    "memory_bank",
                    "bank_images",
                    f"params:datasets.{dataset}",
                    "params:scoring",
                    "params:predict",
                ],
                outputs="scores",
                name="judge_images",
            ),
            Node(
                draw_heat_maps,
                inputs=[
                    "new_images",
                    "new_manifest",
                    "patch_scores",
                    "scores",
                    f"params:datasets.{dataset}",
                ],
                outputs="heat_maps",
                name="draw_heat_maps",
            ),
            Node(
                bind(draw_flagged, category=category),
                inputs=[
                    "new_images",
                    "raw_images",
                    "new_manifest",
                    "new_features",
                    "patch_scores",
                    "scores",
                    f"params:datasets.{dataset}",
                    "params:bpm",
                    "params:reporting",
                ],
                outputs="gallery",
                name="draw_highest_scores",
            ),
            Node(
                summarise_prediction,
                inputs=["scores", "calibration_scores", "memory_bank", "params:predict"],
                outputs="metrics",
                name="count_flagged_images",
            ),
            Node(
                bind(write_prediction_report, category=category, **report),
                inputs=["scores", "calibration_scores", "metrics", "gallery"],
                outputs="report",
                name="write_report",
            ),
        ]
    )
