"""Arrays as safetensors on any fsspec file system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from uniformaly_pipeline.common.array_bundle import ArrayBundle, describe_array
from uniformaly_pipeline.datasets.errors import damage_as_warning
from uniformaly_pipeline.datasets.files import CheckedFile
from uniformaly_pipeline.datasets.origins import identity_of, identity_of_content

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
        self._file = CheckedFile(filepath)
        self.metadata = metadata

    def load(self) -> ArrayBundle:
        """Read the arrays and their metadata."""
        return ArrayBundle.from_bytes(self._file.read())

    def save(self, data: ArrayBundle) -> None:
        """Write the arrays and their metadata."""
        self._file.write(data.to_bytes(), _identity_of(data))

    def set_aside_damage(self) -> None:
        """Set the file aside if it is not what was written, with a warning."""
        with damage_as_warning():
            self._file.read()

    def paths(self) -> list[str]:
        """The file."""
        return [self._file.url]

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


def _identity_of(bundle: ArrayBundle) -> str:
    """Identity of a bundle whose metadata tell how long it took; empty of any other."""
    metadata = identity_of_content(dict(bundle.metadata))
    if not metadata:
        return ""
    arrays = {name: describe_array(array) for name, array in bundle.arrays.items()}
    return identity_of({"arrays": arrays, "metadata": metadata})


def _shortened(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in which long lists, such as every image of a memory bank, are their length."""
    return {
        key: f"{len(value)} entries"
        if isinstance(value, list) and len(value) > MAX_PREVIEWED
        else value
        for key, value in metadata.items()
    }
