"""Visual anomaly detection with one training-free method for every task (arXiv 2307.12540)."""

from typing import Any

from uniformaly_pipeline.common.cores import prepare_threads

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]

prepare_threads()  # before anything here imports what brings OpenMP


def __getattr__(name: str) -> Any:
    """``Detector``, loaded when it is asked for: the package itself is light."""
    if name == "Detector":
        # By name: the rooms import the package they lie in, and nothing imports in a circle.
        from importlib import import_module

        return import_module("uniformaly_pipeline.detector.detector").Detector
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
