"""What a finished run of the pipeline left of a category, read without Kedro."""

from __future__ import annotations

import io
import logging
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape as glob_escape
from typing import Any

import numpy as np
from PIL import Image

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.checked_file import CheckedFile
from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.common.origin import Origin
from uniformaly_pipeline.common.remote_file import RemoteFile, stored
from uniformaly_pipeline.common.storage import check_buckets, locate
from uniformaly_pipeline.detector.sources import Source
from uniformaly_pipeline.detector.state import Scoring
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Levels, file_hash
from uniformaly_pipeline.memory_bank.bank import bank_images
from uniformaly_pipeline.scoring.methods.choice import check_compares_patches
from uniformaly_pipeline.scoring.scores import (
    check_same_bank,
    check_same_images,
    scores_of_images,
)

logger = logging.getLogger(__name__)

BANKS = "06_models"
IMAGES = "05_model_input"
SCORES = "07_model_output"
"""Layers of a project's ``data``, as ``conf/base/globals.yml`` names them."""

BANK = "memory_bank.safetensors"
PATCHES = "patch_scores.safetensors"

TASKS = ("defect", "multiclass", "semantic")
"""Pipelines whose runs can judge."""


@dataclass(frozen=True)
class Layers:
    """Where a project keeps what is needed of finished runs: folders or URLs.

    Attributes:
        name: What error lines call it.
        banks: The folder of memory banks, ``paths.models`` of ``conf/base/globals.yml``.
        images: The folder of tables of images, ``paths.model_input``.
        scores: The folder of scores, ``paths.model_output``.
    """

    name: str
    banks: str
    images: str
    scores: str

    @classmethod
    def of(cls, data: str | Layers) -> Layers:
        """Those in a project's folder ``data``, or its URL, under the names that ship."""
        if isinstance(data, Layers):
            return data
        return cls(data, *(f"{data.rstrip('/')}/{layer}" for layer in (BANKS, IMAGES, SCORES)))


@dataclass(frozen=True)
class FinishedRun:
    """A category of a finished run.

    Attributes:
        run: ``<pipeline>/<data set>/<backbone>/<run key>``.
        category: The category.
        bank: Its memory bank.
        scoring: From distances to scores.
        calibration_scores: float32 [n], scores of its normal test images.
        normal_images: Paths of the bank's images below the data set's root.
        root: The data set's root.
    """

    run: str
    category: str
    bank: ArrayBundle
    scoring: Scoring
    calibration_scores: np.ndarray
    normal_images: tuple[str, ...]
    root: str


def normal_picture(root: str, path: str, content_hash: str, levels: Levels) -> Image.Image | None:
    """A normal image as it was learned from, as RGB.

    Args:
        root: The data set's root.
        path: Where it lies below it; empty where nobody knows.
        content_hash: What it was, see :meth:`.levels.Levels.key`.
        levels: Black and white of deep pixels.

    Returns:
        ``None`` where it is gone or another by now, which the log says.

    Raises:
        InputError: It cannot be read.
    """
    folder = ImageFolder(root)
    if not path or not folder.exists(path):
        logger.warning("%s is not in %s any more: no picture of it is shown", path, root)
        return None
    source = Source(path, lambda: folder.read_bytes(path))
    opened = source.open(levels)
    if file_hash(opened.content_hash) != file_hash(content_hash):
        logger.warning("%s in %s is another image than was learned from: no picture of it is shown",
                       path, root)  # fmt: skip
        return None
    return opened.image


def find_runs(data: str | Layers, category: str, task: str | None = None) -> list[str]:
    """Runs that tested a category: ``<pipeline>/<data set>/<backbone>/<run key>``.

    Args:
        data: The project's folder ``data``, or its URL, or where its results lie.
        category: The category.
        task: The pipeline; by default all of :data:`TASKS`.
    """
    found = _glob(Layers.of(data).scores, f"*/*/*/*/{glob_escape(category)}/{PATCHES}")
    runs = ("/".join(path.replace("\\", "/").split("/")[-6:-2]) for path in found)
    return sorted(run for run in runs if run.split("/")[0] in ((task,) if task else TASKS))


def split_place(location: str, own: Layers | None = None) -> tuple[Layers, str, str] | None:
    """Where the results lie of which a folder ``<data>/06_models/P/D/B/R/C`` is one.

    >>> split_place("data/06_models/defect/demo/quickstart/default/bolt")[1:]
    ('defect/demo/quickstart/default', 'bolt')

    Args:
        location: Path or URL.
        own: Where the project's own results lie, whatever it calls their folders.

    Returns:
        The layers, the run and the category; ``None`` for any other path.
    """
    parts = location.replace("\\", "/").rstrip("/").split("/")
    if len(parts) < 6:
        return None
    above, run, category = "/".join(parts[:-5]), "/".join(parts[-5:-1]), parts[-1]
    if own is not None and above == own.banks.rstrip("/"):
        return own, run, category
    if len(parts) < 7 or parts[-6] != BANKS:
        return None
    return Layers.of("/".join(parts[:-6]) or "/"), run, category


