"""The manifest: one row per image, whatever the data set (DESIGN "ingestion")."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import pandas as pd
from PIL import Image

from uniformaly_pipeline.common.errors import InputError, first_line, list_problems
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.ingestion.images import UNREADABLE, ImageFolder, read_image, read_mask

logger = logging.getLogger(__name__)

GOOD = "good"
"""Defect kind of a normal image."""

COLUMNS = {
    "image": "string",
    "class": "string",
    "split": "string",
    "defect": "string",
    "label": "int8",
    "mask": "string",
    "width": "int32",
    "height": "int32",
    "content_hash": "string",
    "mask_pixels": "int32",
    "mask_hash": "string",
    "fingerprint": "string",
    "root": "string",
}

NO_MASK = -1
RECORDS_AT_ONCE = 64


@dataclass(frozen=True)
class ImageRecord:
    """What a layout knows of an image before it is opened.

    Attributes:
        image: Path relative to the data set's root, with ``/``.
        class_name: The class the image shows, for instance a folder of MVTec AD.
        split: ``train`` or ``test``.
        defect: The kind of defect, ``good`` for a normal image.
        mask: Path of the ground-truth mask, or ``None``.
    """

    image: str
    class_name: str
    split: str
    defect: str = GOOD
    mask: str | None = None

    @property
    def label(self) -> int:
        """0 for a normal image, 1 for an anomalous one."""
        return int(self.defect != GOOD)


@dataclass(frozen=True)
class ManifestPlan:
    """Images whose manifest is wanted; what is known of them already need not be looked up.

    Attributes:
        folder: The data set's root.
        records: The images, as a layout found them.
        strict: Whether what would spoil a result is refused; a published data set is as it is.
        verify: Whether files that look unchanged are read and compared with what is known.
    """

    folder: ImageFolder
    records: Sequence[ImageRecord]
    strict: bool = False
    verify: bool = False


@dataclass(frozen=True)
class TreePlan:
    """Images to copy into ``one_class_train/<class>`` and ``one_class_test/<class>``.

    Attributes:
        folder: The data set's root.
        records: The images.
    """

    folder: ImageFolder
    records: Sequence[ImageRecord]


class _Checked(NamedTuple):
    """What opening an image and its mask showed; ``problem`` is ``None`` if all is well."""

    width: int = 0
    height: int = 0
    content_hash: str = ""
    mask_pixels: int = NO_MASK
    mask_hash: str = ""
    fingerprint: str = ""
    problem: str | None = None


def build_manifest(
    folder: ImageFolder,
    records: Sequence[ImageRecord],
    known: pd.DataFrame | None = None,
    *,
    verify: bool = False,
) -> pd.DataFrame:
    """Open every image and mask once and write down what a run needs to know of them.

    Args:
        folder: The data set's root.
        records: The images, as a layout found them.
        known: An earlier manifest; files that have not changed since are not opened again. Of
            another root's nothing is used.
        verify: Whether known files are opened too; those that have changed although their size,
            time and tag have not are named in the log.

    Returns:
        A row per image in the order of ``records``, columns and types as :data:`COLUMNS`; width
        and height in pixels after EXIF rotation; ``content_hash`` is the file's SHA-256;
        ``mask_pixels`` counts what the mask marks, -1 without a mask; ``mask_hash`` is the mask
        file's SHA-256; ``fingerprint`` changes when the file or its mask does; ``root`` is the
        folder's :attr:`.images.ImageFolder.identity`.

    Raises:
        InputError: Files that cannot be read as images, or masks of another size than their
            image; the message names all of them.
    """
    root = folder.identity
    remembered = _remember(known, root)
    if verify:
        folder.reread()
    trusted = {} if verify else remembered
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        # Several to a task: handing a task to a thread takes longer than looking at a known file.
        blocks = [records[i : i + RECORDS_AT_ONCE] for i in range(0, len(records), RECORDS_AT_ONCE)]
        checks = itertools.chain.from_iterable(
            pool.map(lambda block: [_check(folder, r, trusted) for r in block], blocks)
        )
        checked = list(track(checks, len(records), "Checking images", "images"))
    problems = [check.problem for check in checked if check.problem]
    if problems:
        raise InputError(f"{folder.root}: {list_problems(problems)}")
    if verify:
        _log_unmarked_changes(root, records, checked, remembered)
    columns = {
        "image": [record.image for record in records],
        "class": [record.class_name for record in records],
        "split": [record.split for record in records],
        "defect": [record.defect for record in records],
        "label": [record.label for record in records],
        "mask": [record.mask for record in records],
        **{
            name: [getattr(check, name) for check in checked]
            for name in _Checked._fields
            if name != "problem"
        },
        "root": root,
    }
    return pd.DataFrame(columns, columns=list(COLUMNS)).astype(COLUMNS)


def _log_unmarked_changes(
    root: str,
    records: Sequence[ImageRecord],
    checked: Sequence[_Checked],
    remembered: Mapping[tuple[str, str], _Checked],
) -> None:
    """Name the files that have changed without a sign of it."""
    changed: dict[str, None] = {}
    for record, now in zip(records, checked, strict=True):
        before = remembered.get((record.image, record.mask or ""))
        if before is None or before.fingerprint != now.fingerprint:
            continue
        if before.content_hash != now.content_hash:
            changed[record.image] = None
        if record.mask is not None and before.mask_hash != now.mask_hash:
            changed[record.mask] = None
    if changed:
        logger.warning(
            "%s: changed though size and time are as before, now read anew: %s",
            root,
            list_problems(list(changed)),
        )
    else:
        logger.info("%s: %d images verified, none changed unnoticed", root, len(records))


def _remember(known: pd.DataFrame | None, root: str) -> dict[tuple[str, str], _Checked]:
    """What an earlier manifest of ``root`` says of each image and its mask, by their paths."""
    if known is None or not set(COLUMNS) <= set(known.columns):
        return {}
    known = known[known["root"] == root]
    names = [name for name in _Checked._fields if name != "problem"]
    masks = known["mask"].fillna("")
    rows = zip(*(known[name].tolist() for name in names), strict=True)
    return {
        key: _Checked(*row)
        for key, row in zip(zip(known["image"], masks, strict=True), rows, strict=True)
    }


def _check(
    folder: ImageFolder, record: ImageRecord, remembered: Mapping[tuple[str, str], _Checked]
) -> _Checked:
    try:
        fingerprint = folder.fingerprint(record.image)
        if record.mask is not None:
            fingerprint += f"+{folder.fingerprint(record.mask)}"
        before = remembered.get((record.image, record.mask or ""))
        if before is not None and before.fingerprint == fingerprint:
            return before
        with folder.open(record.image) as file:
            content = file.read()
        width, height = read_image(BytesIO(content)).size
    except UNREADABLE as error:
        return _Checked(problem=f"{record.image} cannot be read as an image ({_reason(error)})")
    marked, mask_hash = NO_MASK, ""
    if record.mask is not None:
        try:
            with folder.open(record.mask) as file:
                mask_content = file.read()
            mask = read_mask(BytesIO(mask_content))
        except UNREADABLE as error:
            return _Checked(problem=f"{record.mask} cannot be read as a mask ({_reason(error)})")
        if mask.size != (width, height):
            return _Checked(
                problem=f"{record.mask} is {mask.size[0]}x{mask.size[1]} pixels but its image "
                f"{record.image} is {width}x{height}"
            )
        marked = sum(mask.histogram()[128:])
        mask_hash = hashlib.sha256(mask_content).hexdigest()
    digest = hashlib.sha256(content).hexdigest()
    return _Checked(width, height, digest, marked, mask_hash, fingerprint)


def _reason(error: BaseException) -> str:
    """Pillow's own words without the object address it adds to them."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image format recognised"
    return first_line(error)


