"""The feature store as a Kedro dataset."""

from __future__ import annotations

from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_path import as_path
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.origins import features_identity, remember
from uniformaly_pipeline.features.store import FeatureStore, check_place, current_store
from uniformaly_pipeline.features.store_update import FeatureStream, update_store


class FeatureStoreDataset(AbstractDataset[FeatureStream, FeatureStore]):
    """Saving brings the store up to date with a stream; loading opens it for reading.

    The store pulls from the stream only what it lacks, so features are never held in memory and
    an interrupted run goes on where it stopped.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Describe the store.

        Args:
            filepath: Path or URL of the folder of the stores of the run's settings. Files are
                memory-mapped, those from elsewhere as copies in this machine's cache.
            metadata: For Kedro-Viz and other plugins.
        """
        self._path = as_path(filepath)
        self.metadata = metadata

    def load(self) -> FeatureStore:
        """Open the store.

        Raises:
            DatasetInputError: There is none.
        """
        try:
            check_place(self._path)
            store = FeatureStore(self._path)
        except InputError as error:
            raise DatasetInputError(str(error)) from error
        remember(str(self._path), features_identity(store))
        return store

    def save(self, data: FeatureStream) -> None:
        """Encode and append what the store lacks.

        Raises:
            DatasetInputError: The disk is too small, features overflow the stored type, or an
                image has changed.
        """
        try:
            update_store(self._path, data)
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def paths(self) -> list[str]:
        """The folder."""
        return [str(self._path)]

    def _exists(self) -> bool:
        try:
            current_store(self._path)
        except InputError:
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

    def preview(self) -> JSONPreview:
        """How the features were made, for Kedro-Viz."""
        return JSONPreview(self.load().header.to_json())
