"""Damaged results of earlier runs, found before a run goes on from them."""

from __future__ import annotations

from collections.abc import Iterable

from kedro.io import CatalogProtocol

from uniformaly_pipeline.datasets.errors import CanBeDamaged


def set_aside_damage(names: Iterable[str], catalog: CatalogProtocol) -> None:
    """Have ``--only-missing-outputs`` make damaged results again: to Kedro they are there."""
    for name in names:
        dataset = catalog.get(name)
        if isinstance(dataset, CanBeDamaged):
            dataset.set_aside_damage()
