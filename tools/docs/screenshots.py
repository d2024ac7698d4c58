"""Screenshots of reports, MLflow and Kedro-Viz for the documentation, from runs of the demo.

python -m tools.docs.screenshots                 # ten minutes; needs Chromium and Playwright
python -m tools.docs.screenshots --project=DIR   # into DIR, going on with the runs it has
python -m tools.docs.screenshots --only=report   # or mlflow, viz, tasks
"""

from __future__ import annotations

import argparse
import functools
import os
import re
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
NEW_IMAGES = "data/01_raw/demo/bolt/test/cracked"
TASKS = ("multiclass", "semantic", "clustering", "lowshot", "ablation")
RUNS: tuple[list[str], ...] = (
    ["--params=bpm.mode=off"],
    ["--params=backbone=untrained"],
    *([f"--pipelines={task}"] for task in TASKS),
    [],
    ["--pipelines=predict", f"--params=predict.images={NEW_IMAGES},predict.category=bolt"],
)
"""Options of the runs, on the demo as it ships; predict judges by the run before it."""

COMPARED = (1, len(RUNS) - 2, len(RUNS) - 1)
"""Rows of MLflow's table, which has the newest run first: those of ``defect``."""

SHOWN = {
    "semantic": "Images",
    "multiclass": "Memory banks",
    "clustering": "Figures of each category",
    "lowshot": "How many normal images",
    "ablation": "Top-k ratio",
    "predict": "Images",
}
"""What a section's heading in each task's report begins with."""

VIZ_PIPELINES = ("defect", *TASKS, "predict", "export")

KEEP = """(wanted) => {
    for (const each of document.querySelectorAll("body > header, body > nav, main > :not(svg)"))
        if (!wanted.some((selector) => each.matches(selector))) each.remove();
}"""
ALONE = """(title) => {
    const section = title.closest("section");
    for (const each of document.querySelectorAll("body > header, body > nav, main > :not(svg)"))
        if (each !== section) each.remove();
    return Math.ceil(section.getBoundingClientRect().bottom);
}"""
SHORTEN = """() => {
    for (const each of document.querySelectorAll(
        "#results details, #decisions > p, #decisions > .scroll, #decisions .outcome"
    )) each.remove();
    document.querySelectorAll("#decisions details").forEach((each, i) => { if (i) each.remove(); });
}"""

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
    parser.add_argument("--project", type=Path, help="a copy of the project, made if need be")
    parser.add_argument("--only", choices=("report", "tasks", "mlflow", "viz"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        project = given.project or Path(folder) / "project"
        make_project(project)
        reports = project / "data/08_reporting"
        if given.only in (None, "report"):
            photograph_report(chromium, report_of(reports, "defect"))
        if given.only in (None, "tasks"):
            for task, selector in SHOWN.items():
                photograph_task(chromium, task, report_of(reports, task), selector)
        if given.only in (None, "mlflow"):
            with mlflow(project) as tracking:
                photograph_mlflow(chromium, tracking, experiment_id(project))
        if given.only in (None, "viz"):
            kedro(project, "viz", "build", "--include-previews")
            with serve(project / "build") as viz:
                photograph_viz(chromium, viz)


def report_of(folder: Path, task: str) -> str:
    """The address of the report of a task's run as it ships."""
    found = [*folder.glob(f"{task}/demo/quickstart/**/report.html")]
    (path,) = (each for each in found if task == "predict" or each.parent.name == "default")
    return path.resolve().as_uri()


def make_project(project: Path) -> None:
    """A copy of the project with a few runs; those that it has stay."""
    if not project.exists():
        for folder in ("conf", "src"):
            shutil.copytree(ROOT / folder, project / folder)
        shutil.copy(ROOT / "pyproject.toml", project)
        (project / "data").mkdir()
    for number, options in enumerate(RUNS):
        done = project / f"run_{number}.done"
        if not done.exists():
            kedro(project, "run", *options)
            done.touch()


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
    """Photograph a page once it has come to rest."""
    page.wait_for_timeout(1500)
    keep(Image.open(BytesIO(page.screenshot())).convert("RGB"), name)


def keep(picture: Image.Image, name: str) -> None:
    """Colours are reduced to keep the file small."""
    path = IMAGES / f"{name}.png"
    for colours in (256, 128, 64, 32):
        picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            break
    print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")


def photograph_mlflow(chromium: Any, url: str, experiment: str) -> None:
    page = new_page(chromium, 1680, 640)
    page.goto(f"{url}/#/experiments/{experiment}/runs", wait_until="domcontentloaded")
    page.locator(".ag-pinned-left-cols-container [role=row]").first.wait_for()
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
    page.get_by_text("bpm.mode", exact=True).first.evaluate("(each) => each.scrollIntoView()")
    save(page, "mlflow_differences")
    page.close()


def photograph_viz(chromium: Any, url: str) -> None:
    """The first view of each pipeline, and one unfolded to its categories."""
    page = new_page(chromium, 1280, 800)
    page.goto(f"{url}/?pid=__default__")
    page.locator(".pipeline-node").first.wait_for()
    page.locator(".feature-hints__close").first.click()
    page.locator(".pipeline-menu-button--labels, .pipeline-toolbar button").first.click()
    for pipeline in VIZ_PIPELINES:
        page.goto(f"{url}/?pid={pipeline}")
        page.locator(".pipeline-node").first.wait_for()
        # The farewell of the hints goes away by itself, and the graph moves to its place.
        page.wait_for_timeout(6000)
        save(page, f"viz_{pipeline}")
    page.goto(f"{url}/?pid=defect")
    page.locator(".pipeline-node--modularPipeline[data-id='defect']").click()
    page.locator(".pipeline-node--modularPipeline[data-id='defect.bolt']").wait_for()
    page.wait_for_timeout(6000)
    save(page, "viz_categories")
    page.close()


def photograph_report(chromium: Any, url: str) -> None:
    """The top of a report, and a tour of what is below it."""
    page = new_page(chromium, 1200, 900)
    page.goto(url)
    save(page, "report")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator(".filters select[name=defect]").select_option("chipped")
    page.evaluate(KEEP, ["#results", "#decisions", "#images"])
    page.evaluate(SHORTEN)
    page.set_viewport_size({"width": 1280, "height": 1830})
    page.wait_for_timeout(1500)
    tour = Image.open(BytesIO(page.screenshot())).convert("RGB")
    tour.save(IMAGES / "report.jpg", quality=80, optimize=True, progressive=True)
    page.close()


def photograph_task(chromium: Any, task: str, url: str, heading: str) -> None:
    """The top of the section that a task's report is looked at for."""
    page = new_page(chromium, 1100, 900)
    page.goto(url)
    title = page.locator("main h2", has_text=re.compile(f"^{heading}")).first
    height = title.evaluate(ALONE)
    page.set_viewport_size({"width": 1100, "height": min(900, height + 20)})
    page.wait_for_timeout(1500)
    # Of photographs and heat maps a palette would change the colours.
    photo = Image.open(BytesIO(page.screenshot())).convert("RGB")
    photo.save(IMAGES / f"task_{task}.webp", quality=88, method=6)
    page.close()


if __name__ == "__main__":
    main()
