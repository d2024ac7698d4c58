"""Data sets as they are distributed: a module per layout, all behind one small interface."""

from __future__ import annotations

from typing import Protocol

from uniformaly_pipeline.errors import InputError
from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.layouts import classes as by_class
from uniformaly_pipeline.layouts import fabricated, folder
from uniformaly_pipeline.manifest import ImageRecord
from uniformaly_pipeline.suggestions import did_you_mean


class Layout(Protocol):
    """What a layout module offers.

    Attributes:
        HAS_DEFECTS: Whether anomalous test images are defective ones of their class. Otherwise
            they are images of another class than the normal one.
        EXPECTED: What the layout's folders are called, for error messages.
    """

    HAS_DEFECTS: bool
    EXPECTED: str

    def classes(self, root: ImageFolder) -> list[str]:
        """Names of the classes below ``root``, sorted; cheap: lists folders only."""

    def read(self, root: ImageFolder, classes: list[str]) -> list[ImageRecord]:
        """The images of ``classes``; raises ``InputError`` where the layout is broken."""


LAYOUTS: dict[str, Layout] = {"folder": folder, "classes": by_class, "demo": fabricated}


def find_classes(layout: str, root: ImageFolder) -> list[str]:
    """The classes of a data set.

    Raises:
        InputError: The root is missing or holds no class.
    """
    classes = LAYOUTS[layout].classes(root)
    if not classes:
        raise InputError(
            f"{root.root} holds no category: expected folders like {LAYOUTS[layout].EXPECTED}"
        )
    return classes


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
