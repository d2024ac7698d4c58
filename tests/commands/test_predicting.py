"""``uniformaly predict``."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from uniformaly_pipeline.commands import predicting
from uniformaly_pipeline.commands.main import main
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.detector import Detector


def uniformaly(*arguments: str | Path) -> Result:
    """What the command answers."""
    return CliRunner().invoke(main, [str(each) for each in arguments])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_scores_and_pictures(
    detector_file: Path, detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    answer = uniformaly("predict", detector_file, pictures / "new", "--out", out, "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    assert "1 of 3 images is anomalous" in answer.output
    expected = sorted(detector.predict(pictures / "new"), key=lambda result: -result.score)
    found = rows(out)
    assert [row["image"] for row in found] == [result.name for result in expected]
    assert found[0]["image"] == "holes/x.png"
    for row, result in zip(found, expected, strict=True):
        assert float(row["score"]) == pytest.approx(result.score, rel=1e-6)
        assert row["is_anomalous"] == str(result.is_anomalous)
        assert row["normal_image"] == result.evidence.normal_image
    drawn = {path.relative_to(out / "pictures").as_posix() for path in out.rglob("*.png")}
    assert drawn == {"00.png", "01.png", "holes/x.png"}
    with Image.open(out / "pictures/holes/x.png") as picture:
        assert picture.width > 90


def test_on_a_narrow_terminal_no_name_is_cut(
    detector: Detector,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(predicting, "Console", lambda width: Console(width=80))
    result = detector.predict(pictures / "new/holes/x.png")
    assert result.evidence is not None
    far = f"{'/'.join(['some_folder'] * 6)}/012.png"
    shown = [
        replace(result, name=name, evidence=replace(result.evidence, normal_image="008.png"))
        for name in ("stripped/000.png", far)
    ]
    predicting._show(shown, detector, "")
    lines = capsys.readouterr().out.splitlines()
    least = 1 / (len(detector.calibration_scores) + 1)
    assert any(line.startswith("p-value: ") and f"{least:.2g} or more" in line for line in lines)
    assert any(line.startswith("where: ") and "pixels" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert rows[0][0] == "stripped/000.png"
    assert rows[0][-1] == "008.png"
    assert "".join(row[0] for row in rows[1:]) == far


def test_several_arguments_keep_their_images_apart(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    one = pictures / "new/00.png"
    answer = uniformaly(
        "predict", detector_file, one, pictures / "new", pictures / "held", "--out", out,
        "--pictures", "anomalous", "--threshold", "1e9",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    names = [row["image"] for row in rows(out)]
    assert len(names) == 8
    assert len(set(names)) == 7, "one is given twice"
    assert {str(one), f"{pictures}/new/01.png", f"{pictures}/held/00.png"} <= set(names)
    assert {row["threshold"] for row in rows(out)} == {"1000000000.0"}
    assert not list(out.rglob("*.png")), "none is anomalous"


def test_names_are_shown_as_they_are_and_lead_nowhere(
    detector_file: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Brackets are no markup, and no picture is written over the image itself."""
    folder = tmp_path / "a[/b].png/deep/er"
    folder.mkdir(parents=True)
    odd = tmp_path / "a[/b].png/img[bold].png"
    Image.open(pictures / "new/00.png").save(odd)
    before = odd.read_bytes()
    monkeypatch.chdir(folder)
    answer = uniformaly("predict", detector_file, "../../img[bold].png", "--out", "../../out")
    assert answer.exit_code == 0, answer.output
    assert "../../img[bold].png" in answer.output
    assert odd.read_bytes() == before
    out = tmp_path / "a[/b].png/out"
    assert [path.relative_to(out).as_posix() for path in out.rglob("*.png")] == [
        "pictures/img_bold_.png"
    ]
    answer = uniformaly("predict", detector_file, pictures / "new/00.png", "--out", "../../out")
    assert "1 picture in ../../out of an earlier call" in caplog.text


def test_results_lie_beside_the_images(detector_file: Path, pictures: Path) -> None:
    """A second call would judge the pictures of the first."""
    out = pictures / "new/results"
    answer = uniformaly("predict", detector_file, pictures / "new", "--out", out)
    assert answer.exit_code == 1
    assert f"{out} lies in {pictures / 'new'}, whose images are judged" in answer.stderr
    assert not out.exists()


