"""What a result was made with, so that it can be made again."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from uniformaly_pipeline import __version__

_PACKAGES = (
    "torch", "timm", "numpy", "scikit-learn", "faiss-cpu", "faiss-gpu", "kedro", "mlflow",
)  # fmt: skip


def made_with(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Seed, git commit and versions of what ran.

    Args:
        parameters: The resolved parameters.

    Returns:
        Text by name; what is unknown, such as the commit of an installed package, is left out.
    """
    facts = {
        "Seed": parameters.get("seed"),
        "uniformaly-pipeline": __version__,
        # Of the code that runs, wherever the command was given.
        "Git commit": git_commit(Path(__file__).parent),
        "Python": platform.python_version(),
        **{name: installed_version(name) for name in _PACKAGES},
        "Machine": f"{platform.system()} {platform.machine()}",
    }
    return {name: str(fact) for name, fact in facts.items() if fact is not None}


def installed_version(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_commit(folder: Path) -> str | None:
    """The commit that a folder is at, with ``+changes`` if tracked files differ from it.

    Returns:
        None where there is no git, or the folder is in no repository.
    """
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not head:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{head}+changes" if changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    # A reader must not keep others from the repository.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
