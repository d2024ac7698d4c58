"""Bad input ends a run with one clear line and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from uniformaly_pipeline.common.errors import CommandError

Parameters = dict[str, Any]


def merged(base: Parameters, changes: Parameters) -> Parameters:
    """``base`` with nested ``changes``."""
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if nested else value
    return result


def error_line(project: Any, parameters: Parameters) -> str:
    """The message that ends a run."""
    with pytest.raises(CommandError) as error:
        project.run(**parameters)
    message = error.value.format_message()
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dataset": "folderr"}, "unknown dataset 'folderr'; did you mean 'folder'?"),
        ({"backbone": "dino_vitb9"}, "unknown backbone 'dino_vitb9'; did you mean 'dino_vitb"),
        ({"categories": "nutt"}, "no category 'nutt'; did you mean 'nut'?"),
        ({"bpm": {"treshold": 0.2}}, "unknown key 'bpm.treshold'; did you mean 'bpm.threshold'?"),
        ({"sede": 1}, "unknown key 'sede'; did you mean 'seed'?"),
        (
            {"datasets": {"folder": {"rot": "x"}}},
            "unknown key 'datasets.folder.rot'; did you mean 'datasets.folder.root'?",
        ),
        ({"memory_bank": {"coreset_ratio": 0}}, "memory_bank.coreset_ratio: input should be"),
        ({"memory_bank": {"coreset_ratio": 2}}, "memory_bank.coreset_ratio: input should be"),
        ({"bpm": {"threshold": -1}}, "bpm.threshold: input should be"),
        ({"bpm": {"kernel_size": 4}}, "kernel_size: 4 must be odd"),
        ({"scoring": {"top_k_ratio": "much"}}, "scoring.top_k_ratio: input should be"),
        ({"backbones": {"custom": {"layers": [2, 99]}}}, "layers asks for block 99"),
        ({"backbones": {"custom": {"attention_layer": 99}}}, "attention_layer asks for block 99"),
        (
            {"backbones": {"custom": {"model": "vit_tinny_patch16_224"}}},
            "backbones.custom: timm has",
        ),
        ({"datasets": {"folder": {"preprocessing": {"crop": 60}}}}, "which patches of 8x8"),
        (
            {"datasets": {"folder": {"root": "no/such/folder"}}},
            "no/such/folder does not exist: set root to where",
        ),
        ({"datasets": {"folder": {"root": "nowhere"}}}, "datasets.folder: the root "),
    ],
)
def test_impossible_parameters(
    project: Any, small: Parameters, changes: Parameters, expected: str
) -> None:
    assert expected in error_line(project, merged(small, changes))
    assert project.outputs() == []


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty_category(root: Path) -> None:
    (root / "bolt").mkdir()


def no_train_good(root: Path) -> None:
    shutil.rmtree(root / "nut/train/good")


def small_mask(root: Path) -> None:
    mask = Image.fromarray(np.zeros((10, 12), np.uint8))
    mask.save(root / "nut/ground_truth/hole/001_mask.png")


def damaged_files(root: Path) -> None:
    truncate(root / "nut/train/good/002.png")
    (root / "cloth/test/hole/001.png").write_text("not an image")
    truncate(root / "nut/ground_truth/hole/000_mask.png")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (empty_category, ["category 'bolt' is empty"]),
        (no_train_good, ["category 'nut' has no images in nut/train/good"]),
        (small_mask, ["nut/ground_truth/hole/001_mask.png is 12x10", "is 72x72"]),
        (
            damaged_files,
            [
                "3 problems",
                "nut/train/good/002.png cannot be read as an image",
                "cloth/test/hole/001.png cannot be read as an image",
                "nut/ground_truth/hole/000_mask.png cannot be read as a mask",
            ],
        ),
    ],
)
def test_broken_data_set(
    project: Any,
    small: Parameters,
    images: Path,
    damage: Callable[[Path], None],
    expected: list[str],
) -> None:
    damage(images)
    message = error_line(project, small)
    for part in expected:
        assert part in message
    assert project.outputs() == []


def test_checkpoint_that_does_not_fit(project: Any, small: Parameters, tmp_path: Path) -> None:
    checkpoint = tmp_path / "other.safetensors"
    save_file({"cls_token": np.zeros((1, 1, 7), np.float32)}, checkpoint)
    changes = {"backbones": {"custom": {"checkpoint": str(checkpoint)}}}
    message = error_line(project, merged(small, changes))
    assert "other.safetensors does not fit the model" in message
    assert "missing: pos_embed" in message
    assert "wrong shape: cls_token (1, 1, 7) for (1, 1, 24)" in message
    assert project.outputs() == []


def test_weights_that_cannot_be_had_are_found_out_before_any_work(
    project: Any, small: Parameters
) -> None:
    """The hub's client is offline in tests."""
    line = error_line(project, {**small, "backbone": "dino_vits8"})
    assert "the pretrained weights of 'vit_small_patch8_224.dino' cannot be had" in line
    assert project.outputs() == []


