"""What pictures of images are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath


def file_names(images: Sequence[str]) -> list[str]:
    """A file name without suffix for each path, like the path itself and all different."""
    taken: set[str] = set()
    names = []
    for path in images:
        plain = re.sub(r"[^\w./-]+", "_", str(PurePosixPath(path).with_suffix("")))
        name, number = plain, 2
        # Some file systems take "A" and "a" for the same name.
        while name.lower() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names
