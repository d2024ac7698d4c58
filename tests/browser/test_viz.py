"""Kedro-Viz of a small run: its static site in a browser, and the API of its server."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.conftest import link_package
from tools.servers import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KEDRO_VIZ_NOISE = [
    # Kedro-Viz asks Google for its font; without a network it takes another.
    "fonts.googleapis.com",
    # It asks for the versions of packages, which a static site does not have.
    "/api/metadata",
    "metadata fetch error",
]


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: Any) -> None:
        pass


SETTINGS = {**os.environ, "DO_NOT_TRACK": "1", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}


@pytest.fixture(scope="module")
def project(browser: Browser, tmp_path_factory: pytest.TempPathFactory, demo_images: Path) -> Path:
    """A copy of the project after a run, with the site built; without a browser nothing is run."""
    project = tmp_path_factory.mktemp("viz") / "project"
    shutil.copytree(ROOT / "conf", project / "conf")
    link_package(project)
    shutil.copy(ROOT / "pyproject.toml", project)
    shutil.copytree(demo_images, project / "data/01_raw/demo")
    # "kedro viz build" takes no environment: both commands must mean the same run.
    shutil.copy(ROOT / "conf/test/parameters.yml", project / "conf/local/parameters.yml")
    for command in (["run"], ["viz", "build", "--include-previews"]):
        done = subprocess.run(
            [sys.executable, "-m", "kedro", *command],
            cwd=project,
            env=SETTINGS,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture(scope="module")
def site(project: Path) -> Iterator[str]:
    """Address of the site."""
    handler = functools.partial(QuietHandler, directory=str(project / "build"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    """Address of ``kedro viz run``."""
    command = [sys.executable, "-m", "kedro", "viz", "run", "--no-browser"]
    with serving(
        lambda port: [*command, f"--port={port}"], folder=project, environment=SETTINGS
    ) as url:
        yield url


def answer(address: str) -> Any:
    with urllib.request.urlopen(address) as response:
        return json.load(response)


@pytest.fixture
def graph(page: Page, site: str, complaints: Any) -> Callable[..., Page]:
    """Open a pipeline's graph, with a node selected or none."""
    complaints.ignored += KEDRO_VIZ_NOISE

    def show(pipeline: str = "__default__", selected: str = "") -> Page:
        chosen = f"&sn={selected}" if selected else ""
        page.goto(f"{site}/?pid={pipeline}{chosen}")
        page.locator(".pipeline-node").first.wait_for()
        hints = page.locator(".feature-hints__close")
        if hints.count():
            hints.first.click()
        return page

    return show


def box(page: Page, name: str) -> Any:
    return page.locator(f".pipeline-node--modularPipeline[data-id='{name}']")


def node(page: Page, name: str) -> Any:
    return page.locator(f".pipeline-node[data-node-fullname='{name}']")


def test_boxes_expand(graph: Any, screenshot: Any) -> None:
    """The task is a box, in it every category is one, in it are the stages, in layers."""
    page = graph()
    assert box(page, "defect.button").count() == 0
    box(page, "defect").click()
    box(page, "defect.button").wait_for()
    assert box(page, "defect.denim").count() == 1
    screenshot("viz_categories")
    box(page, "defect.button").click()
    node(page, "compute_metrics").wait_for()
    layers = page.locator(".pipeline-layer-name").all_text_contents()
    assert layers == [
        "raw", "manifest", "features", "memory bank", "scores", "metrics", "report",
    ]  # fmt: skip
    screenshot("viz_category")


