"""What the machine cannot do ends a run with one line, and the next run goes on from there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project

from uniformaly_pipeline.common.errors import CommandError

Parameters = dict[str, Any]


def command_line(*arguments: str) -> str:
    """The one line with which ``kedro run`` ends."""
    configure_project("uniformaly_pipeline")
    done = CliRunner().invoke(find_run_command("uniformaly_pipeline"), list(arguments))
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exception
    return done.stderr.strip().splitlines()[-1]


def error_line(project: Any, parameters: Parameters, pipeline: str = "defect") -> str:
    with pytest.raises(CommandError) as error:
        project.run(pipeline, **parameters)
    message = error.value.format_message()
    assert "\n" not in message
    return message


def configure(project: Any, parameters: Parameters) -> None:
    (project.path / "conf/local/parameters.yml").write_text(yaml.safe_dump(parameters))


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.device_count() > 7, reason="this machine has them all")
@pytest.mark.parametrize("device", ["cuda:7", "mps"])
def test_a_device_that_is_not_there(project: Any, small: Parameters, device: str) -> None:
    message = error_line(project, {**small, "encoder": {"device": device}})
    assert message.startswith(f"encoder.device: there is no {device} (")
    assert message.endswith("): set auto or cpu")
    assert project.outputs() == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_an_environment_for_a_gpu_where_there_is_none(project: Any, small: Parameters) -> None:
    for env, given in (("gpu", {}), ("local", {"encoder": {"device": "cuda"}})):
        configure(project, {**small, **given} if env == "local" else {})
        line = command_line("--pipelines=defect", f"--env={env}")
        assert line.startswith("Error: encoder.device: there is no cuda (")
        assert not any(path.startswith("04_feature") for path in project.outputs())


# --- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("parameters.yml", "bpm: {", "conf/local/parameters.yml is no proper YAML"),
        ("catalog_own.yml", "a: [", "conf/local/catalog_own.yml is no proper YAML"),
        ("credentials.yml", "a: b: c", "conf/local/credentials.yml is no proper YAML"),
        ("mlflow.yml", "a: '", "conf/local/mlflow.yml is no proper YAML"),
        ("mlflow.yml", "tracking: 3", "Error: mlflow.yml: tracking: input should be"),
        ("mlflow.yml", "server: 3", "Error: mlflow.yml: server: input should be"),
    ],
)
def test_a_broken_file_ends_the_command(project: Any, file: str, text: str, expected: str) -> None:
    (project.path / "conf/local" / file).write_text(text)
    assert expected in command_line("--pipelines=defect")


def test_an_unknown_environment_ends_the_command(project: Any) -> None:
    assert "no environment 'gpus' in" in (line := command_line("--env=gpus"))
    assert "did you mean 'gpu'?" in line


# --- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["02_intermediate", "04_feature", "06_models", "08_reporting"])
def test_a_file_in_place_of_a_folder(project: Any, small: Parameters, layer: str) -> None:
    (project.path / "data" / layer).write_text("not a folder")
    message = error_line(project, small)
    assert f"data/{layer}" in message
    assert message.endswith(": move it away")
    assert (project.path / "data" / layer).read_text() == "not a folder"


@pytest.mark.parametrize(
    ("layer", "number"), [("06_models", errno.EACCES), ("07_model_output", errno.EROFS)]
)
def test_a_folder_that_nobody_may_write_to(
    project: Any,
    small: Parameters,
    layer: str,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Modes do not bind root, as whom tests may run: the system's refusal is imitated."""
    mkdir = os.mkdir

    def refusing(path: Any, *args: Any, **options: Any) -> None:
        if f"data/{layer}" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *args, **options)

    monkeypatch.setattr(os, "mkdir", refusing)
    message = error_line(project, small)
    assert f"data/{layer}" in message
    assert "permission denied" in message or "can only be read" in message
    assert not any(path.startswith(layer) for path in project.outputs())


def test_a_data_folder_that_is_missing_is_made(project: Any, small: Parameters) -> None:
    shutil.rmtree(project.path / "data")
    project.run("defect", **{**small, "categories": "nut"})
    assert project.outputs()


# --- full disks -----------------------------------------------------------------------------------


def filling(monkeypatch: pytest.MonkeyPatch, after: int) -> Callable[[], int]:
    """The disk is full after a number of files; tells how many were written."""
    fsync, written = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal written
        is_file = not os.path.isdir(f"/proc/self/fd/{descriptor}")  # noqa: PTH112
        if is_file:
            written += 1
            if written > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    return lambda: written


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment(
    project: Any, small: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing half-written is left, and what was done counts: the end is that of one quiet run."""
    small = {**small, "categories": "nut"}
    with monkeypatch.context() as patch:
        count = filling(patch, after=10**9)
        project.run("defect", **small)
        total = count()
    assert total > 20
    expected = {path: (project.path / "data" / path).read_bytes() for path in project.outputs()}
    shutil.rmtree(project.path / "data")
    for after in range(0, total // 2, max(1, total // 8)):
        with monkeypatch.context() as patch:
            filling(patch, after)
            message = error_line(project, small)
        assert message.startswith("the disk is full")
        assert not [path for path in project.outputs() if ".part" in path]
    project.run("defect", **small)
    # Metrics hold timings, too.
    results = [path for path in expected if path.endswith((".parquet", "bank.safetensors"))]
    assert len(results) > 3
    for path in results:
        assert (project.path / "data" / path).read_bytes() == expected[path], path


@pytest.mark.slow
def test_a_bare_shell_will_do(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No git, no window, a locale of ASCII: what cron, containers and services often are."""
    for name, value in {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "MPLBACKEND": "nope",
        "PATH": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is left to write fails at the end
    done = project.kedro_from_scratch("run", "--env=test")
    assert (done.returncode, done.stderr) == (0, "")
    assert any(path.endswith("report.html") for path in project.outputs())
    if sys.platform == "linux":
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "kedro", "run", "--env=test"],
                cwd=project.path,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr == "Error: the disk is full: make room and run again\n"
