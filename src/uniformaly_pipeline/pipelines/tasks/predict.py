"""``predict``: new images judged by a memory bank that another task made."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import features
from uniformaly_pipeline.pipelines.prediction.pipeline import create_listing, create_pipeline
from uniformaly_pipeline.pipelines.tasks.assembly import category_key
from uniformaly_pipeline.pipelines.tasks.multiclass import categories_and_banks

TASK = "predict"


def create(run: CurrentRun) -> Pipeline:
    """Decisions at a threshold that held-out normal images fix.

    Raises:
        InputError: There is no folder of new images to judge, or no such memory bank.
    """
    parameters = run.parameters
    predict = parameters.predict
    if predict.images is None:
        raise InputError("predict.images: give a folder of new images to judge")
    name, bank = _category_and_bank(run)
    key = category_key(name)
    new = Pipeline(
        create_listing(),
        inputs={"new_images": "predict.new_images"},
        outputs={"images": "predict.images"},
    ) + Pipeline(
        features.create_pipeline(
            parameters.dataset, parameters.backbone, normal=[], name="extract_new_features"
        ),
        inputs={"raw_images": "predict.new_images", "manifest": "predict.images"},
        outputs={"features": "predict.features"},
    )
    judge = create_pipeline(
        parameters.dataset,
        name,
        title=f"{run.title(TASK)}: {name}",
        parameters=parameters.resolved(),
        command=run.command(TASK),
        notes=run.notes,
    )
    outside = {
        "new_images": "predict.new_images",
        "new_manifest": "predict.images",
        "new_features": "predict.features",
        "raw_images": "raw_images",
        "bank_features": "features",
        "bank_images": f"{predict.task}.{key}.images",
        "memory_bank": f"{predict.task}.{bank}.memory_bank",
    }
    inputs = judge.inputs()
    return new + Pipeline(
        judge,
        namespace=f"{TASK}.{key}",
        inputs={name: actual for name, actual in outside.items() if name in inputs},
        outputs={"metrics": f"{TASK}.metrics", "report": f"{TASK}.report"},
        parameters={name for name in inputs if name.startswith("params:")},
    )


def _category_and_bank(run: CurrentRun) -> tuple[str, str]:
    """Name of the category whose bank is used, and the bank's namespace.

    Raises:
        InputError: There is no such category, or several to choose from.
    """
    predict = run.parameters.predict
    if predict.task == "multiclass":
        categories, _ = categories_and_banks(run)
        banks = {category.name: category.bank for category in categories}
    else:
        banks = dict.fromkeys(run.classes())
    name = predict.category
    if name is None and len(banks) == 1:
        name = next(iter(banks))
    if name is None:
        raise InputError(f"predict.category: choose a memory bank, one of {', '.join(banks)}")
    if name not in banks:
        raise InputError(
            f"predict.category: there is no category '{name}'{did_you_mean(name, list(banks))}"
        )
    return name, banks[name] or category_key(name)