@pytest.mark.parametrize(
    ("dataset", "shown"),
    [
        ("raw_images", "img"),
        ("defect.button.gallery", "img"),
        ("defect.button.patch_scores", "img"),
        ("manifest", "text=content_hash"),
        ("defect.leaderboard", "text=image_auroc"),
        ("defect.metrics", "text=image_auroc"),
        ("defect.button.memory_bank", "text=arrays"),
        ("defect.button.roc_plot", ".js-plotly-plot .scatterlayer .trace"),
        ("defect.button.score_plot", ".js-plotly-plot .bars .point"),
        ("defect.roc_plots", ".js-plotly-plot .scatterlayer .trace"),
        ("defect.score_plots", ".js-plotly-plot .bars .point"),
    ],
)
def test_previews_show(graph: Any, screenshot: Any, dataset: str, shown: str) -> None:
    page = graph(selected=dataset)
    preview = page.locator(".pipeline-metadata").locator(shown).first
    preview.wait_for()
    if shown == "img":
        page.wait_for_function(
            "() => [...document.querySelectorAll('.pipeline-metadata img')]"
            ".every(image => image.naturalWidth > 100)"
        )
    screenshot(f"viz_{dataset}")


def test_menu_of_a_plot_works(graph: Any, screenshot: Any) -> None:
    """Choosing another category changes the histogram."""
    from playwright.sync_api import expect

    page = graph(selected="defect.score_plots")
    page.get_by_text("Expand preview").click()
    # The small preview stays below the large one.
    title = page.locator(".gtitle").last
    expect(title).to_have_text("button: image scores")
    page.locator(".updatemenu-header").last.click()
    page.locator(".updatemenu-dropdown-button").get_by_text("denim").click()
    expect(title).to_have_text("denim: image scores")
    screenshot("viz_score_plots_expanded")


@pytest.mark.parametrize(
    "pipeline",
    ["semantic", "multiclass", "clustering", "lowshot", "ablation", "ingestion", "download"],
)
def test_every_pipeline_has_a_graph(graph: Any, screenshot: Any, pipeline: str) -> None:
    page = graph(pipeline)
    if pipeline != "download":
        box(page, pipeline).wait_for()
    screenshot(f"viz_pipeline_{pipeline}")


def tasks_of(server: str, pipeline: str) -> list[dict[str, Any]]:
    nodes = answer(f"{server}/api/pipelines/{pipeline}")["nodes"]
    return [node for node in nodes if node["type"] == "task"]


def is_shown(key: str, parameters: dict[str, Any]) -> bool:
    """Whether a parameter is there by itself or, beside all parameters, in its place among them."""
    if key in parameters:
        return True
    place: Any = parameters
    for part in key.split("."):
        if not isinstance(place, dict) or part not in place:
            return False
        place = place[part]
    return True


def test_every_node_shows_its_code_and_its_parameters(server: str) -> None:
    pipelines = [pipeline["id"] for pipeline in answer(f"{server}/api/main")["pipelines"]]
    assert {"defect", "ablation", "predict", "download"} <= set(pipelines)
    names = {task["id"]: task["name"] for name in pipelines for task in tasks_of(server, name)}
    assert len(names) > 100
    for node_id, name in names.items():
        shown = answer(f"{server}/api/nodes/{node_id}")
        assert shown["code"].lstrip().startswith(("def ", "@")), name
        given = {i for i in shown["inputs"] if i == "parameters" or i.startswith("params:")}
        assert bool(given) == bool(shown["parameters"]), name
        for single in given - {"parameters"}:
            key = single.removeprefix("params:")
            assert is_shown(key, shown["parameters"]), (name, key)


def test_predict_without_its_parameters_shows_its_graph(server: str) -> None:
    names = [task["name"] for task in tasks_of(server, "predict")]
    assert {"score_new_patches", "judge_images", "draw_heat_maps", "write_report"} <= set(names)


def test_code_and_parameters_of_a_node_in_the_browser(
    page: Page, server: str, complaints: Any, screenshot: Any
) -> None:
    complaints.ignored += KEDRO_VIZ_NOISE
    tasks = tasks_of(server, "defect")
    chosen = next(task["id"] for task in tasks if task["name"] == "compute_metrics")
    page.goto(f"{server}/?pid=defect&sid={chosen}")
    page.locator(".pipeline-metadata").get_by_text("datasets.demo.preprocessing").wait_for()
    page.locator("label[for='pipeline-toggle-input-code']").click()
    page.locator(".pipeline-metadata-code").get_by_text("evaluate_category").first.wait_for()
    screenshot("viz_code")