def test_missing_checkpoint(project: Any, small: Parameters) -> None:
    changes = {"backbones": {"custom": {"checkpoint": "no/weights.pth"}}}
    assert "no/weights.pth does not exist" in error_line(project, merged(small, changes))
    assert project.outputs() == []


def test_disk_too_small(
    project: Any,
    small: Parameters,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with caplog.at_level("INFO"):
        message = error_line(project, small)
    assert "the feature store needs up to" in message
    assert "Features need at most" in caplog.text
    # The tables of images are whole and of use; no feature and nothing after it was written.
    written = {path.split("/")[0] for path in project.outputs()}
    assert written <= {"02_intermediate", "05_model_input", "06_models"}
    assert not list((project.path / "data/06_models").rglob("*.safetensors"))


def test_demo_is_never_drawn_over_other_files(project: Any, images: Path) -> None:
    before = sorted(images.rglob("*"))
    message = error_line(project, {"datasets": {"demo": {"root": str(images)}}})
    assert "need a folder of their own" in message
    assert sorted(images.rglob("*")) == before
    assert project.outputs() == []


def test_results_are_not_kept_in_memory_where_the_catalog_lost_its_entry(
    project: Any, small: Parameters
) -> None:
    (project.path / "conf/base/catalog_evaluation.yml").unlink()
    line = error_line(project, small)
    assert line.startswith(
        "the catalog has no entry for 'defect.cloth.metrics': put the files conf/"
    )
    assert not (project.path / "data/02_intermediate").exists(), "it was found before any work"


@pytest.mark.slow
def test_a_bare_off_is_a_mode(project: Any, images: Path) -> None:
    """YAML reads it as false, on the command line too; the run gets as far as the images."""
    (images / "nut/train/good/000.png").write_text("no image")
    root = f"datasets.folder.root={images}"
    run = project.kedro("run", f"--params=dataset=folder,{root},bpm.mode=off")
    assert "nut/train/good/000.png cannot be read" in " ".join(run.stderr.split())


@pytest.mark.slow
def test_what_the_terminal_shows(project: Any) -> None:
    """One line, no traceback, a non-zero exit: for parameters, for the root and inside a node."""
    run = project.kedro("run", "--params=bpm.treshold=0.1")
    assert run.returncode == 1
    assert "Traceback" not in run.stdout + run.stderr
    assert run.stderr.strip().splitlines()[-1].startswith("Error: parameters: unknown key")

    broken = project.path / "data/01_raw/folder/nut/train/good"
    broken.mkdir(parents=True)
    (broken / "000.png").write_text("no image")
    shutil.copytree(broken, broken.parents[1] / "test/good")
    for runner in ("SequentialRunner", "ParallelRunner"):
        run = project.kedro(
            "run", "--pipelines=defect", "--params=dataset=folder", f"--runner={runner}"
        )
        assert run.returncode == 1
        shown = run.stdout + run.stderr
        assert "Traceback" not in shown
        assert "failed with error" not in shown
        assert "2 problems: nut/train/good/000.png cannot be read" in " ".join(run.stderr.split())
