"""The manifest in the catalog: brought up to date when saved, a table when loaded."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.files import CheckedFile
from uniformaly_pipeline.datasets.origins import identity_of_content
from uniformaly_pipeline.ingestion.health import refuse_spoiled
from uniformaly_pipeline.ingestion.manifest import COLUMNS, ManifestPlan, manifest_of

logger = logging.getLogger(__name__)


class ManifestDataset(AbstractDataset[ManifestPlan, pd.DataFrame]):
    """Saving opens the files that are new or have changed; loading gives the table.

    What the last manifest knows of unchanged files of the same root is taken from it, so a second
    run over a large data set only lists it.
    """

    def __init__(
        self, *, filepath: str, path: str | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Describe the file.

        Args:
            filepath: Path or URL of the parquet file.
            path: Folder with manifests of other choices of the same images, of which a first one
                takes what it can.
            metadata: For Kedro-Viz and other plugins.
        """
        self._file = CheckedFile(filepath)
        self._siblings = path
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """The manifest, see :func:`.manifest.build_manifest`.

        Raises:
            DatasetInputError: It is not what was saved.
        """
        return _read(self._file)

    def save(self, data: ManifestPlan) -> None:
        """Check the files and write the manifest in one step.

        Raises:
            DatasetInputError: Files cannot be read, or would spoil a result.
        """
        try:
            manifest = manifest_of(data, self._known())
            if data.strict:
                refuse_spoiled(manifest, data.folder.root)
        except InputError as error:
            raise DatasetInputError(str(error)) from error
        self._file.write(manifest.to_parquet(index=False), identity_of_content(manifest))

    def paths(self) -> list[str]:
        """The file."""
        return [self._file.url]

    def _known(self) -> pd.DataFrame | None:
        """The manifest that is there, or those of other choices: what of them a run wrote."""
        others = [] if self._siblings is None else self._file.namesakes(self._siblings)
        files = [self._file] if self._file.exists() else others
        tables = []
        for file in files:
            try:
                tables.append(_read(file))
            except FileNotFoundError:
                continue
            except DatasetInputError as error:
                logger.warning("Manifest: %s. Its images are read anew", error)
        # Those of an older version know less.
        tables = [table for table in tables if list(table.columns) == list(COLUMNS)]
        return pd.concat(tables, ignore_index=True) if tables else None

    def _exists(self) -> bool:
        return self._file.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._file.url}

    def preview(self, nrows: int = 20) -> TablePreview:
        """The first rows, for Kedro-Viz."""
        return TablePreview(self.load().head(nrows).to_dict("split"))


def _read(file: CheckedFile) -> pd.DataFrame:
    return pd.read_parquet(BytesIO(file.read()))
