"""Signals to a small script that calls itself ``kedro run``: what it says, and what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

HEAD = """
import multiprocessing, sys, time
from pathlib import Path
sys.argv = ["/bin/kedro", "run"]
from uniformaly_pipeline.common import interruption
interruption.take_over()
"""

TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
"""Signals do what they do in a terminal, also where the tests run below nohup."""

PATIENCE_S = 30.0


class Script:
    """A script in a session of its own, as in a terminal; it says "ready" once it is."""

    def __init__(self, folder: Path, body: str, head: str = HEAD) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TERMINAL + head + textwrap.dedent(body)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.workers = psutil.Process(self.process.pid).children(recursive=True)

    def ends(self, number: int = signal.SIGINT, to_all: bool = True) -> tuple[int, str, str]:
        """Send a signal, to the workers too as a terminal does; status and what it said then."""
        (os.killpg if to_all else os.kill)(self.process.pid, number)
        said, error = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said, error

    def assert_no_worker_is_left(self) -> None:
        """Wait for the workers, which have a moment to go."""
        _, alive = psutil.wait_procs(self.workers, timeout=10)
        assert alive == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_unwinds_and_says_one_word(tmp_path: Path, number: int) -> None:
    script = Script(
        tmp_path,
        """
        with interruption.unwinding():
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                Path("cleaned").touch()
                print("a traceback", file=sys.stderr)
        """,
    )
    assert script.ends(number) == (1, "", "\nAborted!\n")
    assert (tmp_path / "cleaned").exists()


def test_it_ends_while_the_main_thread_does_not(tmp_path: Path) -> None:
    """As in native code, or where an exception is swallowed; MLflow is told all the same."""
    script = Script(
        tmp_path,
        """
        interruption.at_hard_end(lambda: Path("told").touch())
        words = ["ready"]
        with interruption.unwinding():
            while True:
                try:
                    # Inside: the signal may come as soon as it is said.
                    if words:
                        print(words.pop(), flush=True)
                    time.sleep(60)
                except BaseException:
                    pass
        """,
    )
    assert script.ends() == (1, "", "\nAborted!\n")
    assert (tmp_path / "told").exists()


def test_it_ends_where_there_is_nothing_to_unwind(tmp_path: Path) -> None:
    """While modules are imported: a ``KeyboardInterrupt`` there is a traceback or is lost."""
    script = Script(
        tmp_path,
        """
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            Path("raised").touch()
        """,
    )
    assert script.ends() == (1, "", "\nAborted!\n")
    assert not (tmp_path / "raised").exists()


def test_a_signal_after_all_is_done_changes_nothing(tmp_path: Path) -> None:
    """Python gives its handlers up before it takes the modules apart, which can take seconds."""
    late = "print('ready', flush=True), time.sleep(1)"
    head = f"import atexit, time\natexit.register(lambda: ({late}))\n" + HEAD
    assert Script(tmp_path, "", head=head).ends() == (0, "", "")


WORKERS = """
def work():
    time.sleep(60)

fork = multiprocessing.get_context("fork")
with interruption.unwinding():
    for _ in range(2):
        fork.Process(target=work).start()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("to_all", [True, False])
def test_workers_say_nothing_and_go(tmp_path: Path, to_all: bool) -> None:
    script = Script(tmp_path, WORKERS)
    assert len(script.workers) == 2
    assert script.ends(to_all=to_all) == (1, "", "\nAborted!\n")
    script.assert_no_worker_is_left()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends workers on Linux")
def test_workers_go_when_the_main_process_is_killed(tmp_path: Path) -> None:
    script = Script(tmp_path, WORKERS)
    assert script.ends(signal.SIGKILL, to_all=False)[0] == -signal.SIGKILL
    script.assert_no_worker_is_left()


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As for a job in the background of a script, or below nohup."""
    script = Script(
        tmp_path,
        """
        with interruption.unwinding():
            print("ready", flush=True)
            time.sleep(60)
        """,
        head="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + HEAD,
    )
    os.kill(script.process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert script.process.poll() is None
    assert script.ends(signal.SIGTERM) == (1, "", "\nAborted!\n")


@pytest.mark.parametrize(
    "arguments",
    [
        "['C:/bin/kedro.exe', 'run', '--env=test']",
        "['python -m kedro', 'run']",
        "['/bin/uniformaly-pipeline', '--params=a=1']",
        "['/lib/uniformaly_pipeline/__main__.py']",
    ],
)
def test_however_a_run_is_started(tmp_path: Path, arguments: str) -> None:
    script = Script(
        tmp_path,
        """
        print("ready", flush=True)
        time.sleep(60)
        """,
        head=HEAD.replace('["/bin/kedro", "run"]', arguments),
    )
    assert script.ends() == (1, "", "\nAborted!\n")


@pytest.mark.parametrize("arguments", ["['/bin/kedro', 'viz']", "['notebook.py', 'run']"])
def test_others_keep_their_signals(tmp_path: Path, arguments: str) -> None:
    script = Script(
        tmp_path,
        """
        with interruption.unwinding():
            print("ready", flush=True)
            time.sleep(60)
        """,
        head=HEAD.replace('["/bin/kedro", "run"]', arguments),
    )
    status, _, error = script.ends()
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in error


END = """
import atexit, logging, weakref
from logging.handlers import MemoryHandler
from pathlib import Path

class Module:
    def __del__(self):
        print("taken apart")

module = Module()
temporary = Module()
weakref.finalize(temporary, print, "temporary files gone")
memory = MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
logging.getLogger().addHandler(memory)
logging.getLogger().warning("logged")
atexit.register(print, "registered")
"""


def _end(folder: Path, last: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL + HEAD + END + last],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, sorted(set(done.stdout.split("\n")) - {""})


def test_a_success_ends_once_all_is_done_that_is_to_be_done_at_the_end(tmp_path: Path) -> None:
    done = ["logged", "registered", "temporary files gone"]
    assert _end(tmp_path, "interruption.succeeded()") == (0, done)
    assert _end(tmp_path, "interruption.succeeded(); sys.exit(0)") == (0, done)


@pytest.mark.parametrize(
    ("last", "status"), [("raise ValueError", 1), ("sys.stdout = open('/dev/full', 'w')", 120)]
)
def test_what_fails_after_a_success_is_no_success(tmp_path: Path, last: str, status: int) -> None:
    last = f"interruption.succeeded()\n{last}\nsys.stdout.write('lost')"
    assert _end(tmp_path, last)[0] == status
