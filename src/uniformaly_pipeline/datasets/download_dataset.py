"""A published data set on disk: saving fetches and unpacks it, loading lists what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.secrets import without_secrets
from uniformaly_pipeline.common.storage import local_path
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.previews import folder_preview
from uniformaly_pipeline.ingestion.download.fetch import fetch
from uniformaly_pipeline.ingestion.download.sources import Publication
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.roots import open_root


class DownloadDataset(AbstractDataset[Publication, list[str]]):
    """Saving brings a data set's archives to its folder, goes on where it stopped, and unpacks."""

    def __init__(
        self, *, filepath: str, layout: str, metadata: dict[str, Any] | None = None
    ) -> None:
        """Describe the folder.

        Args:
            filepath: Root of the data set, a local folder.
            layout: How the data set is laid out.
            metadata: For Kedro-Viz and other plugins.
        """
        self._root = local_path(filepath)
        self._layout = layout
        self.metadata = metadata

    def load(self) -> list[str]:
        """Names of the files and folders of the data set's root."""
        return sorted(path.name for path in Path(self._root).iterdir())

    def save(self, data: Publication) -> None:
        """Fetch, check and unpack.

        Raises:
            DatasetInputError: The root is not local, a file cannot be had or is damaged, or it
                must be fetched by hand.
        """
        try:
            if "://" in self._root:
                # Half a data set in a bucket would pass for a whole one; on a disk an archive is
                # unpacked in one step.
                raise InputError(
                    f"cannot download to {without_secrets(self._root)}: set the root to a folder "
                    "of this machine, then copy the unpacked folder there"
                )
            for source in data.sources:
                fetch(source, Path(self._root))
            if data.by_hand:
                raise InputError(
                    f"this data set cannot be fetched automatically: {data.by_hand} "
                    f"({data.page}), into {self._root}"
                )
            open_root(self._layout, ImageFolder(self._root))
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def preview(self) -> ImagePreview:
        """A contact sheet of images from all over the data set, for Kedro-Viz."""
        return folder_preview(open_root(self._layout, ImageFolder(self._root)))

    def _exists(self) -> bool:
        return Path(self._root).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": without_secrets(self._root), "layout": self._layout}
