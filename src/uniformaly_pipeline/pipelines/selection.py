"""What ``kedro run`` was told to run: misspelt names are answered with the closest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import InputError, did_you_mean

SELECTING = {
    "tags": ("--tags", "tags"),
    "from_nodes": ("--from-nodes", "from_nodes"),
    "to_nodes": ("--to-nodes", "to_nodes"),
    "node_names": ("--nodes", "node_names"),
    "from_inputs": ("--from-inputs", "from_inputs"),
    "to_outputs": ("--to-outputs", "to_outputs"),
    "namespaces": ("--namespaces", "node_namespaces"),
}
"""By the names of ``kedro run``'s parameters that choose nodes: the option, and what
``Pipeline.filter`` calls it."""

WHOLE = "paper"
"""The pipeline that holds others, whose nodes have other inputs in it."""


def check_selection(
    options: Mapping[str, Any],
    pipelines: Mapping[str, Pipeline],
    refusals: Mapping[str, str],
    versioned: Iterable[str] = (),
) -> None:
    """Refuse what ``kedro run`` would not find; Kedro itself ends in a traceback.

    Args:
        options: The options of ``kedro run`` by the names of its parameters.
        pipelines: The registered pipelines.
        refusals: Why a pipeline, by its name, cannot run as asked; it has no tags and nodes then.
        versioned: Datasets of which the catalog keeps versions.

    Raises:
        InputError: There is no such pipeline, tag, node, namespace or dataset; one line with the
            closest name. Or a pipeline cannot run; the line says why.
    """
    asked = options.get("pipelines") or [options.get("pipeline") or "__default__"]
    _require(asked, pipelines, "pipeline")
    if WHOLE in asked and len(set(asked)) > 1:
        raise InputError(f"{WHOLE} holds the tasks of the paper: run it by itself")
    for name in asked:
        if name in refusals:
            raise InputError(refusals[name])
    chosen = sum((pipelines[name] for name in asked), Pipeline([]))
    nodes = {node.name for node in chosen.nodes}
    for option in ("node_names", "from_nodes", "to_nodes"):
        _require(options.get(option), nodes, "node")
    tags = {tag for node in chosen.nodes for tag in node.tags}
    _require(options.get("tags"), tags, "tag")
    _require(options.get("namespaces"), _namespaces(chosen), "namespace")
    for option in ("from_inputs", "to_outputs"):
        _require(options.get(option), chosen.datasets(), "dataset")
    _require_nodes(options, chosen)
    for name in options.get("load_versions") or ():
        if name not in versioned:
            raise InputError(
                f"--load-versions: there are no versions of '{name}'; results of other settings "
                "lie under other names, which parameters choose"
            )


def _require_nodes(options: Mapping[str, Any], chosen: Pipeline) -> None:
    """Refuse options that together leave nothing to run.

    Raises:
        InputError: They do.
    """
    given = {name: each for name in SELECTING if (each := options.get(name))}
    try:
        chosen.filter(**{SELECTING[name][1]: each for name, each in given.items()})
    except ValueError as error:
        asked = " and ".join(SELECTING[name][0] for name in given)
        raise InputError(f"no node is left by {asked} together") from error


def _namespaces(pipeline: Pipeline) -> set[str]:
    """Every namespace, the outer ones included."""
    found = set()
    for namespace in {node.namespace for node in pipeline.nodes if node.namespace}:
        parts = namespace.split(".")
        found |= {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return found


def _require(asked: Sequence[str] | None, known: Iterable[str], kind: str) -> None:
    known = sorted(known)
    for name in asked or ():
        if name not in known:
            raise InputError(f"there is no {kind} '{name}'{did_you_mean(name, known)}")
