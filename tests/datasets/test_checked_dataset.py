"""Every format of the catalog: written whole, and read only as it was written."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro_viz.integrations.kedro.hooks_utils import extract_file_paths
from matplotlib.figure import Figure
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.checked_dataset import CheckedDataset

OWN = "uniformaly_pipeline.datasets"
TABLE = pd.DataFrame({"image": ["a", "b"], "score": [0.1, 2.5], "mask": [None, "m"]})


def figure() -> Figure:
    drawn = Figure(figsize=(1, 1))
    drawn.subplots().plot([1, 2])
    return drawn


FORMATS: dict[str, tuple[str | dict[str, Any], Any, str]] = {
    "table.parquet": ("pandas.ParquetDataset", TABLE, "TablePreview"),
    "table.csv": (
        {"type": "pandas.CSVDataset", "save_args": {"index": False}}, TABLE, "TablePreview"
    ),
    "metrics.json": ("json.JSONDataset", {"mean": {"image_auroc": 0.98}}, "JSONPreview"),
    "roc.json": ("plotly.JSONDataset", go.Figure(go.Scatter(x=[0], y=[1])), "PlotlyPreview"),
    "figure.png": (f"{OWN}.figure_dataset.FigureDataset", figure(), "ImagePreview"),
    "sheet.png": (
        f"{OWN}.picture_dataset.PictureDataset", Image.new("RGB", (8, 8), "red"), "ImagePreview"
    ),
    "report.html": ("text.TextDataset", "<p>ü</p>", ""),
}  # fmt: skip


def as_text(loaded: Any) -> str:
    return loaded.to_json() if hasattr(loaded, "to_json") else repr(loaded)


@pytest.fixture(autouse=True)
def _nothing_in_memory() -> None:
    """Other tests leave files in fsspec's memory."""
    MemoryFileSystem.store.clear()


@pytest.fixture(params=FORMATS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[CheckedDataset, Path]:
    """A dataset of each format, with its file."""
    kind, data, _ = FORMATS[request.param]
    path = tmp_path / "new folder" / request.param
    dataset = CheckedDataset(filepath=str(path), dataset=kind)
    assert not dataset.exists()
    dataset.save(data)
    return dataset, path


def test_the_file_is_what_the_format_makes_of_it(saved: tuple[CheckedDataset, Path]) -> None:
    """Other programs read it as if the format's own dataset had written it."""
    dataset, path = saved
    kind = FORMATS[path.name][0]
    plain = path.with_name(f"plain-{path.name}")
    config = {"type": kind} if isinstance(kind, str) else kind
    CheckedDataset.from_config("plain", {**config, "filepath": str(plain)}).save(
        FORMATS[path.name][1]
    )
    assert path.read_bytes() == plain.read_bytes()
    assert dataset.exists()
    assert not MemoryFileSystem.store


def test_other_processes_and_kedro_viz_take_it(saved: tuple[CheckedDataset, Path]) -> None:
    dataset, path = saved
    copy = pickle.loads(pickle.dumps(dataset))
    assert as_text(copy.load()) == as_text(dataset.load())
    preview = FORMATS[path.name][2]
    assert hasattr(dataset, "preview") == bool(preview)
    if preview:
        # Kedro-Viz picks the display by the name of the return type.
        assert str(inspect.signature(dataset.preview).return_annotation).endswith(preview)
        assert dataset.preview()
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(InputError):
            dataset.preview()


def test_kedro_viz_asks_for_the_size_of_local_files_alone(tmp_path: Path) -> None:
    """It knows no credentials: of a URL it would ask whatever server the environment names."""

    def asked(filepath: str) -> list[str]:
        dataset = CheckedDataset(filepath=filepath, dataset=FORMATS["table.parquet"][0])
        return extract_file_paths(dataset)

    assert asked(f"{tmp_path}/a.parquet") == [f"{tmp_path}/a.parquet"]
    assert asked(f"file://{tmp_path}/a.parquet") == [f"file://{tmp_path}/a.parquet"]
    assert asked("s3://bucket/a.parquet") == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_of_any_kind_is_one_line_that_names_the_file(
    data: st.DataObject, saved: tuple[CheckedDataset, Path]
) -> None:
    """A flipped bit, a file cut short, empty or of another kind; saving again mends it."""
    dataset, path = saved
    dataset.save(FORMATS[path.name][1])
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    found = data.draw(st.sampled_from([bytes(flipped), content[:place], b"{}", content * 2]))
    path.write_bytes(found)
    with pytest.raises(InputError) as error:
        dataset.load()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not dataset.exists()
    assert path.with_name(f"{path.name}.damaged").read_bytes() == found


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    dataset = CheckedDataset(filepath=str(tmp_path / "a.json"), dataset="json.JSONDataset")
    dataset.save({"a": 1})
    with pytest.raises(Exception, match="not JSON serializable"):
        dataset.save({"a": object()})
    assert dataset.load() == {"a": 1}
    assert not MemoryFileSystem.store
