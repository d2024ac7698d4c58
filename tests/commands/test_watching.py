"""``uniformaly watch``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from uniformaly_pipeline.commands import watching
from uniformaly_pipeline.commands.arrivals import Arrivals
from uniformaly_pipeline.commands.main import main
from uniformaly_pipeline.commands.watching import Lines, judge_arrivals, judged_before, wake_ups
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.drift import DriftMonitor
from uniformaly_pipeline.detector.encoding import PatchArrays
from uniformaly_pipeline.detector.sources import sources_of


class QuickEncoder:
    """Features without a model, so that many images take no time."""

    def __call__(self, images: np.ndarray) -> PatchArrays:
        count = len(images)
        features = images[:, :, ::8, ::8].reshape(count, 3, 64).transpose(0, 2, 1)
        features = np.concatenate([features] * 8, axis=2)
        return PatchArrays(np.ascontiguousarray(features), np.ones((count, 8, 8), np.float32))


def test_a_thousand_files_are_each_judged_once_whatever_they_are(
    detector: Detector, tmp_path: Path
) -> None:
    """Written while we look, some half at first, some never an image, some renamed."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (72, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    now = 0.0

    def ticks() -> Iterator[None]:
        nonlocal now
        for first in range(0, 1000, 100):
            for i in range(first, first + 100):
                path = folder / f"{i:04d}.png"
                if i % 100 == 7:
                    path.write_text("no image")
                elif i % 100 == 8:
                    path.write_bytes(whole[: len(whole) // 2])
                elif i % 100 == 9:
                    (folder / f"{i:04d}.part").write_bytes(whole)
                else:
                    path.write_bytes(whole)
            now += 0.5
            yield
            (folder / f"{first + 9:04d}.part").rename(folder / f"{first + 9:04d}.png")
            now += 1.0
            yield
            (folder / f"{first + 8:04d}.png").write_bytes(whole)
        for _ in range(10):
            now += 1.0
            yield

    found: list[Any] = []
    judge_arrivals(
        Detector(detector.state, QuickEncoder()),
        Arrivals(folder, settle_s=1.0, patience_s=4.0),
        ticks(),
        lambda each, *_: found.append(each),
        clock=lambda: now,
    )
    names = [each.name for each in found]
    assert len(names) == 1000
    assert set(names) == {f"{i:04d}.png" for i in range(1000)}
    bad = [each.name for each in found if hasattr(each, "reason")]
    assert bad == [f"{i:04d}.png" for i in range(7, 1000, 100)]


def test_a_line_of_json_for_each_image(
    detector: Detector, pictures: Path, tmp_path: Path, capsys: Any
) -> None:
    lines = Lines(pictures / "new", tmp_path, "anomalous")
    arrivals = Arrivals(pictures / "new", 1.0, 1.0)
    clock = iter(np.arange(0.0, 100.0))
    judge_arrivals(detector, arrivals, [None] * 4, lines.write, clock=lambda: float(next(clock)))
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert shown == kept
    assert [line["image"] for line in shown] == ["00.png", "01.png", "holes/x.png"]
    assert [line["is_anomalous"] for line in shown] == [False, False, True]
    assert not any(line["drift"] for line in shown)
    assert shown[2]["picture"] == (tmp_path / "pictures/holes/x.png").as_posix()
    assert Image.open(shown[2]["picture"]).size[0] > 90
    assert lines.count == 3
    # From when the files were found whole, together; the clock ticks once an image.
    assert [line["seconds"] for line in shown] == [1.0, 2.0, 3.0]


def test_each_image_has_a_picture_of_its_own_and_keeps_it(
    detector: Detector, pictures: Path, tmp_path: Path, capsys: Any
) -> None:
    """Names that differ in suffix, signs or case alone; the same image again; a new start."""
    (each,) = detector.predict_each_of(sources_of(str(pictures / "new/00.png")))
    drift, lines = detector.monitor().look(), Lines(pictures, tmp_path, "all")
    for name in ("x.bmp", "x.gif", "x.bmp", "X.gif", "a b.png"):
        lines.write(replace(each, name=name), drift, 0.1)
    again = Lines(pictures, tmp_path, "all")
    for name in ("x.gif", "a_b.png", "a b.png", "x.tif"):
        again.write(replace(each, name=name), drift, 0.1)
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    below = [Path(line["picture"]).relative_to(tmp_path / "pictures").as_posix() for line in shown]
    assert below[:5] == ["x.png", "x.gif.png", "x.png", "X-2.gif.png", "a_b.png"]
    assert below[5:] == ["x.gif.png", "a_b.png.png", "a_b.png", "x.tif.png"]


def test_it_goes_on_where_its_lines_cannot_be_kept(
    detector: Detector, pictures: Path, tmp_path: Path, capsys: Any, caplog: Any
) -> None:
    """As on a full disk: each line is still printed, and logged with why it is not in the file."""
    (tmp_path / "results.jsonl").mkdir()
    lines = Lines(pictures / "new", tmp_path, "none")
    clock = iter(np.arange(0.0, 100.0))
    arrivals = Arrivals(pictures / "new", 1.0, 1.0)
    judge_arrivals(detector, arrivals, [None] * 4, lines.write, clock=lambda: float(next(clock)))
    assert len(capsys.readouterr().out.splitlines()) == lines.count == 3
    told = [text for text in caplog.messages if text.startswith("Not in ")]
    assert len(told) == 3
    assert "(Is a directory)" in told[0]
    assert '"image": "00.png"' in told[0]


def test_it_refuses_what_cannot_be_watched(detector_file: Path, tmp_path: Path) -> None:
    for arguments, expected in [
        ([detector_file, tmp_path / "gone"], "does not exist"),
        ([detector_file, detector_file], "is no folder"),
        ([detector_file, tmp_path, "--out", tmp_path / "out"], "whose new files are judged"),
    ]:
        answer = CliRunner().invoke(main, ["watch", *map(str, arguments)])
        assert answer.exit_code == 1
        assert expected in answer.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_judges_what_arrives_and_ends_when_told(
    detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    """The whole way, with a real file system and a signal."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    (folder / "old.txt").write_text("there before")
    code = "from uniformaly_pipeline.commands.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "watch", str(detector_file), str(folder), "--settle", "0.2",
         "--patience", "0.5", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            if "Watching" in line:
                break
        whole = (pictures / "new/holes/x.png").read_bytes()
        with (folder / "a.png").open("wb") as file:
            file.write(whole[:200])
            file.flush()
            time.sleep(0.3)
            file.write(whole[200:])
        first = json.loads(process.stdout.readline())
        assert (first["image"], first["is_anomalous"]) == ("a.png", True)
        (folder / "b.png").write_text("no image")
        second = json.loads(process.stdout.readline())
        assert "b.png cannot be read as an image" in second["error"]
        process.send_signal(signal.SIGTERM)
        rest, told = process.communicate(timeout=60)
        assert rest == ""
        assert "Stopped after 2 images" in told
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def names_judged(detector: Detector, arrivals: Arrivals) -> list[str]:
    """What is judged of a folder in which nothing changes any more, in order."""
    found: list[str] = []
    clock = iter(np.arange(0.0, 100.0))
    judge_arrivals(
        detector,
        arrivals,
        [None] * 4,
        lambda each, *_: found.append(each.name),
        clock=lambda: float(next(clock)),
    )
    return found


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """A limit that a file meets as it meets a full disk."""
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_line_that_did_not_fit_spoils_no_other(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    """A full disk takes the first bytes of a line; a kill may leave as little."""
    (each,) = detector.predict_each_of(sources_of(str(pictures / "new/00.png")))
    drift = DriftMonitor(detector.calibration_scores).look()
    path = tmp_path / "results.jsonl"
    Lines(pictures, tmp_path, "none").write(each, drift, 0.1)
    size = path.stat().st_size
    with files_up_to(size + 20):
        Lines(pictures, tmp_path, "none").write(each, drift, 0.2)
    assert path.stat().st_size == size
    with path.open("a") as file:
        file.write('{"image": "cut sho')
    Lines(pictures, tmp_path, "none").write(each, drift, 0.3)
    first, _, last = path.read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in (first, last)] == [0.1, 0.3]


def test_a_picture_appears_whole_or_not_at_all(
    detector: Detector, pictures: Path, tmp_path: Path, caplog: Any
) -> None:
    (each,) = detector.predict_each_of(sources_of(str(pictures / "new/00.png")))
    drift = detector.monitor().look()
    (tmp_path / "pictures").mkdir()
    with files_up_to(2000):
        Lines(pictures, tmp_path, "all").write(replace(each, name="0.png"), drift, 0.1)
    assert "No picture of 0.png" in caplog.text
    assert list((tmp_path / "pictures").iterdir()) == []


def test_names_that_are_no_text_do_not_end_it(tmp_path: Path, caplog: Any) -> None:
    """Some cameras and old disks write Latin-1."""
    stop, found = threading.Event(), []
    waking = wake_ups(tmp_path, stop, 0.05, poll=False)
    next(waking)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")).touch()
    for _, name in zip(waking, range(40), strict=False):
        found.append(name)
    stop.set()
    assert len(found) == 40
    assert "Looking every 0.05 s" in caplog.text


def test_a_name_that_is_no_text_is_written_as_text_and_told_once(
    detector: Detector, pictures: Path, tmp_path: Path, capsys: Any, caplog: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/b\xff.png"))
    try:
        shutil.copy(pictures / "new/holes/x.png", odd)
    except OSError:
        pytest.skip("this disk takes no such names")
    shutil.copy(pictures / "new/00.png", folder / "ä.png")
    os.utime(odd, (1e9, 1e9))
    arrivals, lines = Arrivals(folder, 1.0, 1.0), Lines(folder, tmp_path, "anomalous")
    clock = iter(np.arange(0.0, 100.0))
    judge_arrivals(detector, arrivals, [None] * 6, lines.write, clock=lambda: float(next(clock)))
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    json.dumps(shown, ensure_ascii=False).encode()  # no lone surrogate is in it
    assert {line["image"] for line in shown} == {"b\\xff.png", "ä.png"}
    assert caplog.messages.count("The name of b\\xff.png is not UTF-8: results call it so") == 1
    assert "ä.png is not" not in caplog.text
    before = judged_before(tmp_path / "results.jsonl")
    again = Arrivals(folder, 1.0, 1.0)
    again.skip(before)
    assert names_judged(detector, again) == []
    # As older versions wrote it.
    line = {"time": "2026-01-01T00:00:00+0000", "image": "b\udcff.png"}
    (tmp_path / "old.jsonl").write_text(json.dumps(line) + "\n")
    assert list(judged_before(tmp_path / "old.jsonl")) == ["b\\xff.png"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "1 file is there already: --existing judges it"), (2, "2 files are there already")],
)
def test_files_that_are_there_are_counted(
    count: int,
    expected: str,
    detector_file: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    for number in range(count):
        shutil.copy(pictures / "new/00.png", tmp_path / f"{number}.png")
    monkeypatch.setattr(watching, "wake_ups", lambda *_: [])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(watching.Lines, "count", 1, raising=False)
    monkeypatch.setattr(watching.Lines, "__init__", lambda *_: None)
    with caplog.at_level("INFO"):
        answer = CliRunner().invoke(main, ["watch", str(detector_file), str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    assert expected in caplog.text
    assert caplog.messages[-1] == "Stopped after 1 image"


def test_files_beside_the_images_are_left_out_and_said_once(
    detector: Detector, pictures: Path, tmp_path: Path, caplog: Any
) -> None:
    for number in range(3):
        shutil.copy(pictures / "new/00.png", tmp_path / f"{number}.png")
        (tmp_path / f"{number}.json").write_text("{}")
    assert names_judged(detector, Arrivals(tmp_path, 1.0, 1.0)) == ["0.png", "1.png", "2.png"]
    assert caplog.text.count("is left out as no image, as is every .json") == 1


def test_after_a_restart_the_rest_is_judged_and_nothing_twice(
    detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    """A kill may cut the last line short; its image is judged again, as is one replaced since."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        shutil.copy(pictures / "new/00.png", folder / f"{number}.png")
        os.utime(folder / f"{number}.png", (1e9, 1e9))
    drift = detector.monitor().look()
    lines = Lines(folder, tmp_path, "none")
    for number in range(3):
        (each,) = detector.predict_each_of(sources_of([folder / f"{number}.png"]))
        lines.write(replace(each, name=f"{number}.png"), drift, 0.1)
    results = tmp_path / "results.jsonl"
    with results.open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+0000", "image": "3.p')
    os.utime(folder / "1.png", (4e9, 4e9))
    arrivals = Arrivals(folder, 1.0, 1.0)
    arrivals.skip(judged_before(results))
    assert names_judged(detector, arrivals) == ["1.png", "3.png", "4.png"]
    assert judged_before(tmp_path / "none.jsonl") == {}
