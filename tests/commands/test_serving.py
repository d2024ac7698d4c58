"""``uniformaly serve`` says where it listens, or in one line why it cannot."""

from __future__ import annotations

import logging
import signal
import socket
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner

from uniformaly_pipeline.commands.main import main


def serve(detector_file: Path, *options: str) -> str:
    answer = CliRunner().invoke(main, ["serve", str(detector_file), *options])
    return f"{answer.exit_code} {answer.output}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_port_that_the_system_chose_is_told(
    host: str,
    detector_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ports = []

    def run(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        ports.append(sockets[0].getsockname()[1])
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as asking:
            asking.connect((host, ports[0]))

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)  # as its server does once it has ended by it

    monkeypatch.setattr(uvicorn.Server, "run", run)
    before = signal.getsignal(signal.SIGINT)
    caplog.set_level(logging.INFO)
    answer = serve(detector_file, "--port", "0", "--host", host)
    assert answer.startswith("0"), answer
    assert signal.getsignal(signal.SIGINT) is before
    shown = f"[{host}]" if ":" in host else host
    said = caplog.text + answer
    assert f"at http://{shown}:{ports[0]}\n" in said
    assert f"Try it: curl --data-binary @x.png http://{shown}:{ports[0]}/predict" in said
    assert "Stopped after 0 images" in said


def test_an_address_that_is_taken_or_not_ours_is_one_line(detector_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = serve(detector_file, "--port", str(port))
    assert answer.startswith(f"1 Error: nobody can listen at 127.0.0.1:{port} (")
    assert "nobody can listen at 192.0.2.1:8000" in serve(detector_file, "--host", "192.0.2.1")
