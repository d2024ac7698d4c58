"""Finds a data set and its classes where the user put it: a folder, one level off, or archives."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.ingestion.download.archives import archive_stem, is_archive, unpack
from uniformaly_pipeline.ingestion.download.sources import PUBLICATIONS
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.train_test import require_root

_PARTS = {"one_class_train", "one_class_test"}
"""What archives are called that hold a part of a data set each."""

_OWN_ROOT_ONLY = ("folder", "demo")
"""Layouts that nearly any folder fits, so that its neighbours might pass for the data set."""


def open_root(layout: str, root: ImageFolder) -> ImageFolder:
    """The folder of a data set; published archives are unpacked beside themselves first.

    Args:
        layout: A key of :data:`.layouts.LAYOUTS`.
        root: The data set's folder, a folder one level up or down, the archive, or the folder
            that archives lie in.

    Raises:
        InputError: The data set is not there, or an archive cannot be unpacked safely.
    """
    reader = LAYOUTS[layout]
    if hasattr(reader, "open_root"):  # images that are no files
        opened: ImageFolder = reader.open_root(root)
        return opened
    archives = find_archives(layout, root)
    for archive in archives:
        if not _target(archive).exists():
            unpack(archive, _target(archive))
            _lift(_target(archive))
    return locate(layout, _unpacked_root(archives, root))


def list_classes(layout: str, root: ImageFolder) -> list[str]:
    """The classes of a data set, without unpacking anything.

    Raises:
        InputError: The data set is not there.
    """
    archives = find_archives(layout, root)
    if all(_target(archive).exists() for archive in archives):
        return find_classes(layout, _unpacked_root(archives, root))
    return published_classes(layout)


def find_archives(layout: str, root: ImageFolder) -> list[Path]:
    """The published archives that a root stands for, if the data set does not lie there unpacked.

    Only published data sets come as archives; the user's own folders are taken as they are.

    Raises:
        InputError: There are several archives to choose from.
    """
    reader, path = LAYOUTS[layout], Path(root.root)
    if "://" in root.root or not published_classes(layout) or hasattr(reader, "open_root"):
        return []
    if path.is_file() and is_archive(path):
        return [path]
    if not path.is_dir() or any(map(reader.classes, folders_inside(root))):
        return []
    archives = sorted(file for file in path.iterdir() if file.is_file() and is_archive(file))
    if len(archives) > 1 and {archive_stem(archive) for archive in archives} != _PARTS:
        names = ", ".join(file.name for file in archives)
        raise InputError(
            f"datasets: the root {path} holds several archives ({names}): set root to one of them"
        )
    return archives


def _target(archive: Path) -> Path:
    return archive.with_name(archive_stem(archive))


def _unpacked_root(archives: list[Path], root: ImageFolder) -> ImageFolder:
    if not archives:
        return root
    # Parts of a data set lie side by side.
    folder = _target(archives[0]) if len(archives) == 1 else archives[0].parent
    return replace(root, root=str(folder))


def _lift(target: Path) -> None:
    """Take out an archive's outer folder that is called like the archive."""
    inner = target / target.name
    if [entry.name for entry in target.iterdir()] != [target.name] or not inner.is_dir():
        return
    aside = target.with_name(f"{target.name}.lifted")
    inner.rename(aside)
    target.rmdir()
    aside.rename(target)


def published_classes(layout: str) -> list[str]:
    """The classes that a data set was published with; none for the layouts of users' own data."""
    reader = LAYOUTS[layout]
    names: Iterable[str] = getattr(reader, "CLASSES", ()) or getattr(reader, "PUBLISHED", ())
    return list(names)


def locate(layout: str, root: ImageFolder) -> ImageFolder:
    """The data set's own folder: ``root``, a folder one or two below it, or the one above.

    Archives differ in whether they have an outer folder, and users in which one they name.

    Raises:
        InputError: The root is missing, or none of these folders holds a class.
    """
    candidates = iter([root]) if layout in _OWN_ROOT_ONLY else _with_neighbours(layout, root)
    for candidate in candidates:
        if LAYOUTS[layout].classes(candidate):
            return candidate
    explain = getattr(LAYOUTS[layout], "explain", lambda _: "")(root)
    raise InputError(
        f"{root.root} holds no category: expected folders like {LAYOUTS[layout].EXPECTED}"
        + (f"; {explain}" if explain else "")
    )


def _with_neighbours(layout: str, root: ImageFolder) -> Iterator[ImageFolder]:
    require_root(root, is_published=layout in PUBLICATIONS)
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
        wanted = [wanted] if same_name(wanted, available) else wanted.split("+")
    if not wanted:
        raise InputError("categories: the list is empty: name some, or set all")
    chosen = set()
    for name in wanted:
        found = same_name(name, available)
        if found is None:
            hint = did_you_mean(name, available)
            if name.isdigit():
                hint += "; YAML reads 01 as 1: put such names into quotes"
            raise InputError(f"categories: the data set has no category '{name}'{hint}")
        chosen.add(found)
    return [name for name in available if name in chosen]


def same_name(name: str, available: Collection[str]) -> str | None:
    """The one of some names that is this one, however its accents are encoded.

    A keyboard writes an accented letter as one character (NFC); some disks keep two (NFD).
    """
    if name in available:
        return name
    whole = unicodedata.normalize("NFC", name)
    return next((each for each in available if unicodedata.normalize("NFC", each) == whole), None)
