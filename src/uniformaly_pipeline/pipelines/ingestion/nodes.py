"""Nodes of the ingestion stage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.layouts import LAYOUTS, choose_classes, find_classes
from uniformaly_pipeline.layouts.fabricated import DrawnImages, drawn_images
from uniformaly_pipeline.manifest import build_manifest, select_classes, select_defects


def draw_demo_images() -> DrawnImages:
    """The fabricated data set; it is drawn when it is saved for the first time."""
    return drawn_images()


def read_manifest(
    raw_images: ImageFolder, dataset: dict[str, Any], categories: Any
) -> pd.DataFrame:
    """Read a data set's layout and check every file.

    Args:
        raw_images: The data set's root.
        dataset: ``datasets.<name>``.
        categories: The categories wanted: ``all``, a list of names, or names joined by ``+``.

    Returns:
        The manifest, see :func:`.manifest.build_manifest`.

    Raises:
        InputError: The layout is broken or files cannot be read.
    """
    layout = LAYOUTS[dataset["layout"]]
    classes = find_classes(dataset["layout"], raw_images)
    chosen = choose_classes(classes, categories)
    # Where other classes are anomalous all of them are tested, whichever are normal in turn.
    return build_manifest(
        raw_images, layout.read(raw_images, chosen if layout.HAS_DEFECTS else classes)
    )


def select_defect_images(
    manifest: pd.DataFrame, normal: list[str], tested: list[str]
) -> pd.DataFrame:
    """Normal and test images of a category, see :func:`.manifest.select_defects`."""
    return select_defects(manifest, normal, tested)


def select_class_images(manifest: pd.DataFrame, normal: list[str]) -> pd.DataFrame:
    """Images of the normal classes and of foreign ones, see :func:`.manifest.select_classes`."""
    return select_classes(manifest, normal)
