"""New images judged by a memory bank of an earlier run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from PIL import Image
from safetensors.numpy import save_file

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.hooks import _follow_precision

Parameters = dict[str, Any]


def place(project: Any, layer: str, category: str = "nut", images: str = "new") -> Path:
    """Where the only prediction on a folder of this name lies."""
    found = (project.path / "data" / layer / project.place("predict") / category).glob(
        f"{images}-*"
    )
    (folder,) = found
    return Path(folder)


def image_scores(project: Any) -> pd.DataFrame:
    """The scores of the bank's own test images."""
    folder = project.path / "data/07_model_output" / project.place("defect") / "nut"
    return pd.read_parquet(folder / "image_scores.parquet").set_index("image")


@pytest.fixture
def new_images(tmp_path: Path, images: Path) -> Path:
    """A sound image, and one with a black square in a folder of its own."""
    root = tmp_path / "new"
    (root / "shift 2").mkdir(parents=True)
    sound = np.asarray(Image.open(images / "nut/train/good/000.png"))
    damaged = sound.copy()
    damaged[20:44, 40:64] = 0
    Image.fromarray(sound).save(root / "a.png")
    Image.fromarray(damaged).save(root / "shift 2/a.png")
    return root


@pytest.fixture
def predict(new_images: Path) -> Parameters:
    """``predict`` for these images; three held-out normal images allow a rate of 1/4."""
    return {"images": str(new_images), "category": "nut", "false_alarm_rate": 0.25}


def error_line(project: Any, parameters: Parameters) -> str:
    """The message that ends a prediction."""
    with pytest.raises(CommandError) as error:
        project.run("predict", **parameters)
    message = error.value.format_message()
    assert "\n" not in message
    return message


def scores(project: Any, images: str = "new") -> pd.DataFrame:
    path = place(project, "07_model_output", images=images) / "scores.csv"
    return pd.read_csv(path).set_index("image")


