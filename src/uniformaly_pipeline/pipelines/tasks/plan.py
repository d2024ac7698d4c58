"""What each task is about, before any pipeline is built: its categories and memory banks.

A *class* is what a data set shows: a kind of object, a texture, a species. A *category* is one
memory bank and one test. For defects there is a category per class; where foreign classes are
anomalous a category may have several normal classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.ingestion.splits import multiclass_splits
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.naming import category_key
from uniformaly_pipeline.reporting.prose import command_for, notes_on, title_of


@dataclass(frozen=True)
class Category:
    """One memory bank and one test.

    Attributes:
        name: What people call it.
        normal: Classes that the memory bank is made of.
        tested: Classes that are tested for defects; ``None``: all are tested, and those that are
            not normal are anomalous.
        bank: Namespace of the memory bank that it shares with others; ``None``: one of its own.
    """

    name: str
    normal: list[str]
    tested: list[str] | None
    bank: str | None = None

    def as_parameters(self) -> dict[str, Any]:
        """What nodes are told of it."""
        return {"name": self.name, "normal": self.normal, "tested": self.tested}


@dataclass(frozen=True)
class TaskPlan:
    """The categories of a task and the memory banks they share.

    Attributes:
        task: Name of the task, which is the outer namespace.
        categories: Categories by namespace, in order.
        banks: Shared memory banks by namespace; of each only the normal classes matter.
        spread: What the deviation of a sweep is over.
        problem: Why the task cannot run as asked, though its pipeline can be shown.
    """

    task: str
    categories: dict[str, Category]
    banks: dict[str, Category] = field(default_factory=dict)
    spread: Literal["categories", "draws"] = "categories"
    problem: str | None = None


def plan_task(task: str, run: CurrentRun) -> TaskPlan:
    """What a task is about in this run.

    Raises:
        InputError: The task does not fit the run's data set or parameters.
    """
    return PLANNERS[task](run)


def run_parameters(run: CurrentRun) -> dict[str, Any]:
    """What only the run knows, for the nodes: ``params:run``.

    Returns:
        ``classes``, ``layer_choices`` and ``names``, then by task its ``task``, ``title``,
        ``names``, ``command``, ``notes``, ``spread``, ``categories`` and ``banks``; or ``refusal``
        where it does not fit.
    """
    values: dict[str, Any] = {
        "layer_choices": run.parameters.layer_choices,
        "names": run.names(),
    }
    try:
        values["classes"] = run.classes()
    except InputError:
        values["classes"] = []
    for task in PLANNERS:
        try:
            plan = plan_task(task, run)
        except InputError as error:
            values[task] = {"refusal": str(error)}
            continue
        values[task] = {
            "task": task,
            "title": title_of(task, run.parameters),
            "names": run.names(task),
            "command": command_for(run, task),
            "notes": notes_on(run.parameters),
            "spread": plan.spread,
            "has_clusters": run.has_defects,
            "categories": {key: c.as_parameters() for key, c in plan.categories.items()},
            "banks": {key: bank.as_parameters() for key, bank in plan.banks.items()},
        }
    return values


def _by_key(categories: Iterable[Category]) -> dict[str, Category]:
    keyed: dict[str, Category] = {}
    for category in categories:
        key = category_key(category.name)
        if key in keyed:
            raise InputError(
                f"categories '{keyed[key].name}' and '{category.name}' differ only in punctuation"
            )
        keyed[key] = category
    return keyed


def _defects(run: CurrentRun) -> list[Category]:
    return [Category(name, [name], [name]) for name in run.classes()]


def _foreign_classes(run: CurrentRun) -> list[Category]:
    classes = run.classes()
    if len(classes if run.has_defects else run.all_classes) < 2:
        raise InputError(
            f"{run.root}: with one class nothing is foreign to it; at least two are needed"
        )
    return [Category(name, [name], None) for name in classes]


def _defect(run: CurrentRun) -> TaskPlan:
    if not run.has_defects:
        raise InputError(
            f"the data set '{run.parameters.dataset}' shows no defects; its pipelines are "
            "semantic, multiclass, lowshot and ablation"
        )
    return TaskPlan("defect", _by_key(_defects(run)))


def _semantic(run: CurrentRun) -> TaskPlan:
    return TaskPlan("semantic", _by_key(_foreign_classes(run)))


def _clustering(run: CurrentRun) -> TaskPlan:
    if not run.has_defects:
        raise InputError(
            f"the data set '{run.parameters.dataset}' shows no kinds of defect to group; its "
            "pipelines are semantic, multiclass, lowshot and ablation"
        )
    return TaskPlan("clustering", _by_key(_defects(run)))


def _sweep(task: str, spread: Literal["categories", "draws"]) -> Callable[[CurrentRun], TaskPlan]:
    def plan(run: CurrentRun) -> TaskPlan:
        categories = _defects(run) if run.has_defects else _foreign_classes(run)
        return TaskPlan(task, _by_key(categories), spread=spread)

    return plan


def _multiclass(run: CurrentRun) -> TaskPlan:
    """Defects: every category tested on its own with the shared bank. Classes: a test per split."""
    splits = multiclass_splits(
        run.classes(),
        run.parameters.chosen_dataset.splits,
        has_defects=run.has_defects,
        key=f"datasets.{run.parameters.dataset}.splits",
    )
    if not run.has_defects:
        return TaskPlan(
            "multiclass", _by_key(Category(name, normal, None) for name, normal in splits.items())
        )
    bank_of = {split: category_key(split) + "_bank" for split in splits}
    banks = {
        bank_of[split]: Category(bank_of[split], normal, []) for split, normal in splits.items()
    }
    categories = _by_key(
        Category(name if len(splits) == 1 else f"{split}_{name}", normal, [name], bank_of[split])
        for split, normal in splits.items()
        for name in normal
    )
    taken = set(categories) & set(banks)
    if taken:
        raise InputError(f"categories: '{taken.pop()}' is the name of a shared memory bank")
    return TaskPlan("multiclass", categories, banks)


def _predict(run: CurrentRun) -> TaskPlan:
    """The one category whose memory bank judges the new images."""
    wanted = run.parameters.predict
    plan = _multiclass(run) if wanted.task == "multiclass" else TaskPlan("", _by_key(_own(run)))
    by_name = {category.name: key for key, category in plan.categories.items()}
    name = wanted.category
    problem = None
    if name is None:
        name = next(iter(by_name))
        if len(by_name) > 1:
            problem = f"predict.category: choose a memory bank, one of {', '.join(by_name)}"
    if name not in by_name:
        raise InputError(
            f"predict.category: there is no category '{name}'{did_you_mean(name, list(by_name))}"
        )
    if wanted.images is None:
        problem = "predict.images: give a folder of new images to judge"
    key = by_name[name]
    return TaskPlan("predict", {key: plan.categories[key]}, problem=problem)


def _own(run: CurrentRun) -> list[Category]:
    return [Category(name, [name], None) for name in run.classes()]


PLANNERS: Mapping[str, Callable[[CurrentRun], TaskPlan]] = {
    "defect": _defect,
    "semantic": _semantic,
    "multiclass": _multiclass,
    "clustering": _clustering,
    "lowshot": _sweep("lowshot", "draws"),
    "ablation": _sweep("ablation", "categories"),
    "predict": _predict,
}
"""Every task, by its name."""
