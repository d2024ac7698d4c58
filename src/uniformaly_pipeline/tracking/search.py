"""Runs of an experiment, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def search(client: Any, experiment_id: str, wanted: str) -> Iterator[Any]:
    """Runs of an experiment that fit MLflow's filter, newest first, a page at a time."""
    token = None
    while token != "":
        page = client.search_runs(
            [experiment_id],
            wanted,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token or ""
