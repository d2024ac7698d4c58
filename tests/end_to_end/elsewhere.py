"""Runs whose images and results lie in storage elsewhere: putting them there, what is left here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from uniformaly_pipeline.common.storage import locate

OWN = {"src", "conf", "pyproject.toml", "logs", ".viz", "mlruns"}
"""What lies in the project's folder but results: the last two are Kedro-Viz's and MLflow's."""


def upload(folder: Path, url: str) -> str:
    """Put a local folder elsewhere."""
    fs, path = locate(url)
    fs.put(str(folder), path, recursive=True)
    return url


def keep_in(project: Any, base: str, env: str = "local", **more: Any) -> None:
    """Have an environment of the configuration put results elsewhere; ``more`` of its globals."""
    shipped = yaml.safe_load((project.path / "conf/base/globals.yml").read_text())["paths"]
    paths = {key: path.replace("data/", f"{base}/results/") for key, path in shipped.items()}
    settings = yaml.safe_dump({"paths": paths, **more})
    (project.path / f"conf/{env}/globals.yml").write_text(settings)


def left_behind(project: Any) -> list[str]:
    """Files of the project that are neither its own nor logs, nor what plugins keep."""
    return sorted(
        path.relative_to(project.path).as_posix()
        for path in project.path.rglob("*")
        if path.is_file() and path.relative_to(project.path).parts[0] not in OWN
    )
