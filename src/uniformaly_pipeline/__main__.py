"""``python -m uniformaly_pipeline``: ``kedro run`` for the installed package."""

import sys
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common import interruption
from uniformaly_pipeline.pipelines.packaged import honour_consent, read_logging


def main(*args: Any, **kwargs: Any) -> Any:
    """Run the project's pipelines with Kedro's own ``run`` command."""
    interruption.take_over()
    read_logging()
    # Kedro takes about a second to import.
    from kedro.framework.cli.utils import find_run_command
    from kedro.framework.project import configure_project

    honour_consent()
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    interactive = hasattr(sys, "ps1")
    kwargs["standalone_mode"] = not interactive
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()
