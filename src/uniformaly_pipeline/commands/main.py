"""``uniformaly``: its subcommands, each loaded only when it is called."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler

from uniformaly_pipeline import __version__
from uniformaly_pipeline.common.errors import InputError, answered
from uniformaly_pipeline.common.garbage import collect_seldom

COMMANDS = {
    "fit": ("uniformaly_pipeline.commands.fitting:fit", "Make a detector from normal images."),
    "predict": ("uniformaly_pipeline.commands.predicting:predict", "Judge images."),
    "watch": (
        "uniformaly_pipeline.commands.watching:watch",
        "Judge each image that arrives in a folder.",
    ),
    "serve": ("uniformaly_pipeline.commands.serving:serve", "Answer HTTP requests."),
    "info": ("uniformaly_pipeline.commands.fitting:info", "Say what a detector is."),
    "add": (
        "uniformaly_pipeline.commands.fitting:add",
        "Add normal images to a detector.",
    ),
    "threshold": (
        "uniformaly_pipeline.commands.fitting:threshold",
        "Choose when an image is anomalous, for good.",
    ),
    "export": (
        "uniformaly_pipeline.commands.exporting:export",
        "Write a detector for use without torch.",
    ),
    "from-run": (
        "uniformaly_pipeline.commands.fitting:from_run",
        "Take a detector from a finished run of the pipeline.",
    ),
    "compare": (
        "uniformaly_pipeline.tracking.compare:main",
        "Compare finished runs of the pipeline.",
    ),
}
"""Where each subcommand is, and what ``uniformaly --help`` says of it."""


class _Commands(click.Group):
    """Subcommands that are imported when they are called: some bring torch or MLflow."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names, in the order of :data:`COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """One of them."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run one; bad input is one line, and so is a machine that cannot go on."""
        with answered():
            try:
                return super().invoke(ctx)
            except ModuleNotFoundError as error:
                raise InputError(
                    f"this command takes {error.name}, which is not installed here: install "
                    "uniformaly-pipeline with all that it needs"
                ) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="uniformaly")
def main() -> None:
    """Find what is unlike normal images, without training.

    \b
    uniformaly fit good/ -o bolt.safetensors
    uniformaly predict bolt.safetensors new/ --out results/
    """
    collect_seldom()
    # Standard output is the commands' own: JSON lines, for instance.
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("uniformaly_pipeline").setLevel(logging.INFO)
    logging.getLogger("uniformaly_pipeline.features.engines").setLevel(logging.WARNING)
