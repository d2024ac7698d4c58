"""The prediction stage."""

from kedro.pipeline import Node, Pipeline

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

STAGE = "prediction"


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
        ],
        tags=STAGE,
    )


def create_pipeline() -> Pipeline:
    """New images and an old memory bank to decisions, pictures and a report."""
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
                    "params:preprocessing",
                    "params:scoring.top_k_ratio",
                    "params:predict.false_alarm_rate",
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
                    "params:preprocessing",
                ],
                outputs="heat_maps",
                name="draw_heat_maps",
            ),
            Node(
                draw_flagged,
                inputs=[
                    "new_images",
                    "raw_images",
                    "new_manifest",
                    "new_features",
                    "patch_scores",
                    "scores",
                    "params:preprocessing",
                    "params:bpm",
                    "params:reporting.gallery_images",
                    "params:category",
                ],
                outputs="gallery",
                name="draw_highest_scores",
            ),
            Node(
                summarise_prediction,
                inputs=[
                    "scores",
                    "calibration_scores",
                    "memory_bank",
                    "params:predict.false_alarm_rate",
                ],
                outputs="metrics",
                name="count_flagged_images",
            ),
            Node(
                write_prediction_report,
                inputs=[
                    "scores",
                    "calibration_scores",
                    "metrics",
                    "gallery",
                    "parameters",
                    "params:task",
                    "params:category",
                ],
                outputs="report",
                name="write_report",
            ),
        ],
        tags=STAGE,
    )
