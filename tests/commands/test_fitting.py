"""``uniformaly fit``, ``threshold``, ``info`` and ``from-run``."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from uniformaly_pipeline.commands import fitting
from uniformaly_pipeline.commands.main import COMMANDS, main
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.sources import region_of
from uniformaly_pipeline.detector.state import load_state
from uniformaly_pipeline.features.backbone import named_backbone

UNTRAINED = ["--backbone", "untrained", "--resize", "40", "--crop", "32"]


def uniformaly(*arguments: str | Path) -> Result:
    """What the command answers."""
    return CliRunner().invoke(main, [str(each) for each in arguments])


def error_line(*arguments: str | Path) -> str:
    """The one line of a refusal."""
    answer = uniformaly(*arguments)
    assert answer.exit_code == 1
    (line,) = answer.stderr.strip().splitlines()
    return line


def test_fit_makes_the_same_detector_as_python(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    answer = uniformaly(
        "fit", pictures / "good", "-o", path, "--calibration", pictures / "held",
        "--false-alarm-rate", "0.25", "--coreset-ratio", "0.2", "--seed", "3", "--embed-weights",
        *UNTRAINED,
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    state = load_state(path)
    assert state.weights
    assert state.bank.metadata["coreset_ratio"] == 0.2
    assert state.threshold.false_alarm_rate == 0.25
    assert len(state.calibration_scores) == 4
    assert state.reading.preprocessing.input_size == (32, 32)
    assert "16 normal images" in answer.output
    assert f"uniformaly predict {path}" in answer.output
    shown = uniformaly("info", path).output
    assert "weights in the file" in shown
    assert shown.splitlines() == answer.output.splitlines()[: len(shown.splitlines())]


def test_fit_takes_the_size_that_suits_the_backbone(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suited = replace(named_backbone("untrained"), resolution=48, kernel_size=5)
    monkeypatch.setattr(fitting, "named_backbone", lambda _: suited)

    def taken(*sizes: str) -> tuple[object, object, int]:
        path = tmp_path / "noise.safetensors"
        answer = uniformaly("fit", pictures / "good", "-o", path, "--threshold", "1", *sizes)
        assert answer.exit_code == 0, answer.output
        reading = load_state(path).reading
        size = reading.preprocessing
        return size.resize, size.crop, reading.masking.kernel_size

    assert taken() == (48, None, 5)
    assert taken("--crop", "32") == (48, 32, 3)
    assert taken("--resize", "56") == (56, None, 5)


def test_fit_takes_a_region_of_interest_and_info_tells_it(pictures: Path, tmp_path: Path) -> None:
    with Image.open(next((pictures / "good").iterdir())) as picture:
        roi = Image.new("L", picture.size)
    roi.paste(255, (0, 0, roi.width // 2, roi.height))
    roi.save(tmp_path / "roi.png")
    path = tmp_path / "noise.safetensors"
    answer = uniformaly(
        "fit", pictures / "good", "-o", path, "--roi", tmp_path / "roi.png", *UNTRAINED
    )
    assert answer.exit_code == 0, answer.output
    assert "where 50% of an image counts" in uniformaly("info", path).output
    assert load_state(path).reading.region == region_of(roi)


def test_fit_refuses_in_one_line_and_writes_nothing(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    good = pictures / "good"
    for arguments, expected in [
        (["fit", tmp_path / "gone", "-o", path], "does not exist"),
        (["fit", good, "-o", tmp_path / "gone" / "a.safetensors"], "the folder of .* make it"),
        (["fit", good, "-o", good], "good is a folder: give a file such as"),
        (["fit", "", "-o", path], "the path of the images is empty"),
        (["fit", good, "-o", path, "--roi", tmp_path / "gone.png"], r"gone\.png does not exist"),
        (["fit", good, "-o", path, "--backbone", "dino"], "no backbone 'dino'"),
        (["fit", good, "-o", path, "--false-alarm-rate", "0.01"], "takes 99 held-out"),
        (["fit", good, "-o", path, "--threshold", "1", "--false-alarm-rate", "0.5"], "either"),
    ]:
        line = error_line(*arguments)
        assert re.search(expected, line), line
    assert list(tmp_path.iterdir()) == []


def test_the_threshold_is_written_into_the_file(detector_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    path.write_bytes(detector_file.read_bytes())
    answer = uniformaly("threshold", path, "31.5")
    assert "31.5, set by hand" in answer.output
    assert load_state(path).threshold.value == 31.5
    assert "0.5" in uniformaly("threshold", path, "--false-alarm-rate", "0.5").output
    assert load_state(path).threshold.false_alarm_rate == 0.5
    assert "takes at least" in error_line("threshold", path, "--false-alarm-rate", "0.01")
    assert "either a threshold or" in error_line("threshold", path)
    assert "the threshold is -5.0 but must be a finite number from 0" in error_line(
        "threshold", path, "--", "-5"
    )
    assert load_state(path).threshold.false_alarm_rate == 0.5
    assert Detector.load(path).threshold.value == load_state(path).threshold.value


def test_damaged_detectors_and_missing_runs_are_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_text("hello")
    assert "is no detector" in error_line("info", broken)
    assert "is no detector" in error_line("predict", broken, tmp_path)
    output = tmp_path / "bolt.safetensors"
    assert "holds no finished run" in error_line("from-run", tmp_path, "bolt", "-o", output)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str) -> None:
    answer = uniformaly(name, "--help")
    assert answer.exit_code == 0
    assert "uniformaly " in answer.output or name == "compare"
    assert COMMANDS[name][1].rstrip(".") in uniformaly("--help").output


def test_help_comes_without_torch_kedro_and_mlflow() -> None:
    code = """
import sys
from uniformaly_pipeline.commands.main import main
try:
    main(["--help"])
except SystemExit:
    pass
print([name for name in ("torch", "kedro", "mlflow", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_add_writes_the_grown_detector(detector_file: Path, pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    path.write_bytes(detector_file.read_bytes())
    answer = uniformaly("add", path, pictures / "new", "-o", tmp_path / "grown.safetensors")
    assert answer.exit_code == 0, answer.output
    assert "19 normal images" in answer.output
    assert "covering radius" in answer.output
    assert path.read_bytes() == detector_file.read_bytes()
    assert len(load_state(tmp_path / "grown.safetensors").normal_images) == 19
    assert "does not exist" in error_line("add", path, tmp_path / "gone")
    assert path.read_bytes() == detector_file.read_bytes()


def test_a_package_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line's machine has only what predicting takes."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "uniformaly_pipeline.tracking.compare", raising=False)
    line = error_line("compare")
    assert line.startswith("Error: this command takes pandas, which is not installed here")
