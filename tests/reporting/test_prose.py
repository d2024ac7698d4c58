"""A run in words: its title, its notes and the command that repeats it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.common.errors import DOWNLOAD
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.schema import Parameters
from uniformaly_pipeline.reporting.prose import (
    command_for,
    notes_on,
    notes_on_seeds,
    title_of,
    with_command,
)


def parameters_of(shipped: Parameters, **changes: str) -> Parameters:
    return shipped.model_copy(update=changes)


def command(
    shipped: Parameters,
    runtime_params: dict[str, Any],
    pipeline: str = "defect",
    env: str | None = None,
    without: str = "",
) -> str:
    parameters = parameters_of(shipped, dataset="mvtec", backbone="dino_vitb8")
    run = CurrentRun(parameters, Path("/project"), runtime_params, env)
    return command_for(run, pipeline, without)


# --- title and notes ------------------------------------------------------------------------------


def test_the_title_names_task_data_set_and_backbone(shipped: Parameters) -> None:
    parameters = parameters_of(shipped, dataset="btad", backbone="dino_vits8")
    assert title_of("lowshot", parameters) == "lowshot on btad with dino_vits8"


def test_of_random_weights_one_must_know_first_that_they_say_nothing(shipped: Parameters) -> None:
    (note,) = notes_on(parameters_of(shipped, backbone="untrained"))
    assert note.startswith("The backbone 'untrained' has random weights.")
    assert "--params=backbone=quickstart" in note


def test_the_small_backbone_is_called_so(shipped: Parameters) -> None:
    (note,) = notes_on(parameters_of(shipped, backbone="quickstart"))
    assert note.startswith("The backbone 'quickstart' is a small one that ships with the project")
    assert "--params=backbone=dino_vitb8" in note


@pytest.mark.parametrize("backbone", ["dino_vitb8", "ibot_vitb16"])
def test_of_other_backbones_there_is_nothing_to_say(backbone: str, shipped: Parameters) -> None:
    assert notes_on(parameters_of(shipped, backbone=backbone)) == []


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("defect", None),
        ("multiclass", None),
        ("ablation", "ablation is of seed 0 alone"),
        ("multiclass_ablation", "multiclass_ablation is of seed 0 alone"),
        ("paper", "clustering, lowshot and the ablations are of seed 0 alone"),
    ],
)
def test_a_task_says_what_is_no_mean_over_seeds(
    task: str, said: str | None, shipped: Parameters
) -> None:
    assert notes_on_seeds(task, shipped) == []
    notes = notes_on_seeds(task, shipped.model_copy(update={"seeds": [0, 1]}))
    assert (notes == []) if said is None else (said in notes[0])


def test_the_weights_count_and_not_the_backbones_name(shipped: Parameters) -> None:
    raw = shipped.model_dump()
    raw["backbone"] = "custom"
    raw["backbones"]["custom"]["checkpoint"] = "untrained"
    (note,) = notes_on(Parameters.model_validate(raw))
    assert note.startswith("The backbone '") and "has random weights." in note


# --- the command ----------------------------------------------------------------------------------


def test_the_command_names_data_set_and_backbone_even_by_default(shipped: Parameters) -> None:
    expected = "kedro run --pipelines=semantic --params=dataset=mvtec,backbone=dino_vitb8"
    assert command(shipped, {}, "semantic") == expected


def test_what_was_given_is_repeated_once_and_in_its_order(shipped: Parameters) -> None:
    given = {"backbone": "dino_vitb8", "seed": 3, "dataset": "mvtec"}
    assert command(shipped, given) == (
        "kedro run --pipelines=defect --params=backbone=dino_vitb8,seed=3,dataset=mvtec"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "x.y=0.25"),
        (True, "x.y=true"),
        (False, "x.y=false"),
        (None, "x.y=null"),
        ("IVF64", "x.y=IVF64"),
        ([1, 5, "all"], "x.y=1+5+all"),
        ([True, None, 0.5], "x.y=true+null+0.5"),
        ({"z": 1, "w": 2}, "x.y.z=1,x.y.w=2"),
    ],
)
def test_values_are_written_as_the_command_line_reads_them(
    value: Any, text: str, shipped: Parameters
) -> None:
    assert f"--params={text},dataset=" in command(shipped, {"x": {"y": value}})


def test_a_section_may_be_left_out(shipped: Parameters) -> None:
    given = {"predict": {"images": "new", "category": "nut"}, "bpm": {"mode": "soft"}}
    assert command(shipped, given, "defect", without="predict") == (
        "kedro run --pipelines=defect --params=bpm.mode=soft,dataset=mvtec,backbone=dino_vitb8"
    )
    assert "predict.images=new,predict.category=nut,bpm.mode=soft" in command(shipped, given)


def test_the_environment_is_named_where_there_is_one(shipped: Parameters) -> None:
    assert command(shipped, {}, env="server").startswith(
        "kedro run --pipelines=defect --env=server --params="
    )
    assert "--env" not in command(shipped, {})


@pytest.mark.parametrize("root", ["/my images", "it's; rm -rf", "$HOME/*", 'a "b"'])
def test_a_shell_takes_each_value_as_one_word(root: str, shipped: Parameters) -> None:
    written = command(shipped, {"datasets": {"mvtec": {"root": root}}})
    assert shlex.split(written) == [
        "kedro",
        "run",
        "--pipelines=defect",
        f"--params=datasets.mvtec.root={root},dataset=mvtec,backbone=dino_vitb8",
    ]


def test_of_a_data_set_that_is_not_there_the_line_has_the_command_that_fetches_it(
    shipped: Parameters,
) -> None:
    given = {"dataset": "mvtec", "datasets": {"mvtec": {"root": "/disk"}}}
    run = CurrentRun(parameters_of(shipped, dataset="mvtec"), Path("/project"), given, None)
    line = with_command(f"datasets: it is not there, or {DOWNLOAD}", run, ["defect"])
    assert line == (
        "datasets.mvtec: it is not there, or get them: kedro run --pipelines=download "
        "--params=dataset=mvtec,datasets.mvtec.root=/disk"
    )
    by_default = CurrentRun(parameters_of(shipped, dataset="btad"), Path("/project"), {}, None)
    assert with_command(DOWNLOAD, by_default, []).endswith(" --params=dataset=btad")
