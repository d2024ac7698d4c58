"""What a layout offers: the one interface that a newcomer's data set implements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import ImageRecord
from uniformaly_pipeline.ingestion.regions import MISPLACED, is_roi_name

LOOSE = "loose pictures"
"""The check of images that lie right in a category, or in none."""


@dataclass(frozen=True)
class Split:
    """How images are split where a data set is published without a split.

    Attributes:
        seed: Seed of the draw.
        test_share: Share of the normal images that are held out for the test, 0..1.
        cap: Most images of a class to use, ``None`` for all.
        min_images: Classes with fewer images are refused.
    """

    seed: int = 0
    test_share: float = 0.2
    cap: int | None = None
    min_images: int = 0


@dataclass(frozen=True)
class Note:
    """What a layout leaves out, or reads in a way that one should know of.

    Attributes:
        class_name: The class it is about, empty for all.
        check: In a word or two, what it is about; ``other files`` are told together.
        text: What a reader is told; of ``other files``, :data:`LOOSE` pictures and pictures of
            regions that lie where none is looked for (:data:`.regions.MISPLACED`) the path.
    """

    class_name: str
    check: str
    text: str


def left_out(class_name: str, files: Iterable[str]) -> list[Note]:
    """Notes on files of a class that are no images, or pictures of a region in a wrong place."""
    checks = ((MISPLACED if is_roi_name(path) else "other files", path) for path in files)
    return [Note(class_name, check, path) for check, path in checks]


@dataclass(frozen=True)
class Counts:
    """How many images a class has as published.

    Attributes:
        train: Normal images to learn from.
        good: Normal test images.
        anomalous: Anomalous test images.
    """

    train: int
    good: int
    anomalous: int = 0


class Layout(Protocol):
    """What a layout module offers. It may also have ``PUBLISHED: dict[str, Counts]``, by class.

    It may have ``notes(root, classes, split) -> list[Note]``, too: what is left out.

    Attributes:
        HAS_DEFECTS: Whether anomalous test images are defective ones of their class. Otherwise
            they are images of another class than the normal one.
        EXPECTED: What the layout's folders are called, for error messages.
    """

    HAS_DEFECTS: bool
    EXPECTED: str

    def classes(self, root: ImageFolder) -> list[str]:
        """Names of the classes right below ``root``, sorted; cheap: lists folders only.

        Empty where ``root`` is not the data set's own folder: it may lie one level up or down.
        """

    def read(self, root: ImageFolder, classes: list[str], split: Split) -> list[ImageRecord]:
        """The images of ``classes``; raises ``InputError`` where the layout is broken."""
