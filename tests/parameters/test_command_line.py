"""Text on the command line stays the text that was written; numbers and words are read as YAML."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.command_line import as_assignments, parse_assignments

ROOT = "datasets.folder.root"


def one(text: str) -> Any:
    """The value of the only pair."""
    value: Any = parse_assignments(text)
    while isinstance(value, dict):
        ((_, value),) = value.items()
    return value


def refusal(text: str) -> str:
    with pytest.raises(InputError) as error:
        parse_assignments(text)
    message = str(error.value)
    assert message.startswith("--params: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "name",
    ["01", "1_000", "1e5", "off", "yes", "null", "~", "1:30", "2024-01-01", "0x1f", "nan", ".5",
     "-", "a#b", "{", "[a", "*", "&a", "!x", "%", "@", "`", "?", "|", ">", "line #2", "a: b",
     "${x}", "${oc.env:HOME}", "C:\\new", "it's", 'a "b"', "a=b", "é", "e\u0301", "a::b"],
)  # fmt: skip
def test_text_is_what_was_written(name: str) -> None:
    assert one(f"categories={name}") == name
    assert one(f"{ROOT}=/data/{name}") == f"/data/{name}"
    if name not in ("null", "~"):
        assert one(f"predict.category={name}") == name


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"a, b"', "a, b"), ("'a, b'", "a, b"), ("' a '", " a "), ('"null"', "null"),
        (r'"a\"b\\c"', 'a"b\\c'), ("'it''s, that'", "it's, that"), ('""', ""), ("  a  ", "a"),
        ('"a"b', '"a"b'), ("'", "'"),
    ],
)  # fmt: skip
def test_quotes_keep_commas_and_spaces(written: str, meant: str) -> None:
    assert one(f"predict.category={written}") == meant
    both = parse_assignments(f"{ROOT}={written},seed=3")
    assert both == {"datasets": {"folder": {"root": meant}}, "seed": 3}


@pytest.mark.parametrize("written", ["null", "~", ""])
def test_nothing_is_nothing_where_that_may_be(written: str) -> None:
    assert one(f"predict.category={written}") is None
    assert one(f"datasets.folder.name={written}") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seed=3", 3), ("bpm.threshold=1e-2", 0.01), ("bpm.mode=off", False),
        ("ingestion.verify=true", True), ("ablation.kernel_size=1+7", "1+7"),
        ("lowshot.shots=5", 5), ("encoder.num_workers=auto", "auto"),
        ("datasets.folder.preprocessing.crop=null", None), ("unheard.of=1", 1), ("bpm.mode=", None),
    ],
)  # fmt: skip
def test_all_else_is_yaml(text: str, value: Any) -> None:
    found = one(text)
    assert found == value
    assert type(found) is type(value)


def test_several_pairs_nest() -> None:
    assert parse_assignments(" bpm.mode = soft , bpm.threshold=0.2,, seed=1 ,") == {
        "bpm": {"mode": "soft", "threshold": 0.2},
        "seed": 1,
    }
    assert parse_assignments(" , ") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed", "'seed' is no key=value"),
        ("=3", "'=3' is no key=value"),
        (f"{ROOT}=/a,b", "'b' is no key=value: put a value with commas or quotes into quotes"),
        ("seed=[", "seed=[ cannot be read"),
        ("seed=3 # of the draw", "holds ' #'"),
        ("seed=1,seed=2", "seed is given twice"),
        ("bpm=1,bpm.mode=off", "bpm.mode and a key that it lies in are both given"),
        ("bpm.mode=off,bpm=1", "bpm is given twice"),
        (f"{ROOT}=/a\udce4", "is not UTF-8"),
    ],
)
def test_what_makes_no_sense_is_one_line(text: str, expected: str) -> None:
    assert expected in refusal(text)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(TEXTS, st.sampled_from(["categories", "predict.category", ROOT, "backbones.x.checkpoint"]))
def test_what_a_report_says_is_read_as_it_was_meant(text: str, key: str) -> None:
    """The command in a report repeats the run, whatever its names are."""
    values: Any = text
    for part in reversed(key.split(".")):
        values = {part: values}
    assert parse_assignments(",".join(as_assignments(values))) == values


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        assert isinstance(parse_assignments(text), dict)
    except InputError as error:
        assert "\n" not in str(error)
