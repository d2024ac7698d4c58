"""Memory is bounded by a category's bank and a batch of images, not by the data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.features.masking import BackPatchMasking

GRID, DIM = (14, 14), 256
NUM_CATEGORIES, NUM_TRAIN, NUM_TEST = 14, 24, 12
ALLOWANCE = 24 << 20
"""Bytes that all categories together may use beyond what the first one did."""

FEATURE_BYTES = NUM_CATEGORIES * (NUM_TRAIN + NUM_TEST) * GRID[0] * GRID[1] * DIM * 4

SCRIPT = """
import json, resource, sys
from pathlib import Path
import numpy as np
import torch
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.patches import score_patches

path, categories, allowance, hoards = json.loads(sys.argv[1])
torch.set_num_threads(1)
store, masking = FeatureStore(Path(path)), BackPatchMasking(mode="off")
hoard = []

def run(train, test):
    bank = build_memory_bank(store, train, masking, coreset_ratio=0.02)
    score_patches(store, test, bank.arrays["memory_bank"], masking)
    if hoards:
        hoard.append(store.load(train + test, masking).features)

run(*categories[0])  # what libraries allocate once
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = int(status["VmData"].split()[0]) * 1024 + allowance
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
for category in categories:
    run(*category)
print("done")
"""


@pytest.fixture
def categories(fake_encoder: Any, tmp_path: Path) -> list[tuple[list[str], list[str]]]:
    """Train and test images of each category, in a store at ``tmp_path``."""
    fake_encoder.grid, fake_encoder.dim, fake_encoder.batch_size = GRID, DIM, 12
    numbers = range(NUM_TRAIN + NUM_TEST)
    names = [[f"{c}/{i}" for i in numbers] for c in range(NUM_CATEGORIES)]
    fake_encoder.store(tmp_path / "store", [name for part in names for name in part])
    hashes = [[f"#{name}" for name in part] for part in names]
    return [(part[:NUM_TRAIN], part[NUM_TRAIN:]) for part in hashes]


def run(tmp_path: Path, categories: Any, hoards: bool) -> subprocess.CompletedProcess[str]:
    arguments = json.dumps([str(tmp_path / "store"), categories, ALLOWANCE, hoards])
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_categories_do_not_add_up(tmp_path: Path, categories: Any) -> None:
    assert BackPatchMasking(mode="off").drops_background is False
    assert FEATURE_BYTES > 3 * ALLOWANCE
    modest = run(tmp_path, categories, hoards=False)
    assert modest.returncode == 0, modest.stderr
    assert modest.stdout == "done\n"
    # The limit bites: holding on to the features does not fit.
    greedy = run(tmp_path, categories, hoards=True)
    assert greedy.returncode != 0
    # NumPy's words, or torch's.
    assert "MemoryError" in greedy.stderr or "can't allocate memory" in greedy.stderr
