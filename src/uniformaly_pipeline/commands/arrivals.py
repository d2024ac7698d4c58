"""Files that arrive in a folder, each told once it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from uniformaly_pipeline.ingestion.images import is_clutter

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

    def skip(self) -> int:
        """Take all that is there now as done; how many files that is."""
        self._done = dict(_files(self.folder))
        return len(self._done)

    def look(self, now: float) -> list[Path]:
        """Look at the folder.

        Args:
            now: Seconds of a clock that never goes back.

        Returns:
            Files to judge, sorted: whole ones, and once more those that could not be read and have
            run out of patience.
        """
        ready = []
        present = dict(_files(self.folder))
        for path, stamp in present.items():
            if self._done.get(path) == stamp:
                continue
            waiting = self._waiting.get(path)
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


def _files(folder: Path) -> Iterator[tuple[Path, Stamp]]:
    """All files below a folder but clutter; what vanishes meanwhile is left out."""
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if is_clutter(entry.name):
                        continue
                    if entry.is_dir():
                        folders.append(Path(entry.path))
                        continue
                    status = entry.stat()
                    yield Path(entry.path), (status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            continue
