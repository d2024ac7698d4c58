"""MLflow's local database is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.tracking import database
from uniformaly_pipeline.tracking.database import local_database, prepare_database


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(made_database: Path, tmp_path: Path) -> Path:
    """A whole database."""
    copied: Path = shutil.copy(made_database, tmp_path / "mlflow.db")
    return copied


def refusal(path: Path) -> str:
    """The line that answers a database."""
    with pytest.raises(InputError) as error:
        prepare_database(f"sqlite:///{path}")
    line = str(error.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def test_it_is_made_with_its_folder_and_mlflow_takes_it(made_database: Path) -> None:
    from mlflow import MlflowClient

    assert names(made_database.parent) == ["mlflow.db"]
    client = MlflowClient(f"sqlite:///{made_database}")
    assert client.get_experiment_by_name("Default") is not None


def test_a_whole_one_is_left_alone(path: Path) -> None:
    before = path.read_bytes()
    prepare_database(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_killed_at_any_moment_it_leaves_no_half_database(tmp_path: Path) -> None:
    """The next run makes it, and tidies up."""
    script = (
        "from uniformaly_pipeline.tracking.database import prepare_database as make;"
        "import mlflow.store.tracking.sqlalchemy_store;"
        f"print('ready', flush=True); make('sqlite:///{tmp_path}/mlflow.db')"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.7)
    process.kill()
    process.wait()
    prepare_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert names(tmp_path) == ["mlflow.db"]
    # And it is a whole one.
    prepare_database(f"sqlite:///{tmp_path}/mlflow.db")


def test_of_two_at_once_the_first_is_kept(
    path: Path, made_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other may have logged to it by now."""
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES ('x', 'active')")
        opened.commit()
    logged = path.read_bytes()
    late = Path(shutil.copy(made_database, path.with_name("late.part")))
    database._rename_to_new(late, path)
    assert path.read_bytes() == logged
    monkeypatch.setattr(database.os, "link", no_links)
    database._rename_to_new(late, path)
    assert path.read_bytes() == logged


def no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_disk_without_links_will_do(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(database.os, "link", no_links)
    content = path.read_bytes()
    database._rename_to_new(path, tmp_path / "new.db")
    assert (tmp_path / "new.db").read_bytes() == content


def test_an_empty_one_is_none(
    path: Path, made_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking import sqlalchemy_store

    def make(uri: str, artifacts: str) -> Any:
        shutil.copy(made_database, uri.removeprefix("sqlite:///"))
        return SimpleNamespace(engine=SimpleNamespace(dispose=lambda: None))

    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", make)
    path.write_bytes(b"")
    prepare_database(f"sqlite:///{path}")
    assert path.read_bytes() == made_database.read_bytes()
    assert names(path.parent) == ["mlflow.db"]


def test_damaged_ones_are_one_line_that_says_what_to_do(path: Path) -> None:
    whole = path.read_bytes()
    for content in (b"not a database" * 100, whole[: len(whole) // 2], whole[:4096] * 3):
        path.write_bytes(content)
        assert "move it away and run again" in refusal(path)
        assert path.read_bytes() == content


def test_half_made_and_foreign_ones_are_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("DROP TABLE alembic_version")
    assert "half made" in refusal(path)
    path.unlink()
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE cats (name)")
    assert "not a database of MLflow" in refusal(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_where_nothing_can_be_written_it_says_so(path: Path, tmp_path: Path) -> None:
    path.chmod(0o444)
    assert "read-only" in refusal(path)
    path.parent.chmod(0o555)
    try:
        assert "make the folder writable" in refusal(tmp_path / "other.db")
    finally:
        path.parent.chmod(0o755)


def test_a_folder_that_is_a_file_is_one_line(path: Path) -> None:
    assert "cannot be made" in refusal(path / "mlflow.db")


def test_other_addresses_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("http://host:5000", "postgresql://host/db", "sqlite://", "sqlite:///:memory:"):
        assert local_database(uri) is None
        prepare_database(uri)
    assert local_database("sqlite:////data/mlflow.db?timeout=9") == Path("/data/mlflow.db")
    assert names(tmp_path) == []
