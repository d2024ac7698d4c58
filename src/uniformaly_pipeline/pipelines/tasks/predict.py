"""``predict``: new images judged by a memory bank that another task made."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import features, prediction
from uniformaly_pipeline.pipelines.prediction.pipeline import (
    create_listing,
    create_pipeline_of_detector,
)
from uniformaly_pipeline.pipelines.tasks.assembly import in_namespace, with_parameters
from uniformaly_pipeline.pipelines.tasks.plan import plan_task

TASK = "predict"


def create(run: CurrentRun) -> Pipeline:
    """Decisions at a threshold that normal test images fix.

    Where no images or no category were given the pipeline can be looked at, but not run.

    Raises:
        InputError: There is no such memory bank.
    """
    ((key, category),) = plan_task(TASK, run).categories.items()
    if run.parameters.predict.detector is not None:
        return in_namespace(
            create_pipeline_of_detector(),
            run,
            TASK,
            key,
            shared={
                "new_images": "predict.new_images",
                "given_detector": "predict.detector",
            },
            outputs={
                "new_manifest": "predict.images",
                "metrics": f"{TASK}.metrics",
                "report": f"{TASK}.report",
            },
        )
    made_by = run.parameters.predict.task
    bank = f"{made_by}.{category.bank or key}.memory_bank"
    new = Pipeline(
        create_listing(),
        inputs={"new_images": "predict.new_images", "memory_bank": bank},
        outputs={"images": "predict.images"},
        parameters={"params:category": f"params:run.{TASK}.categories.{key}"},
    ) + Pipeline(
        with_parameters(features.create_pipeline(name="extract_new_features"), run),
        inputs={"raw_images": "predict.new_images", "manifest": "predict.images"},
        outputs={"features": "predict.features"},
    )
    return new + in_namespace(
        prediction.create_pipeline(),
        run,
        TASK,
        key,
        shared={
            "new_images": "predict.new_images",
            "new_manifest": "predict.images",
            "new_features": "predict.features",
            "bank_features": "features",
            "bank_images": f"{made_by}.{key}.images",
            "memory_bank": bank,
        },
        outputs={"metrics": f"{TASK}.metrics", "report": f"{TASK}.report"},
    )
