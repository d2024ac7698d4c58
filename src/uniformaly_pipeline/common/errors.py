"""Errors that a user can mend: what they say, and how they reach the terminal as one line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

import click

from uniformaly_pipeline.common.machine import causes, machine_fault
from uniformaly_pipeline.common.secrets import scrub, without_secrets

MAX_SUGGESTED = 12
"""Names that an error line offers to choose from."""

MAX_LISTED = 20
"""Problems that an error line tells in full."""

RUN_AGAIN = "run the task from the start"
"""The end of an error line about what an earlier run left; the frame adds the command."""

DOWNLOAD = "get them: kedro run --pipelines=download --params=dataset=NAME"
"""The end of an error line about a published data set; the frame puts the run's own command."""

_REMOTE = "DatasetInputError: "


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def as_line(text: str) -> str:
    """A text on one line, without the characters that move a cursor or change its colour.

    >>> as_line("a\\nb"), as_line("a \\x1b[31mb")
    ('a b', 'a  [31mb')
    """
    return _CONTROL.sub(" ", text)


class InputError(ValueError):
    """Something the user gave cannot be used: a parameter, a path, an image or a checkpoint.

    The message is one line that names the file or key and says what to do; the command line
    prints it without a traceback. Users and passwords of URLs are left out.
    """

    def __init__(self, message: str) -> None:
        """Say what cannot be used, and what to do."""
        super().__init__(as_line(without_secrets(message)))


class CommandError(click.ClickException):
    """Ends ``kedro run`` with one line and exit status 1."""

    def __init__(self, message: str) -> None:
        """Say what is wrong, and what to do; users and passwords of URLs are left out."""
        super().__init__(as_line(without_secrets(message)))


class InputErrorFilter(logging.Filter):
    """Silences what Kedro adds when a node fails on bad input: the error line says it all."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to print a record: not those logged while an input error passes through."""
        return find_input_error(sys.exc_info()[1]) is None or not record.name.startswith("kedro")


def find_input_error(error: BaseException | None) -> InputError | None:
    """What a user can mend of an exception: bad input, or a machine that cannot go on.

    Returns:
        The :class:`InputError` that it is or was caused by, or one that says what the machine
        cannot do (:func:`.machine.machine_fault`), if any.
    """
    for cause in causes(error):
        if isinstance(cause, InputError):
            return cause
        # Another process hands over an error without its causes, but with their text.
        remote = getattr(cause.__cause__, "tb", "")
        if isinstance(remote, str) and _REMOTE in remote:
            return InputError(remote.split(_REMOTE, 1)[1].splitlines()[0])
    fault = machine_fault(error)
    return None if fault is None else InputError(fault)


@contextmanager
def answered() -> Iterator[None]:
    """Around a command: what a user can mend ends it with one line, anything else tells no secret.

    Raises:
        CommandError: Bad input, or a machine that cannot go on.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:  # none ends here; any may have a cause to mend, or print secrets
        mendable = find_input_error(error)
        if mendable is None:
            scrub(error)
            raise
        raise CommandError(str(mendable)) from error


@contextmanager
def told_faults() -> Iterator[list[str]]:
    """Around a worker's piece of work: what a user can mend ends it and is told; all else goes on.

    Another process cannot raise an error of any library here, but it can tell its line.

    Yields:
        A list that has the line after the block, if there was one.
    """
    faults: list[str] = []
    try:
        yield faults
    except Exception as error:  # any may be caused by what a user can mend; all others go on
        mendable = find_input_error(error)
        if mendable is None:
            raise
        faults.append(str(mendable))


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of an error line: the closest known name, or all of them if none is close.

    Args:
        name: What the user wrote.
        known: What it could be.
        prefix: Put before each name that is shown.
    """
    candidates = [str(candidate) for candidate in known]
    closest = get_close_matches(name, candidates, n=1, cutoff=0.6)
    names = [prefix + candidate for candidate in (closest or candidates)]
    if closest:
        return f"; did you mean '{names[0]}'?"
    more = f" and {len(names) - MAX_SUGGESTED} more" if len(names) > MAX_SUGGESTED else ""
    return f"; choose from: {', '.join(names[:MAX_SUGGESTED])}{more}"


def list_problems(problems: Sequence[str]) -> str:
    """Several problems as one line, counted, the first few in full."""
    if len(problems) == 1:
        return problems[0]
    listed = "; ".join(problems[:MAX_LISTED])
    more = len(problems) - MAX_LISTED
    return f"{len(problems)} problems: {listed}" + (f"; and {more} more" if more > 0 else "")


def first_line(error: BaseException) -> str:
    """An exception's own words on one line, or its type where it has none.

    >>> first_line(OSError("cut short\\nat byte 7")), first_line(EOFError())
    ('cut short', 'EOFError')
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
