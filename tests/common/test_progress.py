"""Progress of a long stage, where there is no terminal to draw a bar in and where there is one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator

import pytest
import tqdm.std

from uniformaly_pipeline.common import progress


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[float]], Iterator[float]]:
    """Seconds, each of which has passed on tqdm's clock when it is handed out."""
    now = 0.0
    monkeypatch.setattr(tqdm.std, "time", lambda: now)

    def wait(seconds: Iterable[float]) -> Iterator[float]:
        nonlocal now
        for each in seconds:
            now += each
            yield each

    return wait


def test_items_pass_unchanged_and_progress_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture, passing: Callable[..., Iterator[float]]
) -> None:
    with caplog.at_level(logging.INFO):
        items = list(progress.track(passing([10.0] * 7), 13, "Encoding", "images", step=2))
    assert items == [10.0] * 7
    assert caplog.messages == [
        "Encoding: 6 of 13 images, 0.20 images/s, 00:35 left",
        "Encoding: 12 of 13 images, 0.20 images/s, 00:05 left",
    ]


def test_a_stage_that_slows_down_is_still_logged(
    caplog: pytest.LogCaptureFixture, passing: Callable[..., Iterator[float]]
) -> None:
    with caplog.at_level(logging.INFO):
        list(progress.track(passing([0.04] * 1000 + [40.0] * 3), 2000, "Encoding", "images"))
    counts = [message.split()[1] for message in caplog.messages]
    assert counts == ["751", "1001", "1002", "1003"]


def test_short_stages_log_nothing(
    caplog: pytest.LogCaptureFixture, passing: Callable[..., Iterator[float]]
) -> None:
    with caplog.at_level(logging.INFO):
        list(progress.track(passing([14.0, 14.0]), 2, "Encoding", "images"))
    assert caplog.messages == []


def test_nested_stages_log_whole_lines(
    caplog: pytest.LogCaptureFixture, passing: Callable[..., Iterator[float]]
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in progress.track([1], 2, "Outer", "categories"):
            list(progress.track(passing([40.0]), 2, "Inner", "images"))
    assert [message.partition(":")[0] for message in caplog.messages] == ["Inner", "Outer"]


def test_no_thread_is_started_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress._LoggedBar, "monitor", None)
    started: list[object] = []
    monkeypatch.setattr(tqdm.std, "TMonitor", lambda *args: started.append(args))
    assert list(progress.track([1], 1, "Encoding", "images")) == [1]
    assert started == []


def test_items_are_taken_one_at_a_time() -> None:
    taken: list[int] = []

    def items() -> object:
        for i in range(3):
            taken.append(i)
            yield i

    stream = progress.track(items(), 3, "Encoding", "images")  # type: ignore[arg-type]
    assert next(iter(stream)) == 0
    assert taken == [0]


def test_bytes_are_logged_now_and_then(
    caplog: pytest.LogCaptureFixture, passing: Callable[..., Iterator[float]]
) -> None:
    with caplog.at_level("INFO"):
        # What was there before this run says nothing about the rate.
        with progress.byte_progress("Downloading a", 90_000_000, 10_000_000) as shown:
            for _ in passing([10.0, 21.0, 9.0]):
                shown.update(31_000_000)
        with progress.byte_progress("Downloading b", None) as shown:
            for _ in passing([10.0, 21.0, 9.0]):
                shown.update(31_000_000)
    assert caplog.messages == [
        "Downloading a: 72.0M of 90.0MB, 2.00MB/s, 00:09 left",
        "Downloading b: 62.0MB, 2.00MB/s",
    ]


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress.track([1, 2, 3], 5, "Encoding", "images", step=2)) == [1, 2, 3]
    shown = capsys.readouterr().err
    assert "Encoding" in shown
    assert "/5" in shown


def test_a_terminal_gets_a_bar_of_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress.byte_progress("Downloading a", 2000, 1000) as shown:
        shown.update(1000)
    assert "Downloading a" in capsys.readouterr().err


def test_a_watcher_hears_of_bytes_and_nothing_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stages of a run draw the screen: a bar of tqdm's among them would stay there."""
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    told: list[progress.Progress] = []
    with progress.watched_by(told.append):
        with progress.byte_progress("Checking a", 9_000_000, 2_000_000) as shown:
            time.sleep(0.11)
            shown.update(3_000_000)
            assert shown.n == 5_000_000
        with progress.byte_progress("Unpacking b", None) as shown:
            shown.update(1)
    assert told == [progress.Progress("Checking a", done, 9, "MB") for done in (2, 5)]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
