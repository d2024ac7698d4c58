"""A copy of the project in which ``kedro run`` can be measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def copy_project(folder: Path, parameters: Mapping[str, Any] | None = None) -> Path:
    """The project in ``folder/project``, with nothing of this machine's own settings.

    Args:
        folder: Where there is no project yet.
        parameters: What its ``conf/local/parameters.yml`` says.
    """
    project = folder / "project"
    for name in ("conf", "src"):
        ignored = shutil.ignore_patterns("*.egg-info", "local")
        shutil.copytree(ROOT / name, project / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", project)
    for name in ("data", "logs", "conf/local"):
        (project / name).mkdir()
    # JSON is YAML.
    (project / "conf/local/parameters.yml").write_text(json.dumps(parameters or {}))
    return project
