"""What each task is about, before any pipeline is built: its categories and memory banks.

A *class* is what a data set shows: a kind of object, a texture, a species. A *category* is one
memory bank and one test. For defects there is a category per class; where foreign classes are
anomalous a category may have several normal classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, Literal

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.evaluation.leaderboard import MANY_CATEGORIES
from uniformaly_pipeline.evaluation.paper.coverage import tasks_for
from uniformaly_pipeline.ingestion.roots import same_name
from uniformaly_pipeline.ingestion.splits import multiclass_splits
from uniformaly_pipeline.parameters.command_line import quoted
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.naming import (
    MULTICLASS_TASKS,
    category_key,
    detector_names,
)
from uniformaly_pipeline.reporting.prose import command_for, notes_on, notes_on_seeds, title_of
from uniformaly_pipeline.scoring.methods.choice import METHODS, check_compares_patches

OF_SEED = "_of_seed_"
"""Stands between a shared memory bank's namespace and another seed, in the name of that seed's."""

NO_NEW_IMAGES = "predict.images: give a folder of new images to judge"
NO_DETECTOR = "export.category: give a category of a finished run, or a detector: export.detector"

MOST_CHUNKS = 50
"""Chunks of categories that share a memory bank or have one each; so many nodes Kedro does well."""


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

    @cached_property
    def chunks(self) -> dict[str, dict[str, Category]]:
        """Categories by chunk where a node does a chunk's work, see :mod:`.chunks`; else empty.

        A chunk's categories have the same memory bank, or one each.
        """
        if len(self.categories) <= MANY_CATEGORIES:
            return {}
        size = math.ceil(len(self.categories) / MOST_CHUNKS)
        slices = []
        for _, group in groupby(self.categories.items(), key=lambda item: item[1].bank):
            items = list(group)
            slices += [dict(items[first : first + size]) for first in range(0, len(items), size)]
        prefix, digits = "chunk_", len(str(len(slices)))
        while any(key.startswith(prefix) for key in self.categories):
            prefix += "_"
        return {f"{prefix}{number:0{digits}d}": each for number, each in enumerate(slices, start=1)}

    @property
    def units(self) -> list[str]:
        """Namespaces of the units of work: the categories, or their chunks."""
        return list(self.chunks or self.categories)

    def as_parameters(self) -> dict[str, Any]:
        """``categories`` or, where they come in chunks, ``chunks``; and ``banks``."""
        # Kedro makes a dataset of every entry of a dictionary, but not of a list's.
        chunks = {
            chunk: [{"key": key, **category.as_parameters()} for key, category in each.items()]
            for chunk, each in self.chunks.items()
        }
        alone = {} if chunks else self.categories
        return {
            "categories": {key: category.as_parameters() for key, category in alone.items()},
            "chunks": chunks,
            "banks": {key: bank.as_parameters() for key, bank in self.banks.items()},
        }


def plan_task(task: str, run: CurrentRun) -> TaskPlan:
    """What a task is about in this run.

    Raises:
        InputError: The task does not fit the run's data set or parameters.
    """
    return PLANNERS[task](run)


def run_parameters(run: CurrentRun) -> dict[str, Any]:
    """What only the run knows, for the nodes: ``params:run``.

    Returns:
        ``classes``, ``layer_choices``, ``names``, ``examined_by`` (the command that looks at the
        images), ``root_record`` and ``seeds``, then by task its ``task``,
        ``title``, ``names``, ``command``, ``notes``, ``spread``, ``categories``, ``chunks`` and
        ``banks``; or ``refusal`` where it does not fit.
    """
    values: dict[str, Any] = {
        "layer_choices": run.parameters.layer_choices,
        "names": run.names(),
        "examined_by": command_for(run, "ingestion"),
        "root_record": run.root_record,
        # By their own name: a node is given one of them.
        "seeds": {str(seed): seed for seed in run.parameters.seeds},
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
            "notes": []
            if run.detector_of(task)
            else [*notes_on(run.parameters), *notes_on_seeds(task, run.parameters)],
            "spread": plan.spread,
            "has_clusters": run.has_defects,
            **plan.as_parameters(),
        }
        if task == "paper":
            tasks, left_out = paper_tasks(run)
            values[task] |= {
                "tasks": tasks,
                "left_out": left_out,
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
    method = run.parameters.scoring.method
    if not METHODS[method].localises:
        raise InputError(
            f"scoring.method is {method}, which scores whole images, and clustering groups images "
            "by their highest-scoring patches: choose another method"
        )
    return TaskPlan("clustering", _by_key(_defects(run)))


def _sweep(task: str, spread: Literal["categories", "draws"]) -> Callable[[CurrentRun], TaskPlan]:
    def plan(run: CurrentRun) -> TaskPlan:
        categories = _defects(run) if run.has_defects else _foreign_classes(run)
        return TaskPlan(task, _by_key(categories), spread=spread)

    return plan


def _multiclass(run: CurrentRun, task: str = "multiclass") -> TaskPlan:
    """Defects: every category tested on its own with the shared bank. Classes: a test per split."""
    splits = multiclass_splits(
        run.classes(),
        run.parameters.chosen_dataset.splits,
        has_defects=run.has_defects,
        key=f"datasets.{run.parameters.dataset}.splits",
    )
    if not run.has_defects:
        return TaskPlan(
            task, _by_key(Category(name, normal, None) for name, normal in splits.items())
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
    for key in categories:
        if any(key == bank or key.startswith(f"{bank}{OF_SEED}") for bank in banks):
            raise InputError(f"categories: '{key}' is the name of a shared memory bank")
    return TaskPlan(task, categories, banks)


def _multiclass_ablation(run: CurrentRun) -> TaskPlan:
    return _multiclass(run, "multiclass_ablation")


def paper_tasks(run: CurrentRun) -> tuple[list[str], dict[str, str]]:
    """The tasks of ``paper`` on this data set.

    Returns:
        Those that run, in order, and why others that the paper has for such data do not.
    """
    wanted = tasks_for("defects" if run.has_defects else "classes")
    left_out: dict[str, str] = {}
    for task in wanted:
        try:
            plan_task(task, run)
        except InputError as error:
            left_out[task] = str(error)
            continue
        if task in MULTICLASS_TASKS and len(run.classes()) < 2:
            left_out[task] = "a memory bank of many classes needs at least two"
    return [task for task in wanted if task not in left_out], left_out


def _paper(run: CurrentRun) -> TaskPlan:
    """The categories of its first task, whose images, attention and clusters it shows."""
    return TaskPlan("paper", plan_task(main_task(run), run).categories)


def main_task(run: CurrentRun) -> str:
    """The task whose images and attention ``paper`` shows."""
    return "defect" if run.has_defects else "semantic"


def _predict(run: CurrentRun) -> TaskPlan:
    """The one category whose memory bank judges the new images."""
    wanted = run.parameters.predict
    if (detector := run.detector_of("predict")) is not None:
        problem = None if wanted.images is not None else NO_NEW_IMAGES
        return _by_detector("predict", detector, problem)
    check_compares_patches(run.parameters.scoring.method, "predict")
    plan = _multiclass(run) if wanted.task == "multiclass" else TaskPlan("", _by_key(_own(run)))
    by_name = {category.name: key for key, category in plan.categories.items()}
    problem = None
    if wanted.category is None:
        name: str | None = next(iter(by_name))
        if len(by_name) > 1:
            names = ", ".join(quoted(each, may_be_nothing=True) for each in by_name)
            problem = f"predict.category: choose a memory bank, one of {names}"
    else:
        name = same_name(wanted.category, by_name)
    if name is None:
        hint = did_you_mean(str(wanted.category), list(by_name))
        raise InputError(f"predict.category: there is no category '{wanted.category}'{hint}")
    if wanted.images is None:
        problem = NO_NEW_IMAGES
    key = by_name[name]
    return TaskPlan("predict", {key: plan.categories[key]}, problem=problem)


def _by_detector(task: str, detector: str, problem: str | None) -> TaskPlan:
    """A detector's one category; neither the data set nor its root are asked for."""
    name = detector_names(detector)["category"]
    return TaskPlan(task, _by_key([Category(name, [name], [name])]), problem=problem)


def _export(run: CurrentRun) -> TaskPlan:
    """The category of the detector that is exported."""
    detector = run.detector_of("export")
    return _by_detector("export", detector or "detector", None if detector else NO_DETECTOR)


def _own(run: CurrentRun) -> list[Category]:
    return [Category(name, [name], None) for name in run.classes()]


PLANNERS: Mapping[str, Callable[[CurrentRun], TaskPlan]] = {
    "defect": _defect,
    "semantic": _semantic,
    "multiclass": _multiclass,
    "clustering": _clustering,
    "lowshot": _sweep("lowshot", "draws"),
    "ablation": _sweep("ablation", "categories"),
    "multiclass_ablation": _multiclass_ablation,
    "paper": _paper,
    "predict": _predict,
    "export": _export,
}
"""Every task, by its name."""


def refusals_of(known: Mapping[str, Any]) -> dict[str, str]:
    """Why tasks cannot run as asked, by the names of their pipelines.

    Args:
        known: What only the run knows (:func:`run_parameters`).
    """
    found = {task: known[task]["refusal"] for task in PLANNERS if "refusal" in known[task]}
    return {"__default__": found["defect"], **found} if "defect" in found else found
