"""VisA, twelve objects: circuit boards, candles, capsules, food; every anomaly with its mask.

As published, split by ``split_csv/1cls.csv`` (columns object, split, label, image, mask)::

    <class>/Data/Images/{Normal,Anomaly}, <class>/Data/Masks/Anomaly, <class>/image_anno.csv

or as the publishers' ``prepare_data.py --split-type 1cls`` writes it, as MVTec AD:
``<class>/{train/good, test/{good,bad}, ground_truth/bad/<stem>.png}``. Raw masks hold a number for
each kind of anomaly; all but 0 count. ``image_anno.csv`` names the kinds of each image.
"""

from __future__ import annotations

import csv
import io

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Counts, Split
from uniformaly_pipeline.ingestion.layouts.train_test import is_class, read_classes
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord

HAS_DEFECTS = True
EXPECTED = "candle/Data/Images/Normal and split_csv/1cls.csv, or candle/train/good"

PUBLISHED = {
    "candle": Counts(900, 100, 100),
    "capsules": Counts(542, 60, 100),
    "cashew": Counts(450, 50, 100),
    "chewinggum": Counts(453, 50, 100),
    "fryum": Counts(450, 50, 100),
    "macaroni1": Counts(900, 100, 100),
    "macaroni2": Counts(900, 100, 100),
    "pcb1": Counts(904, 100, 100),
    "pcb2": Counts(901, 100, 100),
    "pcb3": Counts(905, 101, 100),
    "pcb4": Counts(904, 101, 100),
    "pipe_fryum": Counts(450, 50, 100),
}
"""Images of each class in the one-class split."""

SPLIT = "split_csv/1cls.csv"
ANOMALY = "anomaly"
"""Kind of an anomalous image of which no annotation tells more."""

_COLUMNS = ("object", "split", "label", "image", "mask")


def classes(root: ImageFolder) -> list[str]:
    """The objects that are there, raw or prepared; other folders do not count."""
    return [
        name
        for name in root.folders()
        if name in PUBLISHED and ("Data" in root.folders(name) or is_class(root, name))
    ]


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the table or the folders are the split
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: The raw tree without its table, a table that is none, that names no image of a
            class or an image or mask that is not there; all are named.
    """
    raw = [name for name in classes if "Data" in root.folders(name)]
    prepared = [name for name in classes if name not in raw]
    records = read_classes(root, prepared, masks_required=True)
    if not raw:
        return records
    found = _listed(root, raw)
    problems = [
        f"{SPLIT} names no {part} images of '{name}': unpack the data set again"
        for name in raw
        for part in ("train", "test")
        if not any(r.class_name == name and r.split == part for r in found)
    ]
    there = {
        path
        for name in raw
        for folder in ("Images/Normal", "Images/Anomaly", "Masks/Anomaly")
        for path in root.files(f"{name}/Data/{folder}")
    }
    for record in found:
        if record.image not in there:
            problems.append(f"{record.image} is in {SPLIT} but not there")
        if record.label and record.mask not in there:
            problems.append(f"{record.image} has no mask {record.mask or ''}".rstrip())
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records + found


def _listed(root: ImageFolder, names: list[str]) -> list[ImageRecord]:
    kinds = {name: _kinds(root, name) for name in names}
    return [
        ImageRecord(
            row["image"],
            row["object"],
            row["split"],
            GOOD if row["label"] == "normal" else kinds[row["object"]].get(row["image"], ANOMALY),
            row["mask"] or None,
        )
        for row in _table(root, SPLIT, _COLUMNS)
        if row["object"] in kinds
    ]


def _kinds(root: ImageFolder, name: str) -> dict[str, str]:
    """Kinds of anomaly of each anomalous image, joined by ``+`` where it has several."""
    path = f"{name}/image_anno.csv"
    if path not in root.files(name):
        return {}
    return {
        row["image"]: "+".join(sorted({kind.strip() for kind in row["label"].split(",")}))
        for row in _table(root, path, ("image", "label"))
        if row["label"] and row["label"] != "normal"
    }


def _table(root: ImageFolder, path: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file of the data set; the columns are there, missing cells are empty."""
    try:
        with root.open(path) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{root.root}/{path} is missing: it splits the images, unpack the data set again"
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"{root.root}/{path} is not a CSV file: unpack the data set again"
        ) from None
    rows = csv.DictReader(io.StringIO(text))
    try:
        if missing := set(columns) - set(rows.fieldnames or ()):
            raise InputError(
                f"{root.root}/{path} has no column {', '.join(sorted(missing))}: "
                "unpack the data set again"
            )
        return [{name: row[name] or "" for name in columns} for row in rows]
    except csv.Error as error:
        raise InputError(
            f"{root.root}/{path} is not a CSV file ({error}): unpack the data set again"
        ) from None
