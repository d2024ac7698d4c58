"""Commands that work where nobody activated the environment."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from uniformaly_pipeline.common.shell import runnable


def environment(folder: Path, *programs: str) -> Path:
    """A folder of programs with an interpreter."""
    folder.mkdir(parents=True)
    for name in ("python", *programs):
        (folder / name).touch(0o755)
    return folder


@pytest.fixture
def not_activated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its environment in .venv, which is not on the path, as after make."""
    folder = environment(tmp_path / "project/.venv/bin", "uniformaly")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(environment(tmp_path / "system/bin")))
    monkeypatch.chdir(tmp_path / "project")
    return folder


def test_a_command_of_an_environment_that_is_not_active_has_its_path(
    not_activated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runnable("uniformaly compare") == ".venv/bin/uniformaly compare"
    # Another environment's is not ours.
    monkeypatch.setenv("PATH", str(environment(tmp_path / "other/bin", "uniformaly")))
    assert runnable("uniformaly compare") == ".venv/bin/uniformaly compare"
    monkeypatch.chdir(not_activated)
    assert runnable("uniformaly") == "./uniformaly"


def test_a_path_that_is_far_away_or_has_a_space_can_be_run_too(
    not_activated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path.joinpath(*("far" * 9 for _ in range(9)))
    far.mkdir(parents=True)
    monkeypatch.chdir(far)
    shown = shlex.split(runnable("uniformaly compare"))[0]
    assert (far / shown).samefile(not_activated / "uniformaly")
    assert len(shown) <= len(str(not_activated / "uniformaly"))
    spaced = environment(tmp_path / "a b/bin", "uniformaly")
    monkeypatch.setattr(sys, "executable", str(spaced / "python"))
    monkeypatch.chdir(tmp_path)
    assert runnable("uniformaly compare") == "'a b/bin/uniformaly' compare"


def test_an_active_environments_commands_are_bare(
    not_activated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(not_activated))
    assert runnable("uniformaly compare") == "uniformaly compare"


def test_a_command_that_is_not_installed_beside_the_interpreter_is_left_as_it_is(
    not_activated: Path,
) -> None:
    assert runnable("kedro viz run") == "kedro viz run"
