"""Runs that are killed again and again: results as undisturbed, nothing left behind.

``make soak`` does the same three hundred times.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tools import soak


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ended_runs_leave_nothing_and_results_are_as_undisturbed(tmp_path: Path) -> None:
    disturbing = soak.Soak(tmp_path, seed=1)
    kinds = iter((signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL))
    for kind in kinds:
        soak.SIGNALS = (kind,)
        disturbing.end_one()
    disturbing.finish()
    ended = disturbing.tally
    assert ended.ended.total() + ended.completed == 5
    assert ended.ended.total() >= 3, "too few to say anything"


# --- the soak sees what is wrong ------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal folders of results."""
    one = tmp_path / "one"
    (one / "08_reporting").mkdir(parents=True)
    (one / "06_models").mkdir()
    metrics = {"mean": {"image_auroc": 0.5, "images_per_second": 3.0}, "categories": {}}
    (one / "08_reporting/metrics.json").write_text(json.dumps(metrics))
    (one / "08_reporting/leaderboard.csv").write_text("category,image_auroc\nnut,0.5\n")
    save_file({"bank": np.eye(3, dtype=np.float32)}, one / "06_models/memory_bank.safetensors")
    soak._save(one / "08_reporting/0.png", np.zeros((4, 4, 3), np.uint8))
    other = tmp_path / "other"
    shutil.copytree(one, other)
    return one, other


def test_equal_folders_are_equal_whatever_their_speed(results: tuple[Path, Path]) -> None:
    path = results[1] / "08_reporting/metrics.json"
    path.write_text(path.read_text().replace("3.0", "4.0"))
    assert list(soak.differences(*results)) == []


def test_each_difference_is_seen(results: tuple[Path, Path]) -> None:
    other = results[1]
    path = other / "08_reporting/metrics.json"
    path.write_text(path.read_text().replace("0.5", "0.6"))
    (other / "08_reporting/leaderboard.csv").unlink()
    bank = {"bank": np.eye(3, dtype=np.float32) * 1.01}
    save_file(bank, other / "06_models/memory_bank.safetensors")
    soak._save(other / "08_reporting/0.png", np.full((4, 4, 3), 99, np.uint8))
    assert list(soak.differences(*results)) == [
        "08_reporting/leaderboard.csv is in one folder only",
        "06_models/memory_bank.safetensors differs",
        "08_reporting/0.png differs",
        "08_reporting/metrics.json differs",
    ]


def test_half_files_are_seen(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/scores.parquet.part").touch()
    assert soak.leftovers(tmp_path) == [f"{tmp_path}/data/scores.parquet.part is left"]