def read_run(
    data: str | Layers, category: str, run: str | None = None, images: str | None = None
) -> FinishedRun:
    """Read what a detector needs of a finished run.

    Args:
        data: The project's folder ``data``, or its URL, or where its results lie.
        category: The category.
        run: Which run; the only one that has the category by default.
        images: The data set's root, if the images have moved.

    Raises:
        InputError: There is no such run, there are several, or one of an older version.
    """
    layers = Layers.of(data)
    runs = find_runs(layers, category)
    if run is None:
        if len(runs) != 1:
            raise InputError(_which(layers, category, runs))
        run = runs[0]
    if run not in runs:
        raise InputError(
            f"{layers.name} holds no run {run} of '{category}'{did_you_mean(run, runs)}"
        )
    place = _bank_of(layers, run, category)
    bank = ArrayBundle.from_bytes(_read(layers.banks, place, BANK))
    scored = ArrayBundle.from_bytes(_read(layers.scores, f"{run}/{category}", PATCHES))
    if not {"scoring", "bank"} <= set(scored.metadata) or "image" not in bank.arrays:
        raise InputError(f"the run {run} was made by an older version: run it again")
    table = _table(_read(layers.images, f"{run}/{category}", "images.parquet"))
    tested = [row for row in table if row["split"] == "test"]
    check_same_images(scored, [row["content_hash"] for row in tested])
    check_same_bank(scored, bank)
    is_normal = np.array([row["label"] == 0 for row in tested], bool)
    scoring = Scoring(**scored.metadata["scoring"])
    check_compares_patches(scoring.method, f"a detector (of the run {run})")
    scores = scores_of_images(scored, scoring.top_k_ratio)
    if place != f"{run}/{category}":
        table = table + _table(_read(layers.images, place, "images.parquet"))
    paths = {row["content_hash"]: row["image"] for row in table if row["split"] == "train"}
    # Images to come are read as those of the normal class that is tested, and of them the same
    # counts.
    read_as = _class_of(table, category)
    if read_as not in bank.metadata.get("levels", {read_as: ()}):
        raise InputError(f"the run {run} does not say how images of '{category}' are read")
    reading = {
        key: {category: bank.metadata[key][read_as]}
        for key in ("levels", "regions")
        if read_as in bank.metadata.get(key, {})
    }
    return FinishedRun(
        run=run,
        category=category,
        bank=ArrayBundle(bank.arrays, {**bank.metadata, "levels": {}, "regions": {}, **reading}),
        scoring=scoring,
        calibration_scores=scores[is_normal],
        normal_images=tuple(paths.get(key, "") for key in bank_images(bank)),
        root=images or str(table[0].get("root", "")),
    )


def _class_of(table: Sequence[Mapping[str, Any]], category: str) -> str:
    """The class whose images a category's new ones are read as.

    That of its normal test images or, where it has none, the one that it learns from; of several
    that it learns from, the one that is tested.
    """
    tested = [row for row in table if row["split"] == "test"]
    for row in tested:
        if row["label"] == 0:
            return str(row["class"])
    learned = {row["class"] for row in table if row["split"] == "train"}
    for classes in (learned, {row["class"] for row in tested}):
        if len(classes) == 1:
            return str(classes.pop())
    return category


def _bank_of(layers: Layers, run: str, category: str) -> str:
    """Where the memory bank that judges a category lies: its own, or one that it shares.

    Raises:
        InputError: There is none, or it cannot be told which it shares.
    """
    if RemoteFile(f"{layers.banks.rstrip('/')}/{run}/{category}/{BANK}").exists():
        return f"{run}/{category}"
    found = _glob(layers.banks, f"{run}/*/{BANK}")
    banks = [path.replace("\\", "/").split("/")[-2] for path in found]
    shared = [bank for bank in banks if category.startswith(bank.removesuffix("_bank"))]
    chosen = shared if len(banks) > 1 else banks
    if len(chosen) != 1:
        raise InputError(f"{layers.name} holds no memory bank of '{category}' of the run {run}")
    return f"{run}/{chosen[0]}"


def _which(layers: Layers, category: str, runs: Sequence[str]) -> str:
    if not runs:
        found = _glob(layers.scores, f"*/*/*/*/*/{PATCHES}")
        known = sorted({path.replace("\\", "/").split("/")[-2] for path in found})
        hint = did_you_mean(category, known) if known else ""
        return f"{layers.name} holds no finished run with a memory bank of '{category}'{hint}"
    return f"{layers.name} holds {len(runs)} runs of '{category}', choose one: {', '.join(runs)}"


def _glob(folder: str, pattern: str) -> list[str]:
    """Files below a folder, as paths of its file system."""
    fs, root = locate(folder)
    with stored(folder):
        found: list[str] = fs.glob(posixpath.join(glob_escape(root), pattern))
    if not found:
        check_buckets([folder])
    return found


def _read(layer: str, place: str, name: str) -> bytes:
    """A file of a run.

    Raises:
        InputError: It is missing or damaged, or a copy of another result.
    """
    file = CheckedFile(f"{layer.rstrip('/')}/{place}/{name}")
    if not file.exists():
        raise InputError(f"{file.url} is missing: finish the run first")
    noted = file.read_noted()
    Origin.of(noted).check_place(file.url.replace("\\", "/"), f"results at {file.url}")
    return noted.content


def _table(content: bytes) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    # Regions of interest, the same in each row, are in the memory bank.
    table = pq.read_table(io.BytesIO(content))
    kept = [name for name in table.column_names if name != "roi"]
    rows: list[dict[str, Any]] = table.select(kept).to_pylist()
    return rows
