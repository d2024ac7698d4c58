"""Runs that differ in nothing but the seed are one row: the mean and how sure it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from uniformaly_pipeline.evaluation.significance import CONFIDENCE
from uniformaly_pipeline.tracking.run_table import DIGESTS, is_setting, metric_columns

INTERVAL = "_interval"
"""Ends the name of the column with half the width of a metric's 95% interval."""

_OF_A_SEED = {"seed", "run_key"}


def group_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Put runs with equal settings but other seeds into one row.

    Of several runs with the same seed the newest counts.

    Args:
        table: See :func:`.run_table.runs_table`, newest first.

    Returns:
        A row per group, by the ``run_id`` of its newest run, in the order of ``table``: ``runs``
        (their number), ``seed`` as text where there are several, the means of metrics and, as
        ``<metric>_interval``, half the width of the 95% interval of the mean over seeds (of
        Student's t; undefined for one run).
    """
    keys = [name for name in table if is_setting(name) and name not in _OF_A_SEED]
    metrics = metric_columns(table)
    # Settings that not all runs have are in no column.
    digests = table.attrs.get(DIGESTS, {})
    by = [*(table[name] for name in keys), pd.Series([digests.get(id) for id in table.index],
                                                     table.index)]  # fmt: skip
    rows = []
    for _, group in table.groupby(by, dropna=False, sort=False):
        runs = group.sort_values("started", ascending=False, kind="stable")
        runs = runs.drop_duplicates("seed") if "seed" in runs else runs
        row = runs.iloc[0].copy()
        row["runs"] = len(runs)
        if len(runs) > 1:
            if "seed" in runs:
                row["seed"] = ", ".join(f"{seed:g}" for seed in sorted(runs["seed"]))
            if "run_key" in runs:
                row["run_key"] = None  # it tells the seeds apart
            row[metrics] = runs[metrics].mean()
        spread = runs[metrics].std(ddof=1) / np.sqrt(runs[metrics].count())
        reach = spread * student.ppf(0.5 + CONFIDENCE / 2, runs[metrics].count() - 1)
        for name in metrics:
            row[f"{name}{INTERVAL}"] = reach[name]
        rows.append(row)
    grouped = pd.DataFrame(rows)
    grouped.index.name = table.index.name
    types = {name: float for name in grouped if name in metrics or str(name).endswith(INTERVAL)}
    return grouped.astype({**types, "runs": int})
