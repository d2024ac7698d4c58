"""The prediction stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.prediction.detector_nodes import (
    calibration_of,
    draw_flagged_of,
    draw_heat_maps_of,
    judge_by_detector,
    list_new_images_of,
    summarise_prediction_of,
    take_detector,
)
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
                inputs=["new_images", "memory_bank", "params:category"],
                outputs="images",
                name="list_new_images",
            )
        ],
        tags=STAGE,
    )


def create_pipeline_of_detector() -> Pipeline:
    """New images and a detector to decisions, pictures and a report."""
    return Pipeline(
        [
            Node(
                take_detector,
                inputs=[
                    "given_detector",
                    "params:predict.false_alarm_rate",
                    "params:predict.threshold",
                ],
                outputs="detector",
                name="take_detector",
            ),
            Node(
                list_new_images_of,
                inputs=["new_images", "detector"],
                outputs="new_manifest",
                name="list_new_images",
            ),
            Node(
                judge_by_detector,
                inputs=[
                    "new_images",
                    "new_manifest",
                    "detector",
                    "params:encoder.device",
                    "params:encoder.batch_size",
                ],
                outputs=["scores", "patch_scores"],
                name="judge_images",
            ),
            Node(
                calibration_of,
                inputs="detector",
                outputs="calibration_scores",
                name="score_normal_test_images",
            ),
            Node(
                draw_heat_maps_of,
                inputs=["new_images", "new_manifest", "patch_scores", "scores", "detector"],
                outputs="heat_maps",
                name="draw_heat_maps",
            ),
            Node(
                draw_flagged_of,
                inputs=[
                    "new_images",
                    "new_manifest",
                    "patch_scores",
                    "scores",
                    "detector",
                    "params:reporting.gallery_images",
                ],
                outputs="gallery",
                name="draw_highest_scores",
            ),
            Node(
                summarise_prediction_of,
                inputs=["scores", "calibration_scores", "detector"],
                outputs="metrics",
                name="count_flagged_images",
            ),
            _report_node(),
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
                    "params:predict.threshold",
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
                    "new_features",
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
                    "bank_images",
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
                    "params:predict.threshold",
                ],
                outputs="metrics",
                name="count_flagged_images",
            ),
            _report_node(),
        ],
        tags=STAGE,
    )


def _report_node() -> Node:
    return Node(
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
    )
