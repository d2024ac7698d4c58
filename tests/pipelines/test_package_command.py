"""What ``kedro package`` hands out has nothing of one machine's settings."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.cli import project as kedro_project
from kedro.framework.startup import bootstrap_project

from uniformaly_pipeline.cli import cli

SECRETS = ["credentials.yml", "credentials.yaml", "credentials.json", "credentials/my.yml"]


def test_no_file_of_conf_local_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "conf"
    for name in ("base/parameters.yml", "base/local/x.json", "local/.gitkeep"):
        (conf / name).parent.mkdir(parents=True, exist_ok=True)
        (conf / name).touch()
    for name in SECRETS:
        (conf / "local" / name).parent.mkdir(exist_ok=True)
        (conf / "local" / name).write_text("hush")
    (tmp_path / "src/uniformaly_pipeline").mkdir(parents=True)
    root = Path(__file__).parents[2]
    (tmp_path / "pyproject.toml").write_text((root / "pyproject.toml").read_text())
    (tmp_path / "src/uniformaly_pipeline/__init__.py").touch()
    (tmp_path / "dist").mkdir()
    call = kedro_project.call

    def without_a_wheel(command: list[str], **_: object) -> None:
        # Building a wheel takes a minute, and is not what is asked here.
        if command[0] == "tar":
            call(command)

    monkeypatch.setattr(kedro_project, "call", without_a_wheel)
    monkeypatch.chdir(tmp_path)
    # Kedro puts the project's code first, for this process and for those that it starts.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    run = CliRunner().invoke(cli, ["package"], obj=bootstrap_project(tmp_path))
    assert run.exit_code == 0, run.output
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as opened:
        names = {member.name for member in opened if not member.isdir()}
    assert names == {"conf/base/parameters.yml", "conf/base/local/x.json", "conf/local/.gitkeep"}