def test_a_picture_that_cannot_be_written_costs_no_result(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    Image.open(pictures / "new/00.png").save(folder / "a.png")
    # Drawn, its name is two letters longer than a disk takes.
    shutil.copy(folder / "a.png", folder / ("b" * 253))
    answer = uniformaly("predict", detector_file, folder, "--out", tmp_path / "out")
    assert answer.exit_code == 1
    assert "1 picture could not be written" in answer.stderr
    assert "no pictures of bbb" in answer.stderr
    assert len(rows(tmp_path / "out")) == 2
    assert (tmp_path / "out/pictures/a.png").exists()


@pytest.mark.parametrize("what", ["new_file", "write_scores"])
def test_a_full_disk_costs_no_result_on_the_screen(
    what: str,
    detector_file: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pictures or the scores do not fit: what was found out is shown, and then why it is lost."""

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(predicting, what, fail)
    answer = uniformaly("predict", detector_file, pictures / "new", "--out", tmp_path / "out")
    assert answer.exit_code == 1
    assert "the disk is full" in answer.stderr
    assert "00.png" in answer.stdout
    assert "of 3 images" in answer.stdout
    assert "written to" not in answer.stdout
    assert not (tmp_path / "out/scores.csv").exists()


def test_without_room_for_pictures_the_scores_are_still_written(
    detector_file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the line says what is there."""
    real, out = predicting.new_file, tmp_path / "out"

    def full(path: Path) -> Any:
        if path.name != "00.png" and path.suffix == ".png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path)

    monkeypatch.setattr(predicting, "new_file", full)
    answer = uniformaly("predict", detector_file, pictures / "new", "--out", out)
    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1] == (
        f"Error: the disk is full at {out / 'pictures/01.png'}: make room and run again; written "
        "are scores.csv, whole, and 1 of 3 pictures"
    )
    assert len(rows(out)) == 3
    monkeypatch.setattr(predicting, "write_scores", lambda *_: full(out / "scores.png"))
    answer = uniformaly("predict", detector_file, pictures / "new", "--out", out)
    assert answer.stderr.splitlines()[-1].endswith(
        "written are 1 of 3 pictures but no scores.csv, the one there is of an earlier call"
    )


def test_an_image_that_is_gone_when_it_is_drawn_costs_its_picture_alone(
    detector_file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = predicting.Result.draw

    def draw(result: predicting.Result) -> Image.Image:
        if result.name == "01.png":
            raise InputError("01.png does not exist")
        return real(result)

    monkeypatch.setattr(predicting.Result, "draw", draw)
    answer = uniformaly("predict", detector_file, pictures / "new", "--out", tmp_path)
    assert answer.exit_code == 1
    assert "no pictures of 01.png does not exist" in answer.stderr
    assert len(rows(tmp_path)) == 3
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_pictures_of_images_that_differ_in_their_suffix_say_which_is_which(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    with Image.open(pictures / "new/00.png") as image:
        for name in ("x.bmp", "x.gif", "y.bmp"):
            image.save(folder / name)
    answer = uniformaly("predict", detector_file, folder, "--out", tmp_path / "out")
    assert answer.exit_code == 0, answer.output
    drawn = {path.name for path in (tmp_path / "out").rglob("*.png")}
    assert drawn == {"x.bmp.png", "x.gif.png", "y.png"}


def test_lines_count_in_the_singular_where_it_is_one(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    one = pictures / "new/00.png"
    assert "0 of 1 image is anomalous" in uniformaly("predict", detector_file, one).stdout
    (tmp_path / "bad.png").write_text("no image")
    answer = uniformaly("predict", detector_file, tmp_path / "bad.png")
    assert "1 of 1 image could not be judged" in answer.stderr


def test_the_help_says_what_ends_a_call_before_any_work() -> None:
    words = " ".join(uniformaly("predict", "--help").stdout.split())
    assert "a pipe, a device or a name that is not UTF-8 or has a newline ends it before" in words


def test_an_image_with_too_many_pixels_is_told_of_no_setting_that_there_is_not(
    detector_file: Path, tmp_path: Path
) -> None:
    Image.new("1", (20_000, 9_000)).save(tmp_path / "large.png")
    answer = uniformaly("predict", detector_file, tmp_path / "large.png")
    assert "more than the 178,956,970 allowed): mend or remove it" in answer.stderr


def test_bad_images_are_told_and_the_others_judged(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "bad.png").write_text("no image")
    Image.open(pictures / "new/00.png").save(folder / "fine.png")
    answer = uniformaly("predict", detector_file, folder, "--out", tmp_path / "out")
    assert answer.exit_code == 1
    assert "1 of 2 images could not be judged" in answer.stderr
    assert "bad.png cannot be read as an image" in answer.stderr
    assert [row["image"] for row in rows(tmp_path / "out")] == ["fine.png"]


def test_a_folder_that_cannot_be_made_is_one_line(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file/out"
    answer = uniformaly("predict", detector_file, pictures / "new/00.png", "--out", out)
    assert answer.exit_code == 1
    assert isinstance(answer.exception, SystemExit)
    assert f"a file is where a folder is needed at {out}" in answer.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_one_image_from_a_shell_brings_neither_kedro_nor_mlflow(
    detector_file: Path, pictures: Path
) -> None:
    code = f"""
import sys
from uniformaly_pipeline.commands.main import main
try:
    main(["predict", {str(detector_file)!r}, {str(pictures / "new/holes/x.png")!r}])
except SystemExit as end:
    print("ended with", end.code)
print([name for name in ("kedro", "mlflow", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "1 of 1 image is anomalous" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["ended with 0", "[]"]
