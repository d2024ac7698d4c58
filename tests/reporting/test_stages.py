"""What a terminal, or a log, shows of the stages of a run."""

from __future__ import annotations

import io
import logging
import re

import pytest
from rich.console import Console

from uniformaly_pipeline.common.progress import Progress, track, watched_by
from uniformaly_pipeline.reporting import stages
from uniformaly_pipeline.reporting.stages import CompletedNodes, StageDisplay, seconds_left

STAGES = {"features": ["encode"], "memory_bank": [f"bank {i}" for i in range(4)]}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, to be set."""
    clock = [100.0]
    monkeypatch.setattr(stages.time, "monotonic", lambda: clock[0])
    return clock


def shown(width: int = 80) -> tuple[StageDisplay, io.StringIO]:
    file = io.StringIO()
    console = Console(width=width, force_terminal=True, color_system=None, file=file)
    display = StageDisplay(STAGES, console)
    display.start()
    return display, file


def last_lines(file: io.StringIO) -> list[str]:
    """The lines of the last frame, without what moves the cursor."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()][-len(STAGES) :]


def test_a_step_inside_a_lone_node_moves_its_stage_and_tells_the_time_left(
    now: list[float],
) -> None:
    display, file = shown()
    display.begin("encode")
    now[0] += 30
    display.tell(Progress("Encoding", 90, 360, "images"))
    display.stop()
    features, bank = last_lines(file)
    assert features.startswith("features")
    assert features.endswith("0/1 Encoding 90 of 360 images, 1 min 30 s left")
    assert bank.startswith("memory bank")
    assert bank.endswith("0/4")


def test_stages_of_many_nodes_move_with_their_nodes(now: list[float]) -> None:
    display, file = shown()
    for done in range(3):
        display.begin(f"bank {done}")
        now[0] += 10
        display.complete(f"bank {done}")
    display.begin("bank 3")
    display.tell(Progress("Choosing the coreset", 5, 10, "patches"))
    display.stop()
    assert last_lines(file)[1].endswith("3/4 Choosing the coreset 5 of 10 patches, 10 s left")


@pytest.mark.parametrize("width", [80, 140])
def test_a_finished_stage_says_what_it_took_and_no_line_is_wrapped(
    now: list[float], width: int
) -> None:
    display, file = shown(width)
    display.begin("encode")
    now[0] += 171
    display.complete("encode")
    display.stop()
    features, _ = last_lines(file)
    assert features.endswith("1/1 2 min 51 s")
    assert len(last_lines(file)) == len(STAGES)
    assert max(map(len, last_lines(file))) <= width


def test_without_a_terminal_each_stage_is_a_line_of_the_log(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    display = StageDisplay(STAGES, Console(file=io.StringIO()))
    with caplog.at_level(logging.INFO):
        display.start()
        display.begin("encode")
        display.tell(Progress("Encoding", 1, 2, "images"))
        now[0] += 42
        display.complete("encode")
        for number in range(4):
            display.begin(f"bank {number}")
            now[0] += 1
            display.complete(f"bank {number}")
        display.stop()
    assert caplog.messages == ["features: 1 node in 42 s", "memory bank: 4 nodes in 4.0 s"]


def test_a_runner_with_workers_is_heard_through_its_log(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """No hook of the main process hears of a node that a worker runs."""
    display = StageDisplay(STAGES, Console(file=io.StringIO()))
    display.start()
    runner = logging.getLogger("kedro.runner.some_runner")
    listener = CompletedNodes(display)
    logging.getLogger("kedro.runner").addHandler(listener)
    try:
        with caplog.at_level(logging.INFO):
            runner.info("Completed %d out of %d tasks", 1, 5)
            runner.info("Completed node: %s", "another pipeline's node")
            runner.info("Completed node: %s", "encode")
    finally:
        logging.getLogger("kedro.runner").removeHandler(listener)
    assert "features: 1 node in 0.0 s" in caplog.messages
    assert not any(message.startswith("memory bank") for message in caplog.messages)


def test_the_time_left_is_not_guessed_at_the_start() -> None:
    assert seconds_left(0.01, 60) is None
    assert seconds_left(0.5, 0.2) is None
    assert seconds_left(0.25, 30) == pytest.approx(90)
    assert seconds_left(1.0, 30) == 0


def test_progress_is_told_in_place_of_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[Progress] = []
    with watched_by(told.append):
        assert list(track("abc", 5, "Encoding", "images", step=2)) == list("abc")
    assert told[0] == Progress("Encoding", 0, 5, "images")
    assert told[-1] == Progress("Encoding", 5, 5, "images")
    assert capsys.readouterr().err == ""
    list(track("abc", 3, "Encoding", "images"))
    assert told[-1].total == 5


def test_a_stage_takes_as_long_as_its_own_nodes(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Nodes of another stage may run between them, and others beside them."""
    caplog.set_level(logging.INFO)
    display = StageDisplay({"a": ["a1", "a2", "a3"], "b": ["b1"]}, Console(file=io.StringIO()))
    display.start()
    for seconds, does, node in [
        (0, display.begin, "a1"),
        (5, display.complete, "a1"),
        (0, display.begin, "b1"),
        (30, display.complete, "b1"),
        (0, display.begin, "a2"),
        (1, display.begin, "a3"),
        (2, display.complete, "a2"),
        (3, display.complete, "a3"),
    ]:
        now[0] += seconds
        does(node)
    assert caplog.messages == ["b: 1 node in 30 s", "a: 3 nodes in 11 s"]
