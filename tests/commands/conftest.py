"""Commands without Kedro: no logging is set up, whatever a test before has done."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def plain_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of Kedro, or of a command before, print where the commands' results are."""
    root = logging.getLogger()
    kept = [handler for handler in root.handlers if "_pytest" in type(handler).__module__]
    monkeypatch.setattr(root, "handlers", kept)
    monkeypatch.setattr(logging.getLogger("uniformaly_pipeline"), "handlers", [])
