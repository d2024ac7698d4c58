"""Where runs are tracked: which addresses make sense, and whether one can be used."""

from __future__ import annotations

import os

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.tracking.database import (
    local_database,
    prepare_database,
    require_database,
)
from uniformaly_pipeline.tracking.server import check_server, without_user

VARIABLE = "MLFLOW_TRACKING_URI"

DEFAULT_URI = "sqlite:///mlflow.db"
"""Where runs go without :data:`VARIABLE`, as ``mlflow.yml`` has it."""


def usual_address() -> str:
    """Where a run tracks to unless it is told otherwise; an empty variable is none."""
    return os.environ.get(VARIABLE) or DEFAULT_URI


def check_address(uri: str, make: bool) -> None:
    """Find out within seconds whether an address of runs can be used.

    Args:
        uri: A tracking address; a user and password in it are not shown.
        make: Whether runs are to be written: a local database that is not there is made.

    Raises:
        InputError: It is no address, nobody answers there, or the database is damaged or, to be
            read, not there; the line names it and says what to do.
    """
    uri = without_user(uri)
    if local_database(uri) is not None:
        (prepare_database if make else require_database)(uri)
    elif uri.startswith("sqlite:"):
        raise InputError(f"{uri} keeps no runs: name a file of its own, such as {DEFAULT_URI}")
    elif uri.startswith("file:") or ("://" not in uri and not uri.startswith("databricks")):
        raise InputError(
            f"'{uri}' is no address of runs: write sqlite:/// before the path of a database, or "
            f"https:// before the name of a server ({VARIABLE})"
        )
    else:
        check_server(uri)
