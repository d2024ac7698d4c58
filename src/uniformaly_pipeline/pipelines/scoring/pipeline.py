"""The scoring stage."""

from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.scoring.nodes import score_test_images, score_test_patches

STAGE = "scoring"


def create_pipeline() -> Pipeline:
    """A category's test images and memory bank to patch and image scores."""
    return Pipeline(
        [
            Node(
                score_test_patches,
                inputs=["images", "features", "memory_bank", "params:bpm", "params:scoring"],
                outputs="patch_scores",
                name="score_patches",
            ),
            Node(
                score_test_images,
                inputs=["images", "patch_scores", "params:scoring"],
                outputs="image_scores",
                name="score_images",
            ),
        ],
        tags=STAGE,
    )
