"""No experiment overwrites another's results, and no name stands for two roots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project
from PIL import Image

from uniformaly_pipeline.common.errors import CommandError

Parameters = dict[str, Any]
CACHES = ("02_intermediate", "04_feature")


def results(project: Any) -> dict[str, bytes]:
    """Every result that runs wrote, with its content; lists of images and features are shared."""
    return {
        path: (project.path / "data" / path).read_bytes()
        for path in project.outputs()
        if not path.startswith(CACHES)
    }


def added(project: Any, before: dict[str, bytes]) -> set[str]:
    """What is new; all that was there before must be there still, byte for byte."""
    after = results(project)
    changed = {path for path, content in before.items() if after.get(path) != content}
    assert not changed
    return set(after) - set(before)


def error_line(project: Any, pipeline: str, parameters: Parameters) -> str:
    """The message that ends a run."""
    with pytest.raises(CommandError) as error:
        project.run(pipeline, **parameters)
    message = error.value.format_message()
    assert "\n" not in message
    return message


@pytest.fixture
def other_root(images: Path, tmp_path: Path) -> Path:
    """Other pictures in a folder of the same name."""
    root = tmp_path / "elsewhere" / images.name
    shutil.copytree(images, root)
    for path in root.rglob("good/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    return root


def with_root(parameters: Parameters, root: Path, **more: Any) -> Parameters:
    entry = {**parameters["datasets"]["folder"], "root": str(root), **more}
    return {**parameters, "datasets": {"folder": entry}}


def test_experiments_never_overwrite_each_other(project: Any, small: Parameters) -> None:
    """Same task, data and backbone: whatever else differs gives results a place of their own."""
    small = {**small, "categories": "nut"}
    custom = small["backbones"]["custom"]
    layers = {"custom": {**custom, "layers": [8, 9]}}
    experiments: list[tuple[str, Parameters]] = [
        ("defect", {}),
        ("defect", {"bpm": {"mode": "off"}}),
        ("defect", {"seed": 3}),
        ("defect", {"categories": "all"}),
        ("defect", {"scoring": {"top_k_ratio": 0.5}}),
        ("defect", {"backbones": layers}),
        ("multiclass", {"categories": "all"}),
        ("multiclass", {"categories": "all", "memory_bank": {"multiclass_coreset_ratio": 0.3}}),
        ("lowshot", {"lowshot": {"shots": [1], "num_draws": 1}}),
        ("lowshot", {"lowshot": {"shots": [2], "num_draws": 1}}),
    ]
    before: dict[str, bytes] = {}
    for task, changes in experiments:
        project.run(task, **{**small, **changes})
        new = added(project, before)
        place = project.place(task)
        assert f"08_reporting/{place}/report.html" in new
        assert f"08_reporting/{place}/metrics.json" in new
        assert all(f"/{place}/" in path for path in new if not path.startswith("06_models/data_s"))
        before = results(project)


def test_weights_of_one_name_never_overwrite_each_other(
    project: Any, small: Parameters, tmp_path: Path
) -> None:
    import timm
    from safetensors.numpy import save_file

    custom = small["backbones"]["custom"]
    before: dict[str, bytes] = {}
    for run, name in ((1, "last"), (2, "last"), (2, "best")):
        file = tmp_path / f"{run}/{name}.safetensors"
        file.parent.mkdir(exist_ok=True)
        model = timm.create_model(custom["model"], num_classes=0, **custom["model_kwargs"])
        save_file({key: value.numpy() for key, value in model.state_dict().items()}, file)
        backbones = {"custom": {**custom, "checkpoint": str(file)}}
        project.run("defect", **{**small, "categories": "nut", "backbones": backbones})
        assert project.place().startswith(f"defect/images/{name}/")
        assert added(project, before)
        before = results(project)


def test_a_name_stands_for_one_root(project: Any, small: Parameters, other_root: Path) -> None:
    """Another root of the same name is refused before any work, and welcome under another name."""
    project.run("defect", **small)
    before = results(project)
    moved = with_root(small, other_root)
    for pipeline in ("defect", "semantic", "ingestion"):
        line = error_line(project, pipeline, moved)
        assert "the results of 'images' are of " in line
        assert str(other_root) in line
        assert "another name with datasets.folder.name" in line
        assert results(project) == before
    project.run("defect", **with_root(small, other_root, name="images 2"))
    assert project.place().startswith("defect/images_2/")
    assert added(project, before)
    page = (project.path / "data/08_reporting" / project.place() / "report.html").read_text()
    assert "<title>defect on images_2 with vit_tiny_patch16_224</title>" in page


def test_an_own_root_called_like_another_data_set(project: Any, small: Parameters) -> None:
    """The name of a published data set is taken once that has results."""
    record = project.path / "data/06_models/data_sets/images.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"root": "data/01_raw/images", "layout": "mvtec"}))
    line = error_line(project, "defect", small)
    assert "are of data/01_raw/images (layout mvtec), not of /" in line


def test_no_judgement_by_a_bank_of_another_root(
    project: Any, small: Parameters, images: Path, other_root: Path
) -> None:
    project.run("defect", **small)
    before = results(project)
    predict = {
        "images": str(other_root / "nut/test/good"), "category": "nut", "false_alarm_rate": 0.25,
    }  # fmt: skip
    line = error_line(project, "predict", {**with_root(small, other_root), "predict": predict})
    assert f"the results of 'images' are of {images} (layout folder), not of {other_root}" in line
    assert results(project) == before
    # Under a name of its own there is no bank yet.
    named = with_root(small, other_root, name="other")
    line = error_line(project, "predict", {**named, "predict": predict})
    assert "of 'nut' on other with vit_tiny_patch16_224" in line
    # A bank of which nobody knows the root is no better.
    record = project.path / "data/06_models/data_sets/images.json"
    content = record.read_text()
    record.unlink()
    line = error_line(project, "predict", {**small, "predict": predict})
    assert "nothing says of which root the results of 'images' are: first run kedro run" in line
    record.write_text("{")
    assert "cannot be read" in error_line(project, "predict", {**small, "predict": predict})
    # Images that have moved: the record says where to.
    record.write_text(json.dumps({**json.loads(content), "root": str(other_root)}))
    project.run("predict", **with_root(small, other_root), predict=predict)


def test_predictions_never_overwrite_each_other(
    project: Any, small: Parameters, images: Path, tmp_path: Path
) -> None:
    """Folders of one name, categories and rates have places of their own, below the bank's run."""
    project.run("defect", **small)
    monday, tuesday = (tmp_path / day / "new" for day in ("monday", "tuesday"))
    shutil.copytree(images / "nut/test/good", monday)
    shutil.copytree(images / "nut/test/hole", tuesday)
    before = results(project)
    bank = project.place().removeprefix("defect/")
    for folder, category, rate in [
        (monday, "nut", 0.25),
        (tuesday, "nut", 0.25),
        (tuesday, "cloth", 0.25),
        (tuesday, "nut", 0.5),
    ]:
        predict = {"images": str(folder), "category": category, "false_alarm_rate": rate}
        project.run("predict", predict=predict, **small)
        new = added(project, before)
        assert {path.split("/")[-1] for path in new} >= {"scores.csv", "report.html"}
        assert all(f"/predict/{bank}/{category}/new-" in path for path in new)
        before = results(project)


