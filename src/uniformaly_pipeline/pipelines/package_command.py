"""``kedro package`` that leaves out the settings of one machine, which may be secret."""

from __future__ import annotations

import functools
import tarfile
from copy import copy
from pathlib import Path
from typing import Any

import click
from kedro.framework.project import settings

from uniformaly_pipeline.common.files import new_file

LOCAL = "local"
"""The environment of one machine, below the configuration's folder."""


def own_package(command: click.Command) -> click.Command:
    """Kedro's ``package``; its archive has nothing of ``conf/local``.

    Kedro leaves out files that end in ``.yml`` alone: no ``.yaml``, no ``.json`` and no folder.
    """
    own, callback = copy(command), command.callback
    assert callback is not None

    @functools.wraps(callback)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = callback(*args, **kwargs)
        project = click.get_current_context().obj
        archive = Path(project.project_path, "dist", f"conf-{project.package_name}.tar.gz")
        leave_out_local(archive, Path(settings.CONF_SOURCE).stem)
        return result

    own.callback = call
    return own


def leave_out_local(archive: Path, conf: str) -> None:
    """Rewrite an archive of the configuration without what is in its local environment.

    Args:
        archive: A ``.tar.gz``; it is replaced at once, when the new one is whole.
        conf: Name of the configuration's folder in it.

    Raises:
        OSError: The archive cannot be read or written.
    """
    with (
        new_file(archive) as part,
        tarfile.open(archive) as found,
        tarfile.open(part, "w:gz") as kept,
    ):
        for member in found:
            parts = Path(member.name).parts
            # Its folder stays, which a run wants.
            if parts[:2] == (conf, LOCAL) and len(parts) > 2 and parts[2] != ".gitkeep":
                continue
            kept.addfile(member, found.extractfile(member) if member.isreg() else None)
