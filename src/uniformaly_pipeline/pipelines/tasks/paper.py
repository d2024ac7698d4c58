"""``paper``: all tasks that the paper has results of, and one page of its tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kedro.pipeline import Pipeline

from uniformaly_pipeline.evaluation.paper.coverage import TEXTURES
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.pipelines import paper
from uniformaly_pipeline.pipelines.chunks import in_chunks
from uniformaly_pipeline.pipelines.clustering.pipeline import create_maps
from uniformaly_pipeline.pipelines.paper.pipeline import create_attention_of_textures
from uniformaly_pipeline.pipelines.tasks import clustering, multiclass, one_class, sweeps
from uniformaly_pipeline.pipelines.tasks.assembly import in_namespace, of_whole_task
from uniformaly_pipeline.pipelines.tasks.plan import main_task, paper_tasks, plan_task

TASK = "paper"
STORE = clustering.STORE
"""Every task takes the features of all patches: no image is encoded twice."""

PARTS: Mapping[str, Callable[[CurrentRun], Pipeline]] = {
    "defect": lambda run: one_class.create_defect(run, STORE),
    "semantic": lambda run: one_class.create_semantic(run, STORE),
    "multiclass": lambda run: multiclass.create(run, STORE),
    "clustering": clustering.create,
    "lowshot": lambda run: sweeps.create_lowshot(run, STORE),
    "ablation": sweeps.create_ablation,
    "multiclass_ablation": multiclass.create_ablation,
}
"""Tasks as they are by themselves, with their results where they leave them, on one store."""

WITH_SECTIONS = ("multiclass", "clustering", "lowshot", "ablation", "multiclass_ablation")
"""Tasks whose reports have a part of their own, which holds tables and figures of the paper."""


def create(run: CurrentRun) -> Pipeline:
    """Everything that the paper reports of such a data set, and the page that shows it.

    Raises:
        InputError: The data set has no such category, or only one class.
    """
    plan, main = plan_task(TASK, run), main_task(run)
    tasks, _ = paper_tasks(run)
    made = {f"{task}_leaderboard": f"{task}.leaderboard" for task in tasks}
    made |= {f"{task}_sections": f"{task}.sections" for task in tasks if task in WITH_SECTIONS}
    made |= {f"gallery_{key}": f"{main}.{key}.gallery" for key in plan.units}
    parts = [PARTS[task](run) for task in tasks]
    if BackPatchMasking(**vars(run.parameters.bpm)).heeds_attention:
        made["attention_histogram"] = f"{main}.attention_histogram"
        if run.parameters.dataset in TEXTURES:
            made["attention_histogram"] = f"{TASK}.attention_histogram"
            scored = {f"image_scores_{key}": f"{main}.{key}.image_scores" for key in plan.units}
            drawn = create_attention_of_textures(plan.units)
            parts.append(of_whole_task(drawn, run, plan, store=STORE, made=scored))
    for key in plan.units if clustering.TASK in tasks else ():
        parts.append(_clusters_of(run, key, is_chunk=bool(plan.chunks)))
        made[f"cluster_maps_{key}"] = f"{TASK}.{key}.cluster_maps"
    page = of_whole_task(paper.create_pipeline(made), run, plan, made=made)
    return sum([*parts, page], Pipeline([]))  # what they share is one node


def _clusters_of(run: CurrentRun, key: str, *, is_chunk: bool) -> Pipeline:
    """A category's clusters by each choice of features, from what ``clustering`` made."""
    maps = create_maps()
    return in_namespace(
        in_chunks(maps) if is_chunk else maps,
        run,
        TASK,
        key,
        store=STORE,
        shared={name: f"{clustering.TASK}.{key}.{name}" for name in ("images", "patch_scores")},
        category=f"params:run.{TASK}.chunks.{key}" if is_chunk else None,
    )
