"""The notebooks: committed clean, listed, and every cell runs on a finished run of the demo."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import KEDRO, commands, link_package

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURES = {
    "1_look_at_a_run": 5,
    "2_the_method_on_one_image": 7,
    "3_compare_runs": 3,
}
"""How many figures each notebook draws."""

RUNS = ("--params=bpm.mode=soft", "--params=seed=0")
"""The last one's outputs stay, and are those of the default parameters."""


def by_name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_committed_clean(path: Path) -> None:
    """No outputs, no counts, and no machine's name of a kernel."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}


def test_listed() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(FIGURES)
    readme = (ROOT / "notebooks/README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"[{path.name}]({path.name})" in readme


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, demo_images: Path) -> dict[str, str]:
    """Environment variables of a copy of the project, which kernels and runs share."""
    path = tmp_path_factory.mktemp("notebooks") / "project"
    for folder in ("conf", "notebooks"):
        ignored = shutil.ignore_patterns(".ipynb_checkpoints", "local")
        shutil.copytree(ROOT / folder, path / folder, ignore=ignored)
    link_package(path)
    shutil.copy(ROOT / "pyproject.toml", path)
    (path / "conf/local").mkdir()
    shutil.copytree(demo_images, path / "data/01_raw/demo")
    return {
        **{key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
        "DO_NOT_TRACK": "1",
        "IPYTHONDIR": str(path / "ipython"),
        "KEDRO_ENV": "test",
        "PYTHONPATH": str(path / "src"),
        "PROJECT": str(path),
    }


def execute(name: str, environment: dict[str, str]) -> Any:
    """Run all cells of a notebook as Jupyter does; an error does not stop it."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    folder = Path(environment["PROJECT"]) / "notebooks"
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(folder)}}, allow_errors=True
    )
    client.execute(env=environment)
    return notebook


def outputs(notebook: Any, kind: str) -> list[Any]:
    """The outputs of one kind, of all cells."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [output for cell in cells for output in cell.outputs if output.output_type == kind]


def check(notebook: Any, name: str) -> None:
    """No cell failed or complained, and the figures are there."""
    assert not [error.traceback for error in outputs(notebook, "error")]
    assert not [text.text for text in outputs(notebook, "stream") if text.name == "stderr"]
    shown = outputs(notebook, "display_data") + outputs(notebook, "execute_result")
    assert sum("image/png" in output.data for output in shown) == FIGURES[name]


@pytest.mark.slow
def test_without_a_run(environment: dict[str, str]) -> None:
    """The method needs none; the others say in a line how to make one."""
    for name in ("1_look_at_a_run", "3_compare_runs"):
        first = outputs(execute(name, environment), "error")[0]
        assert first.ename == "SystemExit"
        assert "Make one: kedro run" in first.evalue
    name = "2_the_method_on_one_image"
    check(execute(name, environment), name)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_with_runs(environment: dict[str, str]) -> None:
    """They show the last run and compare both."""
    for parameters in RUNS:
        words = [KEDRO, "run", parameters]
        run = commands().complete(words, Path(environment["PROJECT"]), environment)
        assert run.returncode == 0, run.stdout + run.stderr
    for name in ("1_look_at_a_run", "3_compare_runs"):
        notebook = execute(name, environment)
        check(notebook, name)
    tables = [output.data["text/html"] for output in outputs(notebook, "execute_result")]
    assert "soft" in tables[0]
    assert "binary" in tables[0]
