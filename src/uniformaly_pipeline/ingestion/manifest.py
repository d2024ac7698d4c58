"""The manifest: one row per image, whatever the data set (DESIGN "ingestion")."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.common.errors import InputError, first_line, list_problems
from uniformaly_pipeline.common.machine import no_permission
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.ingestion.decoding import BY_LEVELS, UNREADABLE, decode_bytes
from uniformaly_pipeline.ingestion.images import ImageFolder, hash_mask
from uniformaly_pipeline.ingestion.levels import (
    Depth,
    Levels,
    appearance,
    choose_levels,
    file_hash,
)
from uniformaly_pipeline.ingestion.masks import unite_marks
from uniformaly_pipeline.ingestion.regions import MisfitError, Region, read_roi, tell_misfits_once

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
    "pixel_hash": "string",
    "mask_pixels": "int32",
    "mask_hash": "string",
    "fingerprint": "string",
    "mask_values": "string",
    "mask_remarks": "string",
    "depth": "string",
    "darkest": "float64",
    "brightest": "float64",
    "low": "float64",
    "high": "float64",
    "remarks": "string",
    "roi": "category",
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
        mask: Path of the ground-truth mask, a file or a folder of its parts, or ``None``.
        roi: Path of the picture of what counts of it, its region of interest, or ``None`` for all.
    """

    image: str
    class_name: str
    split: str
    defect: str = GOOD
    mask: str | None = None
    roi: str | None = None

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
        levels: Black and white of deep images; ``auto``: from the normal ones.
        one_rule: Whether ``auto`` is decided for all classes together.
    """

    folder: ImageFolder
    records: Sequence[ImageRecord]
    strict: bool = False
    verify: bool = False
    levels: Levels | Literal["auto"] = "auto"
    one_rule: bool = False


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
    pixel_hash: str = ""
    mask_pixels: int = NO_MASK
    mask_hash: str = ""
    fingerprint: str = ""
    mask_values: str = ""
    depth: str = "8-bit"
    darkest: float = np.nan
    brightest: float = np.nan
    remarks: str = ""
    mask_remarks: str = ""
    problem: str | None = None


def build_manifest(
    folder: ImageFolder,
    records: Sequence[ImageRecord],
    known: pd.DataFrame | None = None,
    *,
    verify: bool = False,
    levels: Levels | Literal["auto"] = "auto",
    one_rule: bool = False,
    region: Region | None = None,
) -> pd.DataFrame:
    """Open every image and mask once and write down what a run needs to know of them.

    Args:
        folder: The data set's root.
        records: The images, as a layout found them.
        known: An earlier manifest; files that have not changed since are not opened again. Of
            another root's nothing is used.
        verify: Whether known files are opened too; those that have changed although their size,
            time and tag have not are named in the log.
        levels: Black and white of images deeper than 8 bits; ``auto``: decided for each class from
            its normal train images, see :func:`.levels.choose_levels`.
        one_rule: Whether ``auto`` is decided from the normal train images of all classes together.
        region: What counts of the images whose record names no region of interest.

    Returns:
        A row per image in the order of ``records``, columns and types as :data:`COLUMNS`; width
        and height in pixels after EXIF rotation; ``content_hash`` is the file's SHA-256, with the
        levels of a deep image, see :meth:`.levels.Levels.key`, and with its region of interest, see
        :meth:`.regions.Region.key`; ``pixel_hash`` is that of its pixels, see
        :meth:`.decoding.Decoded.pixel_hash`; ``mask_pixels`` counts what the mask marks, -1 without
        a mask; ``mask_hash`` is the mask file's SHA-256; ``fingerprint`` changes when the file or
        its mask does; ``mask_values`` tells what was found in the mask;
        ``darkest`` and ``brightest`` are the image's range, ``low`` and ``high`` what of it is
        black and white; ``remarks`` of it and ``mask_remarks`` of its mask are keys of
        :data:`.decoding.REMARKS`; ``roi`` is the region
        of interest as text, see :attr:`.regions.Region.text`; ``root`` is the folder's
        :attr:`.images.ImageFolder.identity`.

    Raises:
        InputError: Files that cannot be read as images, or masks and regions of interest of another
            size than their image; the message names all of them.
    """
    root = folder.identity
    remembered = _remember(known, root)
    if verify:
        folder.reread()
    trusted = {} if verify else remembered
    workers = min(8, usable_cores())
    with ThreadPoolExecutor(workers) as pool:
        # Several to a task: handing a task to a thread takes longer than looking at a known file.
        blocks = [records[i : i + RECORDS_AT_ONCE] for i in range(0, len(records), RECORDS_AT_ONCE)]
        checks = itertools.chain.from_iterable(
            pool.map(lambda block: [_check(folder, r, trusted) for r in block], blocks)
        )
        checked = list(track(checks, len(records), "Checking images", "images"))
    problems = [check.problem for check in checked if check.problem]
    pictures = _read_regions(folder, records, problems)
    regions = [pictures.get(record.roi) if record.roi else region for record in records]
    problems += _misfits(records, checked, regions)
    if problems:
        raise InputError(f"{folder.root}: {list_problems(problems)}")
    if verify:
        _log_unmarked_changes(root, records, checked, remembered)
    rules = _rules(records, checked, one_rule) if levels == "auto" else {}
    applied = [
        rules.get(record.class_name, Levels()) if levels == "auto" else levels for record in records
    ]
    ends = [rule.at(check.depth) for rule, check in zip(applied, checked, strict=True)]
    columns: dict[str, Any] = {
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
        "content_hash": [
            _key(check, rule, of_image)
            for rule, check, of_image in zip(applied, checked, regions, strict=True)
        ],
        "low": [low for low, _ in ends],
        "high": [high for _, high in ends],
        "remarks": [_remarks(check, end) for check, end in zip(checked, ends, strict=True)],
        "roi": [None if of_image is None else of_image.text for of_image in regions],
        "root": root,
    }
    return pd.DataFrame(columns, columns=list(COLUMNS)).astype(COLUMNS)


def _key(check: _Checked, levels: Levels, region: Region | None) -> str:
    """What tells the pixels of an image that count from all others."""
    key = levels.key(check.content_hash, check.depth)
    return key if region is None else region.key(key)


def _read_regions(
    folder: ImageFolder, records: Sequence[ImageRecord], problems: list[str]
) -> dict[str, Region]:
    """The regions of interest of the records by path; what is wrong with one is a problem."""
    regions = {}
    for path in dict.fromkeys(record.roi for record in records if record.roi):
        try:
            regions[path] = read_roi(folder, path)
        except InputError as error:
            problems.append(str(error))
    return regions


def _misfits(
    records: Sequence[ImageRecord],
    checked: Sequence[_Checked],
    regions: Sequence[Region | None],
) -> list[str]:
    """Regions of interest of another size than images that they are of, a line for each."""
    wrong: dict[str, list[InputError]] = {}
    for record, check, region in zip(records, checked, regions, strict=True):
        if region is None or check.problem:
            continue
        try:
            region.check_size((check.width, check.height), record.image)
        except MisfitError as error:
            wrong.setdefault(record.roi or "", []).append(error)
    return [
        (f"{roi}: " if roi else "") + line
        for roi, found in wrong.items()
        for line in tell_misfits_once(found)
    ]


def manifest_of(plan: ManifestPlan, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """The manifest that is wanted, see :func:`build_manifest`."""
    return build_manifest(
        plan.folder,
        plan.records,
        known,
        verify=plan.verify,
        levels=plan.levels,
        one_rule=plan.one_rule,
    )


def changed_images(before: pd.DataFrame, now: pd.DataFrame) -> set[str]:
    """Images in which two manifests, or parts of them, differ: added, gone, or another in any way.

    A file that was only copied or touched is the same. Columns that one of them lacks, such as
    those of an older version, are passed over.
    """
    # A region of interest is in the key of the content.
    passed = {"fingerprint", "roi"}
    shared = [c for c in COLUMNS if c in before and c in now and c not in passed]
    rows = [
        {tuple(row) for row in table[shared].astype("string").fillna("").itertuples(index=False)}
        for table in (before, now)
    ]
    return {row[0] for row in rows[0] ^ rows[1]}


def _rules(
    records: Sequence[ImageRecord], checked: Sequence[_Checked], one_rule: bool
) -> dict[str, Levels]:
    """The levels of each class; of one without deep normal images those of its others."""
    ranges: dict[tuple[str, str], list[tuple[float, float]]] = {}
    others: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for record, check in zip(records, checked, strict=True):
        if check.depth == "8-bit" or np.isnan(check.darkest):
            continue
        is_normal = record.split == "train" and not record.label
        key = ("" if one_rule else record.class_name, check.depth)
        found = (check.darkest, check.brightest)
        (ranges if is_normal else others).setdefault(key, []).append(found)

    def rule(name: str, depth: Depth) -> tuple[float, float]:
        known = ranges.get((name, depth)) or others.get((name, depth))
        return choose_levels(depth, known) if known else Levels().at(depth)

    names = {record.class_name for record in records}
    return {
        name: Levels(*(rule("" if one_rule else name, depth) for depth in ("integer", "float")))
        for name in names
    }


def _remarks(check: _Checked, ends: tuple[float, float]) -> str:
    """What is odd about an image, read by these levels."""
    if np.isnan(check.darkest):
        return check.remarks
    low, high = ends
    is_beyond = check.depth != "8-bit" and (check.darkest < low or check.brightest > high)
    beyond = "beyond" if is_beyond else ""
    shown = appearance(ends, check.darkest, check.brightest)
    return ";".join(filter(None, [check.remarks, beyond, shown]))


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
    # What the levels of another time have added is left out.
    remarks = [
        ";".join(part for part in remark.split(";") if part not in BY_LEVELS)
        for remark in known["remarks"]
    ]
    known = known.assign(content_hash=known["content_hash"].map(file_hash), remarks=remarks)
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
        parts = [] if record.mask is None else folder.mask_files(record.mask)
        fingerprint += "".join(f"+{folder.fingerprint(part)}" for part in parts)
        before = remembered.get((record.image, record.mask or ""))
        if before is not None and before.fingerprint == fingerprint:
            return before
        with folder.open(record.image) as file:
            content = file.read()
        image = decode_bytes(content, folder.max_pixels)
        width, height = image.size
        darkest, brightest = image.range() or (np.nan, np.nan)
        pixel_hash = image.pixel_hash()
    except PermissionError as error:
        return _Checked(problem=f"{record.image}{no_permission(error)}")
    except UNREADABLE as error:
        return _Checked(problem=f"{record.image} cannot be read as an image ({first_line(error)})")
    marked, mask_hash, mask_values, mask_remarks = NO_MASK, "", "", ""
    if record.mask is not None:
        try:
            contents = []
            for part in parts:
                with folder.open(part) as file:
                    contents.append(file.read())
            mask = unite_marks(contents, folder.max_pixels)
        except UNREADABLE as error:
            return _Checked(problem=f"{record.mask} cannot be read as a mask ({first_line(error)})")
        if mask.size != (width, height):
            return _Checked(
                problem=f"{record.mask} is {mask.size[0]}x{mask.size[1]} pixels but its image "
                f"{record.image} is {width}x{height}"
            )
        marked, mask_values = int(mask.marked.sum()), mask.values
        mask_hash, mask_remarks = hash_mask(contents), ";".join(mask.remarks)
    digest = hashlib.sha256(content).hexdigest()
    return _Checked(
        width,
        height,
        digest,
        pixel_hash,
        marked,
        mask_hash,
        fingerprint,
        mask_values,
        image.depth,
        darkest,
        brightest,
        ";".join(image.remarks),
        mask_remarks,
    )


def levels_of(manifest: pd.DataFrame) -> dict[str, Levels]:
    """Black and white of each image of a manifest, by its path."""
    if not {"low", "high"} <= set(manifest.columns):
        return {}
    rows = zip(manifest["image"], manifest["low"], manifest["high"], strict=True)
    return {image: Levels.of(low, high) for image, low, high in rows}


def sizes_of(manifest: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """(width, height) in pixels of each image of a manifest, by its path."""
    if not {"width", "height"} <= set(manifest.columns):
        return {}
    rows = zip(manifest["image"], manifest["width"], manifest["height"], strict=True)
    return {image: (int(width), int(height)) for image, width, height in rows}


def levels_by_class(manifest: pd.DataFrame) -> dict[str, Levels]:
    """Black and white of each class's deep images; the default where it has none of a depth."""
    found: dict[str, dict[str, tuple[float, float]]] = {
        name: {} for name in sorted(set(manifest["class"]))
    }
    if {"depth", "low", "high"} <= set(manifest.columns):
        rows = manifest[["class", "depth", "low", "high"]].drop_duplicates()
        for name, depth, low, high in rows.itertuples(index=False):
            found[name][depth] = (float(low), float(high))
    default = Levels()
    return {
        name: Levels(
            ends.get("integer", default.integer),
            ends.get("float", default.floating),
        )
        for name, ends in found.items()
    }


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
