"""A flipped byte in any file that a run reads: the same result, or one line that names the file."""

from __future__ import annotations

import json
import random
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.framework.project import configure_project, pipelines
from kedro.framework.session import KedroSession

from uniformaly_pipeline.common.errors import RUN_AGAIN, CommandError, InputError
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.features import shards

pytestmark = pytest.mark.slow

Parameters = dict[str, Any]
SETTINGS = {"categories": "nut", "reporting": {"gallery_images": 2}}


@pytest.fixture
def settings(small: Parameters) -> Parameters:
    """The quick run, on one category."""
    return {**small, **SETTINGS}


def files_of(dataset: Any) -> list[Path]:
    """The files of a dataset in the catalog, checksums left out."""
    path = Path(str(dataset._describe()["filepath"]))
    inside = path.rglob("*") if path.is_dir() else [path]
    return sorted(file for file in inside if file.is_file() and ".checksums" not in file.parts)


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    # As in a new process: what a shard says of itself is read once.
    shards.read_info.cache_clear()


def result(project: Any) -> tuple[pd.DataFrame, Parameters]:
    data, place = project.path / "data", project.place()
    metrics = json.loads((data / f"08_reporting/{place}/metrics.json").read_text())["mean"]
    scores = pd.read_parquet(data / f"07_model_output/{place}/nut/image_scores.parquet")
    return scores, {name: v for name, v in metrics.items() if name != "images_per_second"}


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    pd.testing.assert_frame_equal(found[0], expected[0], rtol=1e-5)
    assert found[1] == pytest.approx(expected[1], rel=1e-5)


def run_node(project: Any, settings: Parameters, name: str) -> None:
    configure_project("uniformaly_pipeline")
    with KedroSession.create(project_path=project.path, runtime_params=settings) as session:
        session.run(pipeline_names=["defect"], node_names=[name])


def test_whatever_a_node_reads_is_checked(project: Any, settings: Parameters) -> None:
    """Each file that passes from node to node, one after the other."""
    project.run(**settings)
    expected = result(project)
    with KedroSession.create(project_path=project.path, runtime_params=settings) as session:
        catalog = session.load_context().catalog
        made = pipelines["defect"].all_outputs()
        readers = {
            name: node.name
            for node in pipelines["defect"].nodes
            for name in node.inputs
            if name in made
        }
    rng = random.Random(0)
    assert len(readers) > 9
    for dataset, node in readers.items():
        sound = {file: file.read_bytes() for file in files_of(catalog[dataset])}
        for file in sound:
            flip(file, rng)
            try:
                run_node(project, settings, node)
            except CommandError as error:
                message = error.format_message()
                assert "\n" not in message
                # A JPEG is named by the gallery's index, a store's note by its folder.
                named = (str(file), str(file.parent), str(file.parent.parent))
                assert any(path in message for path in named), (dataset, message)
                cures = (f"{RUN_AGAIN}: kedro run --pipelines=defect --params=", "run again")
                assert any(cure in message for cure in cures), message
            else:
                assert file.name in {"header.json", "current.json"}, f"{file}: not found"
            for name, content in sound.items():
                name.write_bytes(content)
            shards.read_info.cache_clear()
    project.run(**settings)
    assert_same(result(project), expected)


def test_everything_damaged_at_once_is_made_again(project: Any, settings: Parameters) -> None:
    """A whole run takes nothing of it; at most it ends with a line, and the next one goes on."""
    project.run(**settings)
    expected = result(project)
    rng = random.Random(1)
    for name in project.outputs():
        if not name.startswith("06_models/data_sets"):
            flip(project.path / "data" / name, rng)
    with suppress(CommandError):
        project.run(**settings)
    project.run(**settings)
    assert_same(result(project), expected)


def test_a_damaged_bank_judges_nothing(project: Any, settings: Parameters, images: Path) -> None:
    """``predict`` reads it in another run, and says how to make it again."""
    project.run(**settings)
    predict = {
        "images": str(images / "nut/test/good"), "category": "nut", "false_alarm_rate": 0.25,
    }  # fmt: skip
    (bank,) = project.path.rglob("memory_bank.safetensors")
    flip(bank, random.Random(2))
    with pytest.raises(CommandError, match=re.escape(f"{bank} is not what a run wrote")):
        project.run("predict", predict=predict, **settings)
    with pytest.raises(
        CommandError, match=r"missing: the memory bank of 'nut' .*; first run kedro"
    ):
        project.run("predict", predict=predict, **settings)
    assert not list(project.path.rglob("scores.csv"))
    project.run(**settings)
    project.run("predict", predict=predict, **settings)
    assert len(list(project.path.rglob("scores.csv"))) == 1
    (scores,) = project.path.glob("data/07_model_output/defect/**/patch_scores.safetensors")
    flip(scores, random.Random(3))
    with pytest.raises(InputError, match=re.escape(f"{scores} is not what a run wrote")):
        Detector.from_run(project.path / "data", "nut")
