"""Whatever stands at whatever key: a run that can be planned, or one line about it."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from uniformaly_pipeline.common.errors import InputError, find_input_error
from uniformaly_pipeline.parameters import current_run as publication
from uniformaly_pipeline.parameters.catalog_values import catalog_value
from uniformaly_pipeline.parameters.command_line import as_assignments, parse_assignments
from uniformaly_pipeline.parameters.current_run import CurrentRun, publish
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.naming import shipped_parameters
from uniformaly_pipeline.pipelines.tasks.plan import run_parameters

SHIPPED = shipped_parameters().model_dump(mode="json")
CHOSEN = {"datasets": "folder", "backbones": "custom"}
CONF = Path(__file__).parents[2] / "conf/base"
CATALOG_KEYS = sorted(
    {
        key
        for path in CONF.glob("catalog*.yml")
        for key in re.findall(r"\$\{run:(\w+)\}", path.read_text(encoding="utf-8"))
    }
)
"""What the catalog's paths ask of the run."""


def keys() -> Iterator[tuple[str, ...]]:
    """Every key of the run's data set and backbone and of all sections, and every section."""
    for dotted, _ in flatten(SHIPPED):
        path = tuple(dotted.split("."))
        if path[0] not in CHOSEN or path[1] == CHOSEN[path[0]]:
            yield from (path[:length] for length in range(1, len(path) + 1))


KEYS = sorted(set(keys()))
ODD = [
    "", " ", "01", "1e5", "off", "null", "~", "~nobody", "a\0b", "../..", "a+b", "a,b", "${x}",
    "a: b", "a #b", "\ud800", "all", "memory://", "memory://x::y", "x" * 5000, "\u00e9\u0301", "::",
    "http://[::1", "http://me:hush@host:x/", "nonsense://x", "zip://a::b", "https://", "zip://",
    "s3://", "file://", "file:///nowhere", "://", "data:,x", "folder", "custom", "package:x",
]  # fmt: skip
TEXTS = st.text(max_size=30).filter(lambda text: "://" not in text) | st.sampled_from(ODD)
NAMES = [
    ("datasets", "folder", "root"), ("datasets", "folder", "name"), ("datasets", "folder", "tree"),
    ("datasets", "folder", "layout"), ("datasets", "folder", "credentials"), ("categories",),
    ("datasets", "folder", "splits"), ("backbones", "custom", "checkpoint"), ("predict", "images"),
    ("backbones", "custom", "model"), ("predict", "category"), ("dataset",), ("backbone",),
    ("scoring", "search"), ("encoder", "device"), ("backbones", "custom", "model_kwargs"),
]  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.dates()
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.integers(), inner, max_size=4)
    ),
    max_leaves=6,
)


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(SHIPPED) | {"dataset": "folder", "backbone": "custom"}
    section = raw
    for part in path[:-1]:
        section = section[part]
    section[path[-1]] = value
    return raw


def test_the_catalogs_questions_are_known() -> None:
    assert {"data_set", "key", "root", "features_key"} <= set(CATALOG_KEYS)


def planned(raw: dict[str, Any], folder: Path) -> CurrentRun | None:
    """A run that can be planned; nothing where one line says why not."""
    try:
        run = publish(raw, folder)
        run_parameters(run)
        for key in CATALOG_KEYS:
            catalog_value(run, key)
    except (InputError, OSError) as error:
        # What ends the command, see pipelines/run_command.py.
        message = str(find_input_error(error) or pytest.fail(f"{error!r} at {raw}"))
        assert message.strip()
        assert message.isprintable() or not set("\n\r\x1b\0") & set(message)
        assert "hush" not in message
        return None
    return run


def test_the_fuzz_tells_runs_from_refusals(tmp_path: Path) -> None:
    assert planned(with_value(("seed",), 3), tmp_path) is not None
    assert planned(with_value(("seed",), "three"), tmp_path) is None


@pytest.fixture(autouse=True)
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "_current", None)


@pytest.mark.parametrize("path", NAMES, ids=".".join)
@pytest.mark.parametrize("layout", ["folder", "demo", "cifar10"])
def test_odd_texts_where_text_is_wanted(tmp_path: Path, path: tuple[str, ...], layout: str) -> None:
    for value in (*ODD, [], ["a"], {}, {"a": "b"}, {"a": ["b"]}, 0, -1, True):
        raw = with_value(path, value)
        if path[-1] != "layout" and isinstance(raw["datasets"], dict):
            raw["datasets"]["folder"]["layout"] = layout
        planned(raw, tmp_path)


FAST = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FAST
@given(path=st.sampled_from(KEYS), value=VALUES)
@example(path=("datasets", "folder", "root"), value=b"\0")
@example(path=("backbones", "custom", "model_kwargs"), value={1: 2, "a": 3})
@example(path=("backbones", "custom", "model_kwargs"), value={"a": b"\0"})
def test_any_value_at_any_key(tmp_path: Path, path: tuple[str, ...], value: Any) -> None:
    planned(with_value(path, value), tmp_path)


@FAST
@given(
    path=st.sampled_from(KEYS), name=TEXTS | st.integers() | st.booleans() | st.none(), value=VALUES
)
def test_any_other_key(tmp_path: Path, path: tuple[str, ...], name: Any, value: Any) -> None:
    planned(with_value((*path[:-1], name), value), tmp_path)


@FAST
@given(path=st.sampled_from(KEYS), text=TEXTS)
@example(path=("predict", "images"), text="~nobody")
@example(path=("ablation", "coreset_ratio"), text=">")
def test_any_text_on_the_command_line(tmp_path: Path, path: tuple[str, ...], text: str) -> None:
    """As it is, and as a report repeats it."""
    try:
        given_ = parse_assignments(f"{'.'.join(path)}={text}")
    except InputError as error:
        assert "\n" not in str(error)
        return
    for dotted, value in flatten(given_):
        parts = tuple(dotted.split("."))
        if parts in KEYS:
            run = planned(with_value(parts, value), tmp_path)
            if run is not None:
                assert parse_assignments(",".join(as_assignments(given_))) == given_
