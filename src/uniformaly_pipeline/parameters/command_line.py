"""Parameters as one text, as ``--params`` takes them: ``bpm.mode=off,datasets.folder.root=/a b``.

Kedro reads every value as YAML, in which ``01`` is a number, ``#`` may begin a comment and ``:``
make a mapping. Here text stays text where the schema wants text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.schema import Parameters

NOTHING = {"", "null", "~"}
"""How YAML writes that there is no value."""

BETWEEN = ", \t\r\n"
"""What may stand before and after a pair."""

_ITEM = re.compile(
    r"""\s*(?P<key>[^=,"']*?)\s*=\s*
    (?: (?P<double>"(?:[^"\\]|\\.)*") | (?P<single>'(?:[^']|'')*') | (?P<plain>[^,]*?) )
    \s*(?:,|$)""",
    re.VERBOSE | re.DOTALL,
)


def parse_assignments(text: str) -> dict[str, Any]:
    r"""Nested parameters from ``key=value`` pairs that commas separate.

    A value may stand in quotes, and must where it holds a comma or begins or ends with a space:
    ``"a, b"`` with ``\"`` and ``\\`` in it, or ``'a, b'`` with ``''``. What is in quotes is text.

    Args:
        text: The pairs; dots in keys nest.

    Raises:
        InputError: Something is no pair, a key is given twice, or a value makes no sense.

    >>> parse_assignments("categories=01,bpm.threshold=1e-2,datasets.a.root='/x, #2'")
    {'categories': '01', 'bpm': {'threshold': 0.01}, 'datasets': {'a': {'root': '/x, #2'}}}
    """
    if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"--params: {text!a} is not UTF-8: rename what it names")
    values: dict[str, Any] = {}
    for key, value in _pairs(text):
        _set(values, key, value)
    return values


def _pairs(text: str) -> Iterator[tuple[str, Any]]:
    position, end = 0, len(text.rstrip(BETWEEN))
    while position < end:
        if text[position] in BETWEEN:
            position += 1
            continue
        found = _ITEM.match(text, position)
        if found is None or not found["key"]:
            item = text[position:].split(",")[0].strip()
            raise InputError(
                f"--params: '{item}' is no key=value: put a value with commas or quotes into "
                'quotes, as in datasets.folder.root="a, b"'
            )
        yield found["key"], _value(found)
        position = found.end()


def _value(found: re.Match[str]) -> Any:
    if found["double"] is not None:
        return re.sub(r"\\(.)", r"\1", found["double"][1:-1], flags=re.DOTALL)
    if found["single"] is not None:
        return found["single"][1:-1].replace("''", "'")
    key, plain = found["key"], found["plain"]
    kinds = _kinds_of(key.split("."))
    if str in kinds:
        return None if NoneType in kinds and plain in NOTHING else plain
    return _from_yaml(key, plain)


def _from_yaml(key: str, plain: str) -> Any:
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={plain}"]))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(
            f"--params: {key}={plain} cannot be read: if it is text, put it into quotes"
        ) from error
    if " #" in plain:
        raise InputError(f"--params: {key}={plain} holds ' #': if it is text, put it into quotes")
    assert isinstance(value, dict)
    return value["value"]


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    inner = values
    for section in sections:
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"--params: {key} and a key that it lies in are both given")
    if name in inner:
        raise InputError(f"--params: {key} is given twice")
    inner[name] = value


def _kinds_of(key: Sequence[str]) -> set[Any]:
    """Types that the schema allows at a key; none where it has no such key."""
    kinds = _alternatives(Parameters)
    for part in key:
        inner: set[Any] = set()
        for kind in kinds:
            if get_origin(kind) is dict:
                inner |= _alternatives(get_args(kind)[1])
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                field = kind.model_fields.get(part)
                inner |= _alternatives(field.annotation) if field is not None else set()
        kinds = inner
    return kinds


def _alternatives(annotation: Any) -> set[Any]:
    """The types of a union, without what only limits them."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_alternatives, get_args(annotation)))
    return {annotation}


def as_assignments(values: Mapping[str, Any]) -> list[str]:
    """Nested parameters as ``key=value`` pairs, to be joined by commas.

    >>> as_assignments({"categories": "null", "bpm": {"mode": "off"}, "shots": [1, "all"]})
    ['categories=null', 'bpm.mode=off', 'shots=1+all']
    """
    return [f"{key}={_as_text(key, value)}" for key, value in flatten(values)]


def quoted(text: str, *, may_be_nothing: bool = False) -> str:
    """A text as it must be written behind ``=``: as it is, or in quotes.

    Args:
        text: The text.
        may_be_nothing: Whether ``null`` would be read as no value.

    >>> quoted("nut"), quoted("nut, bolt"), quoted("null", may_be_nothing=True)
    ('nut', '"nut, bolt"', '"null"')
    """
    # Where text is not wanted, nothing would be read as null.
    needs = not text or "," in text or text != text.strip() or text[:1] in ("'", '"')
    if not needs and not (may_be_nothing and text in NOTHING):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _as_text(key: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "+".join(_as_text(key, item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    kinds = _kinds_of(key.split("."))
    return (
        quoted(str(value), may_be_nothing=NoneType in kinds)
        if isinstance(value, str)
        else str(value)
    )
