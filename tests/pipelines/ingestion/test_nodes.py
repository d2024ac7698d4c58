"""Nodes of the ingestion stage: what each makes of its inputs, and that it heeds each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from miniatures import make_cifar, make_mtd, make_mvtec, make_species60
from PIL import Image
from scipy.ndimage import label

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.manifest import ImageRecord, ManifestPlan, build_manifest
from uniformaly_pipeline.ingestion.regions import Region
from uniformaly_pipeline.pipelines.ingestion import nodes
from uniformaly_pipeline.pipelines.ingestion.nodes import (
    choose_publication,
    draw_demo_images,
    draw_masks,
    draw_samples,
    examine_manifest,
    plan_tree,
    read_manifest,
    refuse_task,
    select_class_images,
    select_defect_images,
    write_examination,
)
from uniformaly_pipeline.reporting.figures.style import GROUND_TRUTH_COLOUR

RECORD = {"root": "tools", "layout": "folder"}
SPLIT = {"seed": 0, "test_share": 0.2, "cap": None, "min_images": 0}


def data_set(layout: str, **split: Any) -> dict[str, Any]:
    """``datasets.<name>``, as far as the nodes read it."""
    return {
        "layout": layout,
        "split": {**SPLIT, **split},
        "images": {"levels": "auto"},
        "roi": None,
    }


def plan_of(*arguments: Any) -> ManifestPlan:
    """The images of a manifest; the record of their root goes with them."""
    plan, record = read_manifest(*arguments, RECORD)
    assert record is RECORD
    return plan


def table(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """A manifest of images given by path, class, split and kind; only defects have masks."""
    made = pd.DataFrame(rows, columns=["image", "class", "split", "defect"], dtype="string")
    bad = made["defect"] != "good"
    return made.assign(
        label=bad.astype("int8"),
        mask=made["image"].where(bad).map(lambda path: f"mask of {path}", na_action="ignore"),
        content_hash="#" + made["image"],
        pixel_hash="p" + made["image"],
        mask_pixels=bad.map({True: 7, False: -1}),
        mask_values=bad.map({True: "0, 255", False: ""}),
        width=10,
        height=10,
    )


HERE = ImageFolder("nowhere")
WHOLE = {"resize": 224, "crop": None}
VIT = {"model": "vit_tiny_patch16_224", "checkpoint": "untrained"}
MANIFEST = table(
    ("nut/b", "nut", "train", "good"),
    ("nut/a", "nut", "train", "good"),
    ("nut/y", "nut", "test", "dent"),
    ("nut/x", "nut", "test", "good"),
    ("bolt/b", "bolt", "train", "good"),
    ("bolt/a", "bolt", "train", "good"),
    ("bolt/y", "bolt", "test", "rust"),
    ("bolt/x", "bolt", "test", "good"),
    ("gear/a", "gear", "train", "good"),
    ("gear/x", "gear", "test", "good"),
)


# --- the demo -------------------------------------------------------------------------------------


def test_the_demo_is_all_of_its_categories_drawn_with_seed_0() -> None:
    demo = draw_demo_images()
    path, image = next(iter(demo.draw()))
    expected_path, expected = next(drawings.draw(seed=0))
    assert path == expected_path == "bolt/train/good/000.png"
    assert image.tobytes() == expected.tobytes()
    assert demo.num_images == len(drawings.paths())


# --- reading --------------------------------------------------------------------------------------


@pytest.fixture
def tools(make_dataset: Callable[..., ImageFolder], tmp_path: Path) -> ImageFolder:
    """Three categories in MVTec's layout: 1 train, 1 good and 1 defective image each."""
    return make_dataset(tmp_path / "tools", ["bolt", "gear", "nut"], train=1, good=1)


def classes_of(plan: ManifestPlan) -> list[str]:
    return list(dict.fromkeys(record.class_name for record in plan.records))


def images_of(plan: ManifestPlan, split: str) -> list[str]:
    return [record.image for record in plan.records if record.split == split]


