"""What a result was made from, kept beside it, and whether that is still what lies there.

A part of a run goes on from what earlier runs made. Each result therefore says which states of
which others it was made from, so that results of two states are never mixed.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from uniformaly_pipeline.common.checked_file import CheckedFile
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.origin import Origin, own_place
from uniformaly_pipeline.common.remote_path import as_path
from uniformaly_pipeline.common.storage import OBJECT_STORES, locate, protocol_of
from uniformaly_pipeline.features.store import FeatureStore, known_checkpoint
from uniformaly_pipeline.reporting.gallery.storage import gallery_exists, gallery_origin

TIMINGS = {"seconds", "images_per_second"}
"""Entries that differ between two runs of the same: they do not make another result."""


FINGERPRINT = "fingerprint"
"""The column of a table of images that tells a file that was touched from one that was not."""

OF_FEATURES = ":"
"""Stands in identities of features only, before the SHA-256 of the file of weights."""


@runtime_checkable
class HasOrigin(Protocol):
    """A dataset that others' results say they were made from."""

    def paths(self) -> Sequence[str]:
        """Where it lies: files, galleries or feature stores that have an :class:`Origin`."""


_last_read: dict[str, str] = {}
_to_come: dict[str, Mapping[str, str]] = {}


def remember(path: str, identity: str) -> None:
    """Note what this process has just read at a path."""
    _last_read[path] = identity


def last_read(paths: Iterable[str]) -> dict[str, str]:
    """Identities, by path, of what this process last read there, as far as it has."""
    return {path: _last_read[path] for path in paths if path in _last_read}


def identity_of_content(data: Any) -> str:
    """Identity of what is saved, where its bytes tell more than the result; else empty.

    Plain values may hold timings, and tables of images when a file was last touched.

    >>> same = [identity_of_content({"auroc": 0.9, "seconds": each}) for each in (1, 2)]
    >>> same[0] == same[1], identity_of_content({"auroc": 0.9})
    (True, '')
    """
    if isinstance(data, pd.DataFrame) and FINGERPRINT in data:
        content = data.drop(columns=FINGERPRINT).to_parquet(index=False)
        return hashlib.sha256(content).hexdigest()
    if not isinstance(data, Mapping):
        return ""
    kept = _without_timings(data)
    if kept == data:
        return ""
    return identity_of(kept)


def identity_of(data: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def _without_timings(data: Any) -> Any:
    if isinstance(data, Mapping):
        entries = data.items()
        return {key: _without_timings(each) for key, each in entries if key not in TIMINGS}
    return [_without_timings(each) for each in data] if isinstance(data, list) else data


def announce(path: str, sources: Mapping[str, str]) -> None:
    """Tell what the next result that is saved at a path was made from.

    By path, as another thread may save it: Kedro hands a dataset nothing but the data.

    Args:
        path: As its dataset's :meth:`HasOrigin.paths` gives it.
        sources: Identities by path.
    """
    _to_come[path] = sources


def forget_announced() -> None:
    """Drop what was announced and not saved: what is saved by hand has no known sources."""
    _to_come.clear()


def own_sources(path: str) -> dict[str, str]:
    """What was announced of a result that is being saved at a path, as its origin says it."""
    sources = _to_come.pop(path, {})
    return {_relative(each, path): identity for each, identity in sources.items()}


def note_on(path: str, identity: str) -> str:
    """The origin of a result that is being saved at a path, as one line of JSON.

    Args:
        path: Its path or URL.
        identity: See :class:`Origin`.
    """
    origin = Origin(identity, own_sources(path), own_place(path))
    return json.dumps(asdict(origin), sort_keys=True)


def origin_at(path: str) -> Origin | None:
    """What lies at a path now; ``None`` if nothing does.

    Args:
        path: Path or URL of a file, a gallery or a feature store.
    """
    place = as_path(path)
    # An object store takes longer to say what it is than to give it, and nearly all are files.
    is_object = protocol_of(path) in OBJECT_STORES
    if is_object or not place.is_dir():
        found = CheckedFile(path).peek()
        if found is not None or not is_object:
            return None if found is None else Origin.of(found)
    if gallery_exists(place):
        kept = gallery_origin(place)
        return None if kept is None else Origin(**kept)
    try:
        return Origin(features_identity(FeatureStore(place)))
    except InputError:
        return None


def features_identity(store: FeatureStore) -> str:
    """Tells the features of a store from others: a hash of how, and one of the weights' file.

    Engines agree to 1e-4, and which is quickest depends on how many images there are: they are
    not told apart.
    """
    how = replace(store.header, engine=None).key
    return f"{how}{OF_FEATURES}{known_checkpoint(store.path.parent) or ''}"


def full(path: str) -> str:
    """A path or URL in the one form in which it can be compared with others."""
    fs, local = locate(path)
    url: str = fs.unstrip_protocol(local)
    return url


def place_of(source: str, of: str) -> str:
    """Where a source lies, from how the origin of what lies at the path ``of`` names it."""
    if "://" in source:
        return source
    fs, local = locate(of)
    url: str = fs.unstrip_protocol(posixpath.normpath(f"{posixpath.dirname(local)}/{source}"))
    return url


def _relative(path: str, to: str) -> str:
    """A path as seen from the folder of another, so that both may move together."""
    (fs, local), (other, place) = locate(path), locate(to)
    if type(fs) is not type(other):
        return str(fs.unstrip_protocol(local))
    return posixpath.relpath(local, posixpath.dirname(place))
