"""Users, passwords and keys are taken out of all that people see, and nothing else is."""

from __future__ import annotations

import logging
import pickle
import sys

import pytest

from uniformaly_pipeline.common.errors import CommandError, InputError
from uniformaly_pipeline.common.secrets import (
    SecretsFilter,
    hide_secrets,
    scrub,
    split_user,
    without_secrets,
)
from uniformaly_pipeline.datasets.errors import DatasetInputError

URL = "https://me:hush@host:8080/a/b.png"
SHOWN = "https://host:8080/a/b.png"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URL, SHOWN),
        ("https://me@host/a", "https://host/a"),
        ("https://:hush@host/a", "https://host/a"),
        ("s3://me:se@cret@host/a@b", "s3://host/a@b"),
        ("zip://x::https://me:pw@host/a", "zip://x::https://host/a"),
        # Passwords that should have been written with %2F, %3F and %23.
        ("https://me:a/b@host/c", "https://host/c"),
        ("https://me:a?b@host/c", "https://host/c"),
        ("https://me:a#b@host/c", "https://host/c"),
        (f"'{URL}' is not there: see {URL}", f"'{SHOWN}' is not there: see {SHOWN}"),
        ("https://host/a?page=2&X-Amz-Signature=ab%2Fc&size=3",
         "https://host/a?page=2&X-Amz-Signature=***&size=3"),
        ("https://host/a?sig=x&access_token=y", "https://host/a?sig=***&access_token=***"),
        ("postgresql+psycopg2://me:hush@db/mlflow", "postgresql+psycopg2://db/mlflow"),
    ],
)  # fmt: skip
def test_what_is_secret_is_taken_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "/data/me:hush@host/a", "me@example.org", "https://host:8080/@scope/pkg@2",
        "https://host/a@b", "github://owner:repository@/folder", "https://host/a?page=2&token",
        "https://host/a?design=x", "see https://host and write to me@example.org", "D:\\a@b",
    ],
)  # fmt: skip
def test_nothing_else_is_changed(text: str) -> None:
    assert without_secrets(text) == text


def test_addresses_are_set_aside() -> None:
    values = {"a": [URL, 3, None], "b": {"c": (URL,), "d": "/x@y"}, "e": 0.5}
    shown, addresses = hide_secrets(values)
    assert shown == {"a": [SHOWN, 3, None], "b": {"c": (SHOWN,), "d": "/x@y"}, "e": 0.5}
    assert addresses == {SHOWN: URL}


def test_a_user_and_password_are_decoded() -> None:
    assert split_user("https://m%40e:h%3Ash@host:80/a?b#c") == (
        "https://host:80/a?b#c",
        ("m@e", "h:sh"),
    )
    assert split_user("https://me@host") == ("https://host", ("me", ""))
    assert split_user("https://host/a@b") == ("https://host/a@b", None)


@pytest.mark.parametrize("kind", [InputError, DatasetInputError, CommandError])
def test_error_lines_tell_none(kind: type[Exception]) -> None:
    error = kind(f"{URL} is not there")
    assert str(error) == f"{SHOWN} is not there"
    if kind is not CommandError:
        # Other processes hand errors over.
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_causes_of_an_error_tell_none() -> None:
    try:
        try:
            raise FileNotFoundError(2, "not there", URL)
        except OSError as cause:
            raise RuntimeError(f"no {URL}", 3) from cause
    except RuntimeError as error:
        scrub(error)
        assert error.args == (f"no {SHOWN}", 3)
        assert "hush" not in str(error.__cause__)


def test_the_log_tells_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(SecretsFilter())
    logger = logging.getLogger("any.library")
    logger.warning("reading %s (%d)", URL, 7)
    logger.warning("100 %% of %r", {"url": URL})
    try:
        raise RuntimeError(URL)
    except RuntimeError:
        logger.error("failed", exc_info=sys.exc_info())
    assert f"reading {SHOWN} (7)" in caplog.text
    assert "100 % of" in caplog.text
    assert f"RuntimeError: {SHOWN}" in caplog.text
    assert "hush" not in caplog.text
