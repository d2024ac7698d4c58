"""``paper``: every item of the coverage table that applies is on the page, as the tasks say it."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from miniatures import (
    make_btad,
    make_cifar,
    make_cpd,
    make_imagenet30,
    make_mtd,
    make_mvtec,
    make_species60,
)

from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.evaluation.paper.coverage import ITEMS, Kind

Parameters = dict[str, Any]

DEFECTS: dict[str, Callable[[Path], Path]] = {
    "mvtec": lambda root: make_mvtec(root, categories=("bottle", "wood")),
    "btad": make_btad,
    "mtd": make_mtd,
    "cpd": make_cpd,
}
CLASSES: dict[str, Callable[[Path], Path]] = {
    "cifar10": lambda root: make_cifar(root, "cifar10"),
    "cifar100": lambda root: make_cifar(root, "cifar100"),
    "imagenet30": make_imagenet30,
    "species60": make_species60,
}
ONE_CATEGORY = {"mtd", "cpd"}


class Page:
    """What a run of ``paper`` left."""

    def __init__(self, project: Any) -> None:
        self.data = project.path / "data"
        self.place = project.place
        folder = self.data / "08_reporting" / project.place("paper")
        self.text = (folder / "report.html").read_text(encoding="utf-8")
        items = json.loads((folder / "items.json").read_text(encoding="utf-8"))
        self.items = {item["item"]: item for item in items}

    def table(self, item: str, number: int = 0) -> pd.DataFrame:
        """A table of an item."""
        stored = self.items[item]["section"]["tables"][number]
        table = pd.DataFrame(stored["data"], columns=stored["columns"])
        return table.set_index(table.columns[0])

    def on_page(self, title: str) -> str:
        """The part of the page below a heading."""
        _, heading, rest = self.text.partition(f"{html.escape(title, quote=True)}</h2>")
        assert heading, title
        return rest.partition("</section>")[0]

    def metrics(self, task: str) -> dict[str, Any]:
        """The ``metrics.json`` of a task."""
        path = self.data / "08_reporting" / self.place(task) / "metrics.json"
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def settings(self, task: str, key: str) -> pd.DataFrame:
        """The rows of a parameter in a task's ``sweep_metrics.csv``, by value."""
        path = self.data / "08_reporting" / self.place(task) / "sweep_metrics.csv"
        table = pd.read_csv(path, dtype={"value": str})
        return table[table["parameter"] == key].set_index("value")


def check_coverage(page: Page, dataset: str, kind: Kind, without: frozenset[str]) -> None:
    """Every item of the coverage table is listed; those that apply have all they are made of."""
    assert list(page.items) == [item.name for item in ITEMS]
    for item in ITEMS:
        found = page.items[item.name]
        assert f">{item.name}<" in page.text
        if not item.tasks:
            assert found["status"] == "not reproducible", item.name
            assert item.missing.replace("`", "") in html.unescape(page.text), item.name
        elif item.refusal(dataset, kind):
            assert found["status"] == "of other data", item.name
        elif item.name in without:
            assert found["status"] == "no result", item.name
            assert found["reason"], item.name
        else:
            assert found["status"] == "shown", f"{item.name}: {found['reason']}"
            check_section(page, found)


def check_section(page: Page, found: dict[str, Any]) -> None:
    """An item has tables or pictures, and what they hold is on the page."""
    part, section = page.on_page(found["title"]), found["section"]
    assert section["tables"] or section["figures"], found["item"]
    assert part.count("<img") == len(section["figures"]), found["item"]
    values = set(re.findall(r'data-value="([^"]*)"', part))
    for table in section["tables"]:
        hidden = {i for i, name in enumerate(table["columns"]) if name.endswith(("_std", "_count"))}
        for row in table["data"]:
            for i, cell in enumerate(row):
                if i not in hidden and isinstance(cell, float):
                    assert repr(cell) in values, (found["item"], cell)


