"""The detector as a user of the library meets it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import uniformaly_pipeline
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.detector import Detector, _name_of
from uniformaly_pipeline.detector.encoding import PatchArrays
from uniformaly_pipeline.detector.results import Result, Unreadable
from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.extraction import feature_stream
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.features.store_update import update_store
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.scoring.patches import score_patches
from uniformaly_pipeline.scoring.scores import anomaly_map, image_scores

TINY = Backbone(
    "vit_tiny_patch16_224",
    "untrained",
    model_kwargs={
        "img_size": 64, "patch_size": 8, "embed_dim": 24, "depth": 10, "num_heads": 2,
    },
)  # fmt: skip
SMALL: dict[str, Any] = {
    "backbone": TINY,
    "preprocessing": Preprocessing(resize=72, crop=64),
    "device": "cpu",
}


def run(code: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- the pipeline's scores ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "masking"),
    [("float16", BackPatchMasking()), ("float32", BackPatchMasking("soft"))],
)
def test_scores_are_the_pipelines(
    parity: Any, tmp_path: Path, dtype: Any, masking: BackPatchMasking
) -> None:
    """On the parity images, through the feature store, the coreset and the search of a run."""
    category = "washer"
    train, test = (parity.hashes(category, split) for split in ("train", "test"))
    rows = parity.manifest
    stream = feature_stream(
        parity.images,
        dict(zip(rows["content_hash"], rows["image"], strict=True)),
        parity.backbone,
        parity.preprocessing,
        masking,
        dtype=dtype,
        device="cpu",
        num_workers=0,
    )
    update_store(tmp_path, stream)
    store = FeatureStore(tmp_path)
    bank = build_memory_bank(store, train, masking, coreset_ratio=0.3)
    grids = score_patches(store, test, bank.arrays["memory_bank"], masking).arrays["patch_scores"]
    expected = image_scores(grids.reshape(len(grids), -1))

    paths = dict(zip(rows["content_hash"], rows["image"], strict=True))
    root = Path(parity.images.root)
    detector = Detector.fit(
        [root / paths[key] for key in train],
        calibration=[root / paths[key] for key in test],
        backbone=parity.backbone,
        preprocessing=parity.preprocessing,
        masking=masking,
        coreset_ratio=0.3,
        feature_dtype=dtype,
        threshold=1.0,
        device="cpu",
    )
    np.testing.assert_array_equal(
        detector.state.bank.arrays["memory_bank"], bank.arrays["memory_bank"]
    )
    results = detector.predict([root / paths[key] for key in test], batch_size=3)
    np.testing.assert_allclose([each.score for each in results], expected, rtol=1e-6)
    np.testing.assert_allclose(detector.calibration_scores, expected, rtol=1e-6)
    for each, grid in zip(results, grids, strict=True):
        np.testing.assert_allclose(each.patch_scores, grid, rtol=1e-5, atol=1e-6)
    named = {"levels": {"detector": asdict(Levels())}}
    assert detector.state.bank.metadata == {**bank.metadata, **named}


def test_a_result_depends_on_its_image_alone(detector: Detector, pictures: Path) -> None:
    together = detector.predict(pictures / "new", batch_size=2)
    assert [each.name for each in together] == ["00.png", "01.png", "holes/x.png"]
    for each in together:
        alone = detector.predict(pictures / "new" / each.name)
        assert alone.score == pytest.approx(each.score, rel=1e-5)
        assert alone.place == each.place


def test_one_detector_serves_many_threads(detector: Detector, pictures: Path) -> None:
    paths = sorted((pictures / "good").iterdir())
    expected = [each.score for each in detector.predict(paths)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda path: detector.predict(path).score, paths * 3))
    assert found == pytest.approx(expected * 3, rel=1e-5)


def test_an_image_is_the_same_as_path_array_and_picture(detector: Detector, pictures: Path) -> None:
    path = pictures / "new/holes/x.png"
    picture = Image.open(path)
    given: list[Any] = [str(path), picture, np.asarray(picture)]
    results = [detector.predict(each) for each in given] + detector.predict(given)
    assert {each.score for each in results} == {results[0].score}
    assert len(detector.predict(np.stack([np.asarray(picture)] * 2))) == 2


# --- what it says ---------------------------------------------------------------------------------


def test_a_hole_is_found_and_shown_beside_what_is_normal(
    detector: Detector, pictures: Path
) -> None:
    sound, other, hole = detector.predict(pictures / "new")
    assert (sound.is_anomalous, other.is_anomalous, hole.is_anomalous) == (False, False, True)
    assert hole.score > 2 * sound.score
    assert hole.p_value == pytest.approx(1 / 5)
    assert hole.place.x == pytest.approx(50, abs=16)
    assert hole.place.y == pytest.approx(30, abs=16)
    row, column = np.unravel_index(hole.patch_scores.argmax(), hole.patch_scores.shape)
    assert (hole.place.row, hole.place.column) == (row, column)
    assert hole.evidence.distance == hole.patch_scores.max()
    # The evidence is a vector of the bank: the patch of that image, and no other is nearer.
    state = detector.state
    image = state.normal_images.index(hole.evidence.normal_image)
    place = hole.evidence.place
    patch = place.row * 8 + place.column
    vector = np.flatnonzero(
        (state.bank.arrays["image"] == image) & (state.bank.arrays["patch"] == patch)
    )
    assert len(vector) == 1
    (encoded,) = state.reading.encode(detector.encoder, [_source(pictures / "new/holes/x.png")])
    strangest = encoded.features[np.count_nonzero(encoded.foreground[: row * 8 + column])]
    squares = np.square(
        state.bank.arrays["memory_bank"].astype(float) - strangest.astype(float)
    ).sum(axis=1)
    assert squares.argmin() == vector[0]
    assert squares.min() == pytest.approx(hole.evidence.distance, rel=1e-4)
    assert hole.evidence.view.size == (64, 64)
    normal = Image.open(pictures / "good" / hole.evidence.normal_image).convert("RGB")
    seen = np.asarray(state.reading.preprocessing.fit_image(normal), float)
    assert np.abs(seen - np.asarray(hole.evidence.view, float)).mean() < 25


def _source(path: Path) -> Any:
    from uniformaly_pipeline.detector.sources import sources_of

    return sources_of(path)[0]


def test_the_anomaly_map_has_the_images_size(detector: Detector, pictures: Path) -> None:
    hole = detector.predict(pictures / "new/holes/x.png")
    pixels = hole.anomaly_map
    assert pixels.shape == (72, 90)
    assert pixels.dtype == np.float32
    # The shorter side is 72 as it is, so the crop of 64 begins 4 and 13 pixels inside.
    assert hole.view == (13, 4, 77, 68)
    inside = pixels[4:68, 13:77]
    expected = anomaly_map(hole.patch_scores, (8, 8), (64, 64))
    np.testing.assert_allclose(inside, expected, rtol=1e-4, atol=1e-3)
    outside = pixels.copy()
    outside[4:68, 13:77] = 0
    assert not outside.any()


def test_decisions_follow_the_threshold(detector: Detector, pictures: Path) -> None:
    assert detector.threshold.false_alarm_rate == 0.25
    assert detector.threshold.value == detector.calibration_scores.max()
    held = detector.predict(pictures / "held")
    assert [each.score for each in held] == pytest.approx(list(detector.calibration_scores))
    assert not any(each.is_anomalous for each in held), "at the threshold is not above it"
    for each in held + detector.predict(pictures / "new"):
        assert each.is_anomalous == (each.p_value <= 0.25)
    score = detector.predict(pictures / "new/00.png").score
    assert detector.set_threshold(score * 0.99).predict(pictures / "new/00.png").is_anomalous
    assert detector.threshold.false_alarm_rate is None
    assert "set by hand" in repr(detector)
    with pytest.raises(InputError, match="takes at least 9 held-out normal images"):
        detector.set_threshold(false_alarm_rate=0.1)
    with pytest.raises(InputError, match="either a threshold or a false_alarm_rate"):
        detector.set_threshold(1.0, false_alarm_rate=0.3)
    with pytest.raises(InputError, match="finite"):
        detector.set_threshold(float("nan"))


def test_a_bad_image_among_good_ones_is_told_and_stops_no_other(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "notes.png"
    bad.write_text("no image")
    given = [pictures / "new/00.png", bad, tmp_path / "gone.png", pictures / "new/01.png"]
    found = list(detector.predict_each(given, batch_size=2))
    assert [type(each) for each in found] == [Result, Unreadable, Unreadable, Result]
    assert f"{bad} cannot be read as an image" in found[1].reason
    assert found[2].reason == f"{tmp_path / 'gone.png'} does not exist"
    with pytest.raises(InputError, match=r"2 problems: .*notes.png .*; .*gone.png"):
        detector.predict(given)


def test_an_image_that_is_all_background_scores_0(detector: Detector, pictures: Path) -> None:
    class Blind:
        def __call__(self, images: np.ndarray) -> PatchArrays:
            features = np.zeros((len(images), 64, 24), np.float32)
            return PatchArrays(features, np.zeros((len(images), 8, 8), np.float32))

    result = Detector(detector.state, Blind()).predict(pictures / "new/00.png")
    assert (result.score, result.place, result.evidence) == (0.0, None, None)
    assert result.to_dict()["normal_image"] is None
    assert result.draw().size[0] > 90


# --- fitting --------------------------------------------------------------------------------------


def test_it_takes_what_suits_the_backbone_unless_something_else_is_given(pictures: Path) -> None:
    suited = replace(TINY, resolution=48, kernel_size=5)
    options: dict[str, Any] = {"threshold": 1.0, "device": "cpu"}

    def taken(**given: Any) -> tuple[Any, int, int]:
        reading = Detector.fit(pictures / "good", **options, **given).state.reading
        fitting = reading.preprocessing
        assert reading.header.masking is not None
        assert reading.header.masking["kernel_size"] == reading.masking.kernel_size
        return fitting.resize, fitting.input_size[0], reading.masking.kernel_size

    assert taken(backbone=suited) == (48, 48, 5)
    assert taken(backbone=suited, preprocessing=Preprocessing(32, None)) == (32, 32, 3)
    assert taken(backbone=suited, masking=BackPatchMasking(kernel_size=7)) == (48, 48, 7)
    assert taken(backbone=replace(TINY, kernel_size=3)) == (224, 224, 3)


def test_images_are_held_out_by_the_seed(pictures: Path) -> None:
    """A rate of 1/4 needs 3, a fifth of 16 is 3; a rate of 1/8 needs 7."""
    first, again, other = (
        Detector.fit(pictures / "good", false_alarm_rate=0.25, seed=seed, **SMALL)
        for seed in (0, 0, 1)
    )
    assert len(first.calibration_scores) == 3
    assert len(first.state.normal_images) == 13
    assert first.state.normal_images == again.state.normal_images
    np.testing.assert_array_equal(first.calibration_scores, again.calibration_scores)
    assert first.state.normal_images != other.state.normal_images
    stricter = Detector.fit(pictures / "good", false_alarm_rate=0.125, **SMALL)
    assert len(stricter.calibration_scores) == 7
    assert first.state.name == "pictures0" or first.state.name.startswith("pictures")


def test_deep_images_are_read_by_the_rule_of_the_normal_ones(tmp_path: Path) -> None:
    """A hot pixel, or a darker picture, does not change what is black and white."""
    rng = np.random.default_rng(0)
    normal = [rng.integers(800, 3900, (72, 90), dtype=np.uint16) for _ in range(8)]
    detector = Detector.fit(normal, false_alarm_rate=0.5, **SMALL)
    assert detector.state.reading.levels.integer == (0.0, 4095.0)
    path = tmp_path / "deep.safetensors"
    detector.save(path)
    again = Detector.load(path)
    Image.fromarray(normal[0]).save(tmp_path / "deep.png")
    bytes_of = np.rint(normal[0] * (255 / 4095)).astype(np.uint8)
    scores = [again.predict(given).score for given in (normal[0], tmp_path / "deep.png", bytes_of)]
    assert scores == [scores[0]] * 3
    hot = normal[0].copy()
    hot[0, 0] = 65535
    assert again.predict(hot).score == pytest.approx(scores[0], rel=0.2)


def test_too_few_images(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = sorted((pictures / "good").iterdir())
    with pytest.raises(InputError, match=r"takes 9 held-out normal images .* there are 16 in all"):
        Detector.fit(files, false_alarm_rate=0.1, **SMALL)
    with pytest.raises(InputError, match="too few to hold one out"):
        Detector.fit(files[:1], **SMALL)
    lenient = Detector.fit(files[:6], **SMALL)
    assert lenient.threshold.false_alarm_rate == pytest.approx(1 / 4)
    assert "false-alarm rate is 0.25" in caplog.text
    by_hand = Detector.fit(files[:1], threshold=3.0, **SMALL)
    result = by_hand.predict(files[0])
    assert (result.p_value, result.threshold) == (None, 3.0)


def test_the_banks_own_images_do_not_calibrate(pictures: Path, tmp_path: Path) -> None:
    """They score lower than any new image would: the threshold would promise too much."""
    files = sorted((pictures / "good").iterdir())
    again = tmp_path / "again.png"
    again.write_bytes(files[0].read_bytes())
    with pytest.raises(InputError, match=r"not in the memory bank: .*again\.png is .*00\.png$"):
        Detector.fit(files[:4], calibration=[again, *files[4:]], **SMALL)


def test_neither_do_they_after_more_were_added(detector: Detector, pictures: Path) -> None:
    """The images that are being added are the bank's as well; the detector stays as it was."""
    before = detector.state
    with pytest.raises(InputError, match=r"not in the memory bank: .*x\.png is .*x\.png$"):
        detector.add(pictures / "new/holes", calibration=[pictures / "new/holes/x.png"])
    with pytest.raises(InputError, match=r"not in the memory bank: .*00\.png is .*00\.png$"):
        detector.add(pictures / "new/holes", calibration=[pictures / "good/00.png"])
    assert detector.state is before


