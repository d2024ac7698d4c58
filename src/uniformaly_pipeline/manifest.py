"""The manifest: one row per image, whatever the data set (DESIGN "ingestion")."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO

import pandas as pd
from PIL import Image

from uniformaly_pipeline.errors import InputError
from uniformaly_pipeline.images import UNREADABLE, ImageFolder, read_image, read_mask
from uniformaly_pipeline.progress import track

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
}

MAX_LISTED = 20


@dataclass(frozen=True)
class ImageRecord:
    """What a layout knows of an image before it is opened.

    Attributes:
        image: Path relative to the data set's root, with ``/``.
        class_name: The class the image shows, for instance a MVTec category.
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
class _Checked:
    """What opening an image and its mask showed; ``problem`` is ``None`` if all is well."""

    width: int = 0
    height: int = 0
    content_hash: str = ""
    problem: str | None = None


def build_manifest(folder: ImageFolder, records: Sequence[ImageRecord]) -> pd.DataFrame:
    """Open every image and mask once and write down what a run needs to know of them.

    Args:
        folder: The data set's root.
        records: The images, as a layout found them.

    Returns:
        A row per image in the order of ``records``, columns and types as :data:`COLUMNS`; width
        and height in pixels after EXIF rotation; ``content_hash`` is the file's SHA-256.

    Raises:
        InputError: Files that cannot be read as images, or masks of another size than their
            image; the message names all of them.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        checks = pool.map(lambda record: _check(folder, record), records)
        checked = list(track(checks, len(records), "Checking images", "images"))
    problems = [check.problem for check in checked if check.problem]
    if problems:
        raise InputError(f"{folder.root}: {list_problems(problems)}")
    rows = [
        {**asdict(record), "class": record.class_name, "label": record.label, **asdict(check)}
        for record, check in zip(records, checked, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def list_problems(problems: Sequence[str]) -> str:
    """Several problems as one line, counted, the first few in full."""
    if len(problems) == 1:
        return problems[0]
    listed = "; ".join(problems[:MAX_LISTED])
    more = len(problems) - MAX_LISTED
    return f"{len(problems)} problems: {listed}" + (f"; and {more} more" if more > 0 else "")


def _check(folder: ImageFolder, record: ImageRecord) -> _Checked:
    try:
        with folder.open(record.image) as file:
            content = file.read()
        width, height = read_image(BytesIO(content)).size
    except UNREADABLE as error:
        return _Checked(problem=f"{record.image} cannot be read as an image ({_reason(error)})")
    if record.mask is not None:
        try:
            with folder.open(record.mask) as file:
                mask_size = read_mask(file).size
        except UNREADABLE as error:
            return _Checked(problem=f"{record.mask} cannot be read as a mask ({_reason(error)})")
        if mask_size != (width, height):
            return _Checked(
                problem=f"{record.mask} is {mask_size[0]}x{mask_size[1]} pixels but its image "
                f"{record.image} is {width}x{height}"
            )
    return _Checked(width, height, hashlib.sha256(content).hexdigest())


def _reason(error: BaseException) -> str:
    """Pillow's own words without the object address it adds to them."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image format recognised"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


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
