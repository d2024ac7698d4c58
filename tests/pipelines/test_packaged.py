"""The installed package: what the project said of telemetry goes for it, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro_telemetry.plugin import _check_for_telemetry_consent

from uniformaly_pipeline.pipelines import packaged

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
    root = Path(__file__).parents[2]
    assert packaged.CONSENT.read_text() == (root / ".telemetry").read_text()
    assert '".telemetry"' in (root / "pyproject.toml").read_text(), "the wheel lacks it"


def test_nothing_is_sent_without_consent(folder: Path) -> None:
    assert _check_for_telemetry_consent(folder) is None, "Kedro takes no file for a yes"
    packaged.honour_consent()
    assert _check_for_telemetry_consent(folder) is False
    from mlflow.telemetry.utils import MLFLOW_DISABLE_TELEMETRY

    assert MLFLOW_DISABLE_TELEMETRY.get()


def test_a_file_where_the_run_is_goes_first(folder: Path) -> None:
    (folder / ".telemetry").write_text("consent: true")
    packaged.honour_consent()
    assert _check_for_telemetry_consent(folder) is True
