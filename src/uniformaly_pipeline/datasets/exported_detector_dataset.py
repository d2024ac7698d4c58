"""A detector's folder for use elsewhere, in the catalog."""

from __future__ import annotations

import json
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.detector.exported import (
    CARD,
    ExportedDetector,
    read_exported,
    write_exported,
)


class ExportedDetectorDataset(AbstractDataset[ExportedDetector, ExportedDetector]):
    """What :meth:`.Detector.export` writes, checked by its own card when it is loaded."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Describe the folder.

        Args:
            filepath: Path or URL of the folder; an older export there is replaced.
            metadata: For Kedro-Viz and other plugins.
        """
        self._location = filepath
        self.metadata = metadata

    def load(self) -> ExportedDetector:
        """Read it.

        Raises:
            DatasetInputError: Something is missing, damaged or of a newer version.
        """
        try:
            return read_exported(self._location)
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def save(self, data: ExportedDetector) -> None:
        """Write it, on a local disk in one step.

        Raises:
            DatasetInputError: The folder holds something else, or it cannot be written.
        """
        try:
            write_exported(data, self._location)
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def preview(self) -> JSONPreview:
        """The card, for Kedro-Viz."""
        return JSONPreview(json.dumps(self.load().card))

    def _exists(self) -> bool:
        return RemoteFile(f"{self._location.rstrip('/')}/{CARD}").exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._location}
