"""Files that arrive in a folder, each told once it is whole."""

from __future__ import annotations

import errno
import logging
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from uniformaly_pipeline.common.words import as_text
from uniformaly_pipeline.ingestion.images import is_clutter, may_be_image

logger = logging.getLogger(__name__)

Stamp = tuple[int, int]
"""What changes while a file is written: its size and time."""


@dataclass
class _Waiting:
    stamp: Stamp
    since: float
    tried: bool = False


class Arrivals:
    """Keeps watch over a folder by looking at all of it, however deep.

    A file counts as whole once its size and time have stayed as they are for ``settle_s``. One that
    cannot be read then may still be written by a slow hand: it is given ``patience_s`` from its
    last change. A file that changes later arrives again. Whatever wakes us may miss a file; a look
    does not.

    Attributes:
        folder: The folder.
        settle_s: Seconds without a change after which a file is taken for whole.
        patience_s: Seconds without a change after which one that cannot be read is given up.
    """

    def __init__(self, folder: Path, settle_s: float, patience_s: float) -> None:
        """Watch a folder; what lies in it already arrives too, unless :meth:`skip` is called."""
        self.folder = folder
        self.settle_s = settle_s
        self.patience_s = max(patience_s, settle_s)
        self._done: dict[Path, Stamp] = {}
        self._waiting: dict[Path, _Waiting] = {}
        self._left_out: set[str] = set()
        self._renamed: set[str] = set()

    def skip(self, judged: Mapping[str, float] | None = None) -> int:
        """Take what is there now as done; how many files that is.

        Args:
            judged: When images were judged, seconds since 1970 by their :meth:`name_of`: of
                these what has not changed since is done. ``None``: all is.
        """
        present = self._present()
        if judged is not None:
            present = {
                path: stamp
                for path, stamp in present.items()
                # Times are kept to the second.
                if stamp[1] / 1e9 < judged.get(self.name_of(path), -math.inf) + 1
            }
        self._done = present
        return len(self._done)

    def name_of(self, path: Path) -> str:
        """What a file is called: its path below the folder, as :func:`.words.as_text` writes it."""
        return as_text(path.relative_to(self.folder).as_posix())

    def look(self, now: float) -> list[Path]:
        """Look at the folder.

        Args:
            now: Seconds of a clock that never goes back.

        Returns:
            Files to judge, sorted: whole ones, and once more those that could not be read and have
            run out of patience.
        """
        ready = []
        present = self._present()
        for path, stamp in present.items():
            if self._done.get(path) == stamp:
                continue
            waiting = self._waiting.get(path)
            if waiting is None:
                self._warn_of_name(path)
            if waiting is None or waiting.stamp != stamp:
                self._waiting[path] = _Waiting(stamp, now)
                continue
            quiet = now - waiting.since
            if quiet >= (self.patience_s if waiting.tried else self.settle_s):
                ready.append(path)
        for path in [path for path in self._waiting if path not in present]:
            del self._waiting[path]  # renamed or removed: a new name arrives by itself
        self._done = {path: stamp for path, stamp in self._done.items() if path in present}
        return sorted(ready)

    def _present(self) -> dict[Path, Stamp]:
        """The images in the folder; other files are left out, which is said once of each kind."""
        found = {}
        for path, stamp in _files(self.folder):
            if may_be_image(path.name):
                found[path] = stamp
            elif (kind := path.suffix.lower()) not in self._left_out:
                self._left_out.add(kind)
                logger.warning(
                    "%s is left out as no image, as is every %s", as_text(path.name), as_text(kind)
                )
        return found

    def _warn_of_name(self, path: Path) -> None:
        """Say once how a name that is not UTF-8 is written."""
        name = self.name_of(path)
        if name != path.relative_to(self.folder).as_posix() and name not in self._renamed:
            self._renamed.add(name)
            logger.warning("The name of %s is not UTF-8: results call it so", name)

    def judged(self, path: Path) -> None:
        """Note that a file is done with."""
        waiting = self._waiting.pop(path, None)
        if waiting is not None:
            self._done[path] = waiting.stamp

    def unreadable(self, path: Path, now: float) -> bool:
        """Note that a file could not be read.

        Returns:
            Whether it is given up; if not, it is told again when it has changed, or when patience
            has run out.
        """
        waiting = self._waiting.get(path)
        if waiting is None:
            return False
        if now - waiting.since >= self.patience_s:
            self.judged(path)
            return True
        waiting.tried = True
        return False

    @property
    def num_waiting(self) -> int:
        """Files that are there but not done."""
        return len(self._waiting)


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, Stamp]]:
    """All files below a folder but clutter; what vanishes meanwhile is left out.

    Linked folders are followed, loops are not; links to nothing and what is no file are left out.
    """
    here = Path(os.path.realpath(folder))
    if any(each.is_relative_to(here) for each in above):
        return
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not is_clutter(entry.name)]
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.is_dir():
                yield from _files(Path(entry.path), above | {here})
                continue
            status = entry.stat()
        except OSError as error:
            # Gone by now, or a link to nothing or to itself: the next entries are none of these.
            if error.errno in (errno.ENOENT, errno.ELOOP):
                continue
            raise
        if stat.S_ISREG(status.st_mode):
            yield Path(entry.path), (status.st_size, status.st_mtime_ns)
