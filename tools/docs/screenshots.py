"""Screenshots of MLflow, Kedro-Viz and the report for the documentation, from small real runs.

python -m tools.docs.screenshots                 # a few minutes; needs Chromium and Playwright
python -m tools.docs.screenshots --project=DIR   # of a copy of the project that has runs
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from tools.servers import serving

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
MAX_BYTES = 300_000
RUNS: tuple[list[str], ...] = (
    ["--params=bpm.mode=off"],
    ["--params=backbone=untrained"],
    ["--pipelines=ablation", "--params=ablation.features=max+top_k"],
    [],
)
"""Options of the runs; the last one's results are shown in Kedro-Viz and the report."""

COMPARED = (0, 2, 3)
"""Rows of MLflow's table, which has the newest run first: all but the ablation."""

EXPERIMENT = "uniformaly_pipeline"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
NO_ASSISTANT = (
    "if (location.protocol === 'http:') {"
    "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
    "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false'); }"
)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="a copy of the project that has runs")
    given = parser.parse_args().project
    with tempfile.TemporaryDirectory() as folder:
        project = given or make_project(Path(folder) / "project")
        kedro(project, "viz", "build", "--include-previews")
        with browser() as chromium, mlflow(project) as tracking:
            photograph_mlflow(chromium, tracking, experiment_id(project))
            with serve(project / "build") as viz:
                photograph_viz(chromium, viz)
            with serve(project / "data/08_reporting") as reports:
                photograph_report(chromium, f"{reports}/{newest_report(project)}")


def newest_report(project: Path) -> str:
    """The report of the last run of ``defect``, below the folder of reports."""
    folder = project / "data/08_reporting"
    found = folder.glob("defect/demo/quickstart/*/report.html")
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return newest.relative_to(folder).as_posix()


def make_project(project: Path) -> Path:
    """A copy of the project with a few runs."""
    for folder in ("conf", "src"):
        shutil.copytree(ROOT / folder, project / folder)
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / "data").mkdir()
    for options in RUNS:
        kedro(project, "run", "--env=test", *options)
    return project


def kedro(project: Path, *arguments: str) -> None:
    settings = {**os.environ, "DO_NOT_TRACK": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    subprocess.run(
        [sys.executable, "-m", "kedro", *arguments], cwd=project, env=settings, check=True
    )


def experiment_id(project: Path) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    found = client.get_experiment_by_name(EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


def mlflow(project: Path) -> AbstractContextManager[str]:
    """A live MLflow on a free port of this machine."""
    options = ["--backend-store-uri=sqlite:///mlflow.db", "--host=127.0.0.1", "--workers=1"]
    command = [sys.executable, "-m", "mlflow", "ui", *options]
    return serving(lambda port: [*command, f"--port={port}"], "/health", folder=project)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


def new_page(chromium: Any, width: int, height: int) -> Any:
    page = chromium.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(90_000)
    page.add_init_script(NO_ASSISTANT)
    return page


def save(page: Any, name: str) -> None:
    """Photograph a page once it has come to rest; colours are reduced to keep the file small."""
    page.wait_for_timeout(1500)
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    for colours in (256, 128, 64, 32):
        picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            break
    print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")


def photograph_mlflow(chromium: Any, url: str, experiment: str) -> None:
    page = new_page(chromium, 1680, 520)
    page.goto(f"{url}/#/experiments/{experiment}/runs", wait_until="domcontentloaded")
    page.get_by_role("button", name="Views").click()
    save(page, "mlflow_views")
    page.get_by_text("Compare runs", exact=True).click()
    page.locator(".ag-header-cell").get_by_text("image_auroc").wait_for()
    save(page, "mlflow_runs")
    for number in COMPARED:
        row = page.locator(".ag-pinned-left-cols-container [role=row]").nth(number)
        row.locator(".ag-checkbox-input").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text("Comparing 3 Runs").wait_for()
    page.set_viewport_size({"width": 1280, "height": 760})
    page.get_by_text("Visualizations", exact=True).click()
    save(page, "mlflow_compare")
    page.get_by_text("Show diff only").first.click()
    page.get_by_text("bpm.mode").last.scroll_into_view_if_needed()
    save(page, "mlflow_differences")
    page.close()


def photograph_viz(chromium: Any, url: str) -> None:
    page = new_page(chromium, 1440, 900)
    page.goto(f"{url}/?pid=__default__")
    page.locator(".pipeline-node").first.wait_for()
    page.locator(".feature-hints__close").first.click()
    page.locator(".pipeline-node--modularPipeline[data-id='defect']").click()
    page.locator(".pipeline-node--modularPipeline[data-id='defect.button']").wait_for()
    # The farewell of the hints goes away by itself.
    page.wait_for_timeout(6000)
    save(page, "viz_categories")
    open_preview(page, f"{url}/?pid=__default__&sn=defect.button.patch_scores")
    save(page, "viz_heat_maps")
    open_preview(page, f"{url}/?pid=ablation&sn=ablation.sweep_plot")
    save(page, "viz_curves")
    page.close()


def open_preview(page: Any, address: str) -> None:
    page.goto(address)
    expand = page.get_by_text("Expand preview")
    expand.wait_for()
    hints = page.locator(".feature-hints__close")
    if hints.count():
        hints.first.click()
    expand.click()


def photograph_report(chromium: Any, url: str) -> None:
    page = new_page(chromium, 1200, 900)
    page.goto(url)
    save(page, "report")
    page.close()


if __name__ == "__main__":
    main()
