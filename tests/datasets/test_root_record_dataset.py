"""Which root a name stands for: written once, by whichever run is first."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.root_record_dataset import RootRecordDataset

HERE = {"root": "data/01_raw/images", "layout": "folder"}
ELSEWHERE = {"root": "/elsewhere/images", "layout": "folder"}


@pytest.fixture(params=["local", "memory"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> RootRecordDataset:
    """A record in a folder that is not there yet."""
    folder = str(tmp_path) if request.param == "local" else f"memory://{uuid4()}"
    path = f"{folder}/data_sets/images.json"
    return RootRecordDataset(filepath=path, entry="datasets.folder")


def test_the_first_root_stays(record: RootRecordDataset) -> None:
    assert not record.exists()
    record.save(HERE)
    record.save(HERE)
    for refuse in (record.save, record.refuse_another):
        with pytest.raises(InputError) as error:
            refuse(ELSEWHERE)
        assert str(error.value) == (
            "datasets.folder.root: the results of 'images' are of data/01_raw/images (layout "
            "folder), not of /elsewhere/images (layout folder): give this one another name with "
            "datasets.folder.name, or, if the images have moved, write their new place into "
            f"{record._location}"
        )
    assert record.load() == HERE


def test_another_layout_of_the_same_root_is_another(record: RootRecordDataset) -> None:
    record.save(HERE)
    with pytest.raises(InputError) as error:
        record.save({**HERE, "layout": "classes"})
    # Nothing has moved: there is no other place to write down.
    assert str(error.value) == (
        "datasets.folder.root: the results of 'images' are of data/01_raw/images as the layout "
        "folder reads it, and the layout classes would read the same images another way: give "
        "these results another name, for instance datasets.folder.name=images_as_classes "
        f"(recorded in {record._location})"
    )


def test_of_runs_on_two_roots_that_start_at_once_one_is_refused(tmp_path: Path) -> None:
    barrier = threading.Barrier(6)

    def start(number: int) -> bool:
        record = RootRecordDataset(filepath=str(path), entry="datasets.folder")
        barrier.wait()
        try:
            record.save({"root": f"/root{number % 2}", "layout": "folder"})
        except InputError:
            return False
        return True

    for trial in range(20):
        path = tmp_path / f"{trial}/images.json"
        with ThreadPoolExecutor(6) as pool:
            passed = list(pool.map(start, range(6)))
        winner = int(json.loads(path.read_text())["root"][-1])
        assert passed == [number % 2 == winner for number in range(6)]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_is_one_line_that_names_the_file(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.unlink(missing_ok=True)
    record = RootRecordDataset(filepath=str(path), entry="datasets.folder")
    record.save(HERE)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content[: data.draw(st.none() | st.integers(0, len(content)))])
    try:
        record.refuse_another(HERE)
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert record.load() == HERE


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '{"root": "x"}', '["root", "x"]'])
def test_what_is_no_record_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"images\.json cannot be read: delete it and run defect"):
        RootRecordDataset(filepath=str(path), entry="datasets.folder").refuse_another(HERE)
