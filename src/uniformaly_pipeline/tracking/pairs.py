"""Two runs on the same test images: is one really better? From the scores that MLflow keeps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.evaluation.significance import (
    AurocDifference,
    PairedScores,
    delong,
    paired_bootstrap,
)
from uniformaly_pipeline.ingestion.levels import file_hash
from uniformaly_pipeline.tracking.lifecycle import PARENT_TAG
from uniformaly_pipeline.tracking.run_table import client_of
from uniformaly_pipeline.tracking.runs import CATEGORY_TAG
from uniformaly_pipeline.tracking.search import search

SCORES = "image_scores.csv"
SAME = ["image", "label", "content_hash"]
"""What is the same in both runs: an image's name, what it is called, and its file's hash."""
_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


@dataclass(frozen=True)
class PairComparison:
    """What the scores of two runs say.

    Attributes:
        num_images: Test images, over all categories.
        num_categories: Categories whose mean AUROC is compared.
        delong: By DeLong's test.
        bootstrap: By drawing the test images anew.
    """

    num_images: int
    num_categories: int
    delong: AurocDifference
    bootstrap: AurocDifference


def compare_pair(
    tracking_uri: str | None, first: str, second: str, called: tuple[str, str] | None = None
) -> PairComparison:
    """Compare the image AUROC of two runs, image by image.

    Args:
        tracking_uri: See :func:`.run_table.runs_table`.
        first: Id of a finished run of a task, or of a category.
        second: Id of another.
        called: What error lines call them; ``None`` for their ids.

    Raises:
        InputError: A run keeps no image scores, or the runs are not on the same images with the
            same labels.
    """
    client = client_of(tracking_uri)
    called = called or (f"run {first}", f"run {second}")
    both = " and ".join(called)
    one, two = (_scores(client, run_id) for run_id in (first, second))
    for name, scores in zip(called, (one, two), strict=True):
        if not scores:
            raise InputError(f"{name} keeps no scores of images: it cannot be compared")
    if set(one) != set(two):
        raise InputError(f"{both} are not on the same categories")
    pairs = []
    for category in sorted(one):
        joined = one[category].merge(two[category], on=SAME, how="outer")
        if joined[["score_x", "score_y"]].isna().any(axis=None):
            raise InputError(f"{both} are not on the same images of {category}")
        labels = joined["label"].to_numpy()
        if joined["label"].nunique() == 2:
            first_scores, second_scores = (
                joined[name].to_numpy() for name in ("score_x", "score_y")
            )
            pairs.append(PairedScores(labels, first_scores, second_scores))
    if not pairs:
        raise InputError("no category has both normal and anomalous test images")
    num_images = sum(len(pair.labels) for pair in pairs)
    return PairComparison(num_images, len(pairs), delong(pairs), paired_bootstrap(pairs))


def _scores(client: Any, run_id: str) -> dict[str, pd.DataFrame]:
    """:data:`SAME` and ``score`` of each category's test images."""
    run = client.get_run(run_id)
    if CATEGORY_TAG in run.data.tags:
        runs = [run]
    else:
        own = f"tags.`{PARENT_TAG}` = '{run_id}' AND tags.{CATEGORY_TAG} IS NOT NULL"
        runs = list(search(client, run.info.experiment_id, own))
    found = {}
    with tempfile.TemporaryDirectory() as folder, _no_bars():
        for child in runs:
            if any(file.path == SCORES for file in client.list_artifacts(child.info.run_id)):
                path = client.download_artifacts(child.info.run_id, SCORES, folder)
                table = pd.read_csv(path, usecols=lambda name: name in {*SAME, "score"})
                # Runs of an older version do not say which pictures bore the names.
                hashes = table.get("content_hash", pd.Series("", index=table.index))
                table["content_hash"] = hashes.map(file_hash)
                found[child.data.tags[CATEGORY_TAG]] = table
    return found


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without MLflow's progress bar for each file."""
    before = os.environ.get(_BARS)
    os.environ[_BARS] = "false"
    try:
        yield
    finally:
        os.environ.pop(_BARS)
        if before is not None:
            os.environ[_BARS] = before
