"""Nodes of the ingestion stage."""

from __future__ import annotations

import functools
import logging
import posixpath
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.features.backbone import Backbone, input_grid
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.view import frame_view, view_findings
from uniformaly_pipeline.ingestion.download.sources import Publication, find_publication
from uniformaly_pipeline.ingestion.health import count_images, examine, list_masks, told_findings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.demo import DrawnImages, drawn_images
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.manifest import (
    ImageRecord,
    ManifestPlan,
    TreePlan,
    levels_of,
    select_classes,
    select_defects,
)
from uniformaly_pipeline.ingestion.region_files import without_roi
from uniformaly_pipeline.ingestion.regions import regions_of
from uniformaly_pipeline.ingestion.roots import choose_classes, find_classes, published_classes
from uniformaly_pipeline.parameters.current_run import settings_of
from uniformaly_pipeline.pipelines.chunks import per_category
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet, outline_mask
from uniformaly_pipeline.reporting.figures.style import FOREGROUND_COLOUR, GROUND_TRUTH_COLOUR
from uniformaly_pipeline.reporting.page.page import ReportSection, ReportTable, render_report

logger = logging.getLogger(__name__)

SAMPLES_PER_ROW = 8
MOST_SAMPLES = 48


def draw_demo_images() -> DrawnImages:
    """The fabricated data set; it is drawn when it is saved for the first time."""
    return drawn_images()


def read_manifest(
    raw_images: ImageFolder,
    data_set: dict[str, Any],
    categories: Any,
    verify: bool,
    root_record: dict[str, str],
) -> tuple[ManifestPlan, dict[str, str]]:
    """Read a data set's layout; the manifest opens the files that it does not know yet.

    Once they are sound, the root is recorded: before any result of theirs is written.

    Args:
        raw_images: The data set's root.
        data_set: ``datasets.<name>``.
        categories: The categories wanted: ``all``, a list of names, or names joined by ``+``.
        verify: Whether the manifest reads files again that look unchanged.
        root_record: ``params:run.root_record``: the root and its layout.

    Raises:
        InputError: The layout is broken.
    """
    wanted = _classes_to_read(raw_images, data_set, categories)
    for finding in _told(raw_images, data_set, wanted)["finding"]:
        logger.warning("%s", finding)
    return _plan(raw_images, data_set, wanted, verify), root_record


def plan_manifest(
    raw_images: ImageFolder, data_set: dict[str, Any], categories: Any
) -> ManifestPlan:
    """As :func:`read_manifest`, but says nothing of what the layout leaves out."""
    wanted = _classes_to_read(raw_images, data_set, categories)
    return _plan(raw_images, data_set, wanted, verify=False)


def _classes_to_read(
    raw_images: ImageFolder, data_set: dict[str, Any], categories: Any
) -> list[str]:
    raw_images.relist()
    classes = find_classes(data_set["layout"], raw_images)
    chosen = choose_classes(classes, categories)
    # Where other classes are anomalous all of them are tested, whichever are normal in turn.
    return chosen if LAYOUTS[data_set["layout"]].HAS_DEFECTS else classes


def _plan(
    raw_images: ImageFolder, data_set: dict[str, Any], classes: list[str], verify: bool
) -> ManifestPlan:
    layout = LAYOUTS[data_set["layout"]]
    records = layout.read(raw_images, classes, Split(**data_set["split"]))
    if (roi := data_set["roi"]) is not None:
        if not raw_images.exists(roi):
            raise InputError(f"datasets: roi: {raw_images.root} holds no {roi}")
        if not raw_images.is_file(roi):
            raise InputError(f"datasets: roi: {roi} is a folder: name the picture in it")
        records = [
            replace(record, roi=record.roi or roi)
            for record in without_roi(raw_images, records, roi)
        ]
    strict = not published_classes(data_set["layout"])
    levels = data_set["images"]["levels"]
    return ManifestPlan(
        raw_images,
        records,
        strict,
        verify,
        levels="auto" if levels == "auto" else Levels.of(*levels),
        # Foreign classes are compared with each other.
        one_rule=not layout.HAS_DEFECTS,
    )


def _told(raw_images: ImageFolder, data_set: dict[str, Any], classes: list[str]) -> pd.DataFrame:
    """What the layout leaves out, see :func:`.health.told_findings`."""
    notes = getattr(LAYOUTS[data_set["layout"]], "notes", None)
    told = [] if notes is None else notes(raw_images, classes, Split(**data_set["split"]))
    roi = data_set["roi"] and posixpath.normpath(data_set["roi"])
    return told_findings([note for note in told if note.text != roi])


