"""The detector's file: what is wrong with it is one line that names it."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from safetensors.numpy import load, save, save_file

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.state import _digest, load_state, save_state


def error_line(path: Path | str) -> str:
    with pytest.raises(InputError) as error:
        load_state(path)
    line = str(error.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def changed_metadata(content: bytes, **changes: str) -> bytes:
    """A detector's file that says something else of itself."""
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    return save(load(content), {**metadata, **changes})


def test_every_damaged_byte_is_found(detector_file: Path, tmp_path: Path) -> None:
    content = detector_file.read_bytes()
    path = tmp_path / "damaged.safetensors"
    for place in np.linspace(0, len(content) - 1, 60).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        assert "damaged" in error_line(path) or "no detector" in error_line(path)


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.3, 0.9999])
def test_a_cut_file_is_found(detector_file: Path, tmp_path: Path, share: float) -> None:
    content = detector_file.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in error_line(path)


def test_a_newer_file_says_what_to_do(detector_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "newer.safetensors"
    path.write_bytes(changed_metadata(detector_file.read_bytes(), version="2"))
    line = error_line(path)
    assert "has format 2" in line
    assert "reads up to 1: update" in line


@pytest.mark.parametrize("section", ["header", "preprocessing", "scoring"])
def test_a_setting_of_a_later_version_is_not_ignored(
    detector_file: Path, tmp_path: Path, section: str
) -> None:
    """What this version does not know may change scores."""
    path = tmp_path / "later.safetensors"
    state = load_state(detector_file)
    features = dict(state.bank.metadata["features"])
    if section == "header":
        features["telepathy"] = True
    elif section == "preprocessing":
        features["preprocessing"] = {**features["preprocessing"], "telepathy": True}
    bank = ArrayBundle(state.bank.arrays, {**state.bank.metadata, "features": features})
    content = replace(state, bank=bank).to_bytes()
    if section == "scoring":
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        settings = json.loads(metadata["settings"])
        settings["scoring"]["telepathy"] = True
        metadata["settings"] = json.dumps(settings)
        content = save(load(content), {**metadata, "digest": _digest(metadata)})
    path.write_bytes(content)
    assert "settings that this version" in error_line(path)


def test_settings_cannot_be_changed_unnoticed(detector_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.safetensors"
    path.write_bytes(changed_metadata(detector_file.read_bytes(), settings="{}"))
    assert "is damaged" in error_line(path)


def test_another_file_is_no_detector(tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    save_file({"memory_bank": np.zeros((2, 2), np.float32)}, path)
    assert "is no detector" in error_line(path)
    path.write_text("hello")
    assert "is no detector" in error_line(path)
    assert "does not exist" in error_line(tmp_path / "gone.safetensors")
    assert "is a folder without a detector" in error_line(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert "is no file" in error_line(tmp_path / "pipe")


def test_it_lies_anywhere_and_a_failed_write_leaves_the_old_one(
    detector_file: Path, tmp_path: Path
) -> None:
    state = load_state(detector_file)
    url = "memory://line/noise.safetensors"
    save_state(state, url)
    assert load_state(url).normal_images == state.normal_images
    fsspec.filesystem("memory").rm("/line", recursive=True)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_state(state, blocked / "below.safetensors")


def test_a_full_disk_is_told_as_everywhere(
    detector_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    state, path = load_state(detector_file), tmp_path / "x.safetensors"
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError) as error:
        save_state(state, path)
    assert str(error.value) == f"the disk is full at {path}: make room and run again"


def test_a_link_to_a_detector_stays_one(detector_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "v3.safetensors"
    target.write_bytes(detector_file.read_bytes())
    (tmp_path / "current.safetensors").symlink_to("v3.safetensors")
    changed = replace(load_state(target), name="changed")
    save_state(changed, tmp_path / "current.safetensors")
    assert (tmp_path / "current.safetensors").is_symlink()
    assert load_state(target).name == "changed"


def test_the_file_tells_no_password(detector_file: Path) -> None:
    """Weights may come from where one must log in; a detector's file is handed on."""
    state = load_state(detector_file)
    features = dict(state.bank.metadata["features"])
    url = "https://me:hush@host/weights.safetensors"
    features["backbone"] = {**features["backbone"], "checkpoint": url}
    bank = replace(state.bank, metadata={**state.bank.metadata, "features": features})
    content = replace(state, bank=bank).to_bytes()
    assert b"hush" not in content
    assert b"https://host/weights.safetensors" in content
