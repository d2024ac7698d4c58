"""Nodes of the ingestion stage."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.layouts import LAYOUTS, choose_classes, find_classes
from uniformaly_pipeline.layouts.fabricated import DrawnImages, drawn_images
from uniformaly_pipeline.manifest import build_manifest, select_class


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
    layout = dataset["layout"]
    classes = choose_classes(find_classes(layout, raw_images), categories)
    return build_manifest(raw_images, LAYOUTS[layout].read(raw_images, classes))


def select_images(manifest: pd.DataFrame, class_name: str) -> pd.DataFrame:
    """The normal and test images of a one-class category, see :func:`.manifest.select_class`."""
    return select_class(manifest, class_name)