def examine_manifest(
    raw_images: ImageFolder,
    manifest: pd.DataFrame,
    data_set: dict[str, Any],
    preprocessing: dict[str, Any],
    backbone: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Count a data set's images, look for what may spoil a result and into the masks.

    Args:
        raw_images: The data set's root, for what the layout leaves out.
        manifest: One row per image.
        data_set: ``datasets.<name>``.
        preprocessing: ``datasets.<name>.preprocessing``, which may hide a part of the images.
        backbone: ``backbones.<name>``, whose patches count or do not for a region of interest.

    Raises:
        InputError: No patch counts of a region of interest.

    Returns:
        See :func:`.health.count_images`, :func:`.health.examine` and :func:`.health.list_masks`.
    """
    published = getattr(LAYOUTS[data_set["layout"]], "PUBLISHED", None)
    told = _told(raw_images, data_set, sorted(set(manifest["class"])))
    hidden = view_findings(
        raw_images, manifest, Preprocessing(**preprocessing), _grid(backbone, preprocessing)
    )
    findings = pd.concat([examine(manifest, published), told, hidden], ignore_index=True)
    return count_images(manifest, published), findings, list_masks(manifest)


def _grid(backbone: dict[str, Any], preprocessing: dict[str, Any]) -> Callable[[], tuple[int, int]]:
    """What gives (height, width) of an input in patches: it makes the model, which takes time."""
    size = Preprocessing(**preprocessing).input_size
    return functools.cache(lambda: input_grid(Backbone(**backbone), size))


def draw_samples(
    raw_images: ImageFolder,
    manifest: pd.DataFrame,
    preprocessing: dict[str, Any],
    backbone: dict[str, Any],
) -> Image.Image:
    """A contact sheet with an image of each class, split and kind.

    Where a part of an image is hidden or does not count, what is looked at is outlined.
    """
    first = manifest.groupby(["class", "split", "defect"], sort=True)["image"].first()
    shown = first.iloc[:: max(1, len(first) // MOST_SAMPLES)].head(MOST_SAMPLES)
    levels, regions = levels_of(manifest), regions_of(manifest)
    geometry = Preprocessing(**preprocessing)
    grid = _grid(backbone, preprocessing)() if regions else None

    def picture(path: str) -> Image.Image:
        image = raw_images.read_image(path, levels.get(path))
        seen = frame_view(image.size, geometry, regions.get(path), grid)
        if seen is None:
            return image
        return Image.fromarray(outline_mask(np.asarray(image), seen, FOREGROUND_COLOUR))

    pictures = [picture(path) for path in shown]
    captions = [f"{name} {split} {defect}" for name, split, defect in shown.index]
    return contact_sheet(pictures, SAMPLES_PER_ROW, captions)


def draw_masks(raw_images: ImageFolder, manifest: pd.DataFrame) -> Image.Image:
    """A contact sheet of masks over their images, some of each class, kind and content.

    Without masks it is a blank picture.
    """
    masked = manifest[manifest["mask"].notna()]
    groups = masked.groupby(["class", "defect", "mask_values"], sort=True)
    shown = groups.head(max(1, MOST_SAMPLES // max(1, groups.ngroups))).head(MOST_SAMPLES)
    if shown.empty:
        return Image.new("RGB", (1, 1), "white")
    levels = levels_of(shown)
    pictures = [
        outline_mask(
            np.asarray(raw_images.read_image(row.image, levels.get(row.image))),
            np.asarray(raw_images.read_mask(row.mask)) > 0,
            GROUND_TRUTH_COLOUR,
        )
        for row in shown.itertuples()
    ]
    captions = [f"{row.defect} {row.mask_values}" for row in shown.itertuples()]
    return contact_sheet(pictures, SAMPLES_PER_ROW, captions)


def plan_tree(raw_images: ImageFolder, manifest: pd.DataFrame) -> TreePlan:
    """The images by split and class, to be copied into a tree that other programs read."""
    rows = manifest[["image", "class", "split"]].itertuples(index=False)
    return TreePlan(raw_images, [ImageRecord(*row) for row in rows])


def write_examination(
    counts: pd.DataFrame,
    findings: pd.DataFrame,
    masks: pd.DataFrame,
    samples: bytes,
    mask_samples: bytes,
    parameters: dict[str, Any],
) -> str:
    """Put the doctor's findings, the counts and sample images on one HTML page."""
    numbers = findings["severity"].value_counts()
    text = (
        ", ".join(number_of(number, str(name)) for name, number in numbers.items())
        or "Nothing to remark."
    )
    sections = [
        ReportSection(
            "Findings", text, [ReportTable("Findings", findings)] if len(findings) else []
        ),
        ReportSection("Images", "", [ReportTable("Images by class, split and kind", counts)]),
        *_mask_sections(masks, mask_samples),
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
        command=parameters["run"]["examined_by"],
        sections=sections,
    )


def _mask_sections(masks: pd.DataFrame, mask_samples: bytes) -> list[ReportSection]:
    if masks.empty:
        return []
    text = "What is not 0 counts as anomalous; of soft masks, what exceeds half of their maximum."
    tables = [ReportTable("What the masks hold", masks)]
    return [ReportSection("Masks", text, tables, {"Masks over their images": mask_samples})]


@per_category
def select_defect_images(manifest: pd.DataFrame, category: dict[str, Any]) -> pd.DataFrame:
    """Normal and test images of a category whose anomalies are defects.

    Args:
        manifest: One row per image.
        category: ``normal`` and ``tested`` name the classes to learn from and to test.

    Returns:
        See :func:`.manifest.select_defects`.
    """
    return select_defects(manifest, category["normal"], category["tested"])


@per_category
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
