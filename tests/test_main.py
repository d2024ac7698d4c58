"""The package run as a command: what the project said of telemetry goes for it, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kedro_telemetry.plugin import _check_for_telemetry_consent

from uniformaly_pipeline import __main__ as main

VARIABLES = ("KEDRO_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, far from the project; what is put into the environment goes again."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_package_carries_the_projects_consent() -> None:
    root = Path(__file__).parents[1]
    assert main.CONSENT.read_text() == (root / ".telemetry").read_text()
    assert '".telemetry"' in (root / "pyproject.toml").read_text(), "the wheel lacks it"


@pytest.mark.parametrize("content", [b"a: [", b"just text", b"\xff\xfe", b"root: {handlers: [x]}"])
def test_logging_that_cannot_be_set_up_is_one_line(folder: Path, content: bytes) -> None:
    (folder / "conf").mkdir()
    (folder / "conf/logging.yml").write_bytes(content)
    command = [sys.executable, "-m", "uniformaly_pipeline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: conf/logging.yml cannot be used (")


def test_nothing_is_sent_without_consent(folder: Path) -> None:
    assert _check_for_telemetry_consent(folder) is None, "Kedro takes no file for a yes"
    main.honour_consent()
    assert _check_for_telemetry_consent(folder) is False
    from mlflow.telemetry.utils import MLFLOW_DISABLE_TELEMETRY

    assert MLFLOW_DISABLE_TELEMETRY.get()


def test_a_file_where_the_run_is_goes_first(folder: Path) -> None:
    (folder / ".telemetry").write_text("consent: true")
    main.honour_consent()
    assert _check_for_telemetry_consent(folder) is True
