"""Whether what an earlier run made is of the images as they are now.

A run of a part (``--tags``, ``--from-nodes``, ``--only-missing-outputs``) goes on from results of
an earlier one and does not look at the images. So the images are compared before it begins.
"""

from __future__ import annotations

from collections.abc import Set

import pandas as pd
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError, list_problems
from uniformaly_pipeline.ingestion.manifest import changed_images, manifest_of
from uniformaly_pipeline.pipelines.ingestion.nodes import (
    plan_manifest,
    read_manifest,
    select_class_images,
    select_defect_images,
)

MANIFEST = "manifest"

SELECTIONS = {
    function
    for each in (select_defect_images, select_class_images)
    for function in (each, vars(each)["in_chunks"])
}
"""What takes each category's images from the manifest."""


def check_images(whole: Pipeline, made: Set[str], catalog: CatalogProtocol) -> None:
    """Refuse to go on from results of other images.

    Args:
        whole: The pipelines of which a part is to run.
        made: What it makes, whatever an earlier run made of it.
        catalog: The run's catalog.

    Raises:
        InputError: An image or a mask is new, gone, changed or listed otherwise since an earlier
            run made what this one goes on from; the line names it.
    """
    selections = {node.outputs[0]: node for node in whole.nodes if node.func in SELECTIONS}
    kept = [name for name in (MANIFEST, *selections) if name not in made and catalog.exists(name)]
    reader = next((node for node in whole.nodes if node.func is read_manifest), None)
    if not kept or reader is None:
        return
    known = catalog.load(MANIFEST) if catalog.exists(MANIFEST) else None
    raw_images, data_set, categories = (catalog.load(name) for name in reader.inputs[:3])
    plan = plan_manifest(raw_images, data_set, categories)
    now = manifest_of(plan, known)
    changed: set[str] = set()
    for name in kept:
        if name == MANIFEST:
            changed |= changed_images(known, now)
            continue
        before, node = catalog.load(name), selections[name]
        selected = node.func(now, catalog.load(node.inputs[1]))
        if isinstance(selected, pd.DataFrame):
            changed |= changed_images(before, selected)
            continue
        for each in selected:  # of a chunk's categories, one at a time
            for key, table in each.items():
                changed |= changed_images(before[key], table)
    if changed:
        raise InputError(
            "images or masks have changed since an earlier run made what this one goes on from "
            f"({list_problems(sorted(changed))}): {RUN_AGAIN}"
        )