def test_every_image_is_read_with_its_class_split_kind_and_mask(tools: ImageFolder) -> None:
    plan = plan_of(tools, data_set("folder"), "gear", False)
    mask = "gear/ground_truth/dent/000_mask.png"
    assert plan.folder == tools
    assert plan.records == [
        ImageRecord("gear/train/good/000.png", "gear", "train"),
        ImageRecord("gear/test/dent/000.png", "gear", "test", "dent", mask),
        ImageRecord("gear/test/good/000.png", "gear", "test"),
    ]


def test_a_named_region_of_interest_is_of_the_categories_without_their_own(
    tools: ImageFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("roi.png", "nut/roi.png"):
        Image.new("L", (32, 32), 255).save(tmp_path / "tools" / name)
    settings = {**data_set("folder"), "roi": "roi.png"}
    plan = plan_of(tools, settings, "gear+nut", False)
    assert {(record.class_name, record.roi) for record in plan.records} == {
        ("gear", "roi.png"),
        ("nut", "nut/roi.png"),
    }
    assert "roi.png is left out" not in caplog.text
    for name in ("camera.png", "nut/camera.png"):
        Image.new("L", (32, 32), 255).save(tmp_path / "tools" / name)
        plan_of(tools, {**settings, "roi": f"./{name}"}, "gear+nut", False)
        assert f"left out: {name}" not in caplog.text, "it is the region, and none too many"
        (tmp_path / "tools" / name).unlink()
    plan_of(tools, data_set("folder"), "gear", False)
    assert "roi.png is left out: a region of interest lies right in its" in caplog.text
    with pytest.raises(InputError, match=r"roi: .*tools holds no other\.png"):
        plan_of(tools, {**settings, "roi": "other.png"}, "gear", False)


PICTURES = {
    "an image to learn from": "train/good/0.png",
    "one to test": "test/dent/0.png",
    "a mask": "ground_truth/dent/000_mask.png",
}


@pytest.mark.parametrize("spelling", ["nut/{}", "./nut//{}", "bolt/../nut/{}"])
@pytest.mark.parametrize("place", PICTURES.values(), ids=PICTURES)
def test_the_picture_of_a_named_region_is_no_image_or_mask_of_the_data_set(
    tools: ImageFolder, tmp_path: Path, spelling: str, place: str
) -> None:
    before = plan_of(tools, data_set("folder"), "all", False).records
    Image.new("L", (32, 32), 255).save(tmp_path / "tools/nut" / place)
    roi = spelling.format(place)
    found = plan_of(tools, {**data_set("folder"), "roi": roi}, "all", False).records
    expected = [replace(record, roi=roi) for record in before]
    if "mask" in place:
        expected = [
            replace(record, mask=None) if (record.mask or "").startswith("nut") else record
            for record in expected
        ]
    assert found == expected


def test_a_folder_is_no_region_of_interest(tools: ImageFolder) -> None:
    settings = {**data_set("folder"), "roi": "nut/ground_truth/dent"}
    with pytest.raises(InputError, match="roi: nut/ground_truth/dent is a folder: name the"):
        plan_of(tools, settings, "all", False)


def test_a_category_of_nothing_but_its_region_is_one_line(tools: ImageFolder) -> None:
    settings = {**data_set("folder"), "roi": "nut/train/good/000.png"}
    with pytest.raises(InputError, match="category 'nut' has no images to learn from beside its"):
        plan_of(tools, settings, "all", False)


@pytest.mark.parametrize(
    ("categories", "read"),
    [
        ("all", ["bolt", "gear", "nut"]),
        ("nut", ["nut"]),
        ("nut+bolt", ["bolt", "nut"]),
        (["nut", "gear"], ["gear", "nut"]),
    ],
)
def test_of_a_data_set_with_defects_only_the_categories_wanted_are_read(
    categories: Any, read: list[str], tools: ImageFolder
) -> None:
    assert classes_of(plan_of(tools, data_set("folder"), categories, False)) == read


def test_a_category_that_is_not_there_is_refused(tools: ImageFolder) -> None:
    with pytest.raises(InputError, match="no category 'bold'; did you mean 'bolt'"):
        plan_of(tools, data_set("folder"), "bold", False)


def test_where_other_classes_are_anomalous_all_are_read_whichever_are_wanted(
    tmp_path: Path,
) -> None:
    for folder in ("one_class_train", "one_class_test"):
        for name in ("ant", "bee", "fly"):
            path = tmp_path / folder / name
            path.mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(path / "0.png")
    plan = plan_of(ImageFolder(str(tmp_path)), data_set("classes"), "bee", False)
    assert classes_of(plan) == ["ant", "bee", "fly"]
    with pytest.raises(InputError, match="no category 'wasp'"):
        plan_of(ImageFolder(str(tmp_path)), data_set("classes"), "wasp", False)


def test_the_layout_says_how_folders_are_read(tools: ImageFolder) -> None:
    with pytest.raises(InputError, match="expected folders like one_class_train"):
        plan_of(tools, data_set("classes"), "all", False)


def test_only_a_published_data_set_may_have_what_spoils_a_result(
    tools: ImageFolder, tmp_path: Path
) -> None:
    published = ImageFolder(str(make_mvtec(tmp_path, ["bottle"])))
    assert plan_of(tools, data_set("folder"), "all", False).strict
    assert not plan_of(published, data_set("mvtec"), "all", False).strict


def test_a_share_of_the_normal_images_is_held_out_as_the_seed_draws(tmp_path: Path) -> None:
    tiles = ImageFolder(str(make_mtd(tmp_path, free=10, defective=1)))

    def normal_test_images(**split: Any) -> list[str]:
        plan = plan_of(tiles, data_set("mtd", **split), "all", False)
        return [path for path in images_of(plan, "test") if path.startswith("MT_Free/")]

    assert len(normal_test_images()) == 2
    assert len(normal_test_images(test_share=0.5)) == 5
    assert normal_test_images() == normal_test_images(seed=0)
    assert len({tuple(normal_test_images(seed=seed)) for seed in range(5)}) > 1


def test_a_class_is_cut_at_its_cap_and_refused_below_its_least_number(tmp_path: Path) -> None:
    species = ImageFolder(str(make_species60(tmp_path, ["umbra_limi"], images=10)))

    def numbers(**split: Any) -> tuple[int, int]:
        plan = plan_of(species, data_set("species60", **split), "all", False)
        return len(images_of(plan, "train")), len(images_of(plan, "test"))

    assert numbers() == (8, 2)
    assert numbers(cap=5) == (4, 1)
    assert numbers(min_images=10) == (8, 2)
    with pytest.raises(InputError, match="class 'umbra_limi' has 10 of 11 images"):
        numbers(min_images=11)


# --- the doctor -----------------------------------------------------------------------------------


def test_images_are_counted_and_what_is_odd_is_found() -> None:
    twice = MANIFEST.assign(pixel_hash=MANIFEST["pixel_hash"].replace("pnut/b", "pnut/x"))
    counts, findings, _ = examine_manifest(HERE, twice, data_set("folder"), WHOLE, VIT)
    assert counts.values.tolist()[:3] == [
        ["bolt", "train", "good", 2, 0],
        ["bolt", "test", "good", 1, 0],
        ["bolt", "test", "rust", 1, 1],
    ]
    assert counts["images"].sum() == len(MANIFEST)
    (error,) = findings[findings["severity"] == "error"].values.tolist()
    assert error[1:3] == ["nut", "leak"]
    assert "nut/b and nut/x are the same picture, in train and in test" in error[3]


def test_the_published_numbers_are_those_of_the_layout() -> None:
    tiles = table(*[(f"{number}", "magnetic_tile", "train", "good") for number in range(760)])
    counts, findings, _ = examine_manifest(HERE, tiles, data_set("mtd"), WHOLE, VIT)
    assert counts[["published", "difference"]].values.tolist() == [[761, -1]]
    found = "magnetic_tile has 760 normal train images where 761 were published"
    assert found in set(findings["finding"])
    counts, findings, _ = examine_manifest(HERE, tiles, data_set("folder"), WHOLE, VIT)
    assert "published" not in counts
    assert found not in set(findings["finding"])


# --- samples --------------------------------------------------------------------------------------


def captions_of(
    monkeypatch: pytest.MonkeyPatch, raw_images: ImageFolder, manifest: pd.DataFrame
) -> tuple[list[str], list[tuple[int, int, int]], int]:
    """The captions of the samples, the colour of the picture above each, and pictures a row."""
    shown: list[Any] = []

    def sheet(pictures: list[Image.Image], columns: int, captions: list[str]) -> Image.Image:
        shown.extend([captions, [picture.getpixel((0, 0)) for picture in pictures], columns])
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(nodes, "contact_sheet", sheet)
    draw_samples(raw_images, manifest, WHOLE, VIT)
    captions, colours, columns = shown
    return captions, colours, columns


def paint(folder: Path, manifest: pd.DataFrame) -> ImageFolder:
    """Save each image of a manifest in a colour of its own: red is its row."""
    paths = []
    for row, image in enumerate(manifest["image"]):
        path = folder / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (row, 0, 0)).save(path)
        paths.append(f"{image}.png")
    manifest["image"] = paths
    return ImageFolder(str(folder))


