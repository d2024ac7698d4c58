"""What pictures of images are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath


def file_names(images: Sequence[str]) -> list[str]:
    """A file name without suffix for each path, like the path itself and all different.

    All lie below the folder that they are put into, wherever the paths lead.

    >>> file_names(["a b/1.png", "../a b/1.png", "/a b/1.jpg"])
    ['a_b/1', 'a_b/1-2', 'a_b/1-3']
    """
    taken: set[str] = set()
    names = []
    for path in images:
        whole = PurePosixPath(path).with_suffix("")
        inside = "/".join(part for part in whole.parts if part not in ("/", "//", ".."))
        plain = re.sub(r"[^\w./-]+", "_", inside)
        name, number = plain, 2
        # Some file systems take "A" and "a" for the same name.
        while name.lower() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names
