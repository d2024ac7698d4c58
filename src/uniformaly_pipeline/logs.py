"""How errors reach the user: one line for what the user can mend, no traceback."""

from __future__ import annotations

import logging
import sys

import click

from uniformaly_pipeline.errors import InputError


class CommandError(click.ClickException):
    """Ends ``kedro run`` with one line and exit status 1."""


def find_input_error(error: BaseException | None) -> InputError | None:
    """The :class:`.errors.InputError` that an exception is or was caused by, if any."""
    while error is not None and not isinstance(error, InputError):
        # Another process hands over an error without its causes, but with their text.
        remote = getattr(error.__cause__, "tb", "")
        if isinstance(remote, str) and _REMOTE in remote:
            return InputError(remote.split(_REMOTE, 1)[1].splitlines()[0])
        error = error.__cause__
    return error


_REMOTE = "DatasetInputError: "


class InputErrorFilter(logging.Filter):
    """Silences what Kedro adds when a node fails on bad input: the error line says it all."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to print a record: not those logged while an input error passes through."""
        return find_input_error(sys.exc_info()[1]) is None or not record.name.startswith("kedro")
