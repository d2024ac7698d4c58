"""Runs that are killed again and again over one folder, against runs that nobody disturbs.

python -m tools.soak [--kills 300] [--seed 0] [--folder DIR]

Each run of a random task, with a random runner, is ended at a random moment by SIGKILL, SIGTERM or
Ctrl-C; sometimes the folder is emptied or the features go first. Then every task runs to its end.
All metrics, scores, banks and pictures must be those of the undisturbed runs, and nothing may be
left behind: no process, no half file, no run that MLflow takes for running. Linux only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from omegaconf import OmegaConf
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]

TASKS = ("defect", "semantic", "ablation", "predict")
RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

MAX_LISTED = 20
ABORTED = "\nAborted!\n"
PATIENCE_S = 120.0
"""How long a run may take to end, or its workers: longer is an error."""

TOLERANCE = 1e-5
PICTURE_TOLERANCE = 8
"""Levels, of 256: pictures are JPEG, and an anomaly map differs in its last bits."""

KINDS = {".parquet", ".json", ".csv", ".safetensors", ".png", ".jpg"}

TIMINGS = {"images_per_second", "encode_seconds"}
OF_A_GALLERY = {"folder", "sha256", "views"}
"""What an index says of its files, which are compared themselves."""

PARAMETERS: dict[str, Any] = {
    "dataset": "folder",
    "backbone": "custom",
    "datasets": {"folder": {"name": "soak", "preprocessing": {"resize": 64, "crop": 64}}},
    "backbones": {
        "custom": {
            "model": "vit_tiny_patch16_224",
            "checkpoint": "untrained",
            "model_kwargs": {
                "img_size": 64,
                "patch_size": 8,
                "embed_dim": 24,
                "depth": 10,
                "num_heads": 2,
            },
        }
    },
    "encoder": {"batch_size": 1, "num_workers": 2},
    "ablation": {
        "top_k_ratio": [0.05, 0.2],
        "kernel_size": [],
        "threshold": [],
        "mode": ["binary", "off"],
        "features": [],
        "coreset_ratio": [0.1],
        "layers": [],
    },
    "predict": {"category": "nut", "false_alarm_rate": 0.3},
    "reporting": {"gallery_images": 4},
}


class SoakError(Exception):
    """Something was left behind, said, or is not as it would be undisturbed."""


@dataclass
class Tally:
    """What happened.

    Attributes:
        ended: How often a signal ended a run, by its name.
        completed: How many runs ended before their signal.
        by_task: How often each task was ended.
        slowest_s: Longest time from a signal to the end of the process and of its workers.
    """

    ended: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    by_task: Counter[str] = field(default_factory=Counter)
    slowest_s: dict[str, float] = field(default_factory=dict)

    def note(self, what: str, seconds: float) -> None:
        """Keep the longest time of a kind."""
        self.slowest_s[what] = max(seconds, self.slowest_s.get(what, 0.0))

    def __str__(self) -> str:
        """All of it on a few lines."""
        ended = ", ".join(f"{number} by {name}" for name, number in sorted(self.ended.items()))
        tasks = ", ".join(f"{name} {number}" for name, number in sorted(self.by_task.items()))
        longest = ", ".join(f"{what} {took:.1f} s" for what, took in sorted(self.slowest_s.items()))
        return (
            f"{self.ended.total()} runs ended: {ended} ({tasks}); "
            f"{self.completed} completed before their signal\nlongest: {longest}"
        )


class Project:
    """A copy of the project with small images, so that a run takes little more than imports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(ROOT / "conf", path / "conf")
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(ROOT / name, path)
        shutil.copytree(ROOT / "src", path / "src", ignore=shutil.ignore_patterns("*.egg-info"))
        (path / "data").mkdir()
        # Names of results tell where new images lie: at one place for all projects.
        images = path.parent / "images"
        if not images.exists():
            draw_images(images)
        parameters = OmegaConf.create(PARAMETERS)
        parameters.datasets.folder.root = str(images / "known")
        parameters.predict.images = str(images / "new")
        OmegaConf.save(parameters, path / "conf/local/parameters.yml")

    def start(self, pipelines: str, runner: str, screen: Path) -> subprocess.Popen[bytes]:
        """A run in a session of its own, as in a terminal."""
        command = [sys.executable, "-m", "kedro", "run", f"--pipelines={pipelines}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        environment["PYTHONPATH"] = str(self.path / "src")
        with screen.open("wb") as said, screen.with_suffix(".err").open("wb") as error:
            return subprocess.Popen(
                [*command, f"--runner={runner}"],
                cwd=self.path,
                stdout=said,
                stderr=error,
                env=environment,
                start_new_session=True,
            )

    def complete(self, screen: Path, *runs: str) -> float:
        """Run tasks to their end.

        Args:
            screen: Where they say what they say.
            runs: The tasks of each run.

        Returns:
            Seconds that the last one took.

        Raises:
            SoakError: One failed.
        """
        begun = 0.0
        for pipelines in runs:
            begun = time.monotonic()
            if self.start(pipelines, "SequentialRunner", screen).wait() != 0:
                raise SoakError(f"{pipelines} failed: {_tail(screen)}")
        return time.monotonic() - begun


def draw_images(folder: Path) -> None:
    """Two categories with masks, and new images of one."""
    rng = np.random.default_rng(0)
    for category, tone in (("nut", 120), ("cloth", 160)):
        for split, number in (("train/good", 6), ("test/good", 4), ("test/hole", 4)):
            for index in range(number):
                pixels = rng.normal(tone, 12, (72, 72, 3)).clip(0, 255).astype(np.uint8)
                if split == "test/hole":
                    pixels[20:44, 24:48] = 10
                    mask = np.zeros((72, 72), np.uint8)
                    mask[20:44, 24:48] = 255
                    _save(
                        folder / f"images/{category}/ground_truth/hole/{index:03d}_mask.png", mask
                    )
                _save(folder / f"known/{category}/{split}/{index:03d}.png", pixels)
                if category == "nut" and split != "train/good":
                    _save(folder / f"new/{split.rpartition('/')[2]}_{index}.png", pixels)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class Soak:
    """A folder that is disturbed, beside one that is not.

    Attributes:
        calm: The project that nobody disturbs.
        disturbed: The other one.
        tally: What happened so far.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        # A shell has jobs in the background ignore Ctrl-C, and they would hand that on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.rng = random.Random(seed)
        self.screen = folder / "screen.log"
        self.calm, self.disturbed = Project(folder / "calm"), Project(folder / "disturbed")
        self.tally = Tally()
        # One task takes about as long as another: most of it is the start.
        self._length = self.calm.complete(self.screen, ",".join(TASKS[:-1]), TASKS[-1])
        self._lengths: dict[tuple[str, str], float] = {}

    def end_one(self) -> None:
        """Start a run and end it at a random moment.

        Raises:
            SoakError: It did not end as it should.
        """
        rng, tally = self.rng, self.tally
        self._empty_sometimes()
        task = rng.choice(TASKS)
        if task == "predict":
            self._fill()
        runner, number = rng.choice(RUNNERS), rng.choice(SIGNALS)
        length = self._lengths.get((task, runner), self._length)
        process = self.disturbed.start(task, runner, self.screen)
        begun = time.monotonic()
        if number != signal.SIGKILL:
            # In its first second Python alone answers, with a traceback.
            _wait_until_it_listens(process)
        _sleep_or_end(process, rng.uniform(0, length))
        workers = _workers(process.pid)
        before = _size(self.screen.with_suffix(".err"))
        if process.poll() is None:
            send = os.killpg if number == signal.SIGINT else os.kill
            send(process.pid, number)
        sent = time.monotonic()
        status = process.wait(PATIENCE_S)
        name = signal.Signals(number).name
        if status == 0:
            tally.completed += 1
            self._lengths[task, runner] = sent - begun
        else:
            tally.ended[name] += 1
            tally.by_task[task] += 1
            tally.note(f"{name} to end", time.monotonic() - sent)
            self._check_end(f"{task} with {runner}", number, status, before)
        _say(f"{task} with {runner}, {name} after {sent - begun:.1f} s: status {status}")
        _, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
        tally.note("workers gone", time.monotonic() - sent)
        if alive:
            raise SoakError(f"{task} with {runner}, {name}: workers are left: {alive}")

    def _empty_sometimes(self) -> None:
        """So that every stage is disturbed, not only the last ones."""
        chance, path = self.rng.random(), self.disturbed.path
        if chance < 0.1:
            for name in ("mlflow.db", "mlartifacts"):
                _remove(path / name)
        if chance < 0.2:
            _remove(path / "data")
            (path / "data").mkdir()
        elif chance < 0.5:
            _remove(path / "data/04_feature")

    def _fill(self) -> None:
        """Have all that ``predict`` judges by; what is missing is as undisturbed runs left it."""
        shutil.copytree(
            self.calm.path / "data",
            self.disturbed.path / "data",
            ignore=shutil.ignore_patterns("predict"),
            copy_function=_copy_missing,
            dirs_exist_ok=True,
        )

    def _check_end(self, what: str, number: int, status: int, before: int) -> None:
        error = self.screen.with_suffix(".err").read_bytes()[before:].decode(errors="replace")
        if number == signal.SIGKILL:
            if status != -signal.SIGKILL:
                raise SoakError(f"{what} failed before its SIGKILL: {_tail(self.screen)}")
        elif (status, error) != (1, ABORTED):
            name = signal.Signals(number).name
            raise SoakError(f"{what}, {name}: status {status}, said {error!r} {_tail(self.screen)}")

    def finish(self) -> None:
        """Run every task to its end and compare it with the undisturbed runs.

        Raises:
            SoakError: They differ, or something is left behind.
        """
        self.disturbed.complete(self.screen, ",".join(TASKS))
        problems = list(differences(self.calm.path / "data", self.disturbed.path / "data"))
        problems += leftovers(self.disturbed.path)
        problems += lost_runs(self.disturbed.path)
        if problems:
            more = [f"and {len(problems) - MAX_LISTED} more"] * (len(problems) > MAX_LISTED)
            raise SoakError("\n".join([*problems[:MAX_LISTED], *more]))


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _wait_until_it_listens(process: subprocess.Popen[bytes]) -> None:
    """Until a run answers signals itself; Python's own handlers take SIGTERM for the end."""
    caught = 1 << (signal.SIGTERM - 1)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        mask = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(mask.split()[1], 16) & caught:
            return
        time.sleep(0.01)


def _sleep_or_end(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _workers(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _copy_missing(source: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size


def _tail(screen: Path) -> str:
    said = screen.read_text(encoding="utf-8", errors="replace")
    error = screen.with_suffix(".err").read_text(encoding="utf-8", errors="replace")
    return f"{said[-1500:]}\n{error[-1500:]}"


def differences(one: Path, other: Path) -> Iterator[str]:
    """What is not the same in two folders of results, but for timings."""
    found, others = _results(one), _results(other)
    for name in sorted(found.keys() ^ others.keys()):
        yield f"{name} is in one folder only"
    for name in sorted(found.keys() & others.keys()):
        if not _same(found[name], others[name]):
            yield f"{name} differs"


def _results(folder: Path) -> dict[str, Path]:
    """Files of results by name; a gallery's pictures lie in a folder that its index names."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix not in KINDS or _is_of_its_own(path.relative_to(folder)):
            continue
        if path.parent.name.startswith("images-"):
            index = json.loads((path.parents[1] / "index.json").read_text(encoding="utf-8"))
            if index["folder"] != path.parent.name:
                continue
            found[f"{path.parents[1].relative_to(folder).as_posix()}/{path.name}"] = path
        else:
            found[path.relative_to(folder).as_posix()] = path
    return found


def _is_of_its_own(path: Path) -> bool:
    """Shards have names of their own, and a store that was continued has others; so have marks."""
    return path.parts[0] == "04_feature" or ".checksums" in path.parts


def _same(one: Path, other: Path) -> bool:
    if one.suffix == ".parquet":
        return _same_tables(pd.read_parquet(one), pd.read_parquet(other))
    if one.suffix == ".csv":
        return _same_tables(pd.read_csv(one), pd.read_csv(other))
    if one.suffix == ".safetensors":
        arrays, others = load_file(one), load_file(other)
        return arrays.keys() == others.keys() and all(
            _close(array, others[name]) for name, array in arrays.items()
        )
    if one.suffix == ".json":
        return _same_values(json.loads(one.read_text()), json.loads(other.read_text()))
    pixels, others_pixels = (_pixels(path.read_bytes()) for path in (one, other))
    return pixels.shape == others_pixels.shape and bool(
        np.abs(pixels - others_pixels).max() <= PICTURE_TOLERANCE
    )


def _pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)


def _same_tables(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(
            *(table.drop(columns=[*TIMINGS & set(table)]) for table in (one, other)),
            rtol=TOLERANCE,
            atol=TOLERANCE,
        )
    except AssertionError:
        # A manifest has each file's times and place.
        places = {"fingerprint", "root"} & set(one) & set(other)
        return bool(places) and _same_tables(
            one.drop(columns=[*places]), other.drop(columns=[*places])
        )
    return True


def _same_values(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            key in TIMINGS | OF_A_GALLERY or _same_values(one[key], other[key]) for key in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_values, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool(one == other)


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def leftovers(project: Path) -> list[str]:
    """Half files of runs that were ended."""
    return [f"{path} is left" for path in project.rglob("*.part*")]


def lost_runs(project: Path) -> list[str]:
    """Runs of MLflow that say something else than what became of them."""
    from mlflow import MlflowClient

    client, problems = MlflowClient(f"sqlite:///{project}/mlflow.db"), []
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for run in client.search_runs(experiments, max_results=50_000):
        known = f"run {run.info.run_id} ({run.info.run_name})"
        if run.info.status not in {"FINISHED", "KILLED"}:
            problems.append(f"{known} is {run.info.status}")
        # Of several tasks each has a run of its own.
        elif run.info.status == "FINISHED" and not (run.data.metrics or "tasks" in run.data.tags):
            problems.append(f"{known} is FINISHED, and has no metrics")
    return problems


def main(given: Sequence[str] | None = None) -> None:
    """Disturb runs, then look what became of them."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=300, help="runs to end")
    parser.add_argument("--every", type=int, default=50, help="ends between two comparisons")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other moments")
    parser.add_argument("--folder", type=Path, help="where to work; kept, else a temporary one")
    arguments = parser.parse_args(given)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(folder, arguments.seed)
    compared = 0
    while soak.tally.ended.total() < arguments.kills:
        soak.end_one()
        if soak.tally.ended.total() - compared >= arguments.every:
            compared = soak.tally.ended.total()
            soak.finish()
            print(f"{soak.tally}\nall results as undisturbed", flush=True)
    soak.finish()
    print(f"{soak.tally}\nall results as undisturbed")
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
