"""Nodes on invented images: a hash such as ``#nut`` stands for whatever the file holds."""

from __future__ import annotations

from typing import Any

import pytest

from uniformaly_pipeline.ingestion.images import ImageFolder


@pytest.fixture(autouse=True)
def read_with(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The images that are read, and the hash that each is held to, unless it is invented."""
    asked: list[tuple[str, Any]] = []
    read_image = ImageFolder.read_image

    def read(
        folder: ImageFolder, path: str, levels: Any = None, content_hash: str | None = None
    ) -> Any:
        asked.append((path, content_hash))
        held_to = None if content_hash and content_hash.startswith("#") else content_hash
        return read_image(folder, path, levels, held_to)

    monkeypatch.setattr(ImageFolder, "read_image", read)
    return asked
