"""Which root a data set's name stands for, written down once."""

from __future__ import annotations

import json
import posixpath
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.datasets.errors import DatasetInputError


class RootRecordDataset(AbstractDataset[dict[str, str], dict[str, str]]):
    """A JSON file with ``root`` and ``layout``, which the first run on a data set makes.

    Saving what is recorded already does nothing, and saving anything else is refused: no two roots
    share a name, whichever of two runs that start at once comes first. The file may be edited where
    the images have moved.
    """

    def __init__(
        self, *, filepath: str, entry: str, metadata: dict[str, Any] | None = None
    ) -> None:
        """Describe the file.

        Args:
            filepath: Path or URL of the file.
            entry: Key of the data set's parameters, for people to mend: ``datasets.<key>``.
            metadata: For Kedro-Viz and other plugins.
        """
        self._location = filepath
        self._file = RemoteFile(filepath)
        self._entry = entry
        self.metadata = metadata

    def load(self) -> dict[str, str]:
        """The root and its layout.

        Raises:
            DatasetInputError: The file holds something else.
        """
        content = self._file.read()
        try:
            record = json.loads(content)
            return {key: str(record[key]) for key in ("root", "layout")}
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetInputError(
                f"{self._location} cannot be read: delete it and run defect anew"
            ) from error

    def save(self, data: dict[str, str]) -> None:
        """Write down the root, unless that is done.

        Raises:
            DatasetInputError: The name stands for another root; the line names both.
        """
        content = json.dumps(data, indent=2).encode()
        if not self._file.create(content):
            self.refuse_another(data)

    def refuse_another(self, data: dict[str, str]) -> None:
        """End a run on another root than the recorded one.

        Raises:
            DatasetInputError: It is another; the line names both and what to do.
        """
        recorded = self.load()
        if recorded == data:
            return
        name = posixpath.basename(self._location).removesuffix(".json")
        if recorded["root"] == data["root"]:
            raise DatasetInputError(
                f"{self._entry}.root: the results of '{name}' are of {recorded['root']} as the "
                f"layout {recorded['layout']} reads it, and the layout {data['layout']} would read "
                f"the same images another way: give these results another name, for instance "
                f"{self._entry}.name={name}_as_{data['layout']} (recorded in {self._location})"
            )
        before, now = (f"{place['root']} (layout {place['layout']})" for place in (recorded, data))
        raise DatasetInputError(
            f"{self._entry}.root: the results of '{name}' are of {before}, not of {now}: give "
            f"this one another name with {self._entry}.name, or, if the images have moved, write "
            f"their new place into {self._location}"
        )

    def _exists(self) -> bool:
        return self._file.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._location}

    def preview(self) -> JSONPreview:
        """The record, for Kedro-Viz."""
        return JSONPreview(json.dumps(self.load()))
