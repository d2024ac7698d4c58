"""Whole runs that start at once on one project, one data set and one feature store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.end_to_end.conftest import KEDRO, commands

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
]

Parameters = dict[str, Any]
PAIRS = 4
TIMES = {"images_per_second"}
"""What differs between two runs that give the same result."""


@pytest.fixture
def configured(project: Any, small: Parameters, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose own configuration is the quick run's."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    local = project.path / "conf/local"
    local.mkdir(exist_ok=True)
    (local / "parameters.yml").write_text(yaml.safe_dump(small))
    return project


def start_at_once(
    project: Any, runs: Sequence[Sequence[str]]
) -> list[subprocess.CompletedProcess[str]]:
    """Start ``kedro run`` with each of these options, then wait for all of them.

    They are forks of one process, so that no imports keep one from what the other does.
    """
    return commands().run_at_once([[KEDRO, "run", *each] for each in runs], project.path)


def result(project: Any, category: str, alone: bool = False) -> tuple[pd.DataFrame, Parameters]:
    """A category's scores and metrics, without what a clock says.

    Args:
        project: The project.
        category: The category.
        alone: Of the run on this category only, or on all.
    """
    data = project.path / "data"
    keys = (data / "07_model_output/defect/images/vit_tiny_patch16_224").iterdir()
    of_one = f"categories-{category}_"
    wanted = [key for key in keys if key.name.startswith(of_one if alone else "preprocessing")]
    (scores,) = wanted
    report = data / "08_reporting" / scores.relative_to(data / "07_model_output")
    metrics = json.loads((report / "metrics.json").read_text())["categories"][category]
    return (
        pd.read_parquet(scores / category / "image_scores.parquet"),
        # Without masks there are no metrics of pixels.
        {name: v for name, v in metrics.items() if v is not None and name not in TIMES},
    )


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    pd.testing.assert_frame_equal(found[0], expected[0], rtol=1e-5)
    assert found[1] == pytest.approx(expected[1], rel=1e-5)


def test_other_categories_at_once_have_their_own_results(configured: Any) -> None:
    """Four times from an empty store; a later run alone on what they left gives the same again."""
    categories = ("nut", "cloth")
    configured.run()
    expected = {name: result(configured, name) for name in categories}
    for _ in range(PAIRS):
        shutil.rmtree(configured.path / "data")
        for done in start_at_once(configured, [[f"--params=categories={c}"] for c in categories]):
            assert done.returncode == 0, done.stdout
        for name in categories:
            assert_same(result(configured, name, alone=True), expected[name])
    stores = list((configured.path / "data/04_feature").rglob("header.json"))
    assert len(stores) == 1
    shards = {path: path.stat().st_mtime_ns for path in stores[0].parent.glob("*.safetensors")}
    configured.run()
    for name in categories:
        assert_same(result(configured, name), expected[name])
    # It found all that it needed.
    now = {path: path.stat().st_mtime_ns for path in stores[0].parent.glob("*.safetensors")}
    assert now == shards


def test_the_same_command_twice_at_once(configured: Any) -> None:
    configured.run()
    expected = result(configured, "nut")
    shutil.rmtree(configured.path / "data")
    for done in start_at_once(configured, [[], []]):
        assert done.returncode == 0, done.stdout
    assert_same(result(configured, "nut"), expected)
    assert not [name for name in configured.outputs() if name.endswith((".part", ".damaged"))]


def test_first_runs_on_two_roots_of_one_name(configured: Any, images: Path) -> None:
    """One gives its results, the other says in a line why it does not: nothing is mixed."""
    other = images.parent / "elsewhere/images"
    shutil.copytree(images, other)
    shutil.copytree(other / "nut/test/hole", other / "nut/train/good", dirs_exist_ok=True)
    roots = (images, other)
    done = start_at_once(configured, [[f"--params=datasets.folder.root={root}"] for root in roots])
    record = configured.path / "data/06_models/data_sets/images.json"
    winner = [str(root) for root in roots].index(json.loads(record.read_text())["root"])
    for number, run in enumerate(done):
        last = run.stdout.strip().splitlines()[-1]
        if number != winner or run.returncode:
            assert run.returncode == 1, run.stdout
            assert "Traceback" not in run.stdout
            assert last.startswith("Error: ")
    assert done[1 - winner].returncode == 1
