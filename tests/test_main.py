"""The package run as a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("content", [b"a: [", b"just text", b"\xff\xfe", b"root: {handlers: [x]}"])
def test_logging_that_cannot_be_set_up_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/logging.yml").write_bytes(content)
    command = [sys.executable, "-m", "uniformaly_pipeline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: conf/logging.yml cannot be used (")