def check_numbers(page: Page, kind: Kind) -> None:
    """Tables say what the tasks' own metrics say."""
    main, table = ("defect", "Table 1") if kind == "defects" else ("semantic", "Table 3")
    table = table if page.items[table]["section"] else "Table 2"
    expected = page.metrics(main)
    means = page.table(table)
    for name in means:
        assert means.loc["mean", name] == expected["mean"][name], (table, name)
        assert means.loc["std", name] == expected["std"][name], (table, name)
    kernel = page.table("Table 9")
    swept = page.settings("ablation", "bpm.kernel_size")
    assert kernel["image_auroc"].to_dict() == swept["image_auroc"].to_dict()
    assert kernel.loc["7", "image_auroc"] == pytest.approx(
        expected["mean"]["image_auroc"], abs=1e-9
    )


def check_tasks(page: Page, name: str) -> None:
    """Each task has left its metrics and its report where it does by itself."""
    tasks = {task for item in page.items.values() if item["section"] for task in item["tasks"]}
    if name in ONE_CATEGORY:
        tasks -= {"multiclass", "multiclass_ablation"}
    assert len(tasks) >= 3
    for task in tasks:
        metrics = page.metrics(task)
        assert metrics["categories"]
        for found in metrics["categories"].values():
            assert 0 <= found["image_auroc"] <= 1
            assert (found["pixel_auroc"] is None) == (name in {*CLASSES, "cpd"})
        report = page.data / "08_reporting" / page.place(task) / "report.html"
        assert "html" in report.read_text()
    if name == "cifar10":
        splits = {"first_half", "second_half", "even", "odd"}
        assert set(page.metrics("multiclass")["categories"]) == splits


@pytest.fixture
def quick() -> Parameters:
    """Few settings to try; of every parameter that a table of the paper is of."""
    return {
        "lowshot": {"shots": "1+all", "num_draws": 1},
        "ablation": {
            "kernel_size": [1, 7],
            "threshold": [0.1, 0.3],
            "mode": ["binary", "soft"],
            "features": [],
            "top_k_ratio": [0.05, 0.1],
        },
        "reporting": {"gallery_images": 1},
    }


