"""A run in words: its title, the command that repeats it, what a reader must know first."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from uniformaly_pipeline.common.errors import DOWNLOAD, RUN_AGAIN
from uniformaly_pipeline.features.backbone import PACKAGED, UNTRAINED
from uniformaly_pipeline.parameters.command_line import as_assignments, quoted
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.naming import (
    TASK_SECTIONS,
    backbone_name,
    data_set_name,
    detector_names,
)
from uniformaly_pipeline.parameters.schema import Parameters


def title_of(task: str, parameters: Parameters) -> str:
    """A task of a run in a few words, as a heading."""
    by_detector = {"predict": parameters.predict.detector, "export": parameters.export.detector}
    if (detector := by_detector.get(task)) is not None:
        return f"{task} with the detector {detector_names(detector)['category']}"
    return f"{task} on {data_set_name(parameters)} with {backbone_name(parameters)}"


def notes_on(parameters: Parameters) -> list[str]:
    """What a reader of the results must know first."""
    name = f"The backbone '{backbone_name(parameters)}'"
    checkpoint = parameters.chosen_backbone.checkpoint or ""
    if checkpoint == UNTRAINED:
        return [
            f"{name} has random weights. It shows that everything runs; its metrics say "
            "nothing about the method. Choose a trained one, for instance "
            "--params=backbone=quickstart."
        ]
    if checkpoint.startswith(PACKAGED):
        return [
            f"{name} is a small one that ships with the project, for trying things out. For "
            "real work choose one such as --params=backbone=dino_vitb8."
        ]
    return []


def notes_on_seeds(task: str, parameters: Parameters) -> list[str]:
    """What a reader must know of a task whose metrics are not, or not all, means over seeds."""
    if not parameters.seeds or task not in TASK_SECTIONS:
        return []
    alone = f"of seed {parameters.seed} alone"
    if task == "paper":
        return [
            "seeds: defect, semantic and multiclass are means over seeds; clustering, lowshot and "
            f"the ablations are {alone}."
        ]
    if "seeds" in TASK_SECTIONS[task]:
        return []
    return [f"seeds: {task} is {alone}; means over seeds are of defect, semantic and multiclass."]


def command_for(run: CurrentRun, pipeline: str, without: str = "") -> str:
    """The command that runs a pipeline like this run, but for one section of parameters."""
    given = {key: value for key, value in run.runtime_params.items() if key != without}
    changes = as_assignments(given)
    by_itself = run.detector_of(pipeline) is not None
    of_data = ("dataset",) if pipeline == "download" else ("dataset", "backbone")
    for key in () if by_itself else of_data:
        if key not in run.runtime_params:
            changes.append(f"{key}={quoted(getattr(run.parameters, key))}")
    words = ["kedro", "run", f"--pipelines={pipeline}"]
    words += [f"--env={run.env}"] if run.env else []
    return shlex.join([*words, f"--params={','.join(changes)}"])


def with_command(line: str, run: CurrentRun, pipeline_names: Sequence[str]) -> str:
    """An error line with what only the run knows: the section's key, the command that mends it.

    Args:
        line: What is wrong.
        run: The run.
        pipeline_names: What it was asked to run.
    """
    keys = {"datasets": run.parameters.dataset, "backbones": run.parameters.backbone}
    section, colon, rest = line.partition(": ")
    if colon and section in keys:
        line = f"{section}.{keys[section]}: {rest}"
    if line.endswith(DOWNLOAD):
        how = DOWNLOAD.partition(": ")[0]
        return f"{line.removesuffix(DOWNLOAD)}{how}: {command_for(run, 'download')}"
    if not line.endswith(RUN_AGAIN):
        return line
    tasks = [name for name in pipeline_names if name != "__default__"] or ["defect"]
    if tasks == ["predict"] and run.detector_of("predict") is None:
        # The new images may be at fault or what judges them.
        tasks = [run.parameters.predict.task, "predict"]
    return f"{line}: {command_for(run, ','.join(tasks))}"
