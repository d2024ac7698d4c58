"""Files are told when they are whole, each once."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.commands.arrivals import Arrivals


def test_a_file_is_told_once_it_has_settled(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, settle_s=1.0, patience_s=5.0)
    path = tmp_path / "sub/a.png"
    path.parent.mkdir()
    path.write_bytes(b"half")
    assert arrivals.look(0.0) == []
    path.write_bytes(b"half and half")
    assert arrivals.look(1.5) == [], "it has changed since"
    assert arrivals.look(2.4) == []
    assert arrivals.look(2.5) == [path]
    arrivals.judged(path)
    assert arrivals.look(99.0) == []
    path.write_bytes(b"another picture of this name")
    arrivals.look(100.0)
    assert arrivals.look(101.0) == [path], "it arrived again"


def test_a_file_of_the_same_size_has_changed_by_its_time(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, 1.0, 1.0)
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    arrivals.look(0.0)
    arrivals.look(1.0)
    arrivals.judged(path)
    os.utime(path, ns=(2, 2))
    arrivals.look(2.0)
    assert arrivals.look(3.0) == [path]


def test_an_unreadable_file_has_a_second_chance(tmp_path: Path) -> None:
    """A writer that pauses longer than it takes to settle loses no image."""
    arrivals = Arrivals(tmp_path, settle_s=1.0, patience_s=5.0)
    path = tmp_path / "a.png"
    path.write_bytes(b"half")
    arrivals.look(0.0)
    assert arrivals.look(1.0) == [path]
    assert not arrivals.unreadable(path, 1.0)
    assert arrivals.look(2.0) == [], "nothing has changed: no use to try again"
    path.write_bytes(b"half and half")
    arrivals.look(3.0)
    assert arrivals.look(4.0) == [path]
    assert not arrivals.unreadable(path, 4.0)
    assert arrivals.look(7.9) == []
    assert arrivals.look(8.0) == [path]
    assert arrivals.unreadable(path, 8.0), "given up"
    assert arrivals.look(99.0) == []


def test_what_was_there_and_clutter_do_not_arrive(tmp_path: Path) -> None:
    for name in ("old.png", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    arrivals = Arrivals(tmp_path, 1.0, 1.0)
    assert arrivals.skip() == 1
    (tmp_path / "new.png.part").write_bytes(b"x")
    arrivals.look(0.0)
    (tmp_path / "new.png.part").rename(tmp_path / "new.png")
    assert arrivals.look(1.0) == [], "another name"
    assert arrivals.num_waiting == 1
    assert arrivals.look(2.0) == [tmp_path / "new.png"]


def test_what_is_no_file_hides_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links to nothing, loops, pipes, and files that go while the folder is read."""
    arrivals = Arrivals(tmp_path, settle_s=1.0, patience_s=5.0)
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / f"nothing {name}").symlink_to("gone.png")
        (tmp_path / f"self {name}").symlink_to(f"self {name}")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "above").symlink_to(tmp_path.parent, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.png")
    assert arrivals.look(0.0) == []
    assert arrivals.look(1.0) == [tmp_path / name for name in names]
    for name in names:
        arrivals.judged(tmp_path / name)

    scandir = os.scandir

    def with_ghosts(folder: Path) -> Any:
        """As a folder looks whose first file is renamed while it is read."""
        (tmp_path / "a.part").write_bytes(b"x")
        with scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name != "a.part")
        (tmp_path / "a.part").unlink()
        return nullcontext(entries)

    monkeypatch.setattr(os, "scandir", with_ghosts)
    assert arrivals.look(2.0) == []
    monkeypatch.undo()
    assert arrivals.look(3.0) == [], "none is judged twice"
