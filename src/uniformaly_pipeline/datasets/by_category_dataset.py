"""The files of many categories as one dataset."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from kedro.io import AbstractDataset

from uniformaly_pipeline.common.by_category import ByCategory
from uniformaly_pipeline.datasets.errors import CanBeDamaged
from uniformaly_pipeline.datasets.origins import HasOrigin

PLACE = "<category>"
"""Stands for a category's key in the entry of its dataset; Kedro would fill in ``{category}``."""


class ByCategoryDataset(AbstractDataset[Mapping[str, Any], ByCategory[Any]]):
    """Each category's value in a dataset of its own, at the place that it would have alone.

    Loading reads nothing yet: each value is read when it is asked for. Saving writes the values
    that it is given, so that a node may save one category after another. It exists where all its
    categories' datasets do.

    Example of a catalog entry::

        defect.chunk_01.metrics:
          type: uniformaly_pipeline.datasets.by_category_dataset.ByCategoryDataset
          dataset:
            type: json.JSONDataset
            filepath: data/08_reporting/defect/<category>/metrics.json
          categories: [nut, bolt]
    """

    def __init__(
        self,
        *,
        dataset: dict[str, Any],
        categories: list[str],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Remember whose datasets these are.

        Args:
            dataset: The entry of a category's dataset, with ``<category>`` for its key.
            categories: The keys.
            metadata: For Kedro-Viz and other plugins.
        """
        self._entry = dataset
        self._categories = categories
        self.metadata = metadata

    def load(self) -> ByCategory[Any]:
        """The values by category, to be read one at a time."""
        return ByCategory({key: partial(self._read, key) for key in self._categories})

    def save(self, data: Mapping[str, Any]) -> None:
        """Write the values of some categories."""
        for key, value in data.items():
            self._dataset_of(key).save(value)

    def paths(self, keys: Iterable[str] | None = None) -> list[str]:
        """Where the datasets of some categories lie, or of all."""
        wanted = self._categories if keys is None else [k for k in keys if k in self._categories]
        datasets = map(self._dataset_of, wanted)
        return [path for each in datasets if isinstance(each, HasOrigin) for path in each.paths()]

    def set_aside_damage(self) -> None:
        """Set each category's file aside that is not what was written, with a warning."""
        for key in self._categories:
            dataset = self._dataset_of(key)
            if isinstance(dataset, CanBeDamaged):
                dataset.set_aside_damage()

    def _read(self, key: str) -> Any:
        return self._dataset_of(key).load()

    def _dataset_of(self, key: str) -> AbstractDataset[Any, Any]:
        return AbstractDataset.from_config(key, _filled_in(self._entry, key))

    def _exists(self) -> bool:
        return all(self._dataset_of(key).exists() for key in self._categories)

    def _describe(self) -> dict[str, Any]:
        return {"dataset": self._entry, "categories": len(self._categories)}


def _filled_in(entry: Any, key: str) -> Any:
    """An entry with a category's key in its texts."""
    if isinstance(entry, dict):
        return {name: _filled_in(value, key) for name, value in entry.items()}
    return entry.replace(PLACE, key) if isinstance(entry, str) else copy.copy(entry)
