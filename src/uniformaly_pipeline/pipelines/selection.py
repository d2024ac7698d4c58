"""What ``kedro run`` was told to run: misspelt names are answered with the closest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import InputError, did_you_mean


def check_selection(options: Mapping[str, Any], pipelines: Mapping[str, Pipeline]) -> None:
    """Refuse what ``kedro run`` would not find; Kedro itself ends in a traceback.

    Args:
        options: The options of ``kedro run`` by the names of its parameters.
        pipelines: The registered pipelines.

    Raises:
        InputError: There is no such pipeline, tag, node, namespace or dataset; one line with the
            closest name.
    """
    asked = options.get("pipelines") or [options.get("pipeline") or "__default__"]
    _require(asked, pipelines, "pipeline")
    chosen = sum((pipelines[name] for name in asked), Pipeline([]))
    nodes = {node.name for node in chosen.nodes}
    for option in ("node_names", "from_nodes", "to_nodes"):
        _require(options.get(option), nodes, "node")
    tags = {tag for node in chosen.nodes for tag in node.tags}
    _require(options.get("tags"), tags, "tag")
    _require(options.get("namespaces"), _namespaces(chosen), "namespace")
    for option in ("from_inputs", "to_outputs"):
        _require(options.get(option), chosen.datasets(), "dataset")


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
