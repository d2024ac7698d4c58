"""A gallery on disk, checked when it is read."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.files import new_folder
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, new_file, rename
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage

_INDEX_NAME = "index.json"


_INDEX_VERSION = 2


_IMAGES_PREFIX = "images-"

STALE_SECONDS = 3600.0
"""A folder of JPEGs that no index names is nobody's after so long: a save takes seconds."""


def save_gallery(
    folder: AnyPath,
    images: Sequence[GalleryImage],
    made_from: Mapping[str, str] | None = None,
    place: str = "",
) -> None:
    """Write a gallery, in place of the one that was there, in one step.

    The JPEGs go into a folder of their own; replacing ``index.json``, which has checksums of them
    and of itself, then switches to them at once. Until that moment the old gallery stays whole;
    after it, the old JPEGs are removed. Files that are not the gallery's are left alone.

    Args:
        folder: Folder of the gallery; made if needed.
        images: The images, in the order to keep.
        made_from: Identities of what the gallery was made from, by path, to keep with it.
        place: Where it belongs, to keep with it.

    Raises:
        OSError: The folder cannot be written.
        ValueError: A number is not finite, or a view's name is not a plain word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    old = _current_pictures(folder)
    fresh = folder / f"{_IMAGES_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        if isinstance(fresh, RemotePath):  # what no index names need not appear in one step
            entries = _write_all(fresh, images)
        else:
            with new_folder(fresh) as part:
                entries = _write_all(part, images)
        index = {
            "version": _INDEX_VERSION,
            "folder": fresh.name,
            "images": entries,
            "made_from": dict(made_from or {}),
            "place": place,
        }
        text = json.dumps({**index, "sha256": _digest(index)}, indent=1, allow_nan=False)
        with new_file(folder / _INDEX_NAME) as part:
            part.write_text(text, encoding="utf-8")
    except BaseException:
        _remove(fresh)
        raise
    _remove_stale(folder, fresh, old)


def load_gallery(folder: AnyPath) -> list[GalleryImage]:
    """Read a gallery that :func:`save_gallery` wrote, in its order.

    Raises:
        FileNotFoundError: There is no gallery in the folder.
        InputError: It is not what was saved; the index is renamed, so that the next run makes
            the gallery again.
    """
    path = folder / _INDEX_NAME
    content = path.read_bytes()
    try:
        return _read_images(folder, content)
    except InputError:  # where it lies does not answer: that is no damage
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        if path.read_bytes() != content:  # another run has just replaced it
            return load_gallery(folder)
        aside = path.with_suffix(".damaged")
        with suppress(OSError, InputError):
            rename(path, aside.name)
        raise InputError(
            f"the gallery {path} is not what a run wrote: it is set aside as {aside.name}; "
            f"{RUN_AGAIN}"
        ) from error


def gallery_origin(folder: AnyPath) -> dict[str, Any] | None:
    """What tells a gallery from others, and what it was made from; ``None`` if it is damaged.

    Returns:
        ``identity``, a SHA-256, ``made_from`` and ``place``, see :func:`save_gallery`.
    """
    try:
        index = json.loads((folder / _INDEX_NAME).read_bytes())
        if index.pop("sha256") != _digest(index):
            return None
        identity = _digest({"images": index["images"]})
        kept = {key: index[key] for key in ("made_from", "place") if key in index}
        return {"identity": identity, **kept}
    except InputError:  # where it lies does not answer
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return None


def gallery_exists(folder: AnyPath) -> bool:
    """Whether a whole gallery is in the folder."""
    return (folder / _INDEX_NAME).is_file()


def _view_path(folder: AnyPath, number: int, view: str) -> AnyPath:
    if not re.fullmatch(r"\w+", view):
        raise ValueError(f"view {view!r} of a gallery must be named by a plain word")
    return folder / f"{number:04d}_{view}.jpg"


def _write_all(folder: AnyPath, images: Sequence[GalleryImage]) -> list[dict[str, Any]]:
    """Write the JPEGs and return the entries of the index."""
    return [_write_views(folder, number, image) for number, image in enumerate(images)]


def _write_views(folder: AnyPath, number: int, image: GalleryImage) -> dict[str, Any]:
    """Write the JPEGs of one image and return its entry in the index."""
    for view, content in image.views.items():
        _view_path(folder, number, view).write_bytes(content)
    digests = {view: hashlib.sha256(content).hexdigest() for view, content in image.views.items()}
    return asdict(image) | {"views": digests}


def _read_images(folder: AnyPath, content: bytes) -> list[GalleryImage]:
    """The gallery that an index describes.

    Raises:
        ValueError: Something is not what was saved.
        OSError: A picture cannot be read.
    """
    index = json.loads(content)
    digest = index.pop("sha256")
    if digest != _digest(index) or index["version"] != _INDEX_VERSION:
        raise ValueError("the index is not what was saved")
    pictures = folder / Path(index["folder"]).name
    return [_read_entry(pictures, number, entry) for number, entry in enumerate(index["images"])]


def _read_entry(folder: AnyPath, number: int, entry: dict[str, Any]) -> GalleryImage:
    views = {}
    for view, digest in entry["views"].items():
        views[view] = _view_path(folder, number, view).read_bytes()
        if hashlib.sha256(views[view]).hexdigest() != digest:
            raise ValueError(f"the {view} of picture {number} is not what was saved")
    return GalleryImage(**(entry | {"views": views}))


def _digest(index: Mapping[str, Any]) -> str:
    text = json.dumps(index, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _current_pictures(folder: AnyPath) -> AnyPath | None:
    """The JPEGs of the gallery that is there."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        index = json.loads((folder / _INDEX_NAME).read_text(encoding="utf-8"))
        return folder / Path(index["folder"]).name
    return None


def _remove_stale(folder: AnyPath, fresh: AnyPath, old: AnyPath | None) -> None:
    """Remove JPEGs that no index names any more, but not what another run is at work on."""
    for pictures in folder.glob(f"{_IMAGES_PREFIX}*/"):
        with suppress(FileNotFoundError):
            is_old = time.time() - pictures.stat().st_mtime > STALE_SECONDS
            if pictures != fresh and (pictures == old or is_old):
                _remove(pictures)


def _remove(folder: AnyPath) -> None:
    if isinstance(folder, RemotePath):
        with suppress(OSError, InputError):
            folder.remove_tree()
    else:
        shutil.rmtree(folder, ignore_errors=True)
