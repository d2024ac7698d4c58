"""Servers of tests: another port where one is taken, their own words, and nothing left running."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from tools import servers
from tools.servers import ServerError, serving

SERVER = """
import sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def test_a_server_whose_port_was_taken_gets_another(tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("hello")
    ports: list[int] = []

    def command(port: int) -> list[str]:
        ports.append(port)
        return python("raise SystemExit(98)") if len(ports) == 1 else python(SERVER, port)

    with serving(command, "/here.txt", folder=tmp_path) as url:
        assert urllib.request.urlopen(f"{url}/here.txt").read() == b"hello"
    assert len(set(ports)) == 2
    assert url.endswith(f":{ports[1]}")


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda port: python(SERVER, port)) as url:
        taken = int(url.rpartition(":")[2])
        monkeypatch.setattr(servers.random, "sample", lambda *_: [taken, taken + 1])
        assert servers.free_port() == taken + 1


def test_a_server_that_always_ends_is_told_with_its_own_words() -> None:
    script = "import sys; print('to stdout'); sys.exit('the port is taken')"
    with (
        pytest.raises(ServerError, match=r"(?s)status 1 on 3 ports: .*the port is taken") as error,
        serving(lambda _: python(script)),
    ):
        pass
    assert "to stdout" in str(error.value)


def test_a_server_that_never_answers_is_told_and_ended() -> None:
    script = "import time; print('I sleep', flush=True); time.sleep(600)"
    with (
        pytest.raises(ServerError, match=r"no answer within 1.5 s: I sleep"),
        serving(lambda _: python(script), within_s=1.5),
    ):
        pass


def test_a_server_that_died_meanwhile_does_not_hide_why_the_test_failed() -> None:
    with (
        pytest.raises(AssertionError, match="what the test found"),
        serving(lambda port: python(SERVER, port)) as url,
    ):
        (server,) = (each for each in psutil.Process().children() if url[-5:] in each.cmdline()[-1])
        server.kill()
        server.wait(10)
        raise AssertionError("what the test found")


def test_none_of_a_servers_processes_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a worker that takes its time, and not one that does not want to end."""
    monkeypatch.setattr(servers, "ENDS_WITHIN_S", 2)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    worker = f"{stubborn} open('ready', 'w').close(); time.sleep(600)"
    script = f"""
import subprocess, sys, time
from pathlib import Path
worker = subprocess.Popen([sys.executable, "-c", {worker!r}])
while not Path("ready").exists():
    time.sleep(0.05)
Path("worker").write_text(str(worker.pid))
{SERVER}
"""
    with serving(lambda port: python(script, port), folder=tmp_path):
        pid = int((tmp_path / "worker").read_text())
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
