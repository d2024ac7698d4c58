"""Options that several subcommands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

device = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps; auto takes a GPU."
)
checkpoint = click.option(
    "--checkpoint",
    metavar="FILE",
    help="The encoder's weights, if they are not where the detector says.",
)


def decision(command: Command) -> Command:
    """``--false-alarm-rate`` and ``--threshold``."""
    command = click.option(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="Flag images that score above this, in place of a rate.",
    )(command)
    return click.option(
        "--false-alarm-rate",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Share of normal images that may be flagged.  [default: 0.1]",
    )(command)
