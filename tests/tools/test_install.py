"""What ``make run`` shows while pip works."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tools import install as module
from tools.install import State, install

SAID = """Collecting torch>=2.7
  Downloading torch-2.9.0-cp311-none-any.whl (190.5 MB)
Collecting numpy
  Downloading numpy-2.1.0.whl.metadata (62 kB)
  Using cached numpy-2.1.0.whl (16.3 MB)
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def pip(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_state_is_read_from_what_pip_says(tmp_path: Path) -> None:
    (tmp_path / "pip-25.dist-info").mkdir()
    state = State(tmp_path)
    for line in SAID.splitlines():
        state.hear(line)
    assert str(state) == "found 2 packages, downloaded 191 MB"
    state.hear("Installing collected packages: numpy, torch, project")
    assert str(state) == "unpacked 0 of 3 packages"
    (tmp_path / "numpy-2.dist-info").mkdir()
    assert str(state) == "unpacked 1 of 3 packages"


def test_on_a_terminal_one_line_is_drawn_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.02)
    monkeypatch.setenv("COLUMNS", "60")
    shown = Terminal()
    unpacking = "time.sleep(0.5); print('Installing collected packages: a, b')"
    code = f"import time; print({SAID!r}, flush=True); {unpacking}"
    assert install(pip(code), tmp_path / "log", tmp_path, shown) == 0
    frames = shown.getvalue().split("\r")
    assert any(frame.startswith("pip: found 2 packages, downloaded 191 MB") for frame in frames)
    assert max(map(len, frames)) < 60
    assert shown.getvalue().count("\n") == 1
    assert frames[-1].startswith("pip: 2 packages installed in ")
    assert "Using cached numpy" in (tmp_path / "log").read_text(encoding="utf-8")


def test_elsewhere_few_lines_are_printed(tmp_path: Path) -> None:
    shown = io.StringIO()
    code = f"print({SAID!r}); print('Installing collected packages: a')"
    assert install(pip(code), tmp_path / "log", tmp_path, shown) == 0
    assert shown.getvalue().startswith("pip: 1 package installed in ")
    assert len(shown.getvalue().splitlines()) == 1


def test_a_failure_shows_what_pip_said_last_and_keeps_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    shown = io.StringIO()
    fails = "print('ERROR: no x', file=sys.stderr); sys.exit(3)"
    code = f"import sys; print('Collecting x\\n' * 50); {fails}"
    assert install(pip(code), tmp_path / "log", tmp_path, shown) == 3
    lines = shown.getvalue().splitlines()
    assert "ERROR: no x" in lines
    assert len(lines) <= 20
    assert str(tmp_path / "log") in lines[-1]


def test_an_environment_of_another_checkout_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / ".venv").symlink_to(tmp_path / "theirs")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with pytest.raises(SystemExit, match="is a link: remove it"):
        module.main()
    assert list((tmp_path / "theirs").iterdir()) == []