@pytest.mark.slow
def test_odd_names_go_through_a_whole_run(
    project: Any, small: Parameters, images: Path, tmp_path: Path
) -> None:
    """Names that look like numbers, words of YAML, comments, formulas: a run, then a judgement."""
    root = tmp_path / "line #2, ${x}: a::b"
    shutil.copytree(images, tmp_path / "line")  # what is left of the root where ' #' cuts it off
    for name in ("01", "1e5", "null", "=1"):
        shutil.copytree(images / "nut", root / name)
    new = tmp_path / "new"
    new.mkdir()
    for number, name in enumerate(("0001.png", "null.png", "=1+1.png", "1e5.png")):
        shutil.copy(images / f"cloth/test/{'good' if number % 2 else 'hole'}/000.png", new / name)
    settings = {**small, "datasets": {"folder": {"preprocessing": {"resize": 64, "crop": 64}}}}
    (project.path / "conf/local/parameters.yml").write_text(json.dumps(settings))
    of_root = f'--params=datasets.folder.root="{root}"'
    configure_project("uniformaly_pipeline")
    run = find_run_command("uniformaly_pipeline")

    def kedro(*arguments: str) -> str:
        done = CliRunner().invoke(run, list(arguments))
        assert done.exit_code == 0, done.output[-2000:]
        return done.output

    kedro("--pipelines=defect", of_root)
    board = project.path / "data/08_reporting" / project.place() / "leaderboard.csv"
    categories = [line.partition(",")[0] for line in board.read_text().splitlines()]
    assert categories == ["category", "01", "1e5", "'=1", "null", "mean", "std"]
    for category in ("01", "null"):
        chosen = f'{of_root},predict.images={new},predict.category="{category}"'
        shown = kedro("--pipelines=predict", f"{chosen},predict.false_alarm_rate=0.25")
        assert "Traceback" not in shown
        (scores,) = (project.path / "data/07_model_output/predict").rglob(
            f"{category}/*/scores.csv"
        )
        judged = {line.partition(",")[0] for line in scores.read_text().splitlines()[1:]}
        assert judged == {"0001.png", "null.png", "'=1+1.png", "1e5.png"}
