"""Conventions over the whole catalog and configuration."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import configure_project, pipelines
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node

from uniformaly_pipeline.datasets.array_bundle_dataset import ArrayBundleDataset
from uniformaly_pipeline.datasets.by_category_dataset import ByCategoryDataset
from uniformaly_pipeline.datasets.checked_dataset import CheckedDataset
from uniformaly_pipeline.datasets.feature_store_dataset import FeatureStoreDataset
from uniformaly_pipeline.datasets.gallery_dataset import GalleryDataset
from uniformaly_pipeline.datasets.manifest_dataset import ManifestDataset
from uniformaly_pipeline.pipeline_registry import TASKS
from uniformaly_pipeline.pipelines.ingestion.pipeline import create_refusal
from uniformaly_pipeline.pipelines.tasks import plan

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def catalog() -> DataCatalog:
    """The catalog of a run on the demo."""
    configure_project("uniformaly_pipeline")
    with KedroSession.create(project_path=ROOT, runtime_params={"dataset": "demo"}) as session:
        return session.load_context().catalog


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> Iterator[DataCatalog]:
    """The catalog of the same run with categories in two chunks."""
    monkeypatch.setattr(plan, "MANY_CATEGORIES", 2)
    monkeypatch.setattr(plan, "MOST_CHUNKS", 2)
    with KedroSession.create(project_path=ROOT, runtime_params={"dataset": "demo"}) as session:
        yield session.load_context().catalog
    monkeypatch.undo()
    with KedroSession.create(project_path=ROOT, runtime_params={"dataset": "demo"}) as again:
        again.load_context()


def datasets() -> list[str]:
    """Names of all datasets of all pipelines, parameters left out."""
    names = set().union(*(pipeline.datasets() for pipeline in pipelines.values()))
    return sorted(name for name in names if not name.startswith("param"))


def test_every_dataset_is_listed(catalog: DataCatalog) -> None:
    """Nothing lives only in memory: runs can resume, and other processes can read."""
    assert len(datasets()) > 20
    for name in datasets():
        assert catalog.get(name) is not None, name
        assert not isinstance(catalog.get(name), MemoryDataset), name


def test_categories_in_chunks_lie_where_they_do_alone(
    catalog: DataCatalog, chunked: DataCatalog
) -> None:
    """Every dataset of every task, by chunk and by category: the same files."""
    names = set().union(*(pipelines[task].datasets() for task in TASKS))
    parts = [
        name.split(".") for name in names if ".chunk_" in name and not name.startswith("params:")
    ]
    assert {task for task, _, _ in parts} == {*TASKS} - {"predict", "export"}
    for task, chunk, artifact in parts:
        dataset = chunked.get(f"{task}.{chunk}.{artifact}")
        assert isinstance(dataset, ByCategoryDataset)
        for key in dataset.load():
            alone = catalog.get(f"{task}.{key}.{artifact}")
            assert dataset._dataset_of(key)._describe() == alone._describe()  # type: ignore[union-attr]


def test_whatever_a_run_reads_of_its_own_is_checked(catalog: DataCatalog) -> None:
    """A flipped byte is found, whichever file it is in: what is not checked is nobody's result."""
    checked = (
        CheckedDataset,
        ArrayBundleDataset,
        ManifestDataset,
        FeatureStoreDataset,
        GalleryDataset,
    )
    others = {name for name in datasets() if not isinstance(catalog.get(name), checked)}
    of_users = {
        "raw_images", "predict.new_images", "downloaded", "ingestion.tree", "data_set_root",
        "export.detector", "export.folder",  # these check themselves, wherever they come from
    }  # fmt: skip
    unread = {name for name in others if name.endswith(".heat_maps")}
    assert others <= of_users | unread
    assert not unread & {name for node in all_nodes() for name in node.inputs}


WORDS = ["null", "NA", "nan", "None", "01", "1e5", "true", "off", "inf", "2024-01-01", "é", "-1"]
"""What a category, a kind of defect or an image may be called."""

