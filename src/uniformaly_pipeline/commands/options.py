"""Options that several subcommands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, as_path
from uniformaly_pipeline.common.storage import local_path

Command = Callable[..., Any]

device = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps; auto takes a GPU."
)
checkpoint = click.option(
    "--checkpoint",
    metavar="FILE",
    help="The encoder's weights, if they are not where the detector says.",
)


class LocalFolder(click.Path):
    """A folder of this machine; ``file://`` is one, too."""

    def __init__(self, **options: Any) -> None:
        """Take what click's own type does."""
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path; a URL ends the command."""
        if isinstance(as_path(value), RemotePath):
            self.fail(f"{value} is a URL: give a folder of this machine", param, ctx)
        return super().convert(local_path(str(value)), param, ctx)


class Folder(click.ParamType):
    """A folder to write to, by path or URL."""

    name = "folder"

    def convert(self, value: Any, param: Any, ctx: Any) -> AnyPath:
        """The path; a file ends the command."""
        found = as_path(value)
        if isinstance(found, Path):
            click.Path(file_okay=False).convert(str(found), param, ctx)
        return found


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