def finished_runs(tracking_uri: str, chosen: str) -> list[Any]:
    """The runs in MLflow that a filter chooses."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(experiments, chosen))


def artifacts_of(tracking_uri: str, run_id: str) -> set[str]:
    """Paths of what was logged to a run."""
    from mlflow import MlflowClient

    return {file.path for file in MlflowClient(tracking_uri).list_artifacts(run_id)}


@pytest.mark.slow
def test_the_demo(demo: Any, tracking_uri: str) -> None:
    """One store of features, all tasks at home, and the multi-class rows of the ablations."""
    project = demo
    configure_project("uniformaly_pipeline")
    changes = {
        "lowshot": {"shots": ["all"], "num_draws": 1},
        "ablation": {
            "kernel_size": [1, 7],
            "threshold": [0.1],
            "mode": ["binary"],
            "features": [],
            "top_k_ratio": [0.05, 0.2],
        },
    }
    with KedroSession.create(
        project_path=project.path, env="test", runtime_params=changes
    ) as session:
        session.run(pipeline_names=["paper"])
    page = Page(project)
    # Two categories: both are in Figure 8.
    check_coverage(page, "demo", "defects", frozenset({"Figure 9"}))
    check_numbers(page, "defects")
    stores = {path.parent for path in (page.data / "04_feature").rglob("current.json")}
    assert len(stores) == 1, "no image is encoded twice"
    both = page.metrics("multiclass")["mean"]
    assert page.table("Table 4").loc["mean", "pixel_auroc"] == both["pixel_auroc"]
    many = page.table("Table 9", 1)
    swept = page.settings("multiclass_ablation", "bpm.kernel_size")
    for name in ("image_auroc", "pixel_auroc"):
        assert many[name].to_dict() == swept[name].to_dict()
        # The bank of many classes that the task itself makes.
        assert many.loc["7", name] == pytest.approx(both[name], abs=1e-9)
    clustered = page.metrics("clustering")["mean"]
    assert page.table("Table 8").loc["top 0.05", "nmi"] == pytest.approx(clustered["nmi"])
    assert "paper_" not in json.dumps(list(page.items.values())), "the paper has no such data"
    (whole,) = finished_runs(tracking_uri, "tags.tasks = 'paper'")
    children = finished_runs(tracking_uri, f"tags.mlflow.parentRunId = '{whole.info.run_id}'")
    assert {child.data.tags["task"] for child in children} == {
        "defect", "multiclass", "clustering", "lowshot", "ablation", "multiclass_ablation",
    }  # fmt: skip
    assert "report.html" in artifacts_of(tracking_uri, whole.info.run_id)
    # Each task's own run would put its report there.
    for task in ("defect", "multiclass", "clustering", "lowshot", "ablation"):
        assert (page.data / "08_reporting" / project.place(task) / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DEFECTS, *CLASSES])
def test_miniatures(
    project: Any, small: Parameters, quick: Parameters, tmp_path: Path, name: str
) -> None:
    root = (DEFECTS | CLASSES)[name](tmp_path / "raw")
    preprocessing = {"resize": 64, "crop": 64, "pad": None, "interpolation": "bilinear"}
    entry: Parameters = {"root": str(root), "preprocessing": preprocessing}
    if name in {"species60", "imagenet30"}:
        trained = root / "one_class_train"
        classes = sorted(path.name for path in (trained if trained.exists() else root).iterdir())
        entry["splits"] = dict.fromkeys("ABCDE", classes[:2])
    if name == "species60":
        entry["split"] = {"min_images": 1}
    chosen = {"categories": "fish+flowers"} if name == "cifar100" else {}
    given = {**small, **quick, **chosen, "dataset": name, "datasets": {name: entry}}
    project.run("paper", **given)
    page = Page(project)
    kind: Kind = "defects" if name in DEFECTS else "classes"
    without = {"Table 4", "Figure 10", "Figure 9"} if name in ONE_CATEGORY else set()
    without |= {"Figure 9"} if name == "mvtec" else set()
    check_coverage(page, name, kind, frozenset(without))
    check_numbers(page, kind)
    check_tasks(page, name)


@pytest.mark.slow
def test_what_a_method_cannot_do_is_left_out_with_a_reason(
    project: Any, small: Parameters, quick: Parameters
) -> None:
    """And categories with one bank have image scores of their own."""
    ablation = {**quick["ablation"], "method": []}
    given = {**small, **quick, "ablation": ablation, "scoring": {"method": "mean_patch_knn"}}
    project.run("paper", **given)
    page = Page(project)
    assert "clustering groups images by their highest-scoring patches" in page.text
    swept = page.settings("multiclass_ablation", "bpm.kernel_size")
    assert swept["image_auroc"].notna().all()


def test_other_pipelines_do_not_fit_beside_it(project: Any) -> None:
    ended = project.kedro("run", "--pipelines=paper,defect", "--env=test")
    assert ended.returncode != 0
    assert "paper holds the tasks of the paper: run it by itself" in ended.stderr
    assert project.outputs() == []


def test_without_a_second_class_it_says_so(
    project: Any, small_classes: Parameters, class_images: Path
) -> None:
    for folder in class_images.glob("*/*"):
        if folder.name != "red":
            shutil.rmtree(folder)
    with pytest.raises(CommandError, match="nothing is foreign to it"):
        project.run("paper", **small_classes)
    assert project.outputs() == []


def test_many_classes_of_a_split_are_ablated(project: Any, small_classes: Parameters) -> None:
    """The row of the run's own setting is what ``multiclass`` says, by its own coreset ratio."""
    small_classes["datasets"]["class_folder"]["multiclass_coreset_ratio"] = 0.2
    tried = {"kernel_size": [1, 7], "coreset_ratio": [0.1, 0.2]}
    others = {name: [] for name in ("top_k_ratio", "threshold", "mode", "features")}
    parameters = {**small_classes, "ablation": {**others, **tried}}
    project.run("multiclass,multiclass_ablation", **parameters)
    page = Page.__new__(Page)
    page.data, page.place = project.path / "data", project.place
    expected = page.metrics("multiclass")
    sizes = {found["bank_size"] for found in expected["categories"].values()}
    swept = page.settings("multiclass_ablation", "memory_bank.multiclass_coreset_ratio")
    assert swept.index.tolist() == ["0.1", "0.2"]
    assert swept.loc["0.2", "image_auroc"] == expected["mean"]["image_auroc"]
    place = page.data / "07_model_output" / project.place("multiclass_ablation")
    tables = [pd.read_parquet(path) for path in sorted(place.glob("*/sweep_metrics.parquet"))]
    assert {table["bank_size"].iloc[-1] for table in tables} == sizes
