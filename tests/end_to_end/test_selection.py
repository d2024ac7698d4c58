"""Parts of a pipeline by tag, node and namespace, from the command line."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

PLACE = "defect/demo/quickstart/categories-button_preprocessing.resize-112_preproce-da603a9b"
SCORES = f"data/07_model_output/{PLACE}/button/image_scores.parquet"


def test_parts_run_by_tag_node_and_namespace(demo: Any) -> None:
    """Each part makes again what is its own, equal to before, and nothing else."""
    project = demo
    whole = project.kedro("run", "--env=test", "--params=categories=button")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    scores = project.path / SCORES
    first = pd.read_parquet(scores)
    report = project.path / f"data/08_reporting/{PLACE}/report.html"
    for option, num_nodes in (
        ("--tags=scoring", 2),
        ("--nodes=defect.button.score_images", 1),
        ("--namespaces=defect.button", 7),
    ):
        scores.unlink()
        written = report.stat().st_mtime_ns
        part = project.kedro("run", "--env=test", "--params=categories=button", option)
        assert part.returncode == 0, part.stdout + part.stderr
        log = (project.path / "logs/run.log").read_text()
        assert f"Completed {num_nodes} out of {num_nodes} tasks" in log.splitlines()[-2]
        # The terminal has no line for each node.
        assert "Completed" not in part.stdout
        pd.testing.assert_frame_equal(pd.read_parquet(scores), first)
        assert report.stat().st_mtime_ns == written
    metrics = project.path / f"data/08_reporting/{PLACE}/metrics.json"
    before = json.loads(metrics.read_text())["mean"]["image_auroc"]
    metrics.unlink()
    rest = project.kedro(
        "run",
        "--env=test",
        "--params=categories=button",
        "--from-nodes=defect.average_over_categories",
    )
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert json.loads(metrics.read_text())["mean"]["image_auroc"] == before
    assert report.stat().st_mtime_ns > written


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--tags=scorin"], "Error: there is no tag 'scorin'; did you mean 'scoring'?"),
        (["--env=tset"], "did you mean 'test'?"),
        (
            ["--load-versions=defect.metrics:2026-01-01T00.00.00.000Z"],
            "Error: --load-versions: there are no versions of 'defect.metrics'; results of other "
            "settings lie under other names, which parameters choose",
        ),
        (
            ["--params=dataset=mvtec", "--tags=evaluation"],
            "does not exist: set root to where the images are, or get them: kedro run "
            "--pipelines=download --params=dataset=mvtec",
        ),
        (["--pipeline=defekt"], "Error: there is no pipeline 'defekt'; did you mean 'defect'?"),
    ],
)
def test_what_cannot_be_run_is_one_line(project: Any, options: list[str], line: str) -> None:
    done = project.kedro("run", *options)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith(line)
    assert project.outputs() == []
