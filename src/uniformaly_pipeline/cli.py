"""``kedro run``, which takes text as it is written and answers mishaps in one line.

And ``kedro package``, which packs no secrets. Kedro takes a project's own commands from here, also
where it is run as a package.
"""

from __future__ import annotations

import functools
from copy import copy
from typing import Any

import click
from kedro.framework.cli.project import package as kedro_package
from kedro.framework.cli.project import run as kedro_run

from uniformaly_pipeline.common import interruption
from uniformaly_pipeline.pipelines.package_command import own_package
from uniformaly_pipeline.pipelines.run_command import own_run


@click.group(name="uniformaly_pipeline")
def cli() -> None:
    """Commands of this project."""


def _interruptible(command: click.Command) -> click.Command:
    """A command like another one, whose signals :mod:`.interruption` answers."""
    own, callback = copy(command), command.callback
    assert callback is not None

    @functools.wraps(callback)
    def call(*args: Any, **kwargs: Any) -> Any:
        with interruption.unwinding():
            result = callback(*args, **kwargs)
        interruption.succeeded()
        return result

    own.callback = call
    return own


run = _interruptible(own_run(kedro_run))
package = own_package(kedro_package)
cli.add_command(run)
cli.add_command(package)
