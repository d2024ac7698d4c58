"""A tracking server gets its user and password, and is asked whether it is there."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.tracking import server
from uniformaly_pipeline.tracking.server import check_server, without_user


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port at which nobody listens."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@pytest.fixture
def headers() -> Iterator[Callable[[], dict[str, str]]]:
    """What MLflow sends with each request."""
    from mlflow.tracking.request_header import registry

    known = registry._request_header_provider_registry._registry
    before = list(known)
    yield registry.resolve_request_headers
    known[:] = before


def test_a_tracking_server_gets_user_and_password_in_requests_alone(
    headers: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow would write the user of its environment variable into each run."""
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    assert without_user("https://me:old@host:5000") == "https://host:5000"
    assert without_user("https://me:hu%40sh@host:5000/x") == "https://host:5000/x"
    told = base64.b64encode(b"me:hu@sh").decode()
    assert headers()["Authorization"] == f"Basic {told}"
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///mlflow.db", "https://host:5000", "postgresql://me:hush@host/db", "databricks"],
)
def test_other_addresses_stay_as_they_are(uri: str, headers: Callable[[], dict[str, str]]) -> None:
    assert without_user(uri) == uri
    assert "Authorization" not in headers()


def test_nobody_at_the_address_is_one_line(free_port: int) -> None:
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI") as error:
        check_server(f"http://127.0.0.1:{free_port}")
    assert f"http://127.0.0.1:{free_port} cannot be used" in str(error.value)
    assert "refused" in str(error.value)
    assert "\n" not in str(error.value)


def test_who_listens_and_does_not_answer_is_not_waited_for(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWERS_WITHIN_S", 0.5)
    refused = pytest.raises(InputError, match=r"no answer within 0.5 seconds")
    with socket.create_server(("127.0.0.1", free_port)), refused:
        check_server(f"http://127.0.0.1:{free_port}")
    # MLflow is as patient as ever for what comes later.
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_name_whose_look_up_hangs_keeps_no_process_from_ending(tmp_path: Path) -> None:
    """The system's resolver may wait for minutes, and no thread in it can be stopped."""
    script = tmp_path / "ask.py"
    script.write_text("""
import socket
import subprocess
import sys
import time
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.tracking import server

socket.getaddrinfo = lambda *args, **options: time.sleep(600)
server.ANSWERS_WITHIN_S = 0.5
try:
    server.check_server("http://tracking.invalid:5000")
except InputError as error:
    print(error)
""")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "the tracking server http://tracking.invalid:5000 cannot be used (no answer within 0.5 s"
    )


def test_another_server_than_mlflow_is_told(free_port: int) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Log in</html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", free_port), Page) as page:
        Thread(target=page.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match="not in a valid JSON format"):
            check_server(f"http://127.0.0.1:{free_port}")
        page.shutdown()


def test_who_answers_is_good_enough(tracked: str) -> None:
    check_server(tracked)


def test_a_mistake_of_ours_is_not_the_servers_fault(
    tracked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its traceback, also from the thread that asks."""
    from mlflow import MlflowClient

    def mistaken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", mistaken)
    with pytest.raises(ZeroDivisionError):
        check_server(tracked)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:hush@[::1", "is no URL"),
        ("http://me:hu sh#hush@127.0.0.1:1", "write #, / and"),
        ("http://me:hu/sh@host", "write #, / and"),
        ("me:hush@host/x", "begin it with https://"),
    ],
)
def test_an_address_whose_password_cannot_be_told_is_one_line_without_it(
    uri: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as error:
        without_user(uri)
    assert "hu" not in str(error.value)
