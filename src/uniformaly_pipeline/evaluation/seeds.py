"""Metrics over several seeds: their mean, and how far they lie apart.

A coreset is chosen among random projections, from random starts. What is one seed's luck shows
where the same features are scored by the coresets of several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.evaluation.category import summarise
from uniformaly_pipeline.evaluation.metrics import OVER_SEEDS, SEED_METRICS


def seed_table(metrics: Mapping[int, Mapping[str, Any]]) -> pd.DataFrame:
    """The metrics of a category by seed, as a table.

    Args:
        metrics: A category's metrics by seed.

    Returns:
        A row per seed: ``seed`` and :data:`.metrics.SEED_METRICS`, NaN where undefined.
    """
    rows = [[seed, *(of.get(name) for name in SEED_METRICS)] for seed, of in metrics.items()]
    table = pd.DataFrame(rows, columns=["seed", *SEED_METRICS])
    return table.astype(dict.fromkeys(SEED_METRICS, float))


def summarise_seeds(
    categories: Mapping[str, Mapping[str, Any]], tables: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """Put the metrics of all categories together, as means over seeds.

    Args:
        categories: Metrics by category, of the run's own seed; what is no mean, such as the
            threshold, stays that.
        tables: :func:`seed_table` of each category, all of the same seeds.

    Returns:
        As :func:`.category.summarise`, and of more than one seed ``<metric>_over_seeds``, the
        population's standard deviation over seeds: of each category its own, in ``mean`` that of
        the means over categories.
    """
    tables = dict(tables)
    whole = summarise({name: _over(categories[name], table) for name, table in tables.items()})
    for name in SEED_METRICS if _are_several(tables) else ():
        of_seeds = np.array([table[name] for table in tables.values()], float)
        known = ~np.isnan(of_seeds).any(axis=1)
        spread = float(of_seeds[known].mean(axis=0).std()) if known.any() else None
        whole["mean"][f"{name}{OVER_SEEDS}"] = spread
        whole["std"].pop(f"{name}{OVER_SEEDS}", None)
    return whole


def _over(metrics: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """A category's metrics with the means over seeds in place of one seed's."""
    known = [name for name in SEED_METRICS if table[name].notna().all()]
    means = {name: float(table[name].mean()) for name in known}
    if len(table) < 2:
        return {**metrics, **means}
    spreads = {f"{name}{OVER_SEEDS}": float(table[name].std(ddof=0)) for name in known}
    return {**metrics, **means, **spreads}


def _are_several(tables: Mapping[str, pd.DataFrame]) -> bool:
    return any(len(table) > 1 for table in tables.values())
