"""Every kind of damage to every file that runs read again: what was written, or one line."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import configure_project, pipelines
from kedro.framework.session import KedroSession
from kedro.io import DatasetError

from uniformaly_pipeline.common.errors import CommandError, InputError, find_input_error
from uniformaly_pipeline.datasets.root_record_dataset import RootRecordDataset

Parameters = dict[str, Any]


def flipped(content: bytes, place: float) -> bytes:
    position = min(len(content) - 1, int(place * len(content)))
    changed = bytearray(content)
    changed[position] ^= 0x41
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "the beginning changed": lambda content: flipped(content, 0),
    "the middle changed": lambda content: flipped(content, 0.5),
    "the end changed": lambda content: flipped(content, 1),
    "zeros": lambda content: bytes(len(content)),
    "of another kind": lambda content: b"<html>not what you think</html>",
    "noise": lambda content: random.Random(len(content)).randbytes(len(content)),
}


ELSEWHERE = {"raw_images", "new_images", "features", "all_features", "heat_maps", "detector"}


def catalog_of(project: Any, parameters: Parameters) -> tuple[Any, set[str]]:
    """The catalog of a run, and the names of what its pipelines keep."""
    configure_project("uniformaly_pipeline")
    with KedroSession.create(project_path=project.path, runtime_params=parameters) as session:
        catalog = session.load_context().catalog
        names = pipelines["defect"].datasets() | pipelines["predict"].datasets()
        return catalog, {name for name in names if not name.startswith("params:")}


def place_of(dataset: Any) -> Path:
    described = dataset._describe()
    return Path(str(described.get("filepath") or described.get("path") or "/nowhere"))


def files_of(dataset: Any) -> list[Path]:
    """What a dataset reads."""
    path = place_of(dataset)
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file()]
    return [path] if path.is_file() else []


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if hasattr(one, "arrays"):
        arrays = one.arrays.keys() | other.arrays.keys()
        return all(np.array_equal(one.arrays[key], other.arrays[key]) for key in arrays)
    return bool(one == other)


@pytest.mark.slow
def test_what_a_run_reads_is_what_was_written_or_one_line(
    project: Any, small: Parameters, images: Path
) -> None:
    predict = {"images": str(images / "nut/test/hole"), "false_alarm_rate": 0.25}
    parameters = {**small, "categories": "nut", "predict": predict}
    project.run("defect", **parameters)
    project.run("predict", **parameters)
    catalog, names = catalog_of(project, parameters)
    data = project.path / "data"
    tried = set()
    for name in sorted(names):
        dataset = catalog.get(name)
        found = [file for file in files_of(dataset) if data in file.parents]
        # Images and features have tests of their own; heat maps are only looked at.
        if not found or name.rpartition(".")[2] in ELSEWHERE:
            continue
        whole = dataset.load()
        place = place_of(dataset)
        for file in {found[0], found[-1]}:
            for what, damage in DAMAGES.items():
                with damaged(place, file, damage):
                    try:
                        read = dataset.load()
                        if isinstance(dataset, RootRecordDataset):
                            # People may edit it: another root is not damage, but refused by name.
                            dataset.refuse_another(whole)
                        assert is_same(read, whole), f"{file}, {what}: read as if whole"
                    except DatasetError as error:
                        bad = find_input_error(error)
                        assert isinstance(bad, InputError), f"{file}, {what}: {error!r}"
                        assert str(place) in str(bad), f"{file}, {what}: {bad}"
                        assert "\n" not in str(bad)
            assert is_same(dataset.load(), whole)
        tried.add(name.rpartition(".")[2])
    assert tried >= {
        "manifest", "images", "memory_bank", "patch_scores", "image_scores", "metrics",
        "leaderboard", "gallery", "scores", "calibration_scores", "data_set_root",
    }  # fmt: skip


@contextmanager
def damaged(dataset: Path, file: Path, damage: Callable[[bytes], bytes]) -> Iterator[None]:
    """A file of a dataset is not what it was, for a while; what is done about it is undone."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept"
        copy, remove = (
            (shutil.copytree, shutil.rmtree) if dataset.is_dir() else (shutil.copy2, Path.unlink)
        )
        copy(dataset, kept)
        file.write_bytes(damage(file.read_bytes()))
        try:
            yield
        finally:
            if dataset.exists():
                remove(dataset)
            copy(kept, dataset)


@pytest.mark.slow
def test_a_damaged_bank_is_made_anew_by_the_command_that_the_line_names(
    project: Any, small: Parameters, images: Path
) -> None:
    predict = {"images": str(images / "nut/test/hole"), "false_alarm_rate": 0.25}
    parameters = {**small, "categories": "nut", "predict": predict}
    project.run("defect", **parameters)
    (bank,) = (project.path / "data/06_models").rglob("memory_bank.safetensors")
    bank.write_bytes(flipped(bank.read_bytes(), 0.7))
    lines = []
    for _ in range(2):
        with pytest.raises(CommandError) as error:
            project.run("predict", **parameters)
        lines.append(error.value.format_message())
    assert "memory_bank.safetensors is not what a run wrote" in lines[0]
    assert "the memory bank of 'nut' on images" in lines[1]
    assert all("kedro run --pipelines=defect --params=" in line for line in lines)
    project.run("defect", **parameters)
    project.run("predict", **parameters)