def select_defects(
    manifest: pd.DataFrame, normal: Sequence[str], tested: Sequence[str]
) -> pd.DataFrame:
    """Images of a category whose anomalies are defects.

    Args:
        manifest: As :func:`build_manifest` returns it.
        normal: Classes whose train images fill the memory bank.
        tested: Classes whose test images are scored.

    Returns:
        Rows of the manifest, those of the train split first.
    """
    train = manifest[(manifest["split"] == "train") & manifest["class"].isin(normal)]
    test = manifest[(manifest["split"] == "test") & manifest["class"].isin(tested)]
    return _in_order(train, test)


def select_classes(manifest: pd.DataFrame, normal: Sequence[str]) -> pd.DataFrame:
    """Images of a category whose anomalies are foreign classes (section 5.2, semantic).

    The test images of all classes are shared by all categories; defective ones are left out.

    Args:
        manifest: As :func:`build_manifest` returns it.
        normal: The normal classes; every other one is anomalous.

    Returns:
        Rows of the manifest, those of the train split first; ``label`` tells whether the class is
        foreign and ``defect`` names the class.
    """
    good = manifest[manifest["defect"] == GOOD]
    is_normal = good["class"].isin(normal)
    foreign = (~is_normal).astype(good["label"].dtype)
    good = good.assign(label=foreign, defect=good["class"])
    return _in_order(good[(good["split"] == "train") & is_normal], good[good["split"] == "test"])


def _in_order(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    parts = [part.sort_values("image") for part in (train, test)]
    return pd.concat(parts, ignore_index=True)
