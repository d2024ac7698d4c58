"""A run in words: its title, the command that repeats it, what a reader must know first."""

from __future__ import annotations

import shlex
from typing import Any

from uniformaly_pipeline.features.backbone import PACKAGED, UNTRAINED
from uniformaly_pipeline.parameters.current_run import CurrentRun
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.naming import backbone_name, data_set_name
from uniformaly_pipeline.parameters.schema import Parameters


def title_of(task: str, parameters: Parameters) -> str:
    """A task of a run in a few words, as a heading."""
    return f"{task} on {data_set_name(parameters)} with {backbone_name(parameters)}"


def notes_on(parameters: Parameters) -> list[str]:
    """What a reader of the results must know first."""
    name = f"The backbone '{backbone_name(parameters)}'"
    checkpoint = parameters.chosen_backbone.checkpoint or ""
    if checkpoint == UNTRAINED:
        return [
            f"{name} has random weights. It shows that everything runs; its metrics say "
            "nothing about the method. Choose a trained one, for instance backbone=quickstart."
        ]
    if checkpoint.startswith(PACKAGED):
        return [
            f"{name} is a small one that ships with the project, for trying things out. For "
            "real work choose one such as backbone=dino_vitb8."
        ]
    return []


def command_for(run: CurrentRun, pipeline: str, without: str = "") -> str:
    """The command that runs a pipeline like this run, but for one section of parameters."""
    given = {key: value for key, value in run.runtime_params.items() if key != without}
    changes = [f"{key}={_as_text(value)}" for key, value in flatten(given)]
    for key in ("dataset", "backbone"):
        if key not in run.runtime_params:
            changes.append(f"{key}={getattr(run.parameters, key)}")
    words = ["kedro", "run", f"--pipelines={pipeline}"]
    words += [f"--env={run.env}"] if run.env else []
    return shlex.join([*words, f"--params={','.join(changes)}"])


def _as_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "+".join(map(_as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
