"""Kedro's project settings."""

import os

from omegaconf.resolvers import oc

from uniformaly_pipeline.context import PublishingContext
from uniformaly_pipeline.hooks import CheckHooks, ClosingHooks, SummaryHooks, TrackingHooks
from uniformaly_pipeline.parameters.current_run import current_run


def _local_only(path: str) -> str | None:
    """``path`` unless runs go to a tracking server, which has a place for artifacts itself."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else path


CONTEXT_CLASS = PublishingContext
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment changes single keys of a section, not the whole section.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    "custom_resolvers": {
        "oc.env": oc.env,
        "run": lambda key: current_run().catalog_value(key),
        "local_only": _local_only,
    },
}
HOOKS = (CheckHooks(), TrackingHooks(), ClosingHooks(), SummaryHooks())