TABLES = {
    "defect.leaderboard": ["category"],
    "ingestion.counts": ["class", "split", "defect"],
    "ingestion.findings": ["class"],
    "ingestion.masks": ["class", "defect", "values"],
    "predict.bolt.scores": ["image", "normal_image"],
    "lowshot.sweep_metrics": ["parameter", "value"],
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_as_it_was_saved(
    name: str, catalog: DataCatalog, tmp_path: Path
) -> None:
    """Also with names that look like numbers or like nothing, and to the last digit."""
    stored = CheckedDataset(
        filepath=str(tmp_path / "table.csv"),
        dataset=catalog.get(name)._format,  # type: ignore[union-attr]
    )
    numbers = np.random.default_rng(0).standard_normal(len(WORDS)) * 10.0 ** np.arange(len(WORDS))
    table = pd.DataFrame(dict.fromkeys(TABLES[name], WORDS)).assign(score=numbers)
    if name == "predict.bolt.scores":
        table.loc[3, "normal_image"] = ""  # all background
    else:
        table.loc[3, "score"] = None
    stored.save(table)
    found = stored.load()
    assert found.astype(object).where(found.notna(), None).values.tolist() == (
        table.astype(object).where(table.notna(), None).values.tolist()
    )


def test_tables_are_all_tested(catalog: DataCatalog) -> None:
    def is_table(name: str) -> bool:
        kept = catalog.get(name)
        return isinstance(kept, CheckedDataset) and "Table" in kept._format["type"]

    kinds = {name.rpartition(".")[2] for name in datasets() if is_table(name)}
    assert kinds == {name.rpartition(".")[2] for name in TABLES}


def test_every_dataset_has_a_layer(catalog: DataCatalog) -> None:
    for name in datasets():
        metadata = catalog.get(name).metadata  # type: ignore[union-attr]
        assert metadata["kedro-viz"]["layer"], name


def test_layers_run_one_way(catalog: DataCatalog) -> None:
    """Kedro-Viz draws no layers at all where one comes both before and after another."""

    def layer(name: str) -> str:
        metadata = catalog.get(name).metadata  # type: ignore[union-attr]
        return str(metadata["kedro-viz"]["layer"])

    for name, pipeline in pipelines.items():
        follows: dict[str, set[str]] = {}
        for node in pipeline.nodes:
            before = {layer(n) for n in node.inputs if not n.startswith("param")}
            for output in node.outputs:
                follows.setdefault(layer(output), set()).update(before - {layer(output)})
        assert list(TopologicalSorter(follows).static_order()), name


def test_every_dataset_can_be_looked_at(catalog: DataCatalog) -> None:
    """Kedro-Viz previews them; a page is opened in a browser instead."""
    for name in datasets():
        if not name.endswith("report"):
            assert hasattr(catalog.get(name), "preview"), name


def test_nodes_read_as_sentences() -> None:
    """A verb and an object at least, in each box of the graph."""
    for pipeline in pipelines.values():
        for node in pipeline.nodes:
            name = node.name.rpartition(".")[2]
            assert len(name.split("_")) > 1, name


def all_nodes() -> list[Node]:
    """The nodes of all pipelines, of a refused task too, once each."""
    found = {node for pipeline in pipelines.values() for node in pipeline.nodes}
    return sorted(found | set(create_refusal("defect").nodes))


def test_every_node_shows_its_code() -> None:
    """Kedro-Viz shows the code of plain functions only: no partial, no closure, no object."""
    for node in all_nodes():
        function = node.func
        assert inspect.isfunction(function), node.name
        assert function.__qualname__ == function.__name__, f"{node.name} is no module's own"
        module = importlib.import_module(function.__module__)
        assert getattr(module, function.__name__) is function, node.name
        assert function.__closure__ is None, node.name
        assert function.__module__.rpartition(".")[2] == "nodes", node.name


def test_every_node_has_one_stage() -> None:
    """The tag of its folder, and no other stage's: ``kedro run --tags=scoring``."""
    folder = ROOT / "src/uniformaly_pipeline/pipelines"
    stages = {path.parent.name for path in folder.glob("*/nodes.py")}
    assert len(stages) == 11
    for node in all_nodes():
        own = node.func.__module__.split(".")[-2]
        assert node.tags & stages == {own}, node.name


def test_every_node_takes_datasets_and_parameters_only(catalog: DataCatalog) -> None:
    """Every ``params:`` that a node asks for is there, and nothing else is hidden in it."""
    for name, pipeline in pipelines.items():
        for wanted in pipeline.inputs():
            if wanted.startswith("params:"):
                assert wanted in catalog, (name, wanted)


def test_hooks_do_not_read_names() -> None:
    """They ask tags, plans or the registry: a name may be spelt as it likes."""
    tree = ast.parse((ROOT / "src/uniformaly_pipeline/hooks.py").read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & {"endswith", "split", "rsplit", "partition", "rpartition", "removesuffix"}


def test_paths_follow_the_rule(catalog: DataCatalog) -> None:
    """Results lie at <layer>/<pipeline>/<data set>/<backbone>/<run key>/<category>/<name>."""
    place = "defect/demo/quickstart/default"
    for name, expected in {
        "defect.bolt.image_scores": f"07_model_output/{place}/bolt/image_scores.parquet",
        "defect.metrics": f"08_reporting/{place}/metrics.json",
        "defect.leaderboard": f"08_reporting/{place}/leaderboard.csv",
        "defect.report": f"08_reporting/{place}/report.html",
    }.items():
        assert str(catalog.get(name)._location).endswith(f"data/{expected}")  # type: ignore[union-attr]


def test_listing_pipelines_imports_nothing_slow() -> None:
    """``kedro registry list`` answers within seconds: no torch, no matplotlib, no MLflow."""
    code = (
        "import sys; from kedro.framework.startup import bootstrap_project; "
        "from pathlib import Path; bootstrap_project(Path.cwd()); "
        "from uniformaly_pipeline.pipeline_registry import register_pipelines; "
        "print(*sorted(register_pipelines())); "
        "slow = {'torch', 'sklearn', 'faiss', 'mlflow', 'matplotlib', 'plotly'}; "
        "print(*(slow & set(sys.modules)), 'slow')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names, slow = done.stdout.splitlines()[-2:]
    assert names.split() == [
        "__default__", "ablation", "clustering", "defect", "download", "export", "ingestion",
        "lowshot", "multiclass", "multiclass_ablation", "paper", "predict", "semantic",
    ]  # fmt: skip
    assert slow == "slow"


def test_tables_for_people_keep_their_texts() -> None:
    """Plain CSV would read a category 01 as 1, and let a spreadsheet compute a name."""
    entries = [line for path in (ROOT / "conf/base").glob("catalog*.yml") for line in path.open()]
    assert not any("CSVDataset" in line for line in entries)
    assert sum("TableDataset" in line for line in entries) > 4


def test_kedro_can_read_the_hints_of_every_node() -> None:
    """It does so at each start, to check parameters, and warns of those that it cannot."""
    for node in all_nodes():
        typing.get_type_hints(node.func)
