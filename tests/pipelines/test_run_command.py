"""``kedro run`` in this process: what was written is what is meant, and mishaps are one line."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import load_obj

from uniformaly_pipeline.cli import cli
from uniformaly_pipeline.pipelines.ray_runner import RayRunner
from uniformaly_pipeline.pipelines.run_command import own_run


def run(callback: Any, *arguments: str) -> Result:
    """The command with something else in place of Kedro's session."""
    command = own_run(kedro_run)
    command.callback = lambda **options: callback(options)
    return CliRunner().invoke(command, list(arguments))


def error_line(result: Result) -> str:
    assert result.exit_code == 1
    (line,) = result.output.strip().splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def test_it_is_the_projects_run_with_all_of_kedros_options() -> None:
    own = cli.commands["run"]
    assert [option.name for option in own.params] == [option.name for option in kedro_run.params]
    shown = " ".join(CliRunner().invoke(own, ["--help"]).output.split())
    assert "A value with commas stands in quotes" in shown


def test_text_reaches_the_session_as_it_was_written() -> None:
    given: dict[str, Any] = {}
    params = "categories=01,datasets.folder.root=/a/line #2,bpm.threshold=0.5"
    assert run(given.update, f"--params={params}").exit_code == 0
    assert given["params"] == {
        "categories": "01",
        "datasets": {"folder": {"root": "/a/line #2"}},
        "bpm": {"threshold": 0.5},
    }


def test_parameters_of_a_file_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "run.yml"
    file.write_text("run:\n  params:\n    categories: '01'\n")
    given: dict[str, Any] = {}
    assert run(given.update, f"--config={file}").exit_code == 0
    assert given["params"] == {"categories": "01"}


def test_what_is_no_pair_is_one_line() -> None:
    result = run(pytest.fail, "--params=datasets.folder.root=http://me:hush@host/a,b")
    assert "'b' is no key=value" in error_line(result)
    result = run(pytest.fail, "--params=http://me:hush@host/a")
    assert "'http://host/a' is no key=value" in error_line(result)


@pytest.mark.parametrize("name", ["SequentialRuner", "Parallel"])
def test_an_unknown_runner_is_answered_with_the_known_ones(name: str) -> None:
    result = run(pytest.fail, f"--runner={name}")
    assert f"--runner: there is no '{name}'; " in error_line(result)


@pytest.mark.parametrize("given", [["--env=ray"], []])
def test_the_environment_ray_runs_on_ray(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    if not given:
        monkeypatch.setenv("KEDRO_ENV", "ray")
    found: dict[str, Any] = {}
    assert run(found.update, *given).exit_code == 0
    assert load_obj(found["runner"]) is RayRunner
    assert run(found.update, *given, "--runner=ThreadRunner").exit_code == 0
    assert found["runner"] == "ThreadRunner"
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    assert run(found.update, "--env=gpu").exit_code == 0
    assert found["runner"] is None


def test_without_ray_its_environment_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    line = error_line(run(pytest.fail, "--env=ray"))
    assert line.startswith("Ray is not installed: pip install")


def raised(error: BaseException) -> Any:
    def fail(_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_machine_that_cannot_go_on_is_one_line(number: int) -> None:
    error = OSError(number, os.strerror(number), "/data/x")
    assert "at /data/x: " in error_line(run(raised(error)))


def test_a_mistake_of_ours_keeps_its_traceback_and_tells_no_secret() -> None:
    result = run(raised(KeyError("http://me:hush@host/a")))
    assert isinstance(result.exception, KeyError)
    assert "hush" not in str(result.exception)


@pytest.mark.parametrize("error", [click.UsageError("no"), click.Abort()])
def test_clicks_own_errors_pass(error: Exception) -> None:
    result = run(raised(error))
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
