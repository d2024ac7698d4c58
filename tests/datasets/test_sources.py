"""Results say what they were made from, and those of two states are not mixed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import AbstractDataset, DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, ThreadRunner

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.by_category import ByCategory
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.array_bundle_dataset import ArrayBundleDataset
from uniformaly_pipeline.datasets.by_category_dataset import PLACE, ByCategoryDataset
from uniformaly_pipeline.datasets.checked_dataset import CheckedDataset
from uniformaly_pipeline.datasets.gallery_dataset import GalleryDataset
from uniformaly_pipeline.datasets.sources import announce_sources, check_origins
from uniformaly_pipeline.hooks import GOES_ON, OriginHooks
from uniformaly_pipeline.reporting.gallery.selection import GalleryImage

RUN, OTHER_RUN = "08_reporting/defect/images/vit/default", "08_reporting/defect/images/vit/seed-3"
CATEGORIES = ["nut", "bolt"]
PARQUET = {"type": "pandas.ParquetDataset", "save_args": {"index": False}}


def double(value: Mapping[str, int]) -> dict[str, int]:
    return {"value": 2 * value["value"]}


def double_each(values: ByCategory[Any]) -> Iterator[dict[str, Any]]:
    for key in values:
        yield {key: double(values[key])}


def total(values: ByCategory[Any]) -> dict[str, int]:
    return {"value": sum(values[key]["value"] for key in values)}


def count(table: pd.DataFrame) -> dict[str, int]:
    return {"value": len(table)}


def picture(value: Mapping[str, int]) -> list[GalleryImage]:
    views = {"image": b"jpeg"}
    return [GalleryImage("a.png", "nut", "hole", 1, value["value"], 1, 0.5, views)]


def name_of(gallery: list[GalleryImage]) -> dict[str, Any]:
    return {"value": gallery[0].score}


IN_THREADS = partial(SequentialRunner, is_async=True)
"""``--async``: threads load and save."""

CHAIN = Pipeline(
    [
        Node(double, "a", "b", name="b"),
        Node(double, "b", "c", name="c"),
        Node(picture, "c", "gallery", name="gallery"),
        Node(name_of, "gallery", "d", name="d"),
    ]
)


def file(path: str) -> CheckedDataset:
    return CheckedDataset(filepath=path, dataset="json.JSONDataset")


def catalog_in(folder: str, **others: AbstractDataset[Any, Any]) -> DataCatalog:
    datasets = {name: file(f"{folder}/{name}/{name}.json") for name in "abcd"}
    gallery = GalleryDataset(filepath=f"{folder}/nut/gallery")
    return DataCatalog({**datasets, "gallery": gallery, **others})


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    made = catalog_in(str(tmp_path / "data" / RUN))
    made.save("a", {"value": 1})
    run(CHAIN, made)
    return made


def run(pipeline: Pipeline, catalog: DataCatalog, runner: Any = SequentialRunner) -> None:
    hooks = _create_hook_manager()
    hooks.register(OriginHooks())
    runner().run(pipeline, catalog, hook_manager=hooks)


def test_what_is_as_it_was_can_be_gone_on_from(catalog: DataCatalog) -> None:
    for name in "bcd":
        assert not check_origins([name], {"later"}, catalog)
    run(CHAIN, catalog)
    assert not check_origins(["gallery", "d"], set(), catalog)


@pytest.mark.parametrize("given", ["b", "c", "gallery", "d"])
def test_a_change_far_behind_is_found(catalog: DataCatalog, given: str) -> None:
    catalog.save("a", {"value": 2})
    with pytest.raises(InputError, match=r"the .*a\.json changed after .* made the .*b\.json from"):
        check_origins([given], set(), catalog)
    run(CHAIN.only_nodes("b"), catalog)
    assert not check_origins(["b"], set(), catalog)
    if given != "b":
        with pytest.raises(InputError, match=r"the .*b\.json changed after .* the .*c\.json from"):
            check_origins([given], set(), catalog)


def test_threads_that_save_keep_origins_too(catalog: DataCatalog) -> None:
    catalog.save("a", {"value": 2})
    run(CHAIN, catalog, IN_THREADS)
    assert not check_origins(["d"], set(), catalog)
    catalog.save("a", {"value": 3})
    for name in ("b", "gallery", "d"):
        with pytest.raises(InputError, match=r"a\.json changed after"):
            check_origins([name], set(), catalog)


def test_what_is_saved_by_hand_after_a_failed_run_has_no_sources(catalog: DataCatalog) -> None:
    announce_sources("b", {}, CHAIN.nodes[0], catalog)  # and then saving it fails
    OriginHooks().on_pipeline_error()
    catalog.save("b", {"value": 5})
    catalog.save("a", {"value": 7})
    assert not check_origins(["b"], set(), catalog)


def test_a_change_of_a_gallery_is_found(catalog: DataCatalog) -> None:
    catalog.save("gallery", picture({"value": 5}))
    with pytest.raises(InputError, match=r"gallery changed after .* made the .*d\.json"):
        check_origins(["d"], set(), catalog)


def test_the_same_made_anew_is_no_change(catalog: DataCatalog) -> None:
    run(CHAIN.only_nodes("b", "gallery"), catalog)
    assert not check_origins(["d"], set(), catalog)


def test_what_is_gone_could_have_changed(catalog: DataCatalog, tmp_path: Path) -> None:
    (tmp_path / "data" / RUN / "b/b.json").unlink()
    with pytest.raises(InputError, match=r"b\.json, from which .*c\.json, is gone or damaged"):
        check_origins(["d"], set(), catalog)
    assert check_origins(["d"], {"b"}, catalog), "a run that makes it anew finds out"


def test_what_is_saved_by_hand_contradicts_nothing(catalog: DataCatalog) -> None:
    catalog.save("c", {"value": 4})
    assert not check_origins(["c", "d"], set(), catalog)


@pytest.mark.parametrize("what", ["c", "gallery"])
def test_a_copy_of_another_result_is_told_as_such(
    catalog: DataCatalog, tmp_path: Path, what: str
) -> None:
    """With its mark, and though all that it came from is as it was."""
    other = catalog_in(str(tmp_path / "data" / OTHER_RUN))
    other.save("a", {"value": 9})
    run(CHAIN, other)
    place = "nut/gallery" if what == "gallery" else what
    data = tmp_path / "data"
    shutil.copytree(data / OTHER_RUN / place, data / RUN / place, dirs_exist_ok=True)
    with pytest.raises(InputError, match=f"{what}.* were copied there, .* of .*seed-3/"):
        check_origins([what], set(), catalog)


def test_a_damaged_gallery_claims_nothing(catalog: DataCatalog, tmp_path: Path) -> None:
    index = tmp_path / "data" / RUN / "nut/gallery/index.json"
    text = index.read_text()
    index.write_text(text.replace('"made_from": {', '"made_from": {"another": "state", '))
    with pytest.raises(InputError, match=r"gallery, from which .*d\.json, is gone or damaged"):
        check_origins(["d"], set(), catalog)
    assert not check_origins(["gallery"], set(), catalog), "reading it tells of the damage"


def test_a_touched_image_is_the_same(tmp_path: Path) -> None:
    listed = {"image": ["a.png"], "content_hash": ["1"], "fingerprint": ["now"]}
    images = CheckedDataset(filepath=str(tmp_path / "images.parquet"), dataset=PARQUET)
    made = catalog_in(str(tmp_path), images=images)
    pipeline = Pipeline([Node(count, "images", "b", name="b"), Node(double, "b", "c", name="c")])
    for column, is_same in [("fingerprint", True), ("content_hash", False)]:
        made.save("images", pd.DataFrame(listed))
        run(pipeline, made)
        made.save("images", pd.DataFrame({**listed, column: ["other"]}))
        if is_same:
            assert not check_origins(["c"], set(), made)
            continue
        with pytest.raises(InputError, match="images"):
            check_origins(["c"], set(), made)


def test_timings_do_not_make_another_result(tmp_path: Path) -> None:
    bundle = ArrayBundleDataset(filepath=str(tmp_path / "scores.safetensors"))
    made = catalog_in(str(tmp_path), scores=bundle)
    count = Node(lambda scores: {"value": len(scores.arrays["scores"])}, "scores", "b", name="b")
    made.save("scores", ArrayBundle({"scores": np.zeros(3)}, {"seconds": 1.0}))
    run(Pipeline([count, Node(double, "b", "c", name="c")]), made)
    made.save("scores", ArrayBundle({"scores": np.zeros(3)}, {"seconds": 2.0}))
    assert not check_origins(["c"], set(), made)
    made.save("scores", ArrayBundle({"scores": np.ones(3)}, {"seconds": 2.0}))
    with pytest.raises(InputError, match="scores"):
        check_origins(["c"], set(), made)

    made.save("a", {"value": 1, "images_per_second": 3.0})
    run(CHAIN, made)
    made.save("a", {"value": 1, "images_per_second": 4.0})
    assert not check_origins(["d"], set(), made)


def test_results_may_move_together(catalog: DataCatalog, tmp_path: Path) -> None:
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    moved = catalog_in(str(tmp_path / "elsewhere" / RUN))
    assert not check_origins(["d"], set(), moved)
    moved.save("a", {"value": 3})
    with pytest.raises(InputError, match=r"elsewhere/.*/a/a\.json changed"):
        check_origins(["d"], set(), moved)


def test_results_may_lie_on_several_file_systems(tmp_path: Path) -> None:
    made = catalog_in(str(tmp_path), b=file(f"memory://{tmp_path.name}/b.json"))
    made.save("a", {"value": 1})
    run(CHAIN, made)
    assert not check_origins(["d"], set(), made)
    made.save("b", {"value": 3})
    with pytest.raises(InputError, match=r"memory://.*/b\.json changed after .*c\.json "):
        check_origins(["d"], set(), made)


def test_what_is_made_anew_in_the_same_run_is_compared_when_it_is_there(
    catalog: DataCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = CHAIN.only_nodes("b", "d")  # not what lies between
    assert check_origins(["gallery"], {"b", "d"}, catalog)
    monkeypatch.setenv(GOES_ON, "1")
    run(part, catalog)
    catalog.save("a", {"value": 7})
    before = catalog.load("d")
    monkeypatch.setenv(GOES_ON, "1")
    with pytest.raises(InputError, match=r"b\.json changed after an earlier run had made the"):
        run(part, catalog)
    assert catalog.load("d") == before


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_each_category_of_a_chunk_has_an_origin_of_its_own(tmp_path: Path, runner: Any) -> None:
    def chunk(name: str) -> ByCategoryDataset:
        path = f"{tmp_path}/{PLACE}/{name}.json"
        kind = "uniformaly_pipeline.datasets.checked_dataset.CheckedDataset"
        entry = {"type": kind, "dataset": "json.JSONDataset", "filepath": path}
        return ByCategoryDataset(dataset=entry, categories=CATEGORIES)

    made = catalog_in(str(tmp_path), a=chunk("a"), b=chunk("b"), c=chunk("c"))
    made.save("a", {key: {"value": 1} for key in CATEGORIES})
    nodes: list[tuple[Callable[..., Any], str, str]] = [
        (double_each, "a", "b"), (double_each, "b", "c"), (total, "c", "d"),
    ]  # fmt: skip
    pipeline = Pipeline([Node(*each, name=each[2]) for each in nodes])
    run(pipeline, made, runner)
    assert made.load("d") == {"value": 8}
    assert not check_origins(["d"], set(), made)
    made.save("a", {"bolt": {"value": 2}})
    with pytest.raises(InputError, match=r"bolt/a\.json changed after .*bolt/b\.json "):
        check_origins(["d"], set(), made)
    notes = {mark.name: mark.read_text() for mark in tmp_path.glob("nut/.checksums/c.*")}
    assert "b.json" in str(notes)
    assert "bolt" not in str(notes)
