"""Log files that are named in the configuration."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest
import yaml
from kedro.logging import RichHandler
from omegaconf import OmegaConf
from rich.console import Console

from uniformaly_pipeline.common.log_files import (
    all_handlers,
    filter_all_handlers,
    prepare_log_files,
)

ROOT = Path(__file__).parents[2]
OWN = logging.getLogger("a library of the test")


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """A handler of a logger below the root, for a file in a folder that is not there."""
    path = tmp_path / "logs/deep/run.log"
    handler = RotatingFileHandler(path, delay=True)
    OWN.addHandler(handler)
    yield path
    OWN.removeHandler(handler)


def test_the_folder_of_a_log_file_is_made(log_file: Path) -> None:
    prepare_log_files()
    OWN.warning("a detail")
    assert log_file.read_text() == "a detail\n"


def test_every_handler_is_filtered_once_however_many_runs_a_process_has(log_file: Path) -> None:
    class Refuse(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return "secret" not in record.getMessage()

    (handler,) = OWN.handlers
    prepare_log_files()
    try:
        for _ in range(3):
            filter_all_handlers(Refuse)
        assert all(
            sum(isinstance(each, Refuse) for each in found.filters) == 1
            for _, found in all_handlers()
        )
        OWN.warning("a secret")
        OWN.warning("a detail")
        assert log_file.read_text() == "a detail\n"
    finally:
        for _, found in all_handlers():
            found.filters = [each for each in found.filters if not isinstance(each, Refuse)]
    assert handler.filters == []


def test_the_folder_of_the_projects_log_is_there_before_the_first_run() -> None:
    """``kedro ipython`` logs before anything of ours has run; Kedro takes no handler of ours."""
    settings = OmegaConf.load(ROOT / "conf/logging.yml")
    folder = (ROOT / settings.handlers.file.filename).parent
    assert (folder / ".gitkeep").is_file()


def test_what_was_logged_before_stays(log_file: Path) -> None:
    log_file.parent.mkdir(parents=True)
    log_file.write_text("before\n")
    prepare_log_files()
    assert log_file.read_text() == "before\n"


def test_without_a_place_to_write_the_run_goes_on(
    log_file: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    log_file.parent.parent.write_text("a file where the folder should be")
    prepare_log_files()
    assert OWN not in [owner for owner, _ in all_handlers()]
    assert OWN.handlers == []
    OWN.warning("a detail")
    assert "Traceback" not in capsys.readouterr().err
    (line,) = [message for message in caplog.messages if message.startswith("No log file")]
    assert str(log_file) in line


@pytest.fixture
def full() -> Iterator[None]:
    """No file of this process can grow beyond a few bytes, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_can_no_longer_be_written_is_told_once(
    log_file: Path, full: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "uniformaly_pipeline.common.log_files.logger.warning",
        lambda text, *values: told.append(text % values),
    )
    (handler,) = OWN.handlers
    other = logging.getLogger("another library of the test")
    other.addHandler(handler)
    # Handlers that earlier tests have left write to a captured terminal: a file that is full, too.
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    prepare_log_files()
    for number in range(5):
        OWN.warning("a detail of the run, number %d", number)
        other.warning("a detail of another library")
    handler.close()
    output = capfd.readouterr()
    assert output.out + output.err == ""
    (line,) = told
    assert str(log_file) in line
    assert "File too large" in line
    assert OWN.handlers == other.handlers == []


def test_a_mistake_of_who_logs_is_still_told(
    log_file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OWN, "propagate", False)  # pytest's own handlers raise
    prepare_log_files()
    OWN.warning("one %d %d", 1)
    assert "not enough arguments" in capfd.readouterr().err
    OWN.warning("the next")
    assert log_file.read_text() == "the next\n"


@pytest.mark.parametrize("name", ["rich", "problems"])
def test_a_name_with_brackets_is_shown_as_it_is(name: str) -> None:
    """Read as colours, they would vanish, or end the run."""
    settings = yaml.safe_load((ROOT / "conf/logging.yml").read_text(encoding="utf-8"))
    options = {k: v for k, v in settings["handlers"][name].items() if k not in ("class", "level")}
    shown = io.StringIO()
    handler = RichHandler(**options, console=Console(file=shown, width=200))
    handler.emit(logging.makeLogRecord({"msg": "left out: %s", "args": ("a[red]/[/b].txt",)}))
    assert "left out: a[red]/[/b].txt" in shown.getvalue()
