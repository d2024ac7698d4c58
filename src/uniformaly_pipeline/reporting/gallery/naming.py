"""What pictures of images are called."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import PurePosixPath


def file_names(images: Sequence[str]) -> list[str]:
    """A file name without suffix for each path, like the path itself and all different.

    Of paths that differ in their suffix alone it stays, so that names tell which is which. All lie
    below the folder that they are put into, wherever the paths lead.

    >>> file_names(["a b/1.png", "../a b/1.png", "/a b/1.png"])
    ['a_b/1', 'a_b/1-2', 'a_b/1-3']
    >>> file_names(["x.bmp", "x.gif", "y.bmp"])
    ['x.bmp', 'x.gif', 'y']
    """
    stems, suffixes = zip(*map(_stem_and_suffix, images), strict=True) if images else ((), ())
    kept = _suffixes_to_keep(stems, suffixes)
    taken: set[str] = set()
    names = []
    for stem, suffix in zip(stems, kept, strict=True):
        name, number = stem + suffix, 2
        # Some file systems take "A" and "a" for the same name.
        while name.lower() in taken:
            name, number = f"{stem}-{number}{suffix}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def possible_names(image: str) -> Iterator[str]:
    """What the file of one path may be called, the best name first, without end.

    For files that come one by one: the first name that no other path has is this one's.

    >>> from itertools import islice
    >>> list(islice(possible_names("a b/x.bmp"), 4))
    ['a_b/x', 'a_b/x.bmp', 'a_b/x-2.bmp', 'a_b/x-3.bmp']
    """
    stem, suffix = _stem_and_suffix(image)
    yield stem
    if suffix:
        yield stem + suffix
    for number in count(2):
        yield f"{stem}-{number}{suffix}"


def _stem_and_suffix(path: str) -> tuple[str, str]:
    """A path inside a folder and without signs, and its suffix, likewise."""
    whole = PurePosixPath(path)
    parts = whole.with_suffix("").parts
    inside = "/".join(part for part in parts if part not in ("/", "//", ".."))
    return _plain(inside), _plain(whole.suffix)


def _plain(text: str) -> str:
    return re.sub(r"[^\w./-]+", "_", text)


def _suffixes_to_keep(stems: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """The suffix of each name that would be another one's without it, else nothing."""
    kept = [""] * len(stems)
    while True:
        found = defaultdict(list)
        for i, (stem, suffix) in enumerate(zip(stems, kept, strict=True)):
            found[(stem + suffix).lower()].append(i)
        # Where whole names are the same as well, suffixes would tell nothing.
        alike = [
            i
            for group in found.values()
            if len({(stems[i] + suffixes[i]).lower() for i in group}) > 1
            for i in group
            if kept[i] != suffixes[i]
        ]
        if not alike:
            return kept
        # A suffix that stays may make a name that another one has: "x.bmp" of "x.bmp.png".
        for i in alike:
            kept[i] = suffixes[i]
