"""A gallery on disk."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common.files import new_file, new_folder
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage

_INDEX_NAME = "index.json"


_INDEX_VERSION = 1


_IMAGES_PREFIX = "images-"


def save_gallery(folder: Path, images: Sequence[GalleryImage]) -> None:
    """Write a gallery, in place of the one that was there, in one step.

    The JPEGs go into a folder of their own; replacing ``index.json`` then switches to them at
    once. Until that moment the old gallery stays whole; after it, the old JPEGs are removed.
    Files that are not the gallery's are left alone.

    Args:
        folder: Folder of the gallery; made if needed.
        images: The images, in the order to keep.

    Raises:
        OSError: The folder cannot be written.
        ValueError: A number is not finite, or a view's name is not a plain word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{_IMAGES_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        with new_folder(fresh) as part:
            entries = [_write_views(part, number, image) for number, image in enumerate(images)]
        index = {"version": _INDEX_VERSION, "folder": fresh.name, "images": entries}
        with new_file(folder / _INDEX_NAME) as part:
            part.write_text(json.dumps(index, indent=1, allow_nan=False), encoding="utf-8")
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    for stale in folder.glob(f"{_IMAGES_PREFIX}*"):
        if stale != fresh:
            shutil.rmtree(stale, ignore_errors=True)


def load_gallery(folder: Path) -> list[GalleryImage]:
    """Read a gallery that :func:`save_gallery` wrote, in its order.

    Raises:
        FileNotFoundError: There is no gallery in the folder.
        ValueError: It was written by another version.
    """
    index = json.loads((folder / _INDEX_NAME).read_text(encoding="utf-8"))
    if index.get("version") != _INDEX_VERSION:
        raise ValueError(f"{folder} holds a gallery of another version: run the task again")
    pictures = folder / Path(index["folder"]).name
    return [_read_entry(pictures, number, entry) for number, entry in enumerate(index["images"])]


def gallery_exists(folder: Path) -> bool:
    """Whether a whole gallery is in the folder."""
    return (folder / _INDEX_NAME).is_file()


def _view_path(folder: Path, number: int, view: str) -> Path:
    if not re.fullmatch(r"\w+", view):
        raise ValueError(f"view {view!r} of a gallery must be named by a plain word")
    return folder / f"{number:04d}_{view}.jpg"


def _write_views(folder: Path, number: int, image: GalleryImage) -> dict[str, Any]:
    """Write the JPEGs of one image and return its entry in the index."""
    for view, content in image.views.items():
        _view_path(folder, number, view).write_bytes(content)
    return asdict(image) | {"views": list(image.views)}


def _read_entry(folder: Path, number: int, entry: dict[str, Any]) -> GalleryImage:
    views = {view: _view_path(folder, number, view).read_bytes() for view in entry["views"]}
    return GalleryImage(**(entry | {"views": views}))