def test_the_first_image_of_each_class_split_and_kind_is_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = MANIFEST.copy()
    raw_images = paint(tmp_path, manifest)
    captions, colours, columns = captions_of(monkeypatch, raw_images, manifest)
    assert captions == [
        "bolt test good", "bolt test rust", "bolt train good",
        "gear test good", "gear train good",
        "nut test dent", "nut test good", "nut train good",
    ]  # fmt: skip
    assert [red for red, _, _ in colours] == [7, 6, 4, 9, 8, 2, 3, 0]
    assert columns == 8


def test_samples_of_many_kinds_are_spread_over_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = table(*[(f"{n:03d}", f"class {n:03d}", "train", "good") for n in range(100)])
    captions, colours, _ = captions_of(monkeypatch, paint(tmp_path, manifest), manifest)
    assert len(captions) == 48
    assert [red for red, _, _ in colours] == list(range(0, 96, 2))


def test_the_samples_are_one_sheet(tools: ImageFolder) -> None:
    manifest = table(("gear/train/good/000.png", "gear", "train", "good"))
    sheet = np.asarray(draw_samples(tools, manifest, WHOLE, VIT))
    picture = np.asarray(tools.read_image("gear/train/good/000.png"))
    # In the middle is the bright square that the picture shows on its dark ground.
    assert sheet[sheet.shape[0] // 2, sheet.shape[1] // 2].min() > 120
    assert picture[20, 24].min() > 120
    assert sheet.shape[2] == 3


def test_a_region_of_interest_that_no_patch_counts_in_ends_the_examination(
    tmp_path: Path,
) -> None:
    """Of 16 x 16 patches the region covers a quarter of one; of 8 x 8 patches a whole one."""
    Image.new("RGB", (224, 224)).save(tmp_path / "a.png")
    pixels = np.zeros((224, 224), bool)
    pixels[16:24, 16:24] = True
    manifest = build_manifest(
        ImageFolder(str(tmp_path)),
        [ImageRecord("a.png", "nut", "train")],
        region=Region.of(pixels, "roi"),
    )
    here = ImageFolder(str(tmp_path))
    with pytest.raises(InputError, match="category 'nut': the region of interest covers half of"):
        examine_manifest(here, manifest, data_set("folder"), WHOLE, VIT)
    finer = {**VIT, "model": "vit_small_patch8_224"}
    _, findings, _ = examine_manifest(here, manifest, data_set("folder"), WHOLE, finer)
    assert "region of interest" in set(findings["check"])


# --- the tree -------------------------------------------------------------------------------------


def test_the_tree_takes_each_image_with_its_class_and_split() -> None:
    folder = ImageFolder("somewhere")
    plan = plan_tree(folder, MANIFEST.iloc[[0, 7]])
    assert plan.folder == folder
    assert plan.records == [
        ImageRecord("nut/b", "nut", "train"),
        ImageRecord("bolt/x", "bolt", "test"),
    ]


# --- the doctor's report --------------------------------------------------------------------------

COUNTS = pd.DataFrame({"class": ["gnat"], "images": [4711]})
FINDINGS = pd.DataFrame(
    {
        "severity": ["error", "warning", "warning"],
        "class": ["gnat"] * 3,
        "check": ["leak", "few images", "repeats"],
        "finding": ["gnats leak", "few gnats", "gnats repeat"],
    }
)
NOTHING_FOUND = FINDINGS.iloc[:0]
MASKS = pd.DataFrame(
    {"class": ["gnat"], "defect": ["bite"], "values": ["0, 236"], "masks": [3], "marked": [0.25]}
)
NO_MASKS = MASKS.iloc[:0]
PARAMETERS = {
    "dataset": "insects",
    "backbone": "compound_eye",
    "bpm": {"threshold": 0.123},
    "run": {
        "examined_by": "kedro run --pipelines=ingestion --params=dataset=insects,seed=3",
        "defect": {"refusal": "not for a reader"},
        "names": {"dataset": "insects", "backbone": "compound_eye"},
    },
}


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "picture.png")
    return (tmp_path / "picture.png").read_bytes()


