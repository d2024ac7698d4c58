"""A part of a run goes on from what an earlier one made only where that is of the same images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from PIL import Image, ImageOps
from safetensors.torch import save_file

from uniformaly_pipeline.common.errors import CommandError, InputError
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.features.backbone import Backbone, load_backbone

pytestmark = pytest.mark.slow

PARTS: list[dict[str, Any]] = [
    {"only_missing_outputs": True},
    {"tags": ["scoring"]},
    {"tags": ["evaluation"]},
    {"tags": ["reporting"]},
    {"from_nodes": ["defect.average_over_categories"]},
    {"from_nodes": ["defect.nut.build_memory_bank"]},
]
CHANGED = r"changed since .* \(nut/{}\): run the task from the start: kedro run --pipelines=defect"

IMAGES_CHANGED = "the images of 'nut' changed after an earlier run had made the .* of 'nut' from"


@pytest.fixture
def run(project: Any, small: dict[str, Any]) -> Callable[..., None]:
    """Run ``defect``, or a part of it, as its own session."""
    configure_project("uniformaly_pipeline")

    def run_part(**options: Any) -> None:
        parameters = {**small, "categories": ["nut"]}
        with KedroSession.create(project_path=project.path, runtime_params=parameters) as session:
            session.run(**{"pipeline_names": ["defect"], **options})

    return run_part


def invert(path: Path) -> None:
    """Other content, of the same size."""
    with Image.open(path) as opened:
        picture = ImageOps.invert(opened.convert("RGB"))
    picture.save(path)


def test_changed_images_and_masks_end_every_part_by_name(
    run: Callable[..., None], images: Path, project: Any
) -> None:
    run()
    metrics = next(project.path.glob("data/08_reporting/defect/**/metrics.json"))
    before = metrics.read_bytes()
    nut = images / "nut"

    def add() -> None:
        shutil.copy(nut / "test/hole/000.png", nut / "test/hole/900.png")
        shutil.copy(nut / "ground_truth/hole/000_mask.png", nut / "ground_truth/hole/900_mask.png")

    changes: list[tuple[str, Callable[[], Any]]] = [
        ("train/good/000.png", lambda: invert(nut / "train/good/000.png")),
        ("test/hole/001.png", lambda: invert(nut / "ground_truth/hole/001_mask.png")),
        ("test/good/002.png", (nut / "test/good/002.png").unlink),
        ("test/hole/900.png", add),
    ]
    kept = images.with_name("kept")
    shutil.copytree(images, kept)
    for name, change in changes:
        change()
        for part in PARTS:
            with pytest.raises(CommandError, match=CHANGED.format(name)):
                run(**part)
        shutil.rmtree(images)
        shutil.copytree(kept, images)
    assert metrics.read_bytes() == before
    # A copy has other times but the same content.
    for part in PARTS:
        run(**part)


def test_what_was_listed_anew_alone_is_not_mixed_with_earlier_results(
    run: Callable[..., None], images: Path
) -> None:
    """The manifest is as the images are, but not what was made of them."""
    run()
    for name in ("000", "001", "002"):
        invert(images / f"nut/test/hole/{name}.png")
    run(node_names=["read_and_check_images"])
    with pytest.raises(CommandError, match=r"3 problems: nut/test/hole/000.png; "):
        run(tags=["scoring"])
    run(tags=["ingestion", "features"])
    for part in PARTS[1:5]:
        with pytest.raises(CommandError, match=IMAGES_CHANGED):
            run(**part)
    run(tags=["memory_bank"])
    for part in PARTS[2:5]:
        with pytest.raises(CommandError, match=IMAGES_CHANGED):
            run(**part)
    run(tags=["scoring"])
    with pytest.raises(
        CommandError,
        match=r"changed after .* metrics of 'nut' from them: run the task from the start: kedro",
    ):
        run(tags=["reporting"])
    run(tags=["evaluation"])
    with pytest.raises(CommandError, match="scores of 'nut' changed after an earlier run"):
        run(only_missing_outputs=True)
    run(tags=["reporting"])
    run(only_missing_outputs=True)


def test_scores_are_those_of_the_bank_beside_them(
    run: Callable[..., None], images: Path, project: Any
) -> None:
    """A detector's threshold comes from the scores: those of another bank would be a wrong one."""
    run()
    data = project.path / "data"
    Detector.from_run(data, "nut")
    for name in ("000", "001"):
        invert(images / f"nut/train/good/{name}.png")
    run(tags=["ingestion", "features", "memory_bank"])
    with pytest.raises(CommandError, match=IMAGES_CHANGED):
        run(tags=["evaluation"])
    with pytest.raises(InputError, match="of another memory bank"):
        Detector.from_run(data, "nut")
    run(tags=["scoring"])
    run(tags=["evaluation"])
    Detector.from_run(data, "nut")


