"""Cores, and how threads wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from uniformaly_pipeline.common import cores

Groups = Callable[[str, dict[str, str]], None]


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """Puts the process into control groups: its line in /proc, and their files."""
    read = Path.read_text

    def place(line: str, files: dict[str, str]) -> None:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        monkeypatch.setattr(cores, "CGROUPS", tmp_path)
        monkeypatch.setattr(
            Path,
            "read_text",
            lambda path, **options: (
                line if path == Path("/proc/self/cgroup") else read(path, **options)
            ),
        )

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    return place


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/a/b\n", {}, 16),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 16),
        # The group around the process's own is the tighter one.
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "500000 100000"}, 3),
        # A container that sees its own groups, but the host's path.
        ("0::/host/path\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/../../away\n", {"cpu.max": "200000 100000"}, 2),
        (
            "4:memory:/m\n3:cpu,cpuacct:/c\n0::/\n",
            {"cpu/c/cpu.cfs_quota_us": "250000", "cpu/c/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
    ],
)
def test_quotas_and_affinity_bound_the_cores(
    line: str, files: dict[str, str], expected: int, groups: Groups
) -> None:
    groups(line, files)
    assert cores.usable_cores() == expected


def test_affinity_counts_where_there_are_no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_quotas", lambda: iter(()))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert cores.usable_cores() == 3


def test_a_quota_is_told_to_openmp(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    groups("0::/", {"cpu.max": "400000 100000"})
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cores.prepare_threads()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    monkeypatch.delenv("OMP_NUM_THREADS")
    cores.prepare_threads()
    assert os.environ["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize(
    ("module", "given", "expected"),
    [
        ("uniformaly_pipeline", {}, "passive"),
        ("uniformaly_pipeline.settings", {}, "passive"),
        ("uniformaly_pipeline", {"OMP_WAIT_POLICY": "active"}, "active"),
        ("uniformaly_pipeline", {"GOMP_SPINCOUNT": "100"}, None),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(
    module: str, given: dict[str, str], expected: str | None
) -> None:
    """The variable is there before the first import of torch, in Kedro's settings as well."""
    script = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and os.environ.get("OMP_WAIT_POLICY") != {expected!r}:
            sys.exit("torch came before the variable")
sys.meta_path.insert(0, Watch())
import {module}
import torch
print(os.environ.get("OMP_WAIT_POLICY"))
"""
    kept = {key: value for key, value in os.environ.items() if key not in cores.WAITING}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**kept, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == str(expected)
