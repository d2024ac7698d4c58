"""An address of runs is usable, or one line says why not: for runs and for who reads them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from uniformaly_pipeline.common.errors import CommandError, InputError
from uniformaly_pipeline.hooks import keep_user_aside
from uniformaly_pipeline.tracking.address import check_address, usual_address
from uniformaly_pipeline.tracking.compare import main


@pytest.fixture
def database(made_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made_database, tmp_path / "mlflow.db"))


@pytest.mark.parametrize("make", [True, False])
@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("sqlite://", "keeps no runs"),
        ("sqlite:///:memory:", "keeps no runs"),
        ("mlruns", "'mlruns' is no address of runs"),
        ("/data/mlflow.db", "write sqlite:/// before the path"),
        ("file:///data/mlruns", "is no address of runs"),
        ("bogus://me:hush@host/x", "bogus://host/x cannot be used"),
        ("postgresql+none://me:hush@host/x", "postgresql+none://host/x cannot be used"),
        ("http://me:hu/sh@host", "has an @ after its host"),
    ],
)
def test_what_is_no_address_is_one_line_without_its_password(
    uri: str, line: str, make: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        check_address(uri, make=make)
    assert line in str(error.value)
    assert "hush" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_database_is_made_for_runs_and_never_for_readers(tmp_path: Path, database: Path) -> None:
    check_address(f"sqlite:///{database}", make=False)
    with pytest.raises(InputError, match="there are no runs in"):
        check_address(f"sqlite:///{tmp_path / 'none.db'}", make=False)
    with pytest.raises(InputError, match="name its file"):
        check_address(f"sqlite:///{tmp_path}", make=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert usual_address() == "sqlite:///mlflow.db"
    loader = {"mlflow": {"server": {"mlflow_tracking_uri": "sqlite:///mlflow.db"}}}
    keep_user_aside(loader)  # type: ignore[arg-type]
    assert "MLFLOW_TRACKING_URI" not in os.environ


@pytest.mark.parametrize(
    "settings",
    [{}, {"server": None}, {"server": {"request_header_provider": {}}}],
)
def test_settings_without_an_address_are_refused_by_its_key(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"server\.mlflow_tracking_uri is missing"):
        keep_user_aside({"mlflow": settings})  # type: ignore[arg-type]


def test_a_server_is_a_mapping() -> None:
    with pytest.raises(InputError, match="server: input should be a mapping"):
        keep_user_aside({"mlflow": {"server": [1]}})  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["", 5, ["sqlite:///a.db"]])
def test_an_address_is_text(address: object) -> None:
    with pytest.raises(InputError, match="must be text"):
        keep_user_aside({"mlflow": {"server": {"mlflow_tracking_uri": address}}})  # type: ignore[arg-type]


def compared(uri: str) -> str:
    run = CliRunner().invoke(main, ["--tracking-uri", uri])
    assert isinstance(run.exception, SystemExit | CommandError), run.exception
    assert run.exit_code == 1
    (line,) = run.output.splitlines()
    return line


def test_compare_answers_damage_in_one_line(database: Path) -> None:
    whole = database.read_bytes()
    for content in (b"not a database" * 100, whole[: len(whole) // 2], whole[:4096] * 3):
        database.write_bytes(content)
        assert "damaged" in compared(str(database))
        assert database.read_bytes() == content
    assert "cannot be used" in compared("bogus://me:hush@host/x")
    assert "name its file" in compared(str(database.parent))
