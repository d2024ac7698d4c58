"""A detector in the catalog: its file, an exported folder, or a finished run's category."""

from __future__ import annotations

import json
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.detector.detector import state_of_run
from uniformaly_pipeline.detector.exported import load_exported_state
from uniformaly_pipeline.detector.finished_run import Layers, read_run, split_place
from uniformaly_pipeline.detector.sources import is_folder
from uniformaly_pipeline.detector.state import DetectorState, load_state, save_state


class DetectorDataset(AbstractDataset[DetectorState, DetectorState]):
    """A detector's state, see :class:`.state.DetectorState`; its encoder is loaded by who uses it.

    The file is checked by itself, whoever wrote it: a detector may come from anywhere.
    """

    def __init__(
        self,
        *,
        filepath: str,
        results: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Describe where it is.

        Args:
            filepath: Path or URL of a detector's file; for reading also of a folder that was
                exported, or a finished run's category, its folder ``06_models/P/D/B/R/C``.
            results: Where the project's own results lie, see :class:`.finished_run.Layers`.
            metadata: For Kedro-Viz and other plugins.
        """
        self._path = filepath
        self._layers = None if results is None else Layers(**results)
        self.metadata = metadata

    def load(self) -> DetectorState:
        """Read it.

        Raises:
            DatasetInputError: It is not there, no detector, damaged or of a newer version.
        """
        try:
            place = split_place(self._path, self._layers)
            if place is None:
                exported = is_folder(self._path)
                return load_exported_state(self._path) if exported else load_state(self._path)
            layers, run, category = place
            return state_of_run(read_run(layers, category, run))
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def save(self, data: DetectorState) -> None:
        """Write its file, in one step.

        Raises:
            DatasetInputError: It cannot be written.
        """
        try:
            save_state(data, self._path)
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def preview(self) -> JSONPreview:
        """What it is, for Kedro-Viz."""
        return JSONPreview(json.dumps(self.load().describe()))

    def _exists(self) -> bool:
        return RemoteFile(self._path).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._path}
