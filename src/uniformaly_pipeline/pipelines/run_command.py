"""``kedro run`` as this project means it: text stays text, and mishaps end it with one line."""

from __future__ import annotations

import os
from copy import copy
from typing import Any

import click
from kedro import runner as runners

from uniformaly_pipeline.common.cluster import import_ray
from uniformaly_pipeline.common.errors import CommandError, InputError, answered, did_you_mean
from uniformaly_pipeline.parameters.command_line import parse_assignments

RUNNERS = ("SequentialRunner", "ParallelRunner", "ThreadRunner")

RUNNER_OF = {"ray": "uniformaly_pipeline.pipelines.ray_runner.RayRunner"}
"""Runners that belong to an environment, unless ``--runner`` names another."""


class RunCommand(click.Command):
    """A command that answers what the user can mend with one line, at whatever moment."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run; the exit status is 1 where it fails.

        Raises:
            CommandError: Bad input, or a machine that cannot go on.
        """
        with answered():
            env = ctx.params.get("env") or os.environ.get("KEDRO_ENV")
            if ctx.params.get("runner") is None and env in RUNNER_OF:
                import_ray()  # to find out at once whether it is there
                ctx.params["runner"] = RUNNER_OF[env]
            return super().invoke(ctx)


def own_run(command: click.Command) -> click.Command:
    """Kedro's ``run`` with this project's reading of parameters and its error lines."""
    own = RunCommand(command.name, callback=command.callback, help=command.help)
    own.params = [_own_option(option) for option in command.params]
    return own


def _own_option(option: click.Parameter) -> click.Parameter:
    callbacks = {"params": _read_params, "runner": _read_runner}
    own = copy(option)
    own.callback = callbacks.get(str(option.name), option.callback)
    if option.name == "params" and isinstance(own, click.Option):
        own.help = (
            "Parameters of this run: key=value pairs with commas between them; dots in keys nest. "
            "A value with commas stands in quotes. Example: bpm.mode=off,categories=01"
        )
    return own


def _read_params(_: click.Context, __: click.Parameter, value: Any) -> dict[str, Any]:
    """The nested parameters; from a file given with ``--config`` they come nested already."""
    if isinstance(value, dict):
        return value
    try:
        return parse_assignments(value or "")
    except InputError as error:
        raise CommandError(str(error)) from error


def _read_runner(_: click.Context, __: click.Parameter, value: Any) -> Any:
    """A runner of Kedro's by its name, or another by its path, which Kedro imports."""
    if value and "." not in value and not hasattr(runners, value):
        raise CommandError(f"--runner: there is no '{value}'{did_you_mean(value, RUNNERS)}")
    return value
