"""Workers end with their parent; a process is told from a later one of its number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from uniformaly_pipeline.common.processes import ProcessIdentity, be_a_worker

PARENT = """
import multiprocessing, signal, time
from uniformaly_pipeline.common import processes

def work(told):
    if {without_prctl}:
        processes._prctl = None
    processes.be_a_worker()
    told.send(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    told, tell = context.Pipe()
    worker = context.Process(target=work, args=(tell,))
    worker.start()
    print(worker.pid, told.recv(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("without_prctl", [False, True])
def test_a_worker_ends_with_a_parent_that_is_killed(
    tmp_path: Path, method: str, without_prctl: bool
) -> None:
    """By the kernel where it does that, else by a pipe; Ctrl-C it leaves to the parent."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(method=method, without_prctl=without_prctl))
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, ignores = parent.stdout.readline().split()
    worker = psutil.Process(int(pid))
    assert ignores == "True"
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([worker], timeout=10)
    assert alive == []


def test_who_is_nobodys_worker_stays_as_it_is() -> None:
    before = signal.getsignal(signal.SIGINT)
    be_a_worker()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_living_process_is_not_gone() -> None:
    this = ProcessIdentity.of_this()
    assert this.pid == os.getpid()
    assert not this.is_gone
    # A clock that was set moves its start.
    assert not replace(this, started=this.started - 5).is_gone


def test_an_ended_process_is_gone_also_where_its_number_is_taken() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended = replace(ProcessIdentity.of_this(), pid=child.pid)
    child.wait()
    assert ended.is_gone
    this = ProcessIdentity.of_this()
    assert replace(this, started=this.started - 3600).is_gone


def test_nobody_knows_of_another_machines_process() -> None:
    elsewhere = replace(ProcessIdentity.of_this(), host="elsewhere", pid=2**22)
    assert not elsewhere.is_gone


def test_written_down_and_read() -> None:
    this = ProcessIdentity.of_this()
    tags = this.to_tags("process.")
    assert set(tags) == {"process.host", "process.pid", "process.started"}
    assert ProcessIdentity.from_tags(tags, "process.") == this
    assert ProcessIdentity.from_tags({**tags, "process.pid": "?"}, "process.") is None
    assert ProcessIdentity.from_tags({}, "process.") is None