def test_pixels_of_the_images_are_not_held_together(tmp_path: Path) -> None:
    """Of 24 images of 12 MB, no more stand in memory than are being decoded and encoded."""
    pixels = np.random.default_rng(0).integers(0, 255, (2000, 2000), np.uint8)
    for folder, count in (("good", 16), ("held", 8)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            pixels[0, 0] = i + count
            Image.fromarray(pixels).save(tmp_path / folder / f"{i:02d}.bmp")
    seen: list[weakref.ref[Image.Image]] = []
    most = 0
    prepare = Preprocessing.image_array

    def counting(self: Preprocessing, image: Image.Image) -> np.ndarray:
        nonlocal most
        seen.append(weakref.ref(image))
        most = max(most, sum(each() is not None for each in seen))
        return prepare(self, image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Preprocessing, "image_array", counting)
        Detector.fit(
            tmp_path / "good", calibration=tmp_path / "held", threshold=1.0, batch_size=1, **SMALL
        )
    assert most <= 6


def test_a_data_set_is_not_learnt_from(pictures: Path, tmp_path: Path, detector_file: Path) -> None:
    shutil.copytree(pictures / "good", tmp_path / "nut/train/good")
    shutil.copytree(pictures / "new", tmp_path / "nut/test/hole")
    said = r"nut looks like a data set's category: give its normal images, \S+nut/train/good$"
    with pytest.raises(InputError, match=said):
        Detector.fit(tmp_path / "nut", **SMALL)
    with pytest.raises(InputError, match=said):
        Detector.fit(pictures / "good", calibration=tmp_path / "nut", **SMALL)
    known = Detector.load(detector_file)
    with pytest.raises(InputError, match=said):
        known.add(tmp_path / "nut")
    with pytest.raises(InputError, match=said):
        known.add(pictures / "held", calibration=tmp_path / "nut")


def test_fitting_names_every_bad_image(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    (tmp_path / "b.png").write_bytes(b"")
    Image.open(pictures / "good/00.png").save(tmp_path / "c.png")
    with pytest.raises(InputError, match=r"^2 problems: a\.png cannot .*; b.png cannot"):
        Detector.fit(tmp_path, threshold=1.0, **SMALL)
    with pytest.raises(InputError, match="no backbone 'dino_vits'; did you mean 'dino_vits8'"):
        Detector.fit(pictures / "good", backbone="dino_vits")


# --- keeping --------------------------------------------------------------------------------------


def test_a_detector_comes_back_from_its_file_as_it_was(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "again.safetensors"
    detector.save(path, embed_weights=True)
    again = Detector.load(path)
    for before, after in zip(
        detector.predict(pictures / "new"), again.predict(pictures / "new"), strict=True
    ):
        assert before.to_dict() == after.to_dict()
        np.testing.assert_array_equal(before.patch_scores, after.patch_scores)
        assert before.evidence.thumbnail == after.evidence.thumbnail
    again.set_threshold(7.0).save(path)
    assert Detector.load(path).threshold.value == 7.0


def test_weights_are_found_by_name_and_held_to_their_hash(pictures: Path, tmp_path: Path) -> None:
    import timm

    def write(path: Path, scale: float) -> str:
        model = timm.create_model(TINY.model, num_classes=0, **TINY.model_kwargs)
        save_file({name: scale * value for name, value in model.state_dict().items()}, path)
        return str(path)

    torch.manual_seed(0)
    right = write(tmp_path / "right.safetensors", 1.0)
    named = {**SMALL, "backbone": replace(TINY, checkpoint=right)}
    made = Detector.fit(pictures / "good", threshold=1.0, **named)
    score = made.predict(pictures / "new/00.png").score
    path, whole = tmp_path / "by_name.safetensors", tmp_path / "whole.safetensors"
    made.save(path)
    made.save(whole, embed_weights=True)
    assert path.stat().st_size < whole.stat().st_size
    assert Detector.load(path).predict(pictures / "new/00.png").score == score
    moved = Path(right).rename(tmp_path / "moved.safetensors")
    with pytest.raises(InputError, match=r"right.safetensors does not exist"):
        Detector.load(path).warm_up()
    assert Detector.load(whole).predict(pictures / "new/00.png").score == score
    elsewhere = Detector.load(path, checkpoint=str(moved))
    assert elsewhere.predict(pictures / "new/00.png").score == score
    wrong = {name: 0.5 * value for name, value in load_file(moved).items()}
    save_file(wrong, right)
    with pytest.raises(InputError, match="was made with other weights"):
        Detector.load(path).warm_up()


# --- what it needs --------------------------------------------------------------------------------

HEAVY = ("kedro", "kedro_mlflow", "mlflow", "pandas", "sklearn", "matplotlib")


def test_neither_kedro_nor_mlflow_nor_pandas_is_imported(
    detector_file: Path, pictures: Path
) -> None:
    found = run(
        f"""
import sys
import weakref
from uniformaly_pipeline import Detector
print(*(name for name in {(*HEAVY, "torch", "timm", "faiss")} if name in sys.modules))
detector = Detector.load({str(detector_file)!r}, device="cpu")
print(*(name for name in {(*HEAVY, "torch", "timm", "faiss")} if name in sys.modules))
detector.predict({str(pictures / "new")!r})
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    )
    assert found == "", "the package, a load and a prediction"


def test_another_engine_works_without_torch_and_faiss(
    detector_file: Path, pictures: Path, detector: Detector, tmp_path: Path
) -> None:
    """All but the encoder is numpy: its features come from elsewhere, here from a file."""
    names = ["00.png", "holes/x.png"]
    fitting = detector.state.reading.preprocessing
    opened = [Image.open(pictures / "new" / name).convert("RGB") for name in names]
    encoded = detector.encoder(np.stack([fitting.image_array(each) for each in opened]))
    np.savez(tmp_path / "encoded.npz", features=encoded[0], attention=encoded[1])
    found = run(
        f"""
import sys
import weakref
for name in ("torch", "torchvision", "timm", "faiss"):
    sys.modules[name] = None
import numpy as np
from uniformaly_pipeline import Detector
from uniformaly_pipeline.detector.encoding import PatchArrays
from uniformaly_pipeline.detector.state import load_state
kept = np.load({str(tmp_path / "encoded.npz")!r})
encoder = lambda images: PatchArrays(kept["features"], kept["attention"])
detector = Detector(load_state({str(detector_file)!r}), encoder)
results = detector.predict([{str(pictures / "new")!r} + "/" + name for name in {names}])
for each in results:
    print(each.score, each.evidence.normal_image, each.anomaly_map.max(), each.draw().size[0] > 0)
"""
    )
    expected = detector.predict([pictures / "new" / name for name in names])
    for line, result in zip(found.splitlines(), expected, strict=True):
        score, normal, highest, drawn = line.split()
        assert float(score) == pytest.approx(result.score, rel=1e-6)
        assert normal == result.evidence.normal_image
        assert float(highest) == pytest.approx(result.anomaly_map.max(), rel=1e-5)
        assert drawn == "True"


def test_the_package_offers_the_detector() -> None:
    assert uniformaly_pipeline.Detector is Detector
    with pytest.raises(AttributeError, match="has no attribute 'Detectr'"):
        _ = uniformaly_pipeline.Detectr


# --- adding ---------------------------------------------------------------------------------------


def test_images_are_added_without_the_old_ones(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    """What a new kind of normal image taught holds, and nothing that was normal is forgotten."""
    before = {r.name: r.score for r in detector.predict(pictures / "new")}
    held = detector.predict(pictures / "held")
    size = len(detector.state.bank.arrays["memory_bank"])
    rule = detector.threshold
    assert detector.add(pictures / "new/holes") is detector
    after = {r.name: r.score for r in detector.predict(pictures / "new")}
    assert after["holes/x.png"] < before["holes/x.png"] / 2
    for result, old in zip(detector.predict(pictures / "held"), held, strict=True):
        assert result.score <= old.score * (1 + 1e-6)
    assert after["00.png"] <= before["00.png"] * (1 + 1e-6)
    assert detector.threshold == rule
    state = detector.state
    assert state.normal_images[-1] == "x.png"
    assert len(state.thumbnails) == len(state.normal_images) == 17
    assert len(state.bank.arrays["memory_bank"]) > size
    path = tmp_path / "grown.safetensors"
    detector.save(path)
    again = Detector.load(path)
    assert again.predict(pictures / "new/holes/x.png").score == after["holes/x.png"]
    twice = len(state.bank.arrays["memory_bank"])
    again.add(pictures / "new/holes", calibration=pictures / "held")
    assert len(again.state.bank.arrays["memory_bank"]) == twice, "it is in the bank already"
    assert again.threshold.false_alarm_rate == rule.false_alarm_rate
    assert again.threshold.value == max(r.score for r in again.predict(pictures / "held"))


# --- regions of interest --------------------------------------------------------------------------


def test_outside_of_a_region_nothing_counts_and_the_file_keeps_it(tmp_path: Path) -> None:
    """A flaw outside of it changes no score; the file knows the region without the picture."""
    rng = np.random.default_rng(3)
    good = [rng.integers(90, 160, (64, 64, 3), dtype=np.uint8) for _ in range(5)]
    roi = np.zeros((64, 64), bool)
    roi[:, 32:] = True
    whole = {**SMALL, "preprocessing": Preprocessing(resize=64, crop=None), "threshold": 1.0}
    detector = Detector.fit(good, roi=roi, masking=BackPatchMasking("off"), **whole)
    assert (detector.state.bank.arrays["patch"] % 8 >= 4).all()
    detector.save(tmp_path / "detector.safetensors", embed_weights=True)
    loaded = Detector.load(tmp_path / "detector.safetensors", device="cpu")
    sound, flawed = good[0].copy(), good[0].copy()
    flawed[20:40, 40:60] = 0
    results = [loaded.predict(image) for image in (sound, flawed)]
    assert results[1].score > 2 * results[0].score
    for result in results:
        assert np.isnan(result.patch_scores[:, :4]).all()
        assert (result.anomaly_map[:, :28] == 0).all()
        assert result.place is not None and result.place.x > 32
    Image.fromarray(roi).save(tmp_path / "roi.png")
    same = Detector.fit(good, roi=tmp_path / "roi.png", masking=BackPatchMasking("off"), **whole)
    assert same.predict(flawed).score == pytest.approx(results[1].score, rel=1e-6)
    grown = loaded.add([np.flip(good[1], 0).copy()])
    assert (grown.state.bank.arrays["patch"] % 8 >= 4).all()


def test_the_encoder_does_not_see_what_lies_outside_of_a_region() -> None:
    """It would attend to it, and Back Patch Masking would keep less of what counts."""
    rng = np.random.default_rng(3)
    good = [rng.integers(90, 160, (64, 64, 3), dtype=np.uint8) for _ in range(5)]
    roi = np.zeros((64, 64), bool)
    roi[:, 24:] = True
    whole = {**SMALL, "preprocessing": Preprocessing(resize=64, crop=None), "threshold": 1.0}
    detector = Detector.fit(good, roi=roi, **whole)
    changed = good[0].copy()
    changed[~roi] = 255
    results = [detector.predict(image) for image in (good[0], changed)]
    np.testing.assert_array_equal(results[0].patch_scores, results[1].patch_scores)
    np.testing.assert_array_equal(results[0].foreground, results[1].foreground)


def test_images_of_another_size_than_the_region_are_told_once(tmp_path: Path) -> None:
    """And a region that lies among the images is not learned from."""
    for number in range(6):
        size = (64, 64) if number < 5 else (64, 32)
        pixels = np.random.default_rng(number).integers(90, 160, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    Image.new("L", (32, 64), 255).save(tmp_path / "wanted.png")
    whole = {**SMALL, "preprocessing": Preprocessing(resize=64, crop=None), "threshold": 1.0}
    with pytest.raises(InputError) as error:
        Detector.fit(tmp_path, calibration=tmp_path, roi=tmp_path / "wanted.png", **whole)
    assert str(error.value).count("the region of interest is 32x64") == 1
    assert str(error.value).endswith("(and 4 more)")
    assert "wanted.png" not in str(error.value)


@pytest.mark.parametrize(
    ("roi", "said"),
    [
        (np.zeros((64, 64), bool), "the region of interest marks nothing"),
        (np.ones((32, 64), bool), "is 64x64 pixels but the region of interest is 64x32"),
        (np.eye(64, dtype=bool), "covers half of no patch"),
    ],
)
def test_a_region_that_does_not_fit_is_one_line(roi: np.ndarray, said: str) -> None:
    good = [np.full((64, 64, 3), 100 + i, np.uint8) for i in range(4)]
    with pytest.raises(InputError, match=said) as error:
        Detector.fit(good, roi=roi, threshold=1.0, **SMALL)
    assert "\n" not in str(error.value)


def test_an_image_of_another_size_than_the_region_is_unreadable(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    good = [rng.integers(90, 160, (64, 64, 3), dtype=np.uint8) for _ in range(4)]
    detector = Detector.fit(good, roi=np.ones((64, 64), bool), threshold=1.0, **SMALL)
    Image.fromarray(good[0][:48]).save(tmp_path / "small.png")
    Image.fromarray(good[0]).save(tmp_path / "roi.png")
    (found,) = detector.predict_each(tmp_path)
    assert isinstance(found, Unreadable)
    assert "small.png is 64x48 pixels but the region of interest is 64x64" in found.reason


@pytest.mark.parametrize("given", ["good", "./train/good", "../bolt/good/", "train/../good"])
def test_it_is_named_after_its_category_however_the_folder_is_written(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow registers it under that name."""
    (tmp_path / "bolt/train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "bolt")
    assert _name_of(given) == "bolt"
    assert _name_of("s3://bucket/bolt/train/good") == "bolt"
    assert _name_of("/") == "detector"
    assert _name_of([Path("a.png")]) == "detector"


def test_images_are_taken_from_a_generator_as_they_are_needed(detector: Detector) -> None:
    """An endless one is answered, and what is no image is told in its turn."""
    given = []

    def frames() -> Any:
        frame = np.zeros((80, 80), np.uint8)
        for number in itertools.count():
            frame[:] = 40 * (number % 5)  # as a camera's buffer
            frame[20:40, 10 + number % 7 : 30] = 255
            given.append(frame.copy())
            yield frame if number != 1 else np.zeros((3, 3, 5))

    found = []
    for each in detector.predict_each(frames(), batch_size=2):
        found.append(each)
        if len(found) == 7:
            break
    assert len(given) <= 7 + 3 * 2
    assert isinstance(found[1], Unreadable)
    assert "image 2 is an array of float64" in found[1].reason
    for number in (0, 2, 3, 4, 5, 6):
        expected = detector.predict(given[number])
        assert found[number].score == pytest.approx(expected.score, rel=1e-6)
    assert len({each.score for each in found if isinstance(each, Result)}) == 6


def test_a_result_keeps_the_picture_that_was_judged(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    grey = np.asarray(Image.open(pictures / "new/00.png").convert("L")).copy()
    result = detector.predict(grey)
    before = np.asarray(result.draw())
    grey[:] = 0
    assert (np.asarray(result.draw()) == before).all()
    path = tmp_path / "a.png"
    shutil.copy(pictures / "new/00.png", path)
    result = detector.predict(path)
    result.draw()
    shutil.copy(pictures / "new/01.png", path)
    with pytest.raises(InputError, match=r"a\.png is another image by now"):
        result.draw()


def test_a_detector_that_has_learned_more_knows_that_its_calibration_is_older(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    grown = Detector.load(detector_file)
    assert not grown.monitor()._only_higher
    grown.add(pictures / "held")
    grown.save(tmp_path / "grown.safetensors")
    again = Detector.load(tmp_path / "grown.safetensors")
    assert again.monitor()._only_higher
    more = np.random.default_rng(5).integers(0, 255, (2, 80, 90, 3), np.uint8)
    again.set_threshold(1.0)
    again.add(list(more), calibration=[pictures / "new/00.png", pictures / "new/01.png"])
    assert not again.monitor()._only_higher
