"""Runs on images that are no squares: wholly seen, and in tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file

from uniformaly_pipeline import Detector

Parameters = dict[str, Any]


@pytest.fixture
def strips(tmp_path: Path) -> Path:
    """Strips of 160 x 48 pixels, whose flaws lie at the left, where a crop would not look."""
    root = tmp_path / "strips"
    rng = np.random.default_rng(0)
    for folder, number in (("good", 12), ("bad", 3)):
        (root / "strip" / folder).mkdir(parents=True)
        (root / "strip/masks" / folder).mkdir(parents=True)
        for i in range(number):
            picture = rng.integers(90, 160, (48, 160, 3), dtype=np.uint8)
            if folder == "bad":
                mask = np.zeros((48, 160), np.uint8)
                picture[8:40, 4:30], mask[8:40, 4:30] = 0, 236
                Image.fromarray(mask).save(root / f"strip/masks/bad/{i}_mask.png")
            Image.fromarray(picture).save(root / f"strip/{folder}/{i}.png")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tiles", "grid"), [(None, (8, 8)), ({"size": 64, "overlap": 16}, (8, 20))]
)
def test_all_of_a_strip_is_judged(
    project: Any,
    small: Parameters,
    strips: Path,
    tiles: dict[str, int] | None,
    grid: tuple[int, int],
) -> None:
    preprocessing = {"resize": 64, "crop": None, "tiles": tiles}
    data_set = {"root": str(strips), "preprocessing": preprocessing}
    parameters = {**small, "datasets": {"folder": data_set}, "bpm": {"mode": "off"}}
    project.run(**parameters)
    place = project.place()
    scores = load_file(
        project.path / f"data/07_model_output/{place}/strip/patch_scores.safetensors"
    )["patch_scores"]
    table = pd.read_parquet(
        project.path / f"data/07_model_output/{place}/strip/image_scores.parquet"
    )
    assert scores.shape[1:] == grid
    counted = ~np.isnan(scores)
    # 160 x 48 pixels in 64: 64 x 19, two and a half rows of patches. In tiles: 20 x 6.
    assert counted.sum(axis=(1, 2)).tolist() == [(8 * 3 if tiles is None else 20 * 6)] * len(table)
    bad = (table["label"] == 1).to_numpy()
    left = scores[bad][:, :3, : grid[1] // 4]
    right = scores[bad][:, :3, grid[1] // 2 :]
    assert np.nanmean(left) > 1.5 * np.nanmean(right)
    metrics = json.loads(
        (project.path / f"data/08_reporting/{place}/metrics.json").read_text(encoding="utf-8")
    )
    assert metrics["mean"]["image_auroc"] == 1.0
    assert metrics["mean"]["pixel_auroc"] > 0.9
    report = (project.path / f"data/08_reporting/{place}/report.html").read_text(encoding="utf-8")
    assert "all of every image" in report

    new = strips / "strip/bad/1.png"
    project.run("predict", **parameters, predict={"images": str(new), "false_alarm_rate": 0.4})
    (found,) = (project.path / "data/07_model_output/predict").rglob("scores.csv")
    (row,) = pd.read_csv(found).to_dict("records")
    assert (row["image"], row["flagged"]) == ("1.png", 1)
    assert row["x"] < 45
    (drawn,) = (project.path / "data/08_reporting/predict").rglob("heat_maps/*.png")
    width, height = Image.open(drawn).size
    assert width / height == pytest.approx(160 / 48, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("tiles", [None, {"size": 64, "overlap": 16}])
def test_outside_of_a_region_of_interest_nothing_counts(
    project: Any, small: Parameters, strips: Path, tiles: dict[str, int] | None
) -> None:
    """Of the strips the right half counts: what lies at the left changes no score."""
    roi = np.zeros((48, 160), np.uint8)
    roi[:, 80:] = 255
    Image.fromarray(roi).save(strips / "strip/roi.png")
    preprocessing = {"resize": 64, "crop": None, "tiles": tiles}
    data_set = {"root": str(strips), "preprocessing": preprocessing}
    parameters = {**small, "datasets": {"folder": data_set}, "bpm": {"mode": "off"}}
    project.run("ingestion", **parameters)
    findings = (project.path / "data/08_reporting/ingestion").rglob("findings.csv")
    text = next(findings).read_text(encoding="utf-8")
    assert "50% of each image of strip lies outside of its region of interest" in text
    assert "mark lies wholly outside of what is looked at" in text

    project.run(**parameters)
    place = project.place()
    outputs = project.path / f"data/07_model_output/{place}/strip"
    scores = load_file(outputs / "patch_scores.safetensors")["patch_scores"]
    half = scores.shape[2] // 2
    assert np.isnan(scores[:, :, :half]).all()
    assert not np.isnan(scores[:, :3, half:]).any()
    bank = load_file(project.path / f"data/06_models/{place}/strip/memory_bank.safetensors")
    assert (bank["patch"] % scores.shape[2] >= half).all()
    report = (project.path / f"data/08_reporting/{place}/report.html").read_text(encoding="utf-8")
    assert "Where was looked" in report
    assert "strip: 50% of strip/" in report

    # New images need no region of their own.
    new = strips / "strip/bad"
    project.run("predict", **parameters, predict={"images": str(new), "false_alarm_rate": 0.4})
    (found,) = (project.path / "data/07_model_output/predict").rglob("scores.csv")
    assert (pd.read_csv(found)["x"] >= 80).all()
    (page,) = (project.path / "data/08_reporting/predict").rglob("report.html")
    assert "Where was looked" in page.read_text(encoding="utf-8")
    trained = pd.read_parquet(outputs / "image_scores.parquet").set_index("image")["score"]
    judged = pd.read_csv(found).set_index("image")["score"]
    for name, score in judged.items():
        assert score == pytest.approx(trained[f"strip/bad/{name}"], rel=1e-5)
    if tiles is None:
        detector = Detector.from_run(project.path / "data", "strip", run=place)
        (result,) = detector.predict([new / "1.png"])
        assert result.score == pytest.approx(judged["1.png"], rel=1e-5)

    # Another region is another result: nothing of the old one is reused.
    Image.fromarray(255 - roi).save(strips / "strip/roi.png")
    project.run(**parameters)
    scores = load_file(outputs / "patch_scores.safetensors")["patch_scores"]
    assert np.isnan(scores[:, :, half:]).all()
    table = pd.read_parquet(outputs / "image_scores.parquet")
    bad = (table["label"] == 1).to_numpy()
    assert table["score"][bad].min() > table["score"][~bad].max()


def test_a_category_with_no_normal_tests_keeps_its_region(
    project: Any, small: Parameters, strips: Path
) -> None:
    """Its key is not its name, and nothing but the images learned from says how new ones are."""
    roi = np.zeros((48, 160), np.uint8)
    roi[:, 80:] = 255
    folder = strips / "strip 5mm"
    (folder / "train").mkdir(parents=True)
    (strips / "strip/good").rename(folder / "train/good")
    (folder / "test").mkdir()
    (strips / "strip/bad").rename(folder / "test/bad")
    (strips / "strip").rename(strips.with_name("rest"))
    Image.fromarray(roi).save(folder / "roi.png")
    data_set = {"root": str(strips), "preprocessing": {"resize": 64, "crop": None}}
    parameters = {**small, "datasets": {"folder": data_set}, "bpm": {"mode": "off"}}
    project.run(**parameters)
    (key,) = (project.path / "data/06_models").rglob("memory_bank.safetensors")
    detector = Detector.from_run(project.path / "data", key.parent.name, threshold=1.0)
    region = detector.state.reading.region
    assert region is not None
    assert (region.pixels == (roi > 0)).all()
    new = {"images": str(folder / "test/bad"), "threshold": 1.0}
    project.run("predict", **parameters, predict=new)
    (found,) = (project.path / "data/07_model_output/predict").rglob("scores.csv")
    judged = pd.read_csv(found)
    assert (judged["x"] >= 80).all()
    scores = {result.name: result.score for result in detector.predict(folder / "test/bad")}
    assert judged.set_index("image")["score"].to_dict() == pytest.approx(scores, rel=1e-5)