def test_the_page_shows_findings_counts_and_samples(picture: bytes) -> None:
    page = write_examination(COUNTS, FINDINGS, NO_MASKS, picture, picture, PARAMETERS)
    assert "2 warnings, 1 error" in page
    for text in ("gnats leak", "few gnats", "gnats repeat", "4711", "insects: the images"):
        assert text in page
    assert "Nothing to remark" not in page
    assert "data:image/" in page


def test_a_page_without_findings_says_so(picture: bytes) -> None:
    page = write_examination(COUNTS, NOTHING_FOUND, NO_MASKS, picture, picture, PARAMETERS)
    assert "Nothing to remark." in page
    table = '<caption class="hidden">Findings</caption>'
    assert table not in page
    assert table in write_examination(COUNTS, FINDINGS, NO_MASKS, picture, picture, PARAMETERS)


def test_a_page_shows_what_masks_hold_where_there_are_any(picture: bytes) -> None:
    page = write_examination(COUNTS, FINDINGS, MASKS, picture, picture, PARAMETERS)
    assert "0, 236" in page
    assert "Masks over their images" in page
    page = write_examination(COUNTS, FINDINGS, NO_MASKS, picture, picture, PARAMETERS)
    assert "Masks over their images" not in page


def test_masks_are_listed_and_drawn_by_what_they_hold(tmp_path: Path) -> None:
    for name, value in (("a", 236), ("b", 236), ("c", 1)):
        pixels = np.zeros((20, 40), np.uint8)
        Image.fromarray(pixels + 99).save(tmp_path / f"{name}.png")
        pixels[:5, :10] = value
        Image.fromarray(pixels).save(tmp_path / f"{name}_mask.png")
    folder = ImageFolder(str(tmp_path))
    rows = [ImageRecord(f"{n}.png", "nut", "test", "dent", f"{n}_mask.png") for n in "abc"]
    manifest = build_manifest(folder, rows)
    _, _, masks = examine_manifest(folder, manifest, data_set("mvtec"), WHOLE, VIT)
    assert masks.values.tolist() == [
        ["nut", "dent", "0, 1", 1, 0.0625],
        ["nut", "dent", "0, 236", 2, 0.0625],
    ]
    sheet = np.asarray(draw_masks(folder, manifest))
    outlined = (sheet == GROUND_TRUTH_COLOUR).all(axis=2)
    assert label(outlined)[1] >= 3
    assert draw_masks(folder, manifest.assign(mask=pd.NA)).size == (1, 1)


