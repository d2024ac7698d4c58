"""Runs side by side in a live MLflow, in a browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from tools.servers import serving
from uniformaly_pipeline.evaluation.metrics import BRIEF_METRICS
from uniformaly_pipeline.tracking import runs, views
from uniformaly_pipeline.tracking.lifecycle import NAME_TAG

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

MLFLOW_NOISE = [
    # It asks who is logged in; a server without accounts answers 404.
    "/mlflow/users/current",
]
RUNS = [
    {"backbone": "quickstart", "bpm": "binary", "image_auroc": 0.9444},
    {"backbone": "quickstart", "bpm": "off", "image_auroc": 0.9306},
    {"backbone": "untrained", "bpm": "binary", "image_auroc": 0.9421},
]


@dataclass(frozen=True)
class Server:
    """A live MLflow.

    Attributes:
        url: Its address.
        experiment: The experiment's id.
        runs: Ids of the runs, in the order of :data:`RUNS`.
    """

    url: str
    experiment: str
    runs: list[str]


def parameters(run: dict[str, Any]) -> dict[str, Any]:
    """Resolved parameters of a run, the few that matter here."""
    return {
        "dataset": "demo",
        "backbone": run["backbone"],
        "bpm": {"mode": run["bpm"], "kernel_size": 7},
        "scoring": {"top_k_ratio": 0.05},
        "memory_bank": {"coreset_ratio": 0.1},
        "seed": 0,
    }


def track(client: Any, experiment: str, run: dict[str, Any]) -> str:
    """A finished run with a category, as the hooks track it."""
    run_id: str = client.create_run(experiment).info.run_id
    key = "default" if run["bpm"] == "binary" else f"bpm.mode-{run['bpm']}"
    names = {"dataset": "demo", "backbone": run["backbone"], "run_key": key}
    tags = runs.run_tags("defect", parameters(run), names, "0123456789ab")
    name = {NAME_TAG: runs.run_name(tags)}
    runs.log_parameters(run_id, parameters(run), {**tags, **name})
    views.save_views(run_id)
    figures = {
        **dict.fromkeys(BRIEF_METRICS, 0.9), "image_auroc": run["image_auroc"], "bank_size": 482
    }  # fmt: skip
    metrics = {"mean": figures, "std": {"image_auroc": 0.01}, "categories": {"bolt": figures}}
    page = "<!doctype html><title>Report</title><h1>The report</h1>"
    runs.log_task(run_id, metrics, pd.DataFrame([figures]), page, {})
    artifacts = runs.CategoryArtifacts(figures, pd.DataFrame({"score": [1.0]}), {}, {}, [])
    runs.log_category(run_id, "bolt", artifacts, parameters(run), tags)
    client.set_terminated(run_id)
    return run_id


@pytest.fixture(scope="module")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow over a few runs; without a browser nothing is started."""
    import mlflow
    from mlflow import MlflowClient

    folder: Path = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = MlflowClient()
    experiment = client.create_experiment("uniformaly_pipeline", f"file://{folder}/artifacts")
    ids = [track(client, experiment, run) for run in RUNS]
    options = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", "--host=127.0.0.1"]
    command = [sys.executable, "-m", "mlflow", "ui", *options, "--workers=1"]
    try:
        with serving(
            lambda port: [*command, f"--port={port}"],
            "/health",
            folder=folder,
            environment={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
        ) as url:
            yield Server(url, experiment, ids)
    finally:
        mlflow.set_tracking_uri(before)


@pytest.fixture
def visit(page: Page, server: Server, complaints: Any) -> Callable[[str], Page]:
    """Open a page of MLflow, without the assistant that covers a quarter of it."""
    complaints.ignored += MLFLOW_NOISE
    # Its first page takes long on a small machine.
    page.set_default_timeout(90_000)
    page.set_viewport_size({"width": 1400, "height": 700})
    page.add_init_script(
        "if (location.protocol === 'http:') {"
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false'); }"
    )

    def show(place: str) -> Page:
        address = place if "://" in place else f"{server.url}/#/{place}"
        page.goto(address, wait_until="domcontentloaded")
        return page

    return show


def cells(page: Page, column: str) -> list[str]:
    """Content of a column of the table of runs."""
    return page.locator(f".ag-center-cols-container [col-id='{column}']").all_inner_texts()


def test_runs_list_side_by_side_with_our_columns(
    visit: Any, server: Server, screenshot: Any
) -> None:
    page = visit(views.view_address(server.url, server.experiment))
    page.get_by_text("defect default demo untrained").first.wait_for()
    # Without scrolling.
    for metric in views.DETECTION:
        header = page.locator(f".ag-header-cell[col-id='metrics.`{metric}`']").bounding_box()
        assert header is not None
        assert header["x"] + header["width"] <= page.viewport_size["width"]
    screenshot("mlflow_runs_at_1400")
    page.set_viewport_size({"width": 1800, "height": 700})
    page.locator(".ag-header-cell").get_by_text("seed", exact=True).wait_for()
    headers = page.locator(".ag-header-cell-text, .ag-header-cell").all_inner_texts()
    shown = [text.strip() for text in headers]
    for column in ("task", "dataset", "backbone", "bpm", "top_k_ratio", "coreset_ratio", "seed"):
        assert column in shown
    assert "image_auroc" in shown
    # Newest first, the categories' runs left out.
    assert cells(page, "tags.`bpm`") == ["binary", "off", "binary"]
    assert cells(page, "tags.`backbone`") == ["untrained", "quickstart", "quickstart"]
    assert [float(text) for text in cells(page, "metrics.`image_auroc`")] == [
        0.9421, 0.9306, 0.9444,
    ]  # fmt: skip
    screenshot("mlflow_runs")


def test_views_are_in_the_menu(visit: Any, server: Server, screenshot: Any) -> None:
    page = visit(f"experiments/{server.experiment}/runs")
    page.get_by_role("button", name="Views").click()
    page.get_by_text("Compare categories and settings").click()
    # The categories are below their run.
    page.get_by_text("defect default demo untrained").first.wait_for()
    page.locator(".ag-header-cell").get_by_text("category", exact=True).wait_for()
    screenshot("mlflow_categories")


def test_compare_page_shows_what_differs(visit: Any, server: Server, screenshot: Any) -> None:
    runs = ",".join(f"%22{run}%22" for run in server.runs)
    page = visit(f"compare-runs?runs=[{runs}]&experiments=[%22{server.experiment}%22]")
    page.get_by_text("Comparing 3 Runs").wait_for()
    for text in (
        "bpm.mode",
        "off",
        "untrained",
        "image_auroc",
        "defect bpm.mode-off demo quickstart",
    ):
        page.get_by_text(text).first.wait_for(state="attached")
    screenshot("mlflow_compare")


def test_report_opens_in_a_run(visit: Any, server: Server, screenshot: Any) -> None:
    run = server.runs[0]
    page = visit(f"experiments/{server.experiment}/runs/{run}/artifacts")
    page.get_by_text("report.html").first.click()
    page.frame_locator("iframe").get_by_text("The report").wait_for()
    screenshot("mlflow_report")
