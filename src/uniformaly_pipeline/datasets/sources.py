"""Whether the results that a run goes on from were made from what lies there now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.datasets.by_category_dataset import ByCategoryDataset
from uniformaly_pipeline.datasets.origins import (
    OF_FEATURES,
    HasOrigin,
    Origin,
    announce,
    full,
    last_read,
    origin_at,
    place_of,
)
from uniformaly_pipeline.features.backbone import Backbone, checkpoint_digest


def announce_sources(name: str, data: Any, node: Node, catalog: CatalogProtocol) -> None:
    """Announce what a node was given, by the process that runs it, as the sources of a result.

    Args:
        name: The dataset that is about to be saved.
        data: What is saved; of a chunk's categories those in it alone.
        node: The node.
        catalog: The run's catalog.
    """
    is_chunk = isinstance(catalog.get(name), ByCategoryDataset)
    for key in list(data) if is_chunk else [None]:
        keys = None if key is None else [key]
        given = (path for each in node.inputs for path in _paths(each, catalog, keys))
        sources = last_read(given)
        for path in _paths(name, catalog, keys):
            announce(path, sources)


def check_origins(
    names: Iterable[str],
    made: Set[str],
    catalog: CatalogProtocol,
    backbone: Backbone | None = None,
    describe: Callable[[str], str] = str,
) -> bool:
    """Refuse to go on from results that were made from other states than those that lie there.

    Args:
        names: Results of earlier runs.
        made: What this run makes itself.
        catalog: The run's catalog.
        backbone: Features come from its weights; ``None`` to leave that open.
        describe: What lies at a path, in words.

    Returns:
        Whether some of them were made from what this run makes anew: only then can it be told
        whether that is still the same.

    Raises:
        InputError: One was, or that is gone, or it is a copy of another result; the line names
            it and what it was made from.
    """
    search = _Search(
        {full(path) for name in made for path in _paths(name, catalog)},
        backbone,
        describe,
    )
    search.look_behind(full(path) for name in sorted(names) for path in _paths(name, catalog))
    return search.waits


def check_sources(
    names: Iterable[str], catalog: CatalogProtocol, describe: Callable[[str], str] = str
) -> None:
    """Refuse results beside which others lie by now than they were made from.

    What is further behind is not looked at, so that this takes no time worth a word.

    Args:
        names: Results.
        catalog: The run's catalog.
        describe: What lies at a path, in words.

    Raises:
        InputError: Another run has put its own there meanwhile; the line names it.
    """
    search = _Search(set(), None, describe)
    for name in sorted(names):
        for path in map(full, _paths(name, catalog)):
            search.look_beside(path)


@dataclass
class _Search:
    """Goes from results to what they were made from, and on.

    Attributes:
        remade: Paths at which this run makes something itself.
        backbone: See :func:`check_origins`.
        describe: See :func:`check_origins`.
        waits: Whether something comes from what is made anew.
        found: What lies at paths.
    """

    remade: set[str]
    backbone: Backbone | None
    describe: Callable[[str], str]
    waits: bool = False
    found: dict[str, Origin | None] = field(default_factory=dict)

    def look_behind(self, paths: Iterable[str]) -> None:
        """Compare the sources of what lies at some paths, and theirs.

        Raises:
            InputError: See :func:`check_origins`.
        """
        todo, known = list(paths), set[str]()
        while todo:
            path = todo.pop()
            origin = None if path in known else self._at(path)
            known.add(path)
            if origin is None:
                continue
            origin.check_place(path, self.describe(path))
            self._check_weights(origin.identity)
            for source, identity in origin.made_from.items():
                place = place_of(source, path)
                if place in self.remade:
                    self.waits = True
                    continue
                self._compare(path, place, identity)
                todo.append(place)

    def look_beside(self, path: str) -> None:
        """Compare the sources of what lies at a path.

        Raises:
            InputError: See :func:`check_sources`.
        """
        origin = self._at(path)
        for source, identity in origin.made_from.items() if origin is not None else ():
            self._compare(path, place_of(source, path), identity)

    def _at(self, path: str) -> Origin | None:
        if path not in self.found:
            self.found[path] = origin_at(path)
        return self.found[path]

    @cached_property
    def _weights(self) -> str | None:
        return None if self.backbone is None else checkpoint_digest(self.backbone)

    def _check_weights(self, identity: str) -> None:
        """Features, and what they were, say which file their weights came from."""
        _, is_of_features, file = identity.partition(OF_FEATURES)
        if is_of_features and self.backbone and self._weights and file != self._weights:
            raise InputError(
                f"backbones: {self.backbone.checkpoint} has changed since an earlier run made what "
                f"this one goes on from: {RUN_AGAIN}"
            )

    def _compare(self, path: str, place: str, identity: str) -> None:
        now, how = self._at(place), identity.partition(OF_FEATURES)
        self._check_weights(identity)
        if now is None and not how[1]:  # features may be removed, to have room
            raise InputError(
                f"{place.removeprefix('file://')}, from which an earlier run made the "
                f"{self.describe(path)}, is gone or damaged: {RUN_AGAIN}"
            )
        if now is not None and now.identity.partition(OF_FEATURES)[0] != how[0]:
            raise InputError(
                f"the {self.describe(place)} changed after an earlier run had made the "
                f"{self.describe(path)} from them: {RUN_AGAIN}"
            )


def name_at(path: str, pipeline: Pipeline, catalog: CatalogProtocol) -> str | None:
    """The dataset of a pipeline that lies at a path, ``None`` if none does."""
    for name in sorted(pipeline.all_outputs()):
        if any(full(each) == full(path) for each in _paths(name, catalog)):
            return name
    return None


def _paths(name: str, catalog: CatalogProtocol, keys: Iterable[str] | None = None) -> list[str]:
    """Where a dataset lies, or those of some categories; nowhere if results do not name it."""
    dataset = catalog.get(name)
    if isinstance(dataset, ByCategoryDataset):
        return dataset.paths(keys)
    return list(dataset.paths()) if isinstance(dataset, HasOrigin) else []
