"""What a worker on another machine logs, gathered there and logged where the run is driven."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from uniformaly_pipeline.common.progress import Progress, watched_by

OWN = __name__.partition(".")[0]


class Line(NamedTuple):
    """A line of a log.

    Attributes:
        logger: Name of the logger.
        level: Its level.
        text: The message.
    """

    logger: str
    level: int
    text: str


class _Gatherer(logging.Handler):
    """Keeps this project's lines, and others' warnings."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING or record.name.partition(".")[0] == OWN:
            self.lines.append(Line(record.name, record.levelno, record.getMessage()))


@contextmanager
def gathered() -> Iterator[list[Line]]:
    """While the block runs, logs go nowhere but into the list, and no progress is shown."""
    gatherer, root = _Gatherer(), logging.getLogger()
    for each in logging.root.manager.loggerDict.values():
        if isinstance(each, logging.Logger) and each.name.partition(".")[0] != "ray":
            each.handlers.clear()
            each.propagate = True
    logging.getLogger(OWN).setLevel(logging.INFO)
    root.handlers[:] = [gatherer]
    try:
        with watched_by(_ignore):
            yield gatherer.lines
    finally:
        root.handlers.remove(gatherer)


def _ignore(_: Progress) -> None:
    """The screen is another process's."""


def log_again(lines: Iterable[Line]) -> None:
    """Log what was gathered elsewhere, as if it had been logged here."""
    for line in lines:
        logger = logging.getLogger(line.logger)
        if logger.isEnabledFor(line.level):
            logger.log(line.level, "%s", line.text)
