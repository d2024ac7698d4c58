"""A detector leaves for another engine only if it judges there as before."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DETECTOR_FITTING, TINY_8
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector import export as exporting
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.encoding import PatchArrays, TorchEncoder
from uniformaly_pipeline.detector.exported import CARD, ENCODER_FILES, write_exported
from uniformaly_pipeline.features.engines import onnx

FORMATS = ["safetensors", "onnx", "openvino"]


@pytest.fixture(scope="module")
def folders(detector_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The detector in each format."""
    root = tmp_path_factory.mktemp("exported")
    detector = Detector.load(detector_file, device="cpu")
    for name in FORMATS:
        detector.export(root / name, name)  # type: ignore[arg-type]
    return {name: root / name for name in FORMATS}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an exported folder, to be damaged."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_full_disk_is_told_as_everywhere(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    exported = detector.exported("safetensors")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError) as error:
        write_exported(exported, tmp_path / "bolt")
    assert str(error.value) == f"the disk is full at {tmp_path / 'bolt'}: make room and run again"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_judges_as_the_detector(
    name: str, folders: dict[str, Path], detector: Detector, pictures: Path
) -> None:
    expected = detector.predict(pictures / "new")
    again = Detector.load(folders[name])
    for found, result in zip(again.predict(pictures / "new"), expected, strict=True):
        assert found.score == pytest.approx(result.score, rel=1e-4)
        assert (found.is_anomalous, found.place) == (result.is_anomalous, result.place)
        assert found.evidence.normal_image == result.evidence.normal_image
        alone = again.predict(pictures / "new" / found.name)
        assert alone.score == pytest.approx(found.score, rel=1e-5)
    assert files(folders[name]) == {CARD, "detector.safetensors", *ENCODER_FILES[name]}
    assert bool(again.state.weights) == (name == "safetensors"), "another engine needs none"


@pytest.mark.parametrize("name", FORMATS)
def test_the_final_norm_goes_along(name: str, pictures: Path, tmp_path: Path) -> None:
    """And a bank of features before it is none for an encoder that applies it."""
    made = Detector.fit(
        pictures / "good",
        backbone=replace(TINY_8, norm=True),
        preprocessing=DETECTOR_FITTING,
        threshold=1.0,
        device="cpu",
    )
    made.save(tmp_path / "file", embed_weights=True)
    plain = replace(made.state.backbone, norm=False)
    assert made.state.backbone == replace(plain, norm=True)
    card = made.export(tmp_path / name, name)  # type: ignore[arg-type]
    assert card["encoder"]["norm"] is True
    expected = [each.score for each in made.predict(pictures / "new")]
    for place in (tmp_path / name, tmp_path / "file"):
        found = [
            each.score for each in Detector.load(place, device="cpu").predict(pictures / "new")
        ]
        assert found == pytest.approx(expected, rel=1e-4)
    other = TorchEncoder(plain, (64, 64), device="cpu")
    scores = [each.score for each in Detector(made.state, other).predict(pictures / "new")]
    assert scores != pytest.approx(expected, rel=0.1)


