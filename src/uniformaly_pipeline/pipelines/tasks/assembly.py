"""How the stages of a task are put together, in a namespace per category."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kedro.pipeline import Pipeline

from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.naming import MULTICLASS_TASKS
from uniformaly_pipeline.pipelines import (
    evaluation,
    features,
    ingestion,
    memory_bank,
    reporting,
    scoring,
)
from uniformaly_pipeline.pipelines.chunks import in_chunks
from uniformaly_pipeline.pipelines.evaluation.nodes import shared_bank_name
from uniformaly_pipeline.pipelines.evaluation.pipeline import create_summary
from uniformaly_pipeline.pipelines.ingestion.pipeline import (
    create_class_selection,
    create_defect_selection,
)
from uniformaly_pipeline.pipelines.reporting.pipeline import (
    create_attention_histogram,
    create_overview,
    create_report,
)
from uniformaly_pipeline.pipelines.tasks.plan import OF_SEED, Category, TaskPlan

SHARED = ("raw_images", "manifest")
"""Datasets that all categories and tasks use; so is a feature store."""

COLLECTED = (
    "images",
    "metrics",
    "seed_metrics",
    "sweep_metrics",
    "roc_plot",
    "score_plot",
    "gallery",
    "image_scores",
    "bank_figure",
    "cluster_figure",
    "cluster_sheet",
)
"""What is made of each category, and put together or made for the whole task."""


def create_ingestion(run: CurrentRun) -> Pipeline:
    """Raw images to manifest."""
    draws_demo = run.parameters.chosen_dataset.layout == "demo"
    return with_parameters(ingestion.create_pipeline(draws_demo), run)


def create_features(run: CurrentRun, store: str = "features") -> Pipeline:
    """Images to a feature store."""
    return with_parameters(features.create_pipeline(store), run)


def other_seeds(run: CurrentRun) -> list[int]:
    """Those of ``seeds`` that are not the run's own, whose memory bank is made anyway."""
    return [seed for seed in run.parameters.seeds if seed != run.parameters.seed]


def create_bank(
    run: CurrentRun,
    task: str,
    key: str,
    *more: Pipeline,
    store: str = "features",
    seed: int | None = None,
) -> Pipeline:
    """A memory bank that several categories share.

    Args:
        run: The run.
        task: The task, which is the outer namespace.
        key: The bank's namespace.
        more: Further stages.
        store: The feature store to use.
        seed: One of :func:`other_seeds` in place of the run's own; it has a namespace of its own.
    """
    return in_namespace(
        Pipeline([create_defect_selection(), memory_bank.create_pipeline(), *more]),
        run,
        task,
        key if seed is None else _seed_bank(key, seed),
        store=store,
        category=f"params:run.{task}.banks.{key}",
        seed=seed,
    )


def _seed_bank(key: str, seed: int) -> str:
    return f"{key}{OF_SEED}{seed}"


def create_categories(
    run: CurrentRun,
    plan: TaskPlan,
    *,
    store: str = "features",
    metrics: str = "metrics",
    more: Callable[[Category], Sequence[Pipeline]] = lambda _: (),
) -> Pipeline:
    """Selection, memory bank, scores, metrics and pictures of every category.

    Args:
        run: The run.
        plan: The task's categories.
        store: The feature store to use.
        metrics: Name of the detection metrics, if ``more`` makes ``metrics`` of them.
        more: Further stages of a category.
    """
    parts = []
    units = {chunk: next(iter(each.values())) for chunk, each in plan.chunks.items()}
    for key, category in (units or plan.categories).items():
        of_defects = category.tested is not None
        stages = [
            create_defect_selection() if of_defects else create_class_selection(),
            scoring.create_pipeline(),
            evaluation.create_pipeline(metrics),
            reporting.create_pipeline(),
            *more(category),
        ]
        shared = {}
        if category.bank is None:
            stages.append(memory_bank.create_pipeline())
        else:
            shared["memory_bank"] = f"{plan.task}.{category.bank}.memory_bank"
            for seed in other_seeds(run):
                bank = _seed_bank(category.bank, seed)
                shared[shared_bank_name(seed)] = f"{plan.task}.{bank}.memory_bank"
        pipeline, described = Pipeline(stages), None
        if plan.chunks:
            pipeline = in_chunks(pipeline)
            described = f"params:run.{plan.task}.chunks.{key}"
        parts.append(
            in_namespace(
                pipeline, run, plan.task, key, store=store, shared=shared, category=described
            )
        )
    return Pipeline(parts)


