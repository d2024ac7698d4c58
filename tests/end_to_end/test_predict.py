"""New images judged by a memory bank of an earlier run."""

from __future__ import annotations

import json
import re
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
from uniformaly_pipeline.common.errors import CommandError, InputError
from uniformaly_pipeline.detector.detector import Detector
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
    assert re.search(r"^predict on .* with .*: nut +$", shown, re.MULTILINE)
    assert "1 of 2 images flagged" in shown
    assert "scores.csv" in shown


def test_scores_are_those_of_the_test_images(
    project: Any, small: Parameters, predict: Parameters, images: Path
) -> None:
    """An image that was tested before gets the same score as a new one, here and from Python."""
    project.run("defect", **small)
    before = image_scores(project)["score"]
    project.run("predict", predict={**predict, "images": str(images / "nut/test")}, **small)
    now = scores(project, "test")["score"]
    assert len(now) == 6
    for image, score in now.items():
        assert score == pytest.approx(before[f"nut/test/{image}"], rel=1e-5)
    detector = Detector.from_run(project.path / "data", "nut", device="cpu")
    results = detector.predict(images / "nut/test")
    assert len(results) == 6
    for result in results:
        assert result.score == pytest.approx(before[f"nut/test/{result.name}"], rel=1e-6)
    assert detector.threshold.false_alarm_rate == pytest.approx(1 / 4)
    assert results[-1].evidence.normal_image.startswith("nut/train/good/")
    assert results[-1].evidence.view.size == (64, 64)
    # Copied under another name, results are none of that name.
    data = project.path / "data"
    for layer in ("05_model_input", "06_models", "07_model_output"):
        folder = data / layer / project.place()
        shutil.copytree(folder / "nut", folder / "bolt")
    with pytest.raises(InputError, match=r"copied there, they are those of .*/nut/"):
        Detector.from_run(data, "bolt")
    for layer in ("05_model_input", "06_models", "07_model_output"):
        shutil.rmtree(data / layer / project.place() / "bolt")
    # A picture that took the place of one that was learned from is no evidence.
    Image.new("RGB", (64, 64)).save(images / "nut/train/good/000.png")
    assert Detector.from_run(data, "nut", threshold=1.0).state.thumbnails == ()
    shutil.rmtree(images)
    moved = Detector.from_run(project.path / "data", "nut", run=project.place(), threshold=1.0)
    assert moved.state.thumbnails == (), "without the images there is no picture of them"
    for category, run, expected in [
        ("bolt", None, "holds no finished run with a memory bank of 'bolt'"),
        ("nut", "defect/images/other/default", "holds no run defect/images/other/default"),
    ]:
        with pytest.raises(InputError, match=expected):
            Detector.from_run(project.path / "data", category, run=run)


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
        (str(tmp_path / "nowhere"), "there is no file or folder"),
        (None, "predict.images: give a folder of new images"),
    ]:
        assert expected in error_line(project, {"predict": {**predict, "images": folder}, **small})
    (empty / "notes.png").write_text("not an image")
    line = error_line(project, {"predict": {**predict, "images": str(empty)}, **small})
    assert "notes.png cannot be read as an image" in line
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
        assert "; first run kedro run" in line
    write_weights(0.5)
    assert "weights.safetensors has changed since an earlier run" in error_line(
        project, {**small, "predict": predict}
    )
    assert not list((project.path / "data/07_model_output").rglob("scores.csv"))


def test_images_may_move_after_training(
    project: Any, small: Parameters, predict: Parameters, images: Path
) -> None:
    """Only the report's close-ups need the normal images."""
    project.run("defect", **small)
    shutil.rmtree(images / "nut/test")
    project.run("predict", predict=predict, **small)
    assert scores(project)["flagged"].sum() == 1


