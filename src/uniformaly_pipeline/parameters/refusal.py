"""What stands for a task that does not fit the run."""

from __future__ import annotations

from uniformaly_pipeline.common.errors import InputError

REFUSAL = "refuse"
"""Name of the node that stands for a task that does not fit the run."""


def refuse(reason: str) -> None:
    """End the run of a task that does not fit its parameters or data set.

    Raises:
        InputError: Always.
    """
    raise InputError(reason)
