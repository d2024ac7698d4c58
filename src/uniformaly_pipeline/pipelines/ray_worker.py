"""What a task of the Ray cluster does: the nodes of a namespace, one after another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kedro.framework.hooks.manager import _create_hook_manager
from kedro.framework.project import configure_project, settings
from kedro.io import DataCatalog
from kedro.pipeline import Node
from kedro.runner.task import Task

from uniformaly_pipeline.common.cluster import adopt_environment
from uniformaly_pipeline.common.cores import use_own_threads
from uniformaly_pipeline.common.errors import told_faults
from uniformaly_pipeline.common.spread import over_cluster, spread_by
from uniformaly_pipeline.common.worker_logs import Line, gathered
from uniformaly_pipeline.parameters.current_run import CurrentRun, adopt

IN_WORKERS = "in_workers"
"""Attribute of hooks that are called in workers, too; all others stay where the run is driven."""


@dataclass(frozen=True)
class Around:
    """What all tasks of a run share.

    Attributes:
        package: The project's package.
        run: The run.
        run_id: Kedro's name for it.
        home: Folder in which relative paths begin.
        is_async: Whether nodes load and save in threads.
        environment: Variables of the environment.
    """

    package: str
    run: CurrentRun | None
    run_id: str | None
    home: str
    is_async: bool
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        completed: Names of the nodes that are done.
        lines: What they logged.
        fault: What a user can mend, where one failed of that.
    """

    completed: list[str]
    lines: list[Line]
    fault: str | None = None


def run_nodes(nodes: Sequence[Node], datasets: Mapping[str, Any], around: Around) -> Outcome:
    """Run nodes in the order given, with the hooks that say what results were made from.

    Args:
        nodes: The nodes.
        datasets: What they read and write, by name.
        around: What all tasks share.
    """
    adopt_environment(around.environment)
    with suppress(OSError):
        os.chdir(around.home)
    configure_project(around.package)
    if around.run is not None:
        adopt(around.run)
    catalog, manager = DataCatalog(dict(datasets)), _create_hook_manager()
    for hooks in settings.HOOKS:
        if getattr(hooks, IN_WORKERS, False):
            manager.register(hooks)
    completed: list[str] = []
    with gathered() as lines, spread_by(over_cluster):
        use_own_threads(1)
        for node in nodes:
            with told_faults() as faults:
                Task(node, catalog, around.is_async, manager, around.run_id).execute()
            if faults:
                return Outcome(completed, lines, *faults)
            completed.append(node.name)
    return Outcome(completed, lines)
