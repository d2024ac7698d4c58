"""Every published data set, as a miniature, through every pipeline that applies to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from miniatures import (
    make_btad,
    make_cifar,
    make_cpd,
    make_imagenet30,
    make_kolektor_sdd2,
    make_mpdd,
    make_mtd,
    make_mvtec,
    make_mvtec_ad2,
    make_mvtec_loco,
    make_real_iad,
    make_species60,
    make_visa,
    pack,
)
from PIL import Image

from uniformaly_pipeline.common.errors import CommandError

Parameters = dict[str, Any]
SIDE = 64

MAKERS: dict[str, Callable[[Path], Path]] = {
    "mvtec": make_mvtec,
    "btad": make_btad,
    "mtd": make_mtd,
    "cpd": make_cpd,
    "imagenet30": make_imagenet30,
    "species60": make_species60,
    "cifar10": lambda root: make_cifar(root, "cifar10"),
    "cifar100": lambda root: make_cifar(root, "cifar100"),
    "visa": make_visa,
    "mvtec_ad2": make_mvtec_ad2,
    "mvtec_loco": make_mvtec_loco,
    "real_iad": make_real_iad,
    "mpdd": make_mpdd,
    "kolektor_sdd2": make_kolektor_sdd2,
}
BY_CLASS = {"imagenet30", "species60", "cifar10", "cifar100"}


def tasks_of(name: str) -> list[str]:
    """What is run on a miniature; ``test_paper.py`` runs all the tasks that the paper has."""
    if name in {"mtd", "cpd"}:
        return ["defect", "multiclass"]  # which the paper's page does not show of one category
    if name in BY_CLASS:
        return ["semantic", "lowshot"]
    return ["defect", "clustering"] if name == "mvtec_loco" else ["defect"]


@pytest.fixture
def parameters(small: Parameters) -> Callable[..., Parameters]:
    """Parameters of a quick run on a published data set at a root."""

    def make(name: str, root: Path | str, **dataset: Any) -> Parameters:
        preprocessing = {"resize": SIDE, "crop": SIDE, "pad": None, "interpolation": "bilinear"}
        changes = {"root": str(root), "preprocessing": preprocessing, **dataset}
        quick = {
            "lowshot": {"shots": "1+all", "num_draws": 1},
            "ablation": {
                **{key: [] for key in ("threshold", "mode", "features", "coreset_ratio")},
                "kernel_size": [1, 7],
                "top_k_ratio": [0.05, 0.1],
            },
            "reporting": {"gallery_images": 2},
        }
        return {**small, **quick, "dataset": name, "datasets": {name: changes}}

    return make


def settings_of(name: str, root: Path) -> dict[str, Any]:
    """What a miniature needs: the published splits name all classes, and classes are large."""
    if name not in {"species60", "imagenet30"}:
        return {}
    trained = root / "one_class_train"
    classes = sorted(path.name for path in (trained if trained.exists() else root).iterdir())
    settings: dict[str, Any] = {"splits": dict.fromkeys("ABCDE", classes[:2])}
    return settings | ({"split": {"min_images": 1}} if name == "species60" else {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task"),
    [(name, task) for name in MAKERS for task in tasks_of(name)],
)
def test_every_pipeline(
    project: Any, parameters: Callable[..., Parameters], tmp_path: Path, name: str, task: str
) -> None:
    root = MAKERS[name](tmp_path / "raw")
    project.run(task, **parameters(name, root, **settings_of(name, root)))
    place = project.path / "data/08_reporting" / project.place(task)
    metrics = json.loads((place / "metrics.json").read_text())
    assert metrics["categories"]
    for figures in metrics["categories"].values():
        assert 0 <= figures["image_auroc"] <= 1
        assert (figures["pixel_auroc"] is None) == (name in {*BY_CLASS, "cpd"})
    assert "html" in (place / "report.html").read_text()


def test_the_doctor_counts_beside_the_published_numbers(
    project: Any,
    parameters: Callable[..., Parameters],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project.run("ingestion", **parameters("btad", make_btad(tmp_path / "raw")))
    place = project.path / "data/08_reporting/ingestion/btad"
    counts = pd.read_csv(place / "counts.csv", dtype={"class": str})
    train = counts[(counts["class"] == "03") & (counts["split"] == "train")].iloc[0]
    assert train["published"] == 1000
    assert train["difference"] == train["images"] - 1000
    findings = pd.read_csv(place / "findings.csv")
    assert "published numbers" in set(findings["check"])
    assert set(findings["severity"]) == {"warning"}
    assert (place / "samples.png").stat().st_size > 1000
    assert "An image of each class, split and kind" in (place / "report.html").read_text()
    shown = capsys.readouterr().out
    assert "btad: images" in shown
    assert "warning: 01 has" in shown


def test_an_archive_is_unpacked_once(
    project: Any, parameters: Callable[..., Parameters], tmp_path: Path
) -> None:
    """The root may be the archive or the folder it lies in; classes are known before unpacking."""
    made = make_mvtec(tmp_path / "made")
    raw = tmp_path / "raw"
    raw.mkdir()
    archive = pack(made, raw / "mvtec_anomaly_detection.tar.xz")
    project.run(
        "ingestion",
        **parameters(
            "mvtec",
            raw,
        ),
        categories="bottle",
    )
    unpacked = raw / "mvtec_anomaly_detection"
    assert (unpacked / "bottle/train/good/000.png").exists()
    path = project.path / "data/02_intermediate/mvtec/categories-bottle/manifest.parquet"
    manifest = pd.read_parquet(path)
    assert set(manifest["class"]) == {"bottle"}
    stamp = unpacked.stat().st_mtime_ns
    project.run("ingestion", **parameters("mvtec", archive), categories="bottle")
    assert unpacked.stat().st_mtime_ns == stamp
    again = pd.read_parquet(path)
    pd.testing.assert_frame_equal(again, manifest)


def test_species_split_on_request_as_a_tree(
    project: Any, parameters: Callable[..., Parameters], tmp_path: Path
) -> None:
    """The tree that a split writes is read as the very same split."""
    root, tree = make_species60(tmp_path / "raw"), tmp_path / "tree"
    settings = parameters("species60", root, split={"min_images": 1}, tree=str(tree))
    project.run("ingestion", **settings)
    path = project.path / "data/02_intermediate/species60/split.min_images-1/manifest.parquet"
    split = pd.read_parquet(path).set_index("content_hash")["split"].sort_index()
    assert set(split) == {"train", "test"}
    of_tree = parameters("species60", tree)
    of_tree["datasets"]["species60"]["name"] = "tree"
    project.run("ingestion", **of_tree)
    path = project.path / "data/02_intermediate/tree/manifest.parquet"
    again = pd.read_parquet(path).set_index("content_hash")["split"].sort_index()
    pd.testing.assert_series_equal(again, split)
    with pytest.raises(CommandError, match="exists already"):
        project.run("ingestion", **settings)


def test_two_archives_of_classes(
    project: Any, parameters: Callable[..., Parameters], tmp_path: Path
) -> None:
    """ImageNet-30 comes as an archive of train and one of test images."""
    made = make_imagenet30(tmp_path / "made")
    raw = tmp_path / "raw"
    raw.mkdir()
    for part in ("one_class_train", "one_class_test"):
        pack(made / part, raw / f"{part}.tar")
    project.run("ingestion", **parameters("imagenet30", raw))
    manifest = pd.read_parquet(project.path / "data/02_intermediate/imagenet30/manifest.parquet")
    assert set(manifest["split"]) == {"train", "test"}
    assert (raw / "one_class_train").is_dir()


def test_a_hostile_archive_leaves_nothing(
    project: Any, parameters: Callable[..., Parameters], tmp_path: Path
) -> None:
    import tarfile

    raw = tmp_path / "raw"
    raw.mkdir()
    with tarfile.open(raw / "mvtec_anomaly_detection.tar.xz", "w:xz") as tar:
        tar.addfile(tarfile.TarInfo("../escaped.txt"))
    with pytest.raises(CommandError) as error:
        project.run("defect", **parameters("mvtec", raw))
    message = error.value.format_message()
    assert "\n" not in message
    assert "mvtec_anomaly_detection.tar.xz" in message
    assert [path.name for path in raw.iterdir()] == ["mvtec_anomaly_detection.tar.xz"]
    assert not (tmp_path / "escaped.txt").exists()
    assert project.outputs() == []


def test_user_data_that_would_spoil_a_result_is_refused(
    project: Any, small: Parameters, images: Path
) -> None:
    original = images / "nut/train/good/000.png"
    (images / "nut/test/good/copy.png").write_bytes(original.read_bytes())
    with pytest.raises(CommandError) as error:
        project.run("defect", **small)
    message = error.value.format_message()
    assert "\n" not in message
    assert "nut/test/good/copy.png" in message
    assert "in train and in test" in message
    assert project.outputs() == []


def test_masks_of_normal_images_must_be_empty(
    project: Any, small: Parameters, images: Path
) -> None:
    folder = images / "nut/ground_truth/good"
    folder.mkdir()
    Image.new("L", (72, 72), 0).save(folder / "001_mask.png")
    project.run("ingestion", **small)
    Image.new("L", (72, 72), 255).save(folder / "000_mask.png")
    with pytest.raises(CommandError) as error:
        project.run("ingestion", **small)
    message = error.value.format_message()
    assert "nut/test/good/000.png is called normal but its mask marks pixels" in message


def test_new_images_beside_packed_ones(
    project: Any, parameters: Callable[..., Parameters], tmp_path: Path
) -> None:
    """A bank of CIFAR's images, which are no files, judges images that are."""
    settings = parameters("cifar10", make_cifar(tmp_path / "raw", "cifar10"))
    project.run("semantic", categories="airplane", **settings)
    new = tmp_path / "new"
    new.mkdir()
    Image.new("RGB", (40, 40), (90, 120, 200)).save(new / "sky.png")
    predict = {
        "images": str(new), "task": "semantic", "category": "airplane", "false_alarm_rate": 0.5,
    }  # fmt: skip
    project.run("predict", categories="airplane", predict=predict, **settings)
    place = project.path / "data/07_model_output" / project.place("predict") / "airplane"
    row = pd.read_csv(next(place.glob("new-*/scores.csv"))).iloc[0]
    assert row["image"] == "sky.png"
    assert row["normal_image"].startswith("train/airplane/")


