"""What hooks do that no whole run would show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner

from uniformaly_pipeline import hooks
from uniformaly_pipeline.pipelines import features


def nothing(_: object) -> int:
    return torch.get_num_threads()


ENCODING = Node(nothing, "params:a", "features", name="encode", tags=features.STAGE)
CATEGORIES = [
    Node(nothing, "features", f"t.{key}.scores", name=f"score_{key}", namespace=f"t.{key}")
    for key in ("nut", "bolt")
]


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> Iterator[hooks.ThreadHooks]:
    """The hooks on a machine of seven cores."""
    monkeypatch.setattr(hooks, "usable_cores", lambda: 7)
    monkeypatch.delenv(hooks.AT_ONCE, raising=False)
    before = torch.get_num_threads()
    yield hooks.ThreadHooks()
    os.environ.pop(hooks.AT_ONCE, None)
    torch.set_num_threads(before)


@pytest.mark.parametrize("runner", [ThreadRunner, ParallelRunner])
def test_nodes_that_run_at_once_share_the_cores(
    runner: type[ThreadRunner | ParallelRunner], sharing: hooks.ThreadHooks
) -> None:
    sharing.before_pipeline_run({"runner": str(runner())}, Pipeline([ENCODING, *CATEGORIES]))
    # Another process has hooks of its own, and the variable.
    elsewhere = hooks.ThreadHooks()
    elsewhere.before_node_run(CATEGORIES[0])
    assert torch.get_num_threads() == 2  # three namespaces: two categories, and none
    elsewhere.before_node_run(ENCODING)
    assert torch.get_num_threads() == 7
    sharing.after_pipeline_run()
    elsewhere.before_node_run(CATEGORIES[0])
    assert torch.get_num_threads() == 7


@pytest.mark.parametrize(
    "runner", [None, "SequentialRunner", str(SequentialRunner())], ids=["none", "name", "object"]
)
def test_nodes_one_after_another_keep_their_threads(
    runner: str | None, sharing: hooks.ThreadHooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hooks.AT_ONCE, "3")  # of a run that was killed
    torch.set_num_threads(5)
    sharing.before_pipeline_run({"runner": runner}, Pipeline([ENCODING, *CATEGORIES]))
    sharing.before_node_run(CATEGORIES[0])
    assert torch.get_num_threads() == 5


def test_the_ends_of_a_pipeline_are_worked_out_once() -> None:
    """Whatever Kedro asks, all nodes are looked at as often as before the run."""
    looked_at = 0

    class Counted(Pipeline):
        def all_inputs(self) -> set[str]:
            nonlocal looked_at
            looked_at += 1
            return super().all_inputs()

    pipeline = Counted([ENCODING, *CATEGORIES])
    ends = pipeline.inputs(), pipeline.outputs()
    hooks.remember_ends(pipeline)
    before = looked_at
    for _ in range(5):
        assert (pipeline.inputs(), pipeline.outputs()) == ends
    SequentialRunner().run(pipeline, DataCatalog({"params:a": MemoryDataset(1)}))
    few, looked_at = looked_at - before, 0
    more = [
        Node(nothing, "features", f"t.{key}.scores", name=key, namespace=f"t.{key}")
        for key in map(str, range(40))
    ]
    longer = Counted([ENCODING, *more])
    hooks.remember_ends(longer)
    before = looked_at
    SequentialRunner().run(longer, DataCatalog({"params:a": MemoryDataset(1)}))
    assert looked_at - before == few


WORKER = """
import logging, multiprocessing
from uniformaly_pipeline import hooks

def work():
    logging.getLogger().addHandler(logging.FileHandler("/dev/full"))  # as from conf/logging.yml
    hooks.CheckHooks().before_node_run()
    logging.getLogger().error("a line")

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_worker_that_was_not_forked_does_without_a_log_that_cannot_grow(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(WORKER)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("No log file: /dev/full cannot be written") <= 1