def test_a_finished_run_or_a_file_judges_without_root_and_settings(
    project: Any,
    small: Parameters,
    new_images: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing of the run is said again: the data set and the backbone are those that ship."""
    project.run("defect", **small)
    before = image_scores(project)["score"]
    tested = images / "nut/test"
    here = tested.rename(new_images.parent / "tested")
    run = f"data/06_models/{project.place()}"
    project.run("predict", predict={"images": str(here), "detector": f"{run}/nut"})
    table = scores(project, "tested")
    for image, score in table["score"].items():
        assert score == pytest.approx(before[f"nut/test/{image}"], rel=1e-6)
    assert table["threshold"].iloc[0] == pytest.approx(before.filter(like="good").max())
    results = place(project, "08_reporting", images="tested")
    assert results.as_posix().endswith(f"{project.place('predict')}/nut/{results.name}")
    page = (results / "report.html").read_text()
    assert "nearest normal patch: nut/train/good/" in page
    assert "at most 0.25" in page
    assert "backbone=quickstart" not in page, "the command repeats what was said"
    assert "is a small one that ships" not in page, "that backbone has nothing to do with it"

    found = place(project, "07_model_output", images="tested") / "scores.csv"
    found.unlink()
    project.run("predict", predict={"images": str(here), "category": "nut"})
    assert found.exists(), "the only run that has the category"
    other = f"{project.place('predict').removeprefix('predict/')}-twice"
    for layer in ("06_models", "07_model_output"):
        base = project.path / "data" / layer / "defect"
        shutil.copytree(base / project.place("predict").removeprefix("predict/"), base / other)
    line = error_line(project, {"predict": {"images": str(here), "category": "nut"}})
    assert "2 finished runs have 'nut'; give predict.detector, one of data/06_models/" in line

    file = project.path / "nut.safetensors"
    run_name = run.removeprefix("data/06_models/")
    Detector.from_run(project.path / "data", "nut", run=run_name, threshold=1e6).save(file)
    shutil.rmtree(images)
    shutil.rmtree(project.path / "data/06_models")
    capsys.readouterr()
    one = here / "hole/000.png"
    project.run("predict", predict={"images": str(one), "detector": "nut.safetensors"})
    shown = capsys.readouterr().out
    assert "0 of 1 image flagged: score above 1e+06, set by hand" in shown
    (found,) = (project.path / "data/07_model_output/predict/detectors").rglob("scores.csv")
    row = pd.read_csv(found).iloc[0]
    assert row["score"] == pytest.approx(before["nut/test/hole/000.png"], rel=1e-6)
    given = {"images": str(here), "detector": "nut.safetensors"}
    project.run("predict", predict={**given, "threshold": 0.0})
    assert "6 of 6 images flagged" in capsys.readouterr().out
    project.run("predict", predict={**given, "false_alarm_rate": 0.25})
    shown = " ".join(capsys.readouterr().out.split())  # lines are broken to fit the screen
    assert "at most 25 % of normal images exceed (from 3 held-out" in shown
    before_errors = project.outputs()
    for changes, expected in [
        ({"false_alarm_rate": 0.1}, "takes at least 9 held-out normal images, but there are 3"),
        ({"threshold": 1.0, "false_alarm_rate": 0.5}, "either a threshold or a false_alarm_rate"),
        ({"detector": "gone.safetensors"}, "gone.safetensors does not exist"),
        ({"detector": f"{run}/nut"}, "holds no memory bank of 'nut'"),
        ({"detector": "pyproject.toml"}, "pyproject.toml is no detector"),
        ({"images": None}, "predict.images: give a folder"),
    ]:
        assert expected in error_line(project, {"predict": {**given, **changes}}), changes
    assert project.outputs() == before_errors


@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
def test_an_exported_folder_judges_as_it_does_from_python(
    project: Any, small: Parameters, images: Path, runner: str
) -> None:
    project.run("defect", **small)
    made = Detector.from_run(project.path / "data", "nut", threshold=1.0, device="cpu")
    made.export(project.path / "out", "onnx")
    expected = {r.name: r.score for r in Detector.load(project.path / "out").predict(images)}
    params = f"predict.images={images},predict.detector=out"
    done = project.kedro("run", "--pipelines=predict", f"--params={params}", f"--runner={runner}")
    assert done.returncode == 0, done.stderr
    (found,) = (project.path / "data/07_model_output/predict/detectors/out").rglob("scores.csv")
    scores = pd.read_csv(found, index_col="image")["score"].to_dict()
    assert scores == pytest.approx(expected, rel=1e-6)
    (project.path / "out/encoder.onnx").write_bytes(b"damaged")
    assert "out/encoder.onnx is damaged: copy or export it anew" in error_line(
        project, {"predict": {"images": str(images), "detector": "out"}}
    )


def test_a_shared_bank_is_a_detector_of_each_category(
    project: Any, small: Parameters, predict: Parameters
) -> None:
    project.run("multiclass", **small)
    project.run("predict", predict={**predict, "task": "multiclass"}, **small)
    with_bank = scores(project)["score"]
    detector = Detector.from_run(project.path / "data", "nut", device="cpu")
    for result in detector.predict(predict["images"]):
        assert result.score == pytest.approx(with_bank[result.name], rel=1e-6)
    names = {name.split("/")[0] for name in detector.state.normal_images}
    assert names == {"nut", "cloth"}
    assert len(detector.calibration_scores) == 3


def test_the_banks_precision_is_that_of_the_new_images(
    project: Any, small: Parameters, predict: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``auto`` may choose another one on this machine or for these images than it did then."""
    import torch

    from uniformaly_pipeline.features import encoder
    from uniformaly_pipeline.features.store import FeatureStore

    choose = encoder.choose_precision
    with monkeypatch.context() as there:
        there.setattr(
            encoder,
            "choose_precision",
            lambda precision: torch.bfloat16 if precision == "auto" else choose(precision),
        )
        project.run("defect", **small)
    project.run("predict", predict=predict, **small)
    (folder,) = (project.path / "data/04_feature/images/vit_tiny_patch16_224").glob("predict-*")
    assert FeatureStore(folder).header.precision == "bfloat16"
    assert scores(project)["flagged"].to_dict() == {"a.png": 0, "shift 2/a.png": 1}
    # A precision that was asked for is another run's.
    asked = {**small, "encoder": {**small["encoder"], "precision": "float32"}}
    assert "missing: the images of 'nut'" in error_line(project, {**asked, "predict": predict})


def test_a_bank_that_may_not_be_read_is_not_one_that_is_missing(
    project: Any, small: Parameters, predict: Parameters, bound_by_modes: None
) -> None:
    """No command that makes it again is of help."""
    project.run("defect", **small)
    (bank,) = (project.path / "data/06_models").rglob("nut/memory_bank.safetensors")
    for closed, mode in [(bank, 0o644), (bank.parent, 0o755)]:
        closed.chmod(0)
        message = error_line(project, {"predict": predict, **small})
        closed.chmod(mode)
        assert message == f"permission denied at {bank}: check its owner and permissions"