def test_the_page_says_how_to_make_it_again(picture: bytes) -> None:
    page = write_examination(COUNTS, FINDINGS, NO_MASKS, picture, picture, PARAMETERS)
    assert PARAMETERS["run"]["examined_by"] in page
    for text in ("<dd>insects</dd>", "<dd>compound_eye</dd>", "bpm.threshold", "0.123"):
        assert text in page
    assert "not for a reader" not in page


# --- selecting ------------------------------------------------------------------------------------


def rows_of(images: pd.DataFrame) -> list[tuple[str, str, int, str]]:
    columns = images[["image", "split", "label", "defect"]]
    return list(columns.itertuples(index=False, name=None))


def test_a_category_of_defects_has_its_train_images_then_its_test_images() -> None:
    images = select_defect_images(MANIFEST, {"name": "x", "normal": ["nut"], "tested": ["nut"]})
    assert rows_of(images) == [
        ("nut/a", "train", 0, "good"),
        ("nut/b", "train", 0, "good"),
        ("nut/x", "test", 0, "good"),
        ("nut/y", "test", 1, "dent"),
    ]


def test_one_class_may_be_normal_and_another_tested() -> None:
    category = {"name": "x", "normal": ["bolt", "gear"], "tested": ["nut"]}
    images = select_defect_images(MANIFEST, category)["image"]
    assert list(images) == ["bolt/a", "bolt/b", "gear/a", "nut/x", "nut/y"]


