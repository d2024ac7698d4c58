"""A pipeline in parts for a scheduler such as Airflow: what all share, each category, the results.

    python -m uniformaly_pipeline.pipelines.groups defect --params=dataset=mvtec >parts.json

Kedro's own ``group_nodes_by("namespace")`` puts all categories of a task into one group, as the
task is the outer namespace; here the inner one counts.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kedro.pipeline import Node, Pipeline

SHARED, RESULTS = "shared", "results"


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


def main(given: Sequence[str] | None = None) -> None:
    """Print the parts of a pipeline as JSON, each with its command."""
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from uniformaly_pipeline.parameters.command_line import parse_assignments

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("--params", default="")
    parser.add_argument("--env")
    arguments = parser.parse_args(given)
    bootstrap_project(Path.cwd())
    params = parse_assignments(arguments.params)
    with KedroSession.create(Path.cwd(), env=arguments.env, runtime_params=params) as session:
        session.load_context()  # type: ignore[attr-defined]
        groups = groups_of(pipelines[arguments.pipeline])
    words = ["kedro", "run", f"--pipelines={arguments.pipeline}"]
    words += [f"--env={arguments.env}"] if arguments.env else []
    words += [f"--params={arguments.params}"] if arguments.params else []
    print(
        json.dumps(
            [
                {**asdict(group), "command": shlex.join([*words, *group.options])}
                for group in groups
            ],
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
