"""Data sets as they are distributed: a module per layout, all behind one small interface."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.layouts import (
    btad,
    cpd,
    fabricated,
    folder,
    imagenet30,
    mtd,
    mvtec,
    species60,
)
from uniformaly_pipeline.layouts import classes as by_class
from uniformaly_pipeline.layouts.cifar import CIFAR10, CIFAR100
from uniformaly_pipeline.layouts.folder import require_root
from uniformaly_pipeline.layouts.interface import Counts, Layout, Split

__all__ = [
    "LAYOUTS",
    "Counts",
    "Layout",
    "Split",
    "choose_classes",
    "find_classes",
    "locate",
    "published_classes",
]

LAYOUTS: dict[str, Layout] = {
    "folder": folder,
    "classes": by_class,
    "demo": fabricated,
    "mvtec": mvtec,
    "btad": btad,
    "mtd": mtd,
    "cpd": cpd,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "imagenet30": imagenet30,
    "species60": species60,
}
"""Every layout by the name that ``datasets.<name>.layout`` gives it."""


def published_classes(layout: str) -> list[str]:
    """The classes that a data set was published with; none for the layouts of users' own data."""
    reader = LAYOUTS[layout]
    names: Iterable[str] = getattr(reader, "CLASSES", ()) or getattr(reader, "PUBLISHED", ())
    return list(names)


_OWN_ROOT_ONLY = ("folder", "demo")
"""Layouts that nearly any folder fits, so that its neighbours might pass for the data set."""


def locate(layout: str, root: ImageFolder) -> ImageFolder:
    """The data set's own folder: ``root``, a folder one or two below it, or the one above.

    Archives differ in whether they have an outer folder, and users in which one they name.

    Raises:
        InputError: The root is missing, or none of these folders holds a class.
    """
    candidates = iter([root]) if layout in _OWN_ROOT_ONLY else _with_neighbours(root)
    for candidate in candidates:
        if LAYOUTS[layout].classes(candidate):
            return candidate
    raise InputError(
        f"{root.root} holds no category: expected folders like {LAYOUTS[layout].EXPECTED}"
    )


def _with_neighbours(root: ImageFolder) -> Iterator[ImageFolder]:
    require_root(root)
    yield from folders_inside(root)
    if (parent := _parent(root.root)) is not None:
        yield replace(root, root=parent)


def folders_inside(root: ImageFolder, depth: int = 2) -> Iterator[ImageFolder]:
    """A folder, those right below it, then those below these, as far down as ``depth``."""
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [
            replace(folder, root=f"{folder.root.rstrip('/')}/{name}")
            for folder in level
            for name in folder.folders()
        ]


def _parent(root: str) -> str | None:
    """The folder above, ``None`` where there is none; links are not followed."""
    if "::" in root:
        return None  # a path in an archive, followed by the archive's own
    if "://" in root:
        parent = posixpath.dirname(root.rstrip("/"))
        return parent if "://" in parent else None
    path = Path(root)
    return str(path.resolve().parent if path.name in {"", ".."} else path.parent)


def find_classes(layout: str, root: ImageFolder) -> list[str]:
    """The classes of a data set, wherever :func:`locate` finds it.

    Raises:
        InputError: The root is missing or holds no class.
    """
    return LAYOUTS[layout].classes(locate(layout, root))


def choose_classes(available: list[str], wanted: str | list[str]) -> list[str]:
    """The classes to run: all of them, or those the user names.

    Args:
        available: What the data set has.
        wanted: ``all``, a list, or names joined by ``+`` (a comma separates parameters on the
            command line).

    Raises:
        InputError: A name is not among ``available``.
    """
    if wanted == "all":
        return available
    if isinstance(wanted, str):
        wanted = [wanted] if wanted in available else wanted.split("+")
    for name in wanted:
        if name not in available:
            raise InputError(
                f"categories: the data set has no category '{name}'{did_you_mean(name, available)}"
            )
    return [name for name in available if name in wanted]
