"""Kedro's project settings."""

import os

from omegaconf.resolvers import oc

from uniformaly_pipeline.hooks import CheckHooks, MlflowRunHooks, SummaryHooks, TrackingHooks
from uniformaly_pipeline.pipelines.config_loader import RunConfigLoader


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
HOOKS = (CheckHooks(), MlflowRunHooks(), TrackingHooks(), SummaryHooks())
# MlflowRunHooks stands for them; the name is spelt either way, as the package was built.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow", "kedro_mlflow")
