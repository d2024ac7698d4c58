"""The command ``uniformaly`` with images, detectors and results in a bucket."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from uniformaly_pipeline.commands.main import main
from uniformaly_pipeline.common.remote_path import RemotePath
from uniformaly_pipeline.common.storage import locate
from uniformaly_pipeline.detector.detector import Detector

UNTRAINED = ["--backbone", "untrained", "--resize", "40", "--crop", "32"]


def uniformaly(*arguments: str | Path) -> Result:
    """What the command answers."""
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def there(bucket: str, pictures: Path) -> str:
    """The same pictures in a bucket."""
    url = f"{bucket}/{pictures.name}"
    fs, path = locate(url)
    fs.put(str(pictures), path, recursive=True)
    return url


def test_a_detector_is_made_used_and_exported_in_a_bucket(
    there: str, bucket: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here, remote = tmp_path / "noise.safetensors", f"{bucket}/detectors/noise.safetensors"
    for folder, file in ((pictures, here), (there, remote)):
        answer = uniformaly("fit", f"{folder}/good", "-o", file, "--embed-weights", *UNTRAINED)
        assert answer.exit_code == 0, answer.output
    assert uniformaly("info", remote).output == uniformaly("info", here).output
    assert uniformaly("add", remote, f"{there}/held").exit_code == 0
    assert uniformaly("threshold", remote, "1").exit_code == 0
    out = RemotePath(f"{bucket}/results")
    answer = uniformaly("predict", remote, f"{there}/new", f"{there}/held/00.png", "--out", out)
    assert answer.exit_code == 0, answer.output
    assert f"written to {out}" in answer.output
    rows = list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))
    assert len(list((out / "pictures").rglob("*.png"))) == len(rows) == 4
    expected = Detector.load(remote).predict(pictures / "new/holes/x.png").score
    judged = {row["image"]: float(row["score"]) for row in rows}
    assert judged[f"{there}/new/holes/x.png"] == pytest.approx(expected)
    exported = f"{bucket}/exported"
    assert uniformaly("export", remote, exported, "--images", f"{there}/new").exit_code == 0
    assert Detector.load(exported).predict(f"{there}/new/holes/x.png").score == expected
    assert [path.name for path in tmp_path.iterdir()] == ["noise.safetensors"]


GONE, TO_BE_MADE = "The specified bucket does not exist", "make the bucket"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["info", "{gone}/x.safetensors"], GONE),
        (["predict", "{gone}/x.safetensors", "new.png"], GONE),
        (["fit", "{gone}/good", "-o", "x.safetensors", *UNTRAINED], GONE),
        (["from-run", "{gone}/data", "nut", "-o", "x.safetensors"], GONE),
        # Results are to go there: not even what is to be read is looked for before.
        (["fit", "missing", "-o", "{gone}/x.safetensors"], TO_BE_MADE),
        (["predict", "missing.safetensors", "x.png", "--out", "{gone}/results"], TO_BE_MADE),
        (["export", "missing.safetensors", "{gone}/exported"], TO_BE_MADE),
    ],
)
def test_a_bucket_that_is_not_there_is_one_line(
    bucket: str, arguments: list[str], words: str
) -> None:
    answer = uniformaly(*(each.format(gone=f"{bucket}-gone") for each in arguments))
    assert answer.exit_code == 1
    (line,) = answer.stderr.strip().splitlines()
    assert f"{bucket}-gone" in line
    assert words in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "missing", "-o", "memory://a"],
        ["add", "missing.safetensors", "missing", "-o", "memory://a"],
        ["from-run", "missing", "nut", "-o", "memory://a"],
        ["predict", "missing.safetensors", "missing.png", "--out", "memory://a"],
        ["export", "missing.safetensors", "memory://a"],
    ],
)
def test_what_would_end_with_the_process_is_not_made(arguments: list[str]) -> None:
    """Not even what is to be read is looked for."""
    answer = uniformaly(*arguments)
    assert answer.exit_code == 1
    assert answer.stderr == (
        "Error: memory://a is in the memory of this process, which ends with the command: give a "
        "path or another URL\n"
    )


def test_where_it_cannot_be_done_the_line_says_so(there: str, detector_file: Path) -> None:
    answer = uniformaly("predict", detector_file, f"{there}/new", "--out", f"{there}/new/out")
    assert answer.exit_code == 1
    assert f"{there}/new/out lies in {there}/new, whose images are judged" in answer.stderr
    answer = uniformaly("watch", "x.safetensors", f"{there}/new")
    assert answer.exit_code == 2
    assert "is a URL: give a folder of this machine" in answer.output
