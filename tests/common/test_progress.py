"""Progress of a long stage, where there is no terminal to draw a bar in."""

from __future__ import annotations

import logging

import pytest

from uniformaly_pipeline.common import progress


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is ten seconds later than the one before."""
    seconds = iter(range(0, 10_000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))


def test_items_pass_unchanged_and_progress_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        items = list(progress.track(iter("abcdefg"), 13, "Encoding", "images", step=2))
    assert items == list("abcdefg")
    # Two images in ten seconds; the last line would say that nothing is left.
    assert [record.getMessage() for record in caplog.records] == [
        "Encoding: 6 of 13 images, 0.2 a second, 35 s left",
        "Encoding: 12 of 13 images, 0.2 a second, 5 s left",
    ]


def test_items_are_taken_one_at_a_time() -> None:
    taken: list[int] = []

    def items() -> object:
        for i in range(3):
            taken.append(i)
            yield i

    stream = progress.track(items(), 3, "Encoding", "images")  # type: ignore[arg-type]
    assert next(iter(stream)) == 0
    assert taken == [0]


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress.track([1, 2, 3], 5, "Encoding", "images", step=2)) == [1, 2, 3]
    shown = capsys.readouterr().err
    assert "Encoding" in shown
    assert "/5" in shown
