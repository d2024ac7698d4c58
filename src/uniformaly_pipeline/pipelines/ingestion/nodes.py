"""Nodes of the ingestion stage."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.download.sources import Publication, find_publication
from uniformaly_pipeline.ingestion.health import count_images, examine
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.demo import DrawnImages, drawn_images
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import (
    ImageRecord,
    ManifestPlan,
    TreePlan,
    select_classes,
    select_defects,
)
from uniformaly_pipeline.ingestion.roots import choose_classes, find_classes, published_classes
from uniformaly_pipeline.parameters.current_run import settings_of
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet
from uniformaly_pipeline.reporting.page.page import ReportSection, ReportTable, render_report

logger = logging.getLogger(__name__)

SAMPLES_PER_ROW = 8
MOST_SAMPLES = 48


def draw_demo_images() -> DrawnImages:
    """The fabricated data set; it is drawn when it is saved for the first time."""
    return drawn_images()


def read_manifest(
    raw_images: ImageFolder, data_set: dict[str, Any], categories: Any
) -> ManifestPlan:
    """Read a data set's layout; the manifest opens the files that it does not know yet.

    Args:
        raw_images: The data set's root.
        data_set: ``datasets.<name>``.
        categories: The categories wanted: ``all``, a list of names, or names joined by ``+``.

    Raises:
        InputError: The layout is broken.
    """
    layout = LAYOUTS[data_set["layout"]]
    classes = find_classes(data_set["layout"], raw_images)
    chosen = choose_classes(classes, categories)
    # Where other classes are anomalous all of them are tested, whichever are normal in turn.
    wanted = chosen if layout.HAS_DEFECTS else classes
    records = layout.read(raw_images, wanted, Split(**data_set["split"]))
    return ManifestPlan(raw_images, records, strict=not published_classes(data_set["layout"]))


def examine_manifest(
    manifest: pd.DataFrame, data_set: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count a data set's images and look for what may spoil a result.

    Returns:
        See :func:`.health.count_images` and :func:`.health.examine`.
    """
    published = getattr(LAYOUTS[data_set["layout"]], "PUBLISHED", None)
    return count_images(manifest, published), examine(manifest, published)


def draw_samples(raw_images: ImageFolder, manifest: pd.DataFrame) -> Image.Image:
    """A contact sheet with an image of each class, split and kind."""
    first = manifest.groupby(["class", "split", "defect"], sort=True)["image"].first()
    shown = first.iloc[:: max(1, len(first) // MOST_SAMPLES)].head(MOST_SAMPLES)
    pictures = [raw_images.read_image(path) for path in shown]
    captions = [f"{name} {split} {defect}" for name, split, defect in shown.index]
    return contact_sheet(pictures, SAMPLES_PER_ROW, captions)


def plan_tree(raw_images: ImageFolder, manifest: pd.DataFrame) -> TreePlan:
    """The images by split and class, to be copied into a tree that other programs read."""
    rows = manifest[["image", "class", "split"]].itertuples(index=False)
    return TreePlan(raw_images, [ImageRecord(*row) for row in rows])


def write_examination(
    counts: pd.DataFrame,
    findings: pd.DataFrame,
    samples: bytes,
    parameters: dict[str, Any],
) -> str:
    """Put the doctor's findings, the counts and sample images on one HTML page."""
    numbers = findings["severity"].value_counts()
    text = (
        ", ".join(f"{number} {name}s" for name, number in numbers.items()) or "Nothing to remark."
    )
    sections = [
        ReportSection(
            "Findings", text, [ReportTable("Findings", findings)] if len(findings) else []
        ),
        ReportSection("Images", "", [ReportTable("Images by class, split and kind", counts)]),
        ReportSection("Samples", "", [], {"An image of each class, split and kind": samples}),
    ]
    names = parameters["run"]["names"]
    return render_report(
        title=f"{names['dataset']}: the images",
        task="ingestion",
        dataset=names["dataset"],
        backbone=names["backbone"],
        metrics=None,
        leaderboard=None,
        galleries={},
        figures={},
        parameters=settings_of(parameters),
        command=f"kedro run --pipelines=ingestion --params=dataset={parameters['dataset']}",
        sections=sections,
    )


def select_defect_images(manifest: pd.DataFrame, category: dict[str, Any]) -> pd.DataFrame:
    """Normal and test images of a category whose anomalies are defects.

    Args:
        manifest: One row per image.
        category: ``normal`` and ``tested`` name the classes to learn from and to test.

    Returns:
        See :func:`.manifest.select_defects`.
    """
    return select_defects(manifest, category["normal"], category["tested"])


def select_class_images(manifest: pd.DataFrame, category: dict[str, Any]) -> pd.DataFrame:
    """Images of a category's normal classes and of foreign ones.

    Args:
        manifest: One row per image.
        category: ``normal`` names the normal classes.

    Returns:
        See :func:`.manifest.select_classes`.
    """
    return select_classes(manifest, category["normal"])


def refuse_task(refusal: str) -> None:
    """End the run of a task that does not fit its parameters or data set.

    Raises:
        InputError: Always; its message is ``refusal``.
    """
    raise InputError(refusal)


def choose_publication(data_set: dict[str, Any]) -> Publication:
    """Where a published data set comes from; its terms are logged before anything is fetched.

    Args:
        data_set: ``datasets.<name>``; its layout tells which one it is.

    Raises:
        InputError: It is not a published one.
    """
    publication = find_publication(data_set["layout"])
    logger.warning("Licence: %s. Published at %s", publication.licence, publication.page)
    return publication