def test_a_remote_root(project: Any, small: Parameters, images: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(images), "/remote_set", recursive=True)
    folder = {**small["datasets"]["folder"], "root": "memory://remote_set"}
    project.run("defect", **{**small, "datasets": {"folder": folder}})
    reports = project.path / "data/08_reporting"
    remote = json.loads((reports / project.place() / "metrics.json").read_text())
    assert project.place().startswith("defect/remote_set/")
    project.run("defect", **small)
    local = json.loads((reports / project.place() / "metrics.json").read_text())
    assert remote["mean"]["pixel_auroc"] == local["mean"]["pixel_auroc"]


def test_credentials_by_kedros_convention(
    project: Any, small: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named entry of credentials.yml reaches the file system; without it one clear line."""
    folder = {**small["datasets"]["folder"], "credentials": "plant"}
    with pytest.raises(CommandError, match=r"no 'plant' in conf/local/credentials\.yml"):
        project.run("ingestion", **{**small, "datasets": {"folder": folder}})
    (project.path / "conf/local").mkdir(exist_ok=True)
    (project.path / "conf/local/credentials.yml").write_text("plant: {auto_mkdir: true}\n")
    from uniformaly_pipeline.ingestion import images as module

    options: list[str] = []
    original = module._file_system

    def noted(url: str, storage_options: str, *others: Any) -> Any:
        options.append(storage_options)
        return original(url, storage_options, *others)

    monkeypatch.setattr(module, "_file_system", noted)
    project.run("ingestion", **{**small, "datasets": {"folder": folder}})
    assert '{"auto_mkdir": true}' in options
