"""The address of a tracking server, who we are to it, and whether it answers."""

from __future__ import annotations

import base64
import logging
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool

from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.secrets import split_user, without_secrets

ANSWERS_WITHIN_S = 8.0
"""How long a tracking server may take to answer its first question, its name's look-up included;
with the start of a run a dead one is found out within 15 seconds."""

_USER_ALONE = re.compile(r"[^/\\]+:[^/\\]*@")

_ASKED_ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "6"}


def without_user(uri: str) -> str:
    """A tracking server's address without user and password, which MLflow gets by its own way.

    MLflow prints the address and puts it into its error messages; and who logs in by
    ``MLFLOW_TRACKING_USERNAME`` stands in each run. So both go into the requests alone. Addresses
    of databases stay as they are: SQLAlchemy hides their passwords.

    Raises:
        InputError: It cannot be told where the password ends; the line does not repeat it.
    """
    if "://" not in uri and _USER_ALONE.match(uri):
        raise InputError(
            "the tracking server's address has a user but no scheme: begin it with https://"
        )
    if not uri.startswith(("http://", "https://")):
        return uri
    try:
        address, user = split_user(uri)
    except ValueError as error:
        raise InputError("the tracking server's address is no URL: mend its host") from error
    if "@" in address:
        raise InputError(
            "the tracking server's address has an @ after its host: write #, / and ? in a password "
            "as %23, %2F and %3F"
        )
    if user is not None:
        _log_in(*user)
    return address


def _log_in(name: str, password: str) -> None:
    """Have every request of this process to a tracking server say who we are."""
    from mlflow.tracking.request_header import registry
    from mlflow.tracking.request_header.abstract_request_header_provider import (
        RequestHeaderProvider,
    )

    secret = base64.b64encode(f"{name}:{password}".encode()).decode()

    class Login(RequestHeaderProvider):
        def in_context(self) -> bool:
            return True

        def request_headers(self) -> dict[str, str]:
            return {"Authorization": f"Basic {secret}"}

    # As kedro-mlflow does it; MLflow has no other way than entry points of packages.
    known = registry._request_header_provider_registry._registry
    known[:] = [each for each in known if type(each).__name__ != Login.__name__]
    known.append(Login())


def tracking_errors() -> tuple[type[Exception], ...]:
    """What MLflow, its server, its database and its place for artifacts raise."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, OSError


def check_server(uri: str) -> None:
    """Find out within seconds whether runs can be tracked; MLflow itself would try for minutes.

    Args:
        uri: The tracking address.

    Raises:
        InputError: Nobody answers, or not as MLflow does; the line names the address.
    """

    def ask() -> None:
        from mlflow import MlflowClient

        MlflowClient(uri).get_experiment_by_name("Default")

    expected: tuple[type[Exception], ...] = (*tracking_errors(), ImportError)
    # Its thread keeps no process from ending, whatever the server does.
    pool = ThreadPool(1)
    with _asked_once():
        asked = pool.apply_async(ask)
        try:
            asked.get(ANSWERS_WITHIN_S)
        except multiprocessing.TimeoutError as error:
            raise _unusable(uri, f"no answer within {ANSWERS_WITHIN_S:g} seconds") from error
        except expected as error:
            raise _unusable(uri, _reason(error)) from error


def _unusable(uri: str, reason: str) -> InputError:
    return InputError(
        f"the tracking server {without_secrets(uri)} cannot be used ({reason}): start it or "
        "correct its address; without MLFLOW_TRACKING_URI runs go to mlflow.db"
    )


def _reason(error: BaseException) -> str:
    """The innermost of an error's causes, which is what happened."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return without_secrets(first_line(error))


@contextmanager
def _asked_once() -> Iterator[None]:
    """MLflow neither tries again nor says that it would."""
    before = {name: os.environ.get(name) for name in _ASKED_ONCE}
    os.environ.update(_ASKED_ONCE)
    logs = [logging.getLogger(name) for name in ("urllib3", "mlflow")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