def create_results(
    run: CurrentRun,
    plan: TaskPlan,
    *more: Pipeline,
    store: str = "features",
    figures: Sequence[str] = (),
    has_seeds: bool = False,
) -> Pipeline:
    """All categories' metrics to the task's metrics, leaderboard and report.

    Args:
        run: The run.
        plan: The task's categories.
        more: Further stages of the whole task, one of which may write ``sections``.
        store: The feature store to use.
        figures: Further figures of each category that the report shows.
        has_seeds: Whether metrics are means over several seeds.
    """
    keys = plan.units
    heeds = BackPatchMasking(**vars(run.parameters.bpm)).heeds_attention
    has_sections = any("sections" in part.all_outputs() for part in more)
    stages = Pipeline(
        [
            create_summary(keys, has_seeds),
            create_overview(keys),
            create_report(keys, figures, has_sections=has_sections, has_attention=heeds),
            *([create_attention_histogram(keys)] if heeds else []),
            *more,
        ]
    )
    return of_whole_task(stages, run, plan, store=store)


def of_whole_task(
    stages: Pipeline,
    run: CurrentRun,
    plan: TaskPlan,
    *,
    store: str = "features",
    made: Mapping[str, str] = {},
) -> Pipeline:
    """Put stages that are of many categories at once into a task's namespace.

    Args:
        stages: The stages; ``<artifact>_<key>`` is what each category has or gets.
        run: The run.
        plan: The task's categories.
        store: The feature store that stands for ``features``.
        made: Further datasets from outside, by their name inside.
    """
    known = {name: name for name in SHARED} | {"features": store}
    known |= {
        f"{artifact}_{key}": f"{plan.task}.{key}.{artifact}"
        for artifact in COLLECTED
        for key in (*plan.units, *plan.banks)
    }
    known |= made
    return Pipeline(
        stages,
        namespace=plan.task,
        inputs={name: known[name] for name in stages.inputs() if not _is_parameter(name)},
        outputs={name: known[name] for name in stages.outputs() if name in known},
        parameters=_mapped(stages, run, plan.task),
    )


def in_namespace(
    pipeline: Pipeline,
    run: CurrentRun,
    task: str,
    key: str,
    *,
    store: str = "features",
    shared: Mapping[str, str] = {},
    category: str | None = None,
    outputs: Mapping[str, str] = {},
    seed: int | None = None,
) -> Pipeline:
    """Put a category's stages into its namespace; parameters and shared datasets stay outside.

    Args:
        pipeline: The stages.
        run: The run.
        task: The outer namespace.
        key: The category's own.
        store: The feature store that stands for ``features``.
        shared: Further datasets from outside, by their name inside.
        category: The parameter that describes the category, if it is no category of the task, or
            the categories of a chunk.
        outputs: Outputs that go outside, by their name inside.
        seed: One of ``seeds`` in place of the run's own.
    """
    inputs = pipeline.inputs()
    parameters = _mapped(pipeline, run, task, category or f"params:run.{task}.categories.{key}")
    if seed is not None:
        parameters["params:seed"] = f"params:run.seeds.{seed}"
    outside = {name: name for name in SHARED} | {"features": store} | dict(shared)
    return Pipeline(
        pipeline,
        namespace=f"{task}.{key}",
        inputs={name: actual for name, actual in outside.items() if name in inputs},
        outputs=dict(outputs),
        parameters=parameters,
    )


def with_parameters(pipeline: Pipeline, run: CurrentRun, task: str = "") -> Pipeline:
    """A pipeline outside all namespaces, told which data set and backbone the run is about."""
    return Pipeline(pipeline, parameters=_mapped(pipeline, run, task))


def _mapped(pipeline: Pipeline, run: CurrentRun, task: str, category: str = "") -> dict[str, str]:
    """The run's parameters by the names that the stages know them under."""
    ratio = "multiclass_coreset_ratio" if task in MULTICLASS_TASKS else "coreset_ratio"
    parameters = run.parameters
    known = {
        "params:data_set": f"params:datasets.{parameters.dataset}",
        "params:preprocessing": f"params:datasets.{parameters.dataset}.preprocessing",
        "params:backbone_settings": f"params:backbones.{parameters.backbone}",
        "params:coreset_ratio": f"params:memory_bank.{ratio}",
        "params:category": category,
        "params:task": f"params:run.{task}",
        "params:task.has_clusters": f"params:run.{task}.has_clusters",
    }
    return {name: known.get(name, name) for name in pipeline.inputs() if _is_parameter(name)}


def _is_parameter(name: str) -> bool:
    return name.startswith("params:") or name == "parameters"
