"""What the installed package does where Kedro looks for a project: logging and telemetry."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONSENT = Path(__file__).parents[1] / ".telemetry"
"""The project's consent to telemetry, which a package would else lose."""


def read_logging() -> None:
    """Have Kedro read ``conf/logging.yml``, which it does as soon as it is imported.

    Raises:
        SystemExit: It cannot be used; the line names it.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        import kedro.framework.project  # noqa: F401
    except (yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        file = os.environ.get("KEDRO_LOGGING_CONFIG") or "conf/logging.yml"
        sys.exit(f"Error: {file} cannot be used ({' '.join(str(error).split())}): mend it")


def honour_consent() -> None:
    """Send nobody what the project did not agree to; a ``.telemetry`` where the run is goes first.

    Kedro's plugin looks for the file in the folder of the project, and takes none for a yes.
    """
    from kedro.utils import find_kedro_project
    from omegaconf import OmegaConf

    if ((find_kedro_project(Path.cwd()) or Path.cwd()) / CONSENT.name).exists():
        return
    if not OmegaConf.load(CONSENT).consent:
        os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
