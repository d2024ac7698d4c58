"""A pipeline in parts for a scheduler such as Airflow: what all share, each category, the results.

    python -m uniformaly_pipeline.pipelines.groups defect --params=dataset=mvtec >parts.json

In a project the parts are run by ``kedro run``; in a folder that has ``conf/`` alone, such as that
of the image of ``deploy/Dockerfile``, by ``uniformaly-pipeline``. ``--command`` names another.

Kedro's own ``group_nodes_by("namespace")`` puts all categories of a task into one group, as the
task is the outer namespace; here the inner one counts.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.common.errors import InputError, answered
from uniformaly_pipeline.pipelines.packaged import honour_consent, read_logging

if TYPE_CHECKING:
    from uniformaly_pipeline.parameters.current_run import CurrentRun

SHARED, RESULTS = "shared", "results"

IN_A_PROJECT, INSTALLED = "kedro run", "uniformaly-pipeline"
"""What runs a pipeline where ``pyproject.toml`` is, and where there is ``conf/`` alone."""


@dataclass(frozen=True)
class Group:
    """Nodes that are run by one command.

    Attributes:
        name: The inner namespace, ``shared`` or ``results``.
        options: What ``kedro run`` is told, beside the pipeline and its parameters.
        needs: Names of the groups that must be done before.
    """

    name: str
    options: tuple[str, ...]
    needs: tuple[str, ...]


def groups_of(pipeline: Pipeline) -> list[Group]:
    """The parts of a pipeline, each after those that it needs."""
    needs = pipeline.node_dependencies
    unit_of = {node: _unit(node) for node in pipeline.nodes}
    # What categories need, however far back; all other nodes outside of them come after.
    before: set[Node] = set()
    for node in reversed(pipeline.nodes):
        if unit_of[node] is not None or node in before:
            before |= {each for each in needs[node] if unit_of[each] is None}
    members: dict[str, list[Node]] = {}
    for node in pipeline.nodes:
        name = unit_of[node] or (SHARED if node in before else RESULTS)
        members.setdefault(name, []).append(node)
    group_of = {node: name for name, nodes in members.items() for node in nodes}
    found = []
    for name, nodes in members.items():
        others = {group_of[each] for node in nodes for each in needs[node]} - {name}
        is_unit = name not in (SHARED, RESULTS)
        option = f"--namespaces={name}" if is_unit else _by_names(nodes)
        found.append(Group(name, (option,), tuple(sorted(others))))
    return _in_order(found)


def _unit(node: Node) -> str | None:
    return node.namespace if "." in (node.namespace or "") else None


def _by_names(nodes: Sequence[Node]) -> str:
    return f"--nodes={','.join(node.name for node in nodes)}"


def _in_order(groups: Sequence[Group]) -> list[Group]:
    left, done = list(groups), list[Group]()
    while left:
        names = {group.name for group in done}
        ready = [group for group in left if names.issuperset(group.needs)]
        if not ready:
            raise ValueError("the parts of this pipeline need each other")
        done += ready
        left = [group for group in left if group not in ready]
    return done


class _GroupsCommand(click.Command):
    """A command that answers what the user can mend with one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run; the exit status is 1 where it fails."""
        with answered():
            return super().invoke(ctx)


@click.command("groups", cls=_GroupsCommand)
@click.argument("pipeline")
@click.option("--params", default="", help="Parameters, as kedro run takes them.")
@click.option("--env", help="Environment of the configuration.")
@click.option(
    "--command",
    help=f"What runs the parts where they run, such as {INSTALLED}; {IN_A_PROJECT} in a project.",
)
def main(pipeline: str, params: str, env: str | None, command: str | None) -> None:
    """Print the parts of a pipeline as JSON, each with its command.

    Raises:
        CommandError: There is no such pipeline, it cannot run as asked, or no project is here.
    """
    # Standard output is the parts' alone; Kedro's log may go there.
    with redirect_stdout(sys.stderr):
        words = [*_set_up(command), f"--pipelines={pipeline}"]
        groups = _planned(pipeline, params, env)
    words += [f"--env={env}"] if env else []
    words += [f"--params={params}"] if params else []
    parts = [{**asdict(group), "command": shlex.join([*words, *group.options])} for group in groups]
    print(json.dumps(parts, indent=1))


def _set_up(command: str | None) -> list[str]:
    """Have Kedro know the project, or the package in a folder with its configuration.

    Args:
        command: What is to run the parts; by default what does so here.

    Returns:
        Its words.

    Raises:
        InputError: No configuration is here, or the command makes no sense.
    """
    read_logging()
    from kedro.framework.project import configure_project
    from kedro.framework.startup import bootstrap_project
    from kedro.utils import find_kedro_project

    try:
        words = shlex.split(command or "")
    except ValueError as error:
        raise InputError(
            f"--command: {command} cannot be read ({error}): mend its quotes"
        ) from error
    here = Path.cwd()
    if (project := find_kedro_project(here)) is not None:
        bootstrap_project(Path(project))
        return words or IN_A_PROJECT.split()
    if not (here / "conf").is_dir():
        raise InputError(
            f"{here} holds neither a project nor conf/: go to the folder where the runs are started"
        )
    honour_consent()
    configure_project("uniformaly_pipeline")
    return words or [INSTALLED]


def _planned(name: str, params: str, env: str | None) -> list[Group]:
    """The parts of a pipeline that can run as asked.

    Raises:
        InputError: There is no such pipeline, or it cannot run; the line is that of ``kedro run``.
    """
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    from uniformaly_pipeline.parameters.command_line import parse_assignments
    from uniformaly_pipeline.parameters.current_run import current_run
    from uniformaly_pipeline.pipelines.ingestion.nodes import refuse_task
    from uniformaly_pipeline.pipelines.selection import check_selection
    from uniformaly_pipeline.pipelines.tasks.plan import refusals_of
    from uniformaly_pipeline.reporting.prose import with_command

    with KedroSession.create(runtime_params=parse_assignments(params), env=env) as session:
        context = session.load_context()  # type: ignore[attr-defined]
        try:
            known = refusals_of(context.config_loader["parameters"]["run"])
            check_selection({"pipelines": [name]}, pipelines, known)
            chosen = pipelines[name]
            for node in chosen.nodes:
                if node.func is refuse_task:
                    refuse_task(context.catalog.load(node.inputs[0]))
            if (run := current_run()) is not None:
                _check_given(name, run)
        except InputError as error:
            run = current_run()
            raise InputError(with_command(str(error), run, []) if run else str(error)) from error
        return groups_of(chosen)


def _check_given(name: str, run: CurrentRun) -> None:
    """Refuse a pipeline without what it starts from; its nodes would find out.

    What earlier runs make need not be there yet.

    Raises:
        InputError: There are no images, new images or detector, or nothing to download.
    """
    from uniformaly_pipeline.ingestion.download.sources import find_publication
    from uniformaly_pipeline.pipelines.tasks.plan import plan_task

    if name == "download":
        find_publication(run.parameters.chosen_dataset.layout)
    elif name == "ingestion":
        run.classes()
    elif name in ("predict", "export") and (problem := plan_task(name, run).problem) is not None:
        raise InputError(problem)


if __name__ == "__main__":
    main()
