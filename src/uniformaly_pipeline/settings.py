"""Kedro's project settings."""

import logging
import os

from omegaconf.resolvers import oc

from uniformaly_pipeline.common import garbage, interruption

# Kedro imports this file first; the imports below take seconds, in which people press Ctrl-C, too.
interruption.take_over()
if interruption.is_run_command():
    garbage.leave_garbage()
    # What others ask for when they are imported: figures need no window, tracking no git program.
    os.environ["MPLBACKEND"] = "agg"
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # A terminal that takes no more ends the run with one line, not with a traceback for each.
    logging.raiseExceptions = False

from uniformaly_pipeline.hooks import (  # noqa: E402
    CheckHooks,
    MlflowRunHooks,
    OriginHooks,
    StageHooks,
    SummaryHooks,
    ThreadHooks,
    TrackingHooks,
)
from uniformaly_pipeline.pipelines.config_loader import RunConfigLoader  # noqa: E402


def _local_only(path: str) -> str | None:
    """``path`` unless runs go to a tracking server, which has a place for artifacts itself."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else path


CONFIG_LOADER_CLASS = RunConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment changes single keys of a section, not the whole section.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    "custom_resolvers": {
        "oc.env": oc.env,
        "local_only": _local_only,
    },
}
HOOKS = (
    CheckHooks(),
    ThreadHooks(),
    MlflowRunHooks(),
    TrackingHooks(),
    OriginHooks(),  # before tracking, as pluggy calls the last one first
    StageHooks(),
    SummaryHooks(),
)
# MlflowRunHooks stands for them; the name is spelt either way, as the package was built.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow", "kedro_mlflow")