def test_flags_what_is_new(
    project: Any, small: Parameters, predict: Parameters, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("defect", **small)
    held_out = image_scores(project)
    capsys.readouterr()
    project.run("predict", predict=predict, **small)
    table = scores(project)
    assert list(table.index) == ["shift 2/a.png", "a.png"], "highest scores first"
    assert table["flagged"].to_dict() == {"shift 2/a.png": 1, "a.png": 0}
    normal = held_out.loc[held_out["label"] == 0, "score"]
    assert table["threshold"].iloc[0] == pytest.approx(normal.max())
    assert table["p_value"]["shift 2/a.png"] == pytest.approx(1 / 4)
    # The patch with the highest score lies on the square, in the image's own pixels.
    damaged = table.loc["shift 2/a.png"]
    assert 36 <= damaged["x"] <= 68
    assert 16 <= damaged["y"] <= 48
    assert damaged["normal_image"].startswith("nut/train/good/")
    results = place(project, "08_reporting")
    maps = results / "heat_maps"
    with Image.open(maps / "shift_2/a.png") as picture:
        assert picture.size == (64, 64)
    assert (maps / "a.png").exists()
    page = (results / "report.html").read_text()
    assert "nearest normal patch: nut/train/good/" in page
    figures = json.loads((results / "metrics.json").read_text())
    assert figures["num_flagged"] == 1
    assert figures["num_calibration"] == 3
    shown = capsys.readouterr().out
    assert "1 of 2 images flagged" in shown
    assert "scores.csv" in shown


def test_scores_are_those_of_the_test_images(
    project: Any, small: Parameters, predict: Parameters, images: Path
) -> None:
    """An image that was tested before gets the same score as a new one."""
    project.run("defect", **small)
    before = image_scores(project)["score"]
    project.run("predict", predict={**predict, "images": str(images / "nut/test")}, **small)
    now = scores(project, "test")["score"]
    assert len(now) == 6
    for image, score in now.items():
        assert score == pytest.approx(before[f"nut/test/{image}"], rel=1e-5)


@pytest.mark.parametrize(
    ("asked", "used"), [("auto", "bfloat16"), ("float32", "float32"), ("bfloat16", "bfloat16")]
)
def test_automatic_precision_is_that_of_the_memory_bank(asked: str, used: str) -> None:
    """On a GPU two new images are too few to choose one: it would be another than the bank's."""
    catalog = DataCatalog({"params:encoder": MemoryDataset({"precision": asked, "device": "cpu"})})
    _follow_precision(ArrayBundle({}, {"features": {"precision": "bfloat16"}}), catalog)
    assert catalog.load("params:encoder") == {"precision": used, "device": "cpu"}


def test_shared_bank(project: Any, small: Parameters, predict: Parameters) -> None:
    project.run("multiclass", **small)
    project.run("predict", predict={**predict, "task": "multiclass"}, **small)
    assert scores(project)["flagged"].sum() == 1
    assert set(scores(project)["normal_image"].str.split("/").str[0]) <= {"nut", "cloth"}


def test_before_any_bank_exists(project: Any, small: Parameters, predict: Parameters) -> None:
    line = error_line(project, {"predict": predict, **small})
    assert "of 'nut' on images with vit_tiny_patch16_224, settings " in line
    assert "first run kedro run --pipelines=defect --params=dataset=folder" in line
    assert "predict" not in line, "the command that makes the bank needs no new images"
    assert project.outputs() == []


def test_without_images(
    project: Any, small: Parameters, predict: Parameters, tmp_path: Path
) -> None:
    project.run("defect", **small)
    before = project.outputs()
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, expected in [
        (str(empty), "holds no images"),
        (str(tmp_path / "nowhere"), "does not exist"),
        (None, "predict.images: give a folder of new images"),
    ]:
        assert expected in error_line(project, {"predict": {**predict, "images": folder}, **small})
    (empty / "notes.txt").write_text("not an image")
    line = error_line(project, {"predict": {**predict, "images": str(empty)}, **small})
    assert "notes.txt cannot be read as an image" in line
    assert project.outputs() == before


def test_which_bank(project: Any, small: Parameters, predict: Parameters) -> None:
    nameless = {**predict, "category": None}
    line = error_line(project, {"predict": nameless, **small})
    assert "choose a memory bank, one of cloth, nut" in line
    misspelt = {**predict, "category": "nutt"}
    assert "did you mean 'nut'?" in error_line(project, {"predict": misspelt, **small})


def test_too_few_held_out_images(project: Any, small: Parameters, predict: Parameters) -> None:
    project.run("defect", **small)
    before = project.outputs()
    line = error_line(project, {"predict": {**predict, "false_alarm_rate": 0.1}, **small})
    assert "takes at least 9 held-out normal images, but there are 3" in line
    assert project.outputs() == before


def test_bank_made_in_another_way(
    project: Any, small: Parameters, predict: Parameters, tmp_path: Path
) -> None:
    """Other preprocessing, masking or weights: one clear line each, no decision."""
    import timm

    weights = tmp_path / "weights.safetensors"

    def write_weights(scale: float) -> None:
        custom = small["backbones"]["custom"]
        model = timm.create_model(custom["model"], num_classes=0, **custom["model_kwargs"])
        state = {name: scale * value.numpy() for name, value in model.state_dict().items()}
        save_file(state, weights)

    write_weights(1.0)
    small["backbones"]["custom"] = {**small["backbones"]["custom"], "checkpoint": str(weights)}
    project.run("defect", **small)
    folder = small["datasets"]["folder"]
    resized = {"folder": {**folder, "preprocessing": {"resize": 70, "crop": 64}}}
    for changes, expected in [
        ({"datasets": resized}, "preprocessing.crop-64"),
        ({"bpm": {"threshold": 0.2}}, "bpm.threshold-0.2"),
    ]:
        line = error_line(project, {**small, "predict": predict, **changes})
        assert "of 'nut' on images with weights, settings" in line
        assert expected in line
        assert "are missing: first run kedro run" in line
    write_weights(0.5)
    assert "another weights" in error_line(project, {**small, "predict": predict})
    assert not list((project.path / "data/07_model_output").rglob("scores.csv"))


def test_images_may_move_after_training(
    project: Any, small: Parameters, predict: Parameters, images: Path
) -> None:
    """Only the report's close-ups need the normal images."""
    project.run("defect", **small)
    shutil.rmtree(images / "nut/test")
    project.run("predict", predict=predict, **small)
    assert scores(project)["flagged"].sum() == 1
