"""What nodes are given of many categories at once, by the categories' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain
from operator import getitem
from typing import Any

from uniformaly_pipeline.common.by_category import ByCategory


def category_names(task: Mapping[str, Any]) -> list[str]:
    """What people call the categories of ``params:run.<task>``, in order."""
    in_chunks = chain.from_iterable(task.get("chunks", {}).values())
    return [category["name"] for category in (*task["categories"].values(), *in_chunks)]


def by_category(
    task: Mapping[str, Any], artifact: str, given: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The inputs ``<artifact>_<namespace>`` of a node by the name of their category, in order.

    Where categories come in chunks each value is read when it is asked for.

    >>> task = {"categories": {"hex_nut": {"name": "hex nut"}}}
    >>> by_category(task, "metrics", {"metrics_hex_nut": 1, "gallery_hex_nut": 2})
    {'hex nut': 1}
    """
    chunks = task.get("chunks", {})
    if chunks:
        return ByCategory(
            {
                category["name"]: partial(getitem, given[f"{artifact}_{chunk}"], category["key"])
                for chunk, categories in chunks.items()
                for category in categories
            }
        )
    categories = task["categories"].items()
    return {category["name"]: given[f"{artifact}_{key}"] for key, category in categories}


def inputs_by_category(keys: Iterable[str], *artifacts: str) -> dict[str, str]:
    """Inputs for :func:`by_category`: each is passed under its own name.

    >>> inputs_by_category(["nut", "bolt"], "metrics")
    {'metrics_nut': 'metrics_nut', 'metrics_bolt': 'metrics_bolt'}
    """
    names = [f"{artifact}_{key}" for artifact in artifacts for key in keys]
    return dict(zip(names, names, strict=True))
