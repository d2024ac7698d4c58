"""Databases of MLflow: making one takes seconds, so tests copy one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as :func:`.prepare_database` makes it."""
    from uniformaly_pipeline.tracking.database import prepare_database

    path = tmp_path_factory.mktemp("made") / "new folder" / "mlflow.db"
    prepare_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracked(made_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty database of the test's own, which MLflow tracks to; its address."""
    import mlflow
    from mlflow.tracking import fluent

    # A run of a test before leaves its experiment as the one of the process.
    monkeypatch.setattr(fluent, "_active_experiment_id", None)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)

    before, path = mlflow.get_tracking_uri(), tmp_path / "tracked.db"
    shutil.copy(made_database, path)
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    yield f"sqlite:///{path}"
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)