def test_a_shared_bank_tests_nothing() -> None:
    images = select_defect_images(MANIFEST, {"name": "x", "normal": ["bolt"], "tested": []})
    assert list(images["image"]) == ["bolt/a", "bolt/b"]


@pytest.mark.parametrize(
    ("normal", "expected"),
    [
        (["nut"], [("bolt/x", 1, "bolt"), ("gear/x", 1, "gear"), ("nut/x", 0, "nut")]),
        (["nut", "gear"], [("bolt/x", 1, "bolt"), ("gear/x", 0, "gear"), ("nut/x", 0, "nut")]),
    ],
)
def test_foreign_classes_are_anomalous_and_defective_images_left_out(
    normal: list[str], expected: list[tuple[str, int, str]]
) -> None:
    images = select_class_images(MANIFEST, {"name": "x", "normal": normal, "tested": None})
    tested = images[images["split"] == "test"]
    found = zip(tested["image"], tested["label"], tested["defect"], strict=True)
    assert list(found) == expected
    train = images[images["split"] == "train"]
    assert set(train["class"]) == set(normal)
    assert list(images["split"]) == ["train"] * len(train) + ["test"] * 3


# --- refusals and downloads -----------------------------------------------------------------------


def test_a_refused_task_ends_with_its_reason() -> None:
    with pytest.raises(InputError, match=r"^the moon is not full$"):
        refuse_task("the moon is not full")


@pytest.mark.parametrize(
    ("layout", "licence", "file"),
    [
        ("mvtec", "CC BY-NC-SA 4.0", "mvtec_anomaly_detection.tar.xz"),
        ("cifar10", "none stated", "cifar-10-python.tar.gz"),
        ("cifar100", "none stated", "cifar-100-python.tar.gz"),
    ],
)
def test_the_terms_are_told_before_anything_is_fetched(
    layout: str, licence: str, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        provision = choose_publication(data_set(layout))
    assert [source.name for source in provision.sources] == [file]
    assert f"Licence: {licence}" in caplog.text
    assert f"Published at {provision.page}" in caplog.text


def test_there_is_nothing_to_download_for_ones_own_folder() -> None:
    with pytest.raises(InputError) as error:
        choose_publication(data_set("demo"))
    line = str(error.value)
    assert line.startswith("there is nothing to download for the layout 'demo': name a published")
    assert "--params=dataset=NAME; choose from: mvtec, btad, " in line
    assert line.count("mvtec,") == 1


def test_images_that_are_no_files_are_read_too(tmp_path: Path) -> None:
    folder = ImageFolder(str(make_cifar(tmp_path, "cifar10")))
    opened = nodes.LAYOUTS["cifar10"].open_root(folder)  # type: ignore[attr-defined]
    plan = plan_of(opened, data_set("cifar10"), "cat", False)
    assert len(classes_of(plan)) == 10
    assert (len(images_of(plan, "train")), len(images_of(plan, "test"))) == (50, 10)
