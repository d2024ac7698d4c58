"""What ``conf/logging.yml`` sets up: folders of log files are made, handlers get our filters."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

logger = logging.getLogger(__name__)


def all_handlers() -> Iterator[tuple[logging.Logger, logging.Handler]]:
    """Every handler with the logger that has it, the root's first."""
    root = logging.getLogger()
    named = [
        found for found in root.manager.loggerDict.values() if isinstance(found, logging.Logger)
    ]
    for owner in (root, *named):
        for handler in list(owner.handlers):
            yield owner, handler


def filter_all_handlers(*kinds: type[logging.Filter]) -> None:
    """Give each handler a filter of each kind, unless it has one.

    A process may run many sessions: filters of all of them would slow down every line of the log.
    """
    for _, handler in all_handlers():
        for kind in kinds:
            if not any(isinstance(each, kind) for each in handler.filters):
                handler.addFilter(kind())


def prepare_log_files() -> None:
    """Make the folders of log files; where a file cannot be written its handler goes, and says so.

    That holds for the rest of the process, too: a disk may be full at any later moment. Otherwise
    ``logging`` prints a traceback for every line that it cannot write.
    """
    lost = []
    for owner, handler in all_handlers():
        if not isinstance(handler, logging.FileHandler):
            continue
        # Kedro takes no handler of ours: it reads the file before the package can be imported.
        handler.handleError = partial(_give_up, handler)  # type: ignore[method-assign]
        try:
            Path(handler.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            with Path(handler.baseFilename).open("a"):
                pass
        except OSError as error:
            owner.removeHandler(handler)
            lost.append(f"{handler.baseFilename} ({error.strerror or error})")
    for line in sorted(set(lost)):
        _tell_lost(line)


def _give_up(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    """Go on without a log file that can no longer be written; its handler calls this."""
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        # A mistake of who logs: the way of logging itself.
        logging.FileHandler.handleError(handler, record)
        return
    owners = [owner for owner, other in all_handlers() if other is handler]
    for owner in owners:
        owner.removeHandler(handler)
    # What it still holds cannot be written either, which Python would tell at the end.
    stream, handler.stream = handler.stream, None
    if stream is not None:
        with suppress(OSError):
            stream.close()
    if owners:
        _tell_lost(f"{handler.baseFilename} ({error.strerror or error})")


def _tell_lost(file: str) -> None:
    logger.warning("No log file: %s cannot be written; the run goes on without", file)