def test_the_card_says_what_was_compared(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    card = detector.export(tmp_path / "onnx", "onnx", images=pictures / "new")
    assert json.loads((tmp_path / "onnx" / CARD).read_text()) == card
    assert (card["decisions_compared"], card["decisions_anomalous"]) == (3, 1)
    assert card["decisions_flipped"] == 0
    assert 0 < card["greatest_feature_difference"] < 1e-4
    assert 0 < card["greatest_attention_difference"] < 1e-4
    assert set(card["milliseconds_an_image"]) == {"torch, before", "onnx"}
    assert card["encoder"]["weights_sha256"] == detector.state.reading.header.weights_sha256
    assert card["made_with"]["onnxruntime"]
    # Of its own pictures some are anomalous, too: a decision that is always the same says little.
    own = detector.export(tmp_path / "own", "onnx")
    assert own["decisions_compared"] == 16
    assert 0 < own["decisions_anomalous"] < 16
    bare = Detector(replace(detector.state, thumbnails=()), detector.encoder)
    with pytest.raises(InputError, match="no pictures of normal images to compare on: give images"):
        bare.export(tmp_path / "bare", "onnx")


class Changed:
    """An engine that reads something else from images."""

    def __init__(self, encoder: Any, change: Callable[[PatchArrays, int], PatchArrays]) -> None:
        self._encoder, self._change = encoder, change

    def __call__(self, images: np.ndarray) -> PatchArrays:
        return self._change(self._encoder(images), len(images))


def one_feature(by: float, only_in_batches: bool = False) -> Callable[..., PatchArrays]:
    """One number of one patch is another, by a share of the largest."""

    def change(found: PatchArrays, count: int) -> PatchArrays:
        features = found.features.copy()
        if count > 1 or not only_in_batches:
            features[0, 5, 7] += by * np.abs(features).max()
        return PatchArrays(features, found.attention)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (one_feature(3e-4), r"onnx: features of 'noise' differ by 0\.000\d+, more than 0\.0001"),
        (one_feature(3e-4, only_in_batches=True), "onnx: features of 'noise' differ by"),
        (
            lambda found, _: PatchArrays(found.features, found.attention + 2e-4),
            "onnx: attention of 'noise' differ by 0.0002",
        ),
    ],
)
def test_an_engine_that_differs_is_refused(
    change: Any,
    expected: str,
    detector: Detector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = exporting.encoder_of
    monkeypatch.setattr(exporting, "encoder_of", lambda *given: Changed(make(*given), change))
    with pytest.raises(InputError, match=expected):
        detector.export(tmp_path / "onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_a_decision_that_flips_is_refused(
    detector: Detector, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features agree; the score lies on the threshold."""
    make = exporting.encoder_of

    def scaled(found: PatchArrays, _: int) -> PatchArrays:
        return PatchArrays(found.features * np.float32(1 + 8e-5), found.attention)

    score = detector.predict(pictures / "new/holes/x.png").score
    moved = Detector(detector.state, Changed(detector.encoder, scaled))  # type: ignore[arg-type]
    other = moved.predict(pictures / "new/holes/x.png").score
    assert other != score, "the change is no change"
    detector.set_threshold((score + other) / 2)
    monkeypatch.setattr(exporting, "encoder_of", lambda *given: Changed(make(*given), scaled))
    with pytest.raises(InputError, match=r"1 of 3 decisions differ, such as that on holes/x\.png"):
        detector.export(tmp_path / "onnx", "onnx", images=pictures / "new")
    assert not list(tmp_path.iterdir())


def test_an_older_export_is_replaced_and_nothing_else(
    detector: Detector, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copy("openvino")
    detector.export(folder, "onnx")
    assert files(folder) == {CARD, "detector.safetensors", "encoder.onnx"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else, notes\.txt: give a new folder"):
        detector.export(other, "onnx")
    with pytest.raises(InputError, match="is a file"):
        detector.export(other / "notes.txt", "onnx")
    with pytest.raises(InputError, match="no format 'tensorrt': choose safetensors, onnx"):
        detector.export(tmp_path / "new", "tensorrt")  # type: ignore[arg-type]
    assert files(tmp_path) == {"openvino", "other"}


def test_an_export_through_a_link_or_onto_a_disk_of_its_own_loses_nothing(
    detector: Detector,
    copy: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy("openvino")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "link.part").mkdir()
    detector.export(tmp_path / "link", "onnx")
    assert (tmp_path / "link").is_symlink()
    assert files(folder) == {CARD, "detector.safetensors", "encoder.onnx"}
    assert Detector.load(tmp_path / "link")
    assert (tmp_path / "link.part").is_dir()
    # A mounted disk can be neither renamed nor removed.
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == folder)
    detector.export(folder, "openvino")
    assert "encoder.onnx" not in files(folder)
    assert Detector.load(folder)


def test_the_detector_is_as_it_was_after_an_export(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    """Translating wants torch's own layers; the encoder in use keeps its fast ones."""
    before = [type(module) for module in detector.encoder._encoder.model.modules()]  # type: ignore[attr-defined]
    detector.export(tmp_path / "onnx", "onnx")
    assert [type(m) for m in detector.encoder._encoder.model.modules()] == before  # type: ignore[attr-defined]
    exported = Detector.load(tmp_path / "onnx")
    with pytest.raises(InputError, match="only a detector whose encoder is in torch"):
        exported.export(tmp_path / "again", "openvino")


def test_a_folder_may_lie_at_a_url(detector: Detector, pictures: Path) -> None:
    detector.export("memory://exports/bolt", "onnx")
    again = Detector.load("memory://exports/bolt")
    image = pictures / "new/holes/x.png"
    assert again.predict(image).score == pytest.approx(detector.predict(image).score, rel=1e-4)


def test_a_region_of_interest_goes_along(
    pictures: Path, detector: Detector, tmp_path: Path
) -> None:
    """Its own pictures are smaller than the region."""
    roi = np.zeros((72, 90), np.uint8)
    roi[:, 40:] = 255
    made = Detector.fit(
        pictures / "good",
        roi=roi,
        calibration=pictures / "held",
        backbone=detector.state.backbone,
        preprocessing=detector.state.reading.preprocessing,
        false_alarm_rate=0.25,
        device="cpu",
    )
    made.export(tmp_path / "onnx", "onnx")
    again = Detector.load(tmp_path / "onnx")
    expected, found = (each.predict(pictures / "new/holes/x.png") for each in (made, again))
    assert found.score == pytest.approx(expected.score, rel=1e-4)
    np.testing.assert_array_equal(found.foreground, expected.foreground)
    with pytest.raises(InputError, match=r"size|pixels"):
        again.predict(np.zeros((10, 10), np.uint8))


def test_another_threshold_can_be_kept_in_a_folder(copy: Callable[[str], Path]) -> None:
    folder = copy("onnx")
    Detector.load(folder).set_threshold(3.5).save(folder)
    assert Detector.load(folder).threshold.value == 3.5


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_every_damage_is_one_line(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        for bad, expected in [
            (bytes(changed), "damaged|version|encoder of another|no detector"),
            (content[: len(content) // 2], "damaged|no detector"),
            (None, "is missing|does not exist"),
        ]:
            path.unlink()
            if bad is not None:
                path.write_bytes(bad)
            if path.name == CARD and bad == bytes(changed):
                path.write_text(path.read_text().replace(":", ";", 1))
            with pytest.raises(InputError, match=expected) as refused:
                Detector.load(folder)
            assert str(folder) in str(refused.value)
            path.write_bytes(content)
    assert Detector.load(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"version": 2}, "card.json is of a version 2 that this version .* does not know"),
        ({"engine": "tensorrt"}, "does not know: update it"),
        ({"files": {"../encoder.onnx": "0" * 64}}, "card.json is damaged"),
        ({"files": 3}, "card.json is damaged"),
        ({"encoder": {}}, "card.json is damaged"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(
    changes: dict[str, Any], expected: str, copy: Callable[[str], Path]
) -> None:
    folder = copy("onnx")
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, **changes}))
    with pytest.raises(InputError, match=expected):
        Detector.load(folder)


def test_an_encoder_of_other_weights_is_refused(
    copy: Callable[[str], Path], pictures: Path, detector: Detector
) -> None:
    folder = copy("onnx")
    other = Detector.fit(
        [np.asarray(Image.open(path)) for path in sorted((pictures / "good").iterdir())],
        backbone=replace(detector.state.backbone, layers=(2, 3)),
        threshold=1.0,
        device="cpu",
    )
    other.save(folder / "detector.safetensors")
    with pytest.raises(InputError, match="holds the encoder of another detector"):
        Detector.load(folder)


def test_what_a_folder_cannot_do_is_one_line(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="computes on a CPU: leave the device cuda out"):
        Detector.load(folders["onnx"], device="cuda")
    with pytest.raises(InputError, match="has its encoder: leave the checkpoint out"):
        Detector.load(folders["onnx"], checkpoint="weights.safetensors")


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_it_works_without_torch_and_faiss(
    name: str, folders: dict[str, Path], detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    """From Python and as the command; the other engine is not there either, nor is the frame."""
    blocked = ["torch", "torchvision", "timm", "faiss", "onnx"]
    blocked += ["pandas", "sklearn", "kedro", "mlflow"]
    blocked += ["openvino"] if name == "onnx" else ["onnxruntime"]
    image = str(pictures / "new/holes/x.png")
    script = f"""
import sys
for name in {blocked}:
    sys.modules[name] = None
from uniformaly_pipeline import Detector
result = Detector.load({str(folders[name])!r}).predict({image!r})
print(result.score, result.evidence.normal_image, result.anomaly_map.max(), result.draw().size[0])
from uniformaly_pipeline.commands import serving, watching
sys.argv = ["uniformaly", "predict", {str(folders[name])!r}, {image!r}, "--out", {str(tmp_path)!r}]
from uniformaly_pipeline.commands.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    score, normal, highest, _ = first.split()
    expected = detector.predict(image)
    assert float(score) == pytest.approx(expected.score, rel=1e-4)
    assert normal == expected.evidence.normal_image
    assert float(highest) == pytest.approx(expected.anomaly_map.max(), rel=1e-3)
    assert "1 of 1 image is anomalous" in rest
    assert (tmp_path / "scores.csv").exists()


def test_torch_is_not_loaded_where_it_is_installed(
    folders: dict[str, Path], detector: Detector, pictures: Path
) -> None:
    """It takes seconds, and nothing of it is needed."""
    image = str(pictures / "new/holes/x.png")
    script = f"""
import sys
from uniformaly_pipeline import Detector
print(Detector.load({str(folders["onnx"])!r}).predict({image!r}).score)
print(sorted({{"torch", "timm", "faiss"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    score, loaded = done.stdout.splitlines()
    assert float(score) == pytest.approx(detector.predict(image).score, rel=1e-4)
    assert loaded == "[]"


def test_a_detector_that_needs_torch_says_so_where_there_is_none(
    detector_file: Path, pictures: Path
) -> None:
    script = f"""
import sys
for name in ("torch", "torchvision", "timm", "faiss"):
    sys.modules[name] = None
sys.argv = ["uniformaly", "predict", {str(detector_file)!r}, {str(pictures / "new")!r}]
from uniformaly_pipeline.commands.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "this detector's encoder is in torch, which is not installed" in line
    assert "'uniformaly export'" in line


def test_an_engine_that_is_not_installed_is_one_line(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnxruntime, which is not installed: pip i"):
        Detector.load(folders["onnx"])


def test_an_export_names_all_packages_that_are_missing_at_once(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError) as error:
        detector.export(tmp_path / "out", "onnx")
    assert str(error.value) == (
        "the engine onnx needs onnx and onnxruntime, which are not installed: pip install onnx "
        "onnxruntime, or in the project's folder pip install -e '.[onnx]'"
    )
    # One alone, and before anything is translated.
    monkeypatch.setitem(sys.modules, "onnx", ModuleType("onnx"))
    with pytest.raises(InputError, match="needs onnxruntime, which is not installed"):
        onnx.translate(None, (32, 32))  # type: ignore[arg-type]
