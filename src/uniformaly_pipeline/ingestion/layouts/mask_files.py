"""Which image a mask is of, by their names and folders.

Capitals do not matter, but where several images could be meant the one that is written alike is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from uniformaly_pipeline.ingestion.layouts.folder_names import (
    as_written,
    folder_of,
    kind_of,
    plain,
    word,
)
from uniformaly_pipeline.ingestion.manifest import GOOD, ImageRecord

_SUFFIX = re.compile(r"[ _-]*(mask|gt|ground[ _-]?truth|label|seg)$", re.IGNORECASE)
_PREFIX = re.compile(r"^(mask|gt|ground[ _-]?truth|label|seg)[ _-]+", re.IGNORECASE)
"""What a mask's name has besides that of its image."""


@dataclass(frozen=True)
class Match:
    """The image that a mask is of.

    Attributes:
        image: Its path, ``None`` if there is none or several might be meant.
        mask: The mask: a file, or where it lies in a folder of its image's name that folder.
        is_exact: Whether the names are written alike, capitals and all.
    """

    image: str | None
    mask: str
    is_exact: bool = False


@dataclass(frozen=True)
class Beside:
    """Masks that lie in the folder of their image.

    Attributes:
        masks: By image.
        images: The records that are no masks.
        strangers: Masks of an image that has another one, or of which several might be meant.
    """

    masks: dict[str, str]
    images: list[ImageRecord]
    strangers: list[str]


def masks_beside(records: Sequence[ImageRecord]) -> Beside:
    """Tell the images from the masks that lie beside them."""
    images: dict[tuple[str, str], list[str]] = {}
    for record in records:
        stem = PurePosixPath(record.image).stem
        images.setdefault((folder_of(record.image), plain(stem)), []).append(record.image)
    masks: dict[str, str] = {}
    strangers = []
    for record in records:
        stem = as_written(PurePosixPath(record.image).stem)
        bare = _SUFFIX.sub("", stem)
        meant = images.get((folder_of(record.image), plain(bare)), [])
        if not bare or bare == stem or not meant:
            continue
        image = _only_one(meant, functools.partial(_is_called, stem=bare))
        if image is None or masks.setdefault(image, record.image) != record.image:
            strangers.append(record.image)
    taken = {*masks.values(), *strangers}
    return Beside(masks, [record for record in records if record.image not in taken], strangers)


class MaskFinder:
    """Finds the test image that a mask is of."""

    def __init__(self, records: Iterable[ImageRecord]) -> None:
        """Take the images that masks may be of; those of the test count."""
        self._by_kind: dict[tuple[str, str], list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for record in records:
            if record.split == "test":
                stem = plain(PurePosixPath(record.image).stem)
                self._by_kind.setdefault((record.defect, stem), []).append(record.image)
                self._by_stem.setdefault(stem, []).append(record.image)

    def find(self, path: str, folder: str, kinds: Sequence[str]) -> Match:
        """The image that a mask is of.

        Args:
            path: The mask.
            folder: The folder of masks that it lies in, however deep.
            kinds: What the images of the test are called.
        """
        parts = PurePosixPath(path).relative_to(folder).parts
        meant = _same_kinds(parts[0], kinds) if len(parts) > 1 else []
        inside = parts[1:] if meant else parts
        # In a sub-folder it is that of an image in one of the same name, or called like the folder.
        for stem in _stems(PurePosixPath(path).stem):
            image = self._only(meant, parts[0], stem, inside[:-1])
            if image is not None:
                is_exact = _stem(image) == stem and (not meant or parts[0] in meant)
                return Match(image, path, is_exact)
        if len(inside) > 1:
            image = self._only(meant, parts[0], as_written(inside[-2]), inside[:-2])
            if image is not None:
                return Match(image, folder_of(path), _stem(image) == as_written(inside[-2]))
        return Match(None, path)

    def _only(self, kinds: Sequence[str], top: str, stem: str, below: Sequence[str]) -> str | None:
        if kinds:
            known = [path for kind in kinds for path in self._by_kind.get((kind, plain(stem)), [])]
        else:
            known = self._by_stem.get(plain(stem), [])
        if below:
            known = [path for path in known if _ends_in(path, list(map(plain, below)), plain)]
        exact = list(map(as_written, below))
        return _only_one(
            known,
            lambda path: bool(below) or not kinds or _is_right_in(path, top),
            lambda path: _ends_in(path, exact, as_written),
            functools.partial(_is_called, stem=stem),
        )


def _same_kinds(name: str, kinds: Sequence[str]) -> list[str]:
    """The kinds that a folder of masks may be of: that of its name, or those but for capitals."""
    known = list(dict.fromkeys((GOOD, *kinds)))
    exact = [kind for kind in known if as_written(kind_of(name)) == as_written(kind)]
    return exact or [kind for kind in known if word(name) == word(kind)]


def _is_right_in(image: str, name: str) -> bool:
    """Whether an image lies right in the folder of a kind, and in none below."""
    above = PurePosixPath(image).parts[-2]
    return kind_of(above) == kind_of(name) or word(above) == word(name)


def _only_one(paths: Sequence[str], *tests: Callable[[str], bool]) -> str | None:
    """The one that is left if each test in turn leaves out what fails it, unless all do."""
    for test in tests:
        paths = [path for path in paths if test(path)] or paths
    return paths[0] if len(paths) == 1 else None


def _is_called(path: str, stem: str) -> bool:
    return _stem(path) == stem


def _stem(path: str) -> str:
    return as_written(PurePosixPath(path).stem)


def _ends_in(image: str, folders: Sequence[str], spell: Callable[[str], str]) -> bool:
    """Whether an image lies in these folders, one in the other, as they are spelt."""
    above = [spell(part) for part in PurePosixPath(image).parts[:-1]]
    return not folders or above[-len(folders) :] == list(folders)


def _stems(stem: str) -> list[str]:
    """What a mask's image may be called: as the mask, or without what says that it is one."""
    written = as_written(stem)
    return list(dict.fromkeys([written, _SUFFIX.sub("", written), _PREFIX.sub("", written)]))
