"""Finds a data set where the user put it: a folder, one level off, or the published archives."""

from __future__ import annotations

from pathlib import Path

from uniformaly_pipeline.archives import archive_stem, is_archive, unpack
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.layouts import (
    LAYOUTS,
    find_classes,
    folders_inside,
    locate,
    published_classes,
)

_PARTS = {"one_class_train", "one_class_test"}
"""What archives are called that hold a part of a data set each."""


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
            f"{path} holds several archives ({names}): set datasets.<name>.root to one of them"
        )
    return archives


def _target(archive: Path) -> Path:
    return archive.with_name(archive_stem(archive))


def _unpacked_root(archives: list[Path], root: ImageFolder) -> ImageFolder:
    if not archives:
        return root
    # Parts of a data set lie side by side.
    folder = _target(archives[0]) if len(archives) == 1 else archives[0].parent
    return ImageFolder(str(folder))


def _lift(target: Path) -> None:
    """Take out an archive's outer folder that is called like the archive."""
    inner = target / target.name
    if [entry.name for entry in target.iterdir()] != [target.name] or not inner.is_dir():
        return
    aside = target.with_name(f"{target.name}.lifted")
    inner.rename(aside)
    target.rmdir()
    aside.rename(target)
