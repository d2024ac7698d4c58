"""What each task is about: its categories and banks, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters
from uniformaly_pipeline.pipelines.tasks.plan import (
    PLANNERS,
    Category,
    category_key,
    paper_tasks,
    plan_task,
    run_parameters,
)

DEFECT_TASKS = ["defect", "clustering", "lowshot", "ablation"]
"""Tasks with a category per class where images are defective."""
CLASS_TASKS = ["semantic", "lowshot", "ablation"]
"""Tasks with a category per normal class where other classes are anomalous."""

OF_DATA_SETS = [task for task in PLANNERS if task != "export"]
"""Tasks that ask for a data set; a detector needs none."""

MakeRun = Callable[..., CurrentRun]


@pytest.fixture
def make_run(shipped: Parameters, tmp_path: Path) -> MakeRun:
    """A run on a data set of empty folders, with parameters changed by dotted key."""

    def make(
        layout: str = "folder", classes: tuple[str, ...] = ("bolt", "gear", "nut"), **changes: Any
    ) -> CurrentRun:
        places = {"folder": ["{}/train/good"], "classes": ["one_class_train/{}"]}
        for name in classes:
            for place in places.get(layout, []):
                (tmp_path / place.format(name)).mkdir(parents=True)
        dataset = {"folder": "folder", "classes": "class_folder"}.get(layout, layout)
        raw = shipped.model_dump()
        raw["dataset"] = dataset
        raw["datasets"][dataset]["root"] = str(tmp_path)
        for key, value in changes.items():
            *sections, last = key.split("__")
            target = raw
            for section in sections:
                target = target[section]
            target[last] = value
        runtime = {key: value for key, value in changes.items() if "__" not in key}
        return CurrentRun(parse_parameters(raw), tmp_path, runtime)

    return make


def contents(categories: dict[str, Category]) -> dict[str, tuple[Any, ...]]:
    return {key: (c.name, c.normal, c.tested, c.bank) for key, c in categories.items()}


# --- categories -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", DEFECT_TASKS)
def test_defects_have_a_category_per_class_with_a_bank_of_its_own(
    task: str, make_run: MakeRun
) -> None:
    plan = plan_task(task, make_run())
    assert plan.task == task
    assert contents(plan.categories) == {
        "bolt": ("bolt", ["bolt"], ["bolt"], None),
        "gear": ("gear", ["gear"], ["gear"], None),
        "nut": ("nut", ["nut"], ["nut"], None),
    }
    assert plan.banks == {}
    assert plan.problem is None


@pytest.mark.parametrize("task", CLASS_TASKS)
def test_each_class_is_normal_in_turn_and_tested_against_all(task: str, make_run: MakeRun) -> None:
    plan = plan_task(task, make_run("classes", ("ant", "bee")))
    assert plan.task == task
    assert contents(plan.categories) == {
        "ant": ("ant", ["ant"], None, None),
        "bee": ("bee", ["bee"], None, None),
    }
    assert plan.banks == {}


def test_semantic_takes_the_classes_of_a_data_set_with_defects_too(make_run: MakeRun) -> None:
    plan = plan_task("semantic", make_run())
    assert contents(plan.categories)["nut"] == ("nut", ["nut"], None, None)
    assert len(plan.categories) == 3


@pytest.mark.parametrize("task", sorted({*DEFECT_TASKS, "semantic"}))
def test_the_categories_are_those_wanted_in_the_data_sets_order(
    task: str, make_run: MakeRun
) -> None:
    assert list(plan_task(task, make_run(categories="nut+bolt")).categories) == ["bolt", "nut"]


@pytest.mark.parametrize("task", OF_DATA_SETS)
def test_a_category_that_is_not_there_is_refused(task: str, make_run: MakeRun) -> None:
    with pytest.raises(InputError, match="no category 'bald'"):
        plan_task(task, make_run(categories="bald"))


@pytest.mark.parametrize("task", OF_DATA_SETS)
def test_a_data_set_that_is_not_there_is_refused(task: str, make_run: MakeRun) -> None:
    run = make_run("folder", (), datasets__folder__root="/nowhere/at/all")
    with pytest.raises(InputError, match="/nowhere/at/all does not exist"):
        plan_task(task, run)


@pytest.mark.parametrize(
    ("task", "spread"),
    [("defect", "categories"), ("ablation", "categories"), ("lowshot", "draws")],
)
def test_only_lowshot_deviates_over_its_draws(task: str, spread: str, make_run: MakeRun) -> None:
    assert plan_task(task, make_run()).spread == spread


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [("nut", "nut"), ("wing nut", "wing_nut"), ("a.b, c/d", "a_b_c_d"), ("Öl-1_x", "Öl-1_x")],
)
def test_a_key_holds_nothing_that_kedro_or_a_file_system_minds(name: str, key: str) -> None:
    assert category_key(name) == key


def test_a_category_is_shown_by_its_name_and_run_by_its_key(make_run: MakeRun) -> None:
    categories = plan_task("defect", make_run(classes=("wing nut", "hex.nut"))).categories
    assert contents(categories) == {
        "hex_nut": ("hex.nut", ["hex.nut"], ["hex.nut"], None),
        "wing_nut": ("wing nut", ["wing nut"], ["wing nut"], None),
    }


@pytest.mark.parametrize("task", OF_DATA_SETS)
def test_names_that_differ_in_punctuation_only_are_refused(task: str, make_run: MakeRun) -> None:
    run = make_run(classes=("hex nut", "hex.nut"))
    with pytest.raises(InputError, match=r"'hex nut' and 'hex\.nut' differ only in punctuation"):
        plan_task(task, run)


# --- multiclass -----------------------------------------------------------------------------------


def test_defects_of_many_classes_share_one_bank(make_run: MakeRun) -> None:
    plan = plan_task("multiclass", make_run(categories="bolt+nut"))
    assert plan.task == "multiclass"
    assert contents(plan.categories) == {
        "bolt": ("bolt", ["bolt", "nut"], ["bolt"], "all_categories_bank"),
        "nut": ("nut", ["bolt", "nut"], ["nut"], "all_categories_bank"),
    }
    assert contents(plan.banks) == {
        "all_categories_bank": ("all_categories_bank", ["bolt", "nut"], [], None)
    }


def test_each_split_has_a_bank_and_its_categories_are_named_after_it(make_run: MakeRun) -> None:
    splits = {"big one": ["nut", "bolt"], "small": ["bolt"]}
    plan = plan_task("multiclass", make_run(datasets__folder__splits=splits))
    assert contents(plan.categories) == {
        "big_one_nut": ("big one_nut", ["nut", "bolt"], ["nut"], "big_one_bank"),
        "big_one_bolt": ("big one_bolt", ["nut", "bolt"], ["bolt"], "big_one_bank"),
        "small_bolt": ("small_bolt", ["bolt"], ["bolt"], "small_bank"),
    }
    assert {key: bank.normal for key, bank in plan.banks.items()} == {
        "big_one_bank": ["nut", "bolt"],
        "small_bank": ["bolt"],
    }


def test_either_half_of_the_classes_is_normal_in_turn(make_run: MakeRun) -> None:
    plan = plan_task("multiclass", make_run("classes", ("ant", "bee", "fly")))
    assert contents(plan.categories) == {
        "first_half": ("first_half", ["ant", "bee"], None, None),
        "second_half": ("second_half", ["fly"], None, None),
    }
    assert plan.banks == {}


def test_the_splits_of_classes_are_the_data_sets_own(make_run: MakeRun) -> None:
    splits = {"wings": ["bee", "fly"]}
    run = make_run("classes", ("ant", "bee", "fly"), datasets__class_folder__splits=splits)
    assert contents(plan_task("multiclass", run).categories) == {
        "wings": ("wings", ["bee", "fly"], None, None)
    }


@pytest.mark.parametrize(
    ("layout", "splits", "refusal"),
    [
        ("folder", {"x": ["nit"]}, r"^datasets\.folder\.splits\.x: the run has no class 'nit'"),
        ("classes", {"x": ["bolt", "nut"]}, r"^datasets\.class_folder\.splits\.x: 2 of 2 classes"),
        ("folder", {"a b": ["nut"], "a.b": ["nut"]}, "differ only in punctuation"),
        ("classes", {"a b": ["nut"], "a.b": ["bolt"]}, "differ only in punctuation"),
    ],
)
def test_splits_that_do_not_fit_the_classes_are_refused(
    layout: str, splits: dict[str, list[str]], refusal: str, make_run: MakeRun
) -> None:
    dataset = {"folder": "folder", "classes": "class_folder"}[layout]
    run = make_run(layout, ("bolt", "nut"), **{f"datasets__{dataset}__splits": splits})
    with pytest.raises(InputError, match=refusal):
        plan_task("multiclass", run)


def test_a_category_called_like_a_bank_is_refused(make_run: MakeRun) -> None:
    run = make_run(classes=("all_categories_bank", "nut"))
    with pytest.raises(InputError, match="'all_categories_bank' is the name of a shared memory"):
        plan_task("multiclass", run)


# --- paper ----------------------------------------------------------------------------------------


def test_the_paper_has_the_tasks_of_the_kind_of_data(make_run: MakeRun) -> None:
    run = make_run()
    tasks, left_out = paper_tasks(run)
    assert tasks == [
        "defect", "multiclass", "clustering", "lowshot", "ablation", "multiclass_ablation",
    ]  # fmt: skip
    assert left_out == {}
    assert list(plan_task("paper", run).categories) == ["bolt", "gear", "nut"]


def test_the_paper_on_classes(make_run: MakeRun) -> None:
    run = make_run("classes", ("ant", "bee", "fly"))
    assert paper_tasks(run) == (["semantic", "multiclass", "ablation"], {})
    told = run_parameters(run)["paper"]
    assert told["tasks"] == ["semantic", "multiclass", "ablation"]


def test_the_paper_leaves_out_what_one_category_does_not_give(make_run: MakeRun) -> None:
    tasks, left_out = paper_tasks(make_run(categories="nut"))
    assert tasks == ["defect", "clustering", "lowshot", "ablation"]
    assert set(left_out) == {"multiclass", "multiclass_ablation"}
    assert left_out["multiclass"] == "a memory bank of many classes needs at least two"


def test_the_paper_says_which_splits_do_not_fit(make_run: MakeRun) -> None:
    _, left_out = paper_tasks(make_run(datasets__folder__splits={"x": ["nit"]}))
    assert "no class 'nit'" in left_out["multiclass"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words"),
    [("defect", "shows no defects; its"), ("clustering", "shows no kinds of defect to group; its")],
)
def test_without_defects_there_is_nothing_to_find_or_group(
    task: str, words: str, make_run: MakeRun
) -> None:
    with pytest.raises(InputError) as error:
        plan_task(task, make_run("classes"))
    assert str(error.value) == (
        f"the data set 'class_folder' {words} pipelines are semantic, multiclass, lowshot and "
        "ablation"
    )


@pytest.mark.parametrize("task", CLASS_TASKS)
def test_with_one_class_nothing_is_foreign(task: str, make_run: MakeRun) -> None:
    with pytest.raises(InputError, match="with one class nothing is foreign to it; at least two"):
        plan_task(task, make_run("classes", ("ant",)))


@pytest.mark.parametrize("task", CLASS_TASKS)
def test_one_class_wanted_is_enough_where_others_are_anomalous(
    task: str, make_run: MakeRun
) -> None:
    plan = plan_task(task, make_run("classes", ("ant", "bee"), categories="bee"))
    assert contents(plan.categories) == {"bee": ("bee", ["bee"], None, None)}


def test_of_a_data_set_with_defects_semantic_needs_two_classes_wanted(make_run: MakeRun) -> None:
    # Only the images of the classes wanted are read there: no other is foreign.
    with pytest.raises(InputError, match="nothing is foreign"):
        plan_task("semantic", make_run(categories="nut"))


def test_one_class_is_enough_for_defects(make_run: MakeRun) -> None:
    assert list(plan_task("ablation", make_run(categories="nut")).categories) == ["nut"]


# --- predict --------------------------------------------------------------------------------------


def test_new_images_are_judged_by_the_category_asked_for(make_run: MakeRun) -> None:
    run = make_run(predict__images="new", predict__category="gear")
    plan = plan_task("predict", run)
    assert plan.task == "predict"
    assert contents(plan.categories) == {"gear": ("gear", ["gear"], None, None)}
    assert (plan.banks, plan.problem) == ({}, None)


def test_the_only_category_need_not_be_asked_for(make_run: MakeRun) -> None:
    plan = plan_task("predict", make_run(predict__images="new", categories="nut"))
    assert (list(plan.categories), plan.problem) == (["nut"], None)


def test_of_several_categories_one_must_be_chosen(make_run: MakeRun) -> None:
    plan = plan_task("predict", make_run(predict__images="new", categories="nut+gear"))
    assert plan.problem == "predict.category: choose a memory bank, one of gear, nut"
    assert list(plan.categories) == ["gear"]


@pytest.mark.parametrize("category", [None, "nut"])
def test_new_images_must_be_given(category: str | None, make_run: MakeRun) -> None:
    plan = plan_task("predict", make_run(predict__category=category))
    assert plan.problem == "predict.images: give a folder of new images to judge"


def test_a_category_without_a_bank_is_refused(make_run: MakeRun) -> None:
    run = make_run(predict__images="new", predict__category="nit")
    with pytest.raises(
        InputError, match=r"^predict\.category: there is no category 'nit'; did you mean 'nut'"
    ):
        plan_task("predict", run)


def test_new_images_may_be_judged_by_a_shared_bank(make_run: MakeRun) -> None:
    run = make_run(
        predict__images="new",
        predict__task="multiclass",
        predict__category="one_nut",
        datasets__folder__splits={"one": ["nut", "bolt"], "two": ["gear"]},
    )
    assert contents(plan_task("predict", run).categories) == {
        "one_nut": ("one_nut", ["nut", "bolt"], ["nut"], "one_bank")
    }


def test_the_task_says_which_categories_there_are(make_run: MakeRun) -> None:
    run = make_run(
        "classes", predict__images="new", predict__task="multiclass", predict__category="nut"
    )
    with pytest.raises(InputError, match="no category 'nut'; choose from: first_half, second_half"):
        plan_task("predict", run)


# --- export ---------------------------------------------------------------------------------------


def test_a_detector_is_exported_under_its_own_name(make_run: MakeRun) -> None:
    """No data set is asked for."""
    gone = {"datasets__folder__root": "/nowhere/at/all"}
    run = make_run("folder", (), export__detector="line 2/hex nut.safetensors", **gone)
    plan = plan_task("export", run)
    assert list(plan.categories) == ["hex_nut"]
    assert plan.problem is None
    place = f"{run.project_path}/data/06_models/defect/demo/quickstart/seed-3/nut"
    run = make_run("folder", (), export__detector=place, **gone)
    assert list(plan_task("export", run).categories) == ["nut"]
    told = run_parameters(run)["export"]
    assert told["title"] == "export with the detector nut"
    assert told["names"] == {"dataset": "demo", "backbone": "quickstart", "run_key": "seed-3"}
    assert "dataset=" not in told["command"]


def test_a_detector_to_export_must_be_given(make_run: MakeRun) -> None:
    plan = plan_task("export", make_run())
    assert plan.problem is not None
    assert plan.problem.startswith("export.category: give a category of a finished run")


# --- what the nodes are told ----------------------------------------------------------------------


def test_the_nodes_are_told_of_every_task(make_run: MakeRun) -> None:
    run = make_run(categories="bolt+nut", seed=3)
    values = run_parameters(run)
    assert set(values) == {
        "layer_choices", "names", "root_record", "seeds", "classes", "examined_by", *PLANNERS
    }  # fmt: skip
    assert values["examined_by"].startswith("kedro run --pipelines=ingestion --params=")
    assert values["root_record"] == run.root_record
    assert values["classes"] == ["bolt", "nut"]
    assert values["layer_choices"] is None
    told = values["multiclass"]
    assert set(told) == {
        "task", "title", "command", "notes", "spread",
        "names", "has_clusters", "categories", "chunks", "banks",
    }  # fmt: skip
    assert told["task"] == "multiclass"
    assert told["title"] == f"multiclass on {run.data_set} with quickstart"
    assert told["command"] == (
        "kedro run --pipelines=multiclass "
        "--params=categories=bolt+nut,seed=3,dataset=folder,backbone=quickstart"
    )
    assert "is a small one that ships with the project" in told["notes"][0]
    assert told["categories"] == {
        "bolt": {"name": "bolt", "normal": ["bolt", "nut"], "tested": ["bolt"]},
        "nut": {"name": "nut", "normal": ["bolt", "nut"], "tested": ["nut"]},
    }
    assert told["banks"] == {
        "all_categories_bank": {
            "name": "all_categories_bank", "normal": ["bolt", "nut"], "tested": [],
        }
    }  # fmt: skip


def test_each_task_is_told_of_itself(make_run: MakeRun) -> None:
    values = run_parameters(make_run())
    assert all(values[task]["task"] == task for task in PLANNERS)
    assert all(values[task]["title"].startswith(f"{task} on ") for task in PLANNERS)
    assert all(f"--pipelines={task} " in values[task]["command"] for task in PLANNERS)
    assert {task: values[task]["spread"] for task in PLANNERS} == {
        **dict.fromkeys(PLANNERS, "categories"),
        "lowshot": "draws",
    }


@pytest.mark.parametrize(("layout", "has_clusters"), [("folder", True), ("classes", False)])
def test_only_kinds_of_defect_are_clustered(
    layout: str, has_clusters: bool, make_run: MakeRun
) -> None:
    assert run_parameters(make_run(layout))["ablation"]["has_clusters"] is has_clusters


def test_a_task_that_does_not_fit_has_its_reason_alone(make_run: MakeRun) -> None:
    values = run_parameters(make_run("classes"))
    assert list(values["defect"]) == ["refusal"]
    assert values["defect"]["refusal"].startswith("the data set 'class_folder' shows no defects")
    assert list(values["clustering"]) == ["refusal"]
    assert values["semantic"]["task"] == "semantic"


def test_without_a_data_set_every_task_is_refused(make_run: MakeRun) -> None:
    values = run_parameters(make_run("folder", (), datasets__folder__root="/nowhere/at/all"))
    assert values["classes"] == []
    assert all("/nowhere/at/all does not exist" in values[task]["refusal"] for task in OF_DATA_SETS)


def test_the_ablations_blocks_are_told(make_run: MakeRun) -> None:
    values = run_parameters(make_run(ablation__layers=[[5, 4], [1]]))
    assert values["layer_choices"] == [[2, 3, 4, 5, 6, 7, 8, 9], [4, 5], [1]]


# --- chunks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "chunks", "largest"), [(100, 0, 0), (101, 34, 3), (500, 50, 10)]
)
def test_many_categories_come_in_chunks(
    number: int, chunks: int, largest: int, make_run: MakeRun
) -> None:
    run = make_run(classes=tuple(f"part{i:03d}" for i in range(number)))
    plan = plan_task("defect", run)
    assert len(plan.chunks) == chunks
    assert max(map(len, plan.chunks.values()), default=0) == largest
    values = run_parameters(run)["defect"]
    if not chunks:
        assert plan.units == list(plan.categories) == list(values["categories"])
        assert values["chunks"] == {}
        return
    assert plan.units == list(plan.chunks) == list(values["chunks"])
    assert values["categories"] == {}
    joined = {key: each for chunk in plan.chunks.values() for key, each in chunk.items()}
    assert list(joined.items()) == list(plan.categories.items())
    described = [each for chunk in values["chunks"].values() for each in chunk]
    assert described[0] == {
        "key": "part000", "name": "part000", "normal": ["part000"], "tested": ["part000"]
    }  # fmt: skip
    assert [each["key"] for each in described] == list(plan.categories)


def test_a_chunk_is_not_called_like_a_category(make_run: MakeRun) -> None:
    run = make_run(classes=tuple(f"chunk {i:03d}" for i in range(101)))
    plan = plan_task("defect", run)
    assert not set(plan.chunks) & set(plan.categories)


def test_the_categories_of_a_chunk_share_a_bank(make_run: MakeRun) -> None:
    classes = tuple(f"part{i:03d}" for i in range(60))
    splits = {"A": list(classes), "B": list(classes[:45])}
    plan = plan_task("multiclass", make_run(classes=classes, datasets__folder__splits=splits))
    assert len(plan.categories) == 105
    banks = [{category.bank for category in each.values()} for each in plan.chunks.values()]
    assert all(len(bank) == 1 for bank in banks)
    assert {bank for each in banks for bank in each} == {"A_bank", "B_bank"}
