"""Real-IAD, thirty objects, each seen by five cameras, with eight kinds of defect.

``realiad_<side>/<class>/{OK,NG/<kind>}/S<number>/*.jpg`` with the masks beside the images, and the
split as ``realiad_jsons/<class>.json``: ``meta.prefix`` is the class's folder, ``train`` and
``test`` list images with ``image_path``, ``mask_path`` and ``anomaly_class``. The archive of the
splits holds a folder of the same name once more. Of several sizes the largest is read.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any

from uniformaly_pipeline.common.errors import InputError, list_problems
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.interface import Split
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord

HAS_DEFECTS = True
EXPECTED = "realiad_1024/audiojack and realiad_jsons/audiojack.json"

SPLITS = ("realiad_jsons", "realiad_jsons/realiad_jsons")
_IMAGES = re.compile(r"realiad_(\d+|raw)$")


def classes(root: ImageFolder) -> list[str]:
    """The objects that have both images and a split."""
    images = _images(root)
    if images is None:
        return []
    return sorted(set(_splits(root)) & set(root.folders(images)))


def read(
    root: ImageFolder,
    classes: list[str],
    split: Split,  # noqa: ARG001 - the published split is read
) -> list[ImageRecord]:
    """The images of ``classes``.

    Raises:
        InputError: A split that is not as published, an image or mask that is not there, or a
            defective image without a mask; all are named.
    """
    images, splits = _images(root), _splits(root)
    records: list[ImageRecord] = []
    problems: list[str] = []
    for name in classes:
        try:
            found = _listed(root, splits[name], f"{images}/", name)
        except (KeyError, TypeError, ValueError, AttributeError):
            problems.append(f"{splits[name]} is not a split of Real-IAD: unpack it again")
            continue
        there = set(root.files_below(f"{images}/{name}"))
        for record in found:
            if record.image not in there:
                problems.append(f"{record.image} is in {splits[name]} but not there")
            elif record.label and record.mask not in there:
                problems.append(f"{record.image} has no mask {record.mask or ''}".rstrip())
        problems += [
            f"{splits[name]} has no {part} images"
            for part in ("train", "test")
            if not any(record.split == part for record in found)
        ]
        records += found
    if problems:
        raise InputError(f"{root.root}: {list_problems(problems)}")
    return records


def _images(root: ImageFolder) -> str | None:
    """The folder of the largest images; the untouched ones count as larger than any."""
    found = [name for name in root.folders() if _IMAGES.match(name)]
    return max(found, key=_side, default=None)


def _side(folder: str) -> float:
    number = folder.removeprefix("realiad_")
    return float(number) if number.isdigit() else float("inf")


def _splits(root: ImageFolder) -> dict[str, str]:
    return {
        posixpath.basename(path).removesuffix(".json"): path
        for folder in SPLITS
        for path in root.files(folder)
        if path.endswith(".json")
    }


def _listed(root: ImageFolder, path: str, images: str, name: str) -> list[ImageRecord]:
    with root.open(path) as file:
        told: dict[str, Any] = json.load(file)
    sound, base = told["meta"].get("normal_class", "OK"), told["meta"].get("prefix", name)
    prefix = images + base.strip("/") + "/"
    return [
        ImageRecord(
            prefix + entry["image_path"],
            name,
            part,
            GOOD if entry["anomaly_class"] == sound else entry["anomaly_class"],
            prefix + entry["mask_path"] if entry["anomaly_class"] != sound else None,
        )
        for part in ("train", "test")
        for entry in told[part]
    ]