def test_changed_weights_end_every_part_by_name(
    run: Callable[..., None], small: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "weights.safetensors"
    backbone = small["backbones"]["custom"]
    for seed in (0, 1):
        model = load_backbone(Backbone(**backbone), (64, 64), seed)
        save_file(model.state_dict(), f"{checkpoint}.{seed}")
    shutil.copy(f"{checkpoint}.0", checkpoint)
    small["backbones"] = {"custom": {**backbone, "checkpoint": str(checkpoint)}}
    run()
    shutil.copy(f"{checkpoint}.1", checkpoint)
    for part in PARTS:
        with pytest.raises(
            CommandError, match=r"weights\.safetensors has changed since an earlier"
        ):
            run(**part)
    run(tags=["features"])
    for part in PARTS[:5]:
        with pytest.raises(
            CommandError, match=r"weights\.safetensors has changed since an earlier"
        ):
            run(**part)
    run()
    for part in PARTS:
        run(**part)


def test_what_a_part_makes_anew_is_compared_with_what_it_leaves(
    run: Callable[..., None], images: Path, project: Any
) -> None:
    run()
    for name in ("000", "001", "002"):
        invert(images / f"nut/test/hole/{name}.png")
    listing = ["read_and_check_images", "defect.nut.select_normal_and_test_images"]
    kept = project.path / "kept"
    shutil.copytree(project.path / "data", kept)
    for folder in ("02_intermediate/images", "05_model_input/defect"):
        shutil.rmtree(project.path / "data" / folder)
    with pytest.raises(CommandError, match=IMAGES_CHANGED):
        run(only_missing_outputs=True)
    shutil.rmtree(project.path / "data")
    shutil.copytree(kept, project.path / "data")
    with pytest.raises(CommandError, match=IMAGES_CHANGED):
        run(node_names=[*listing, "defect.write_leaderboard"])
    run()


def test_touched_images_are_no_others(run: Callable[..., None], images: Path) -> None:
    run()
    for image in images.rglob("*.png"):
        os.utime(image, (1, 1))
    run(tags=["ingestion"])
    for part in PARTS:
        run(**part)


def test_findings_are_those_of_the_manifest_that_is_there(
    run: Callable[..., None], images: Path
) -> None:
    run(pipeline_names=["ingestion"])
    shutil.copy(images / "nut/test/good/000.png", images / "nut/test/good/900.png")
    run(tags=["ingestion"])
    for part in (
        {"only_missing_outputs": True},
        {"node_names": ["ingestion.write_data_set_report"]},
    ):
        with pytest.raises(
            CommandError, match=r"the manifest changed after an earlier run had made"
        ):
            run(pipeline_names=["ingestion"], **part)
    run(pipeline_names=["ingestion"])


def test_a_part_of_predict_does_not_go_on_from_other_images(
    run: Callable[..., None], images: Path, small: dict[str, Any]
) -> None:
    run()
    new = images.with_name("new")
    new.mkdir()
    shutil.copy(images / "nut/test/hole/000.png", new / "0.png")
    small["predict"] = {"images": str(new), "category": "nut", "threshold": 1.0}
    run(pipeline_names=["predict"], only_missing_outputs=True)
    shutil.copy(images / "nut/test/good/000.png", new / "0.png")
    parts: list[dict[str, Any]] = [
        {"only_missing_outputs": True},
        {"from_nodes": ["predict.nut.count_flagged_images"]},
        {"node_names": ["predict.nut.write_report"]},
    ]
    for part in parts:
        with pytest.raises(CommandError, match=r"in one go: .*kedro run --pipelines=\S*predict"):
            run(pipeline_names=["predict"], **part)
    run(pipeline_names=["predict"])


def test_a_damaged_result_is_a_missing_one(
    run: Callable[..., None], project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run()
    metrics = next(project.path.glob("data/08_reporting/defect/**/metrics.json"))
    first = json.loads(metrics.read_text())
    metrics.write_text("")
    run(only_missing_outputs=True)
    assert "metrics.json is not what a run wrote" in caplog.text
    assert json.loads(metrics.read_text())["mean"]["image_auroc"] == first["mean"]["image_auroc"]
    os.truncate(metrics, 10)
    with pytest.raises(CommandError, match=r"metrics\.json is not what a run wrote"):
        run(node_names=["defect.write_leaderboard"])
