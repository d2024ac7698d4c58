"""Arrays as safetensors on any fsspec file system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview
from safetensors.numpy import load, save

from uniformaly_pipeline.common.array_bundle import ArrayBundle
from uniformaly_pipeline.datasets.files import RemoteFile

METADATA_KEY = "metadata"
MAX_PREVIEWED = 8
"""Entries of a list that a preview shows."""


class ArrayBundleDataset(AbstractDataset[ArrayBundle, ArrayBundle]):
    """Stores an :class:`.array_bundle.ArrayBundle` as one ``.safetensors`` file.

    Works on bytes, unlike safetensors' own file functions, so that remote paths do too; the file
    is put in place in one step.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Describe the file.

        Args:
            filepath: Path or URL of the file.
            metadata: For Kedro-Viz and other plugins.
        """
        self._file = RemoteFile(filepath)
        self.metadata = metadata

    def load(self) -> ArrayBundle:
        """Read the arrays and their metadata."""
        content = self._file.read()
        header_size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + header_size]).get("__metadata__", {})
        return ArrayBundle(load(content), json.loads(header.get(METADATA_KEY, "{}")))

    def save(self, data: ArrayBundle) -> None:
        """Write the arrays and their metadata."""
        arrays = {name: np.ascontiguousarray(array) for name, array in data.arrays.items()}
        self._file.write(save(arrays, {METADATA_KEY: json.dumps(dict(data.metadata))}))

    def preview(self) -> JSONPreview:
        """Shapes and types of the arrays and how they were made, for Kedro-Viz."""
        bundle = self.load()
        arrays = {
            name: f"{array.dtype} {list(array.shape)}" for name, array in bundle.arrays.items()
        }
        return JSONPreview(json.dumps({"arrays": arrays, **_shortened(bundle.metadata)}))

    def _exists(self) -> bool:
        return self._file.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._file.url}


def _shortened(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in which long lists, such as every image of a memory bank, are their length."""
    return {
        key: f"{len(value)} entries"
        if isinstance(value, list) and len(value) > MAX_PREVIEWED
        else value
        for key, value in metadata.items()
    }
