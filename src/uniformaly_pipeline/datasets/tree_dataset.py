"""A split as a tree of folders."""

from __future__ import annotations

from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_path import as_path
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.previews import folder_preview
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts.species60 import write_tree
from uniformaly_pipeline.ingestion.manifest import TreePlan


class TreeDataset(AbstractDataset[TreePlan, ImageFolder]):
    """Saving copies images to where their split and class say; loading gives access to them."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Describe the folder.

        Args:
            filepath: Path or URL of a folder that is new or empty.
            metadata: For Kedro-Viz and other plugins.
        """
        self._path = as_path(filepath)
        self.metadata = metadata

    def load(self) -> ImageFolder:
        """Access to the copies."""
        return ImageFolder(str(self._path))

    def save(self, data: TreePlan) -> None:
        """Copy the images, on a local disk in one step.

        Raises:
            DatasetInputError: The folder holds something, or two images get the same path.
        """
        try:
            write_tree(data.folder, data.records, self._path)
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def preview(self) -> ImagePreview:
        """A contact sheet of the copies, for Kedro-Viz."""
        return folder_preview(self.load())

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
