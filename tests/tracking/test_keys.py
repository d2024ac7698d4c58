"""Keys that MLflow refuses are written in a form that it takes, each in another one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param, _validate_param_name, _validate_tag_name

from uniformaly_pipeline.tracking.keys import LONGEST_KEY, mlflow_key, mlflow_value

KEYS = st.text(min_size=1, max_size=300)


@given(KEYS | st.from_regex(r"(datasets\.)?[a(+/\\.:_x0028é]{1,9}", fullmatch=True))
def test_mlflow_takes_any_key(key: str) -> None:
    taken = mlflow_key(key)
    _validate_param_name(taken)
    _validate_tag_name(taken)
    _validate_param(taken, "")
    assert len(taken) <= LONGEST_KEY


@given(KEYS, KEYS)
def test_keys_stay_apart(one: str, other: str) -> None:
    assert (mlflow_key(one) == mlflow_key(other)) == (one == other)


def test_keys_that_look_like_others() -> None:
    alike = ["a(1)", "a_1_", "a[1]", "a_x0028_1_x0029_", "a" * 300, "a" * 300 + "b", "a/b", "a.b"]
    assert len({mlflow_key(key) for key in alike}) == len(alike)


def test_usual_keys_stay_as_they_are() -> None:
    for key in ("memory_bank.coreset_ratio", "datasets.line 2.root", "backbones.größe-3.model"):
        assert mlflow_key(key) == key


@given(st.text(st.characters(), max_size=50))
def test_any_value_can_be_stored(value: str) -> None:
    encoded = mlflow_value(value).encode("utf-8")
    if not any("\ud800" <= character <= "\udfff" for character in value):
        assert encoded.decode("utf-8") == value
