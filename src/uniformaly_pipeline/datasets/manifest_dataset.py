"""The manifest in the catalog: brought up to date when saved, a table when loaded."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.files import RemoteFile
from uniformaly_pipeline.ingestion.health import refuse_spoiled
from uniformaly_pipeline.ingestion.manifest import ManifestPlan, build_manifest


class ManifestDataset(AbstractDataset[ManifestPlan, pd.DataFrame]):
    """Saving opens the files that are new or have changed; loading gives the table.

    What the last manifest knows of unchanged files of the same root is taken from it, so a second
    run over a large data set only lists it.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Describe the file.

        Args:
            filepath: Path or URL of the parquet file.
            metadata: For Kedro-Viz and other plugins.
        """
        self._file = RemoteFile(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """The manifest, see :func:`.manifest.build_manifest`."""
        return pd.read_parquet(BytesIO(self._file.read()))

    def save(self, data: ManifestPlan) -> None:
        """Check the files and write the manifest in one step.

        Raises:
            DatasetInputError: Files cannot be read, or would spoil a result.
        """
        known = self.load() if self._file.exists() else None
        try:
            manifest = build_manifest(data.folder, data.records, known, verify=data.verify)
            if data.strict:
                refuse_spoiled(manifest, data.folder.root)
        except InputError as error:
            raise DatasetInputError(str(error)) from error
        self._file.write(manifest.to_parquet(index=False))

    def _exists(self) -> bool:
        return self._file.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._file.url}

    def preview(self, nrows: int = 20) -> TablePreview:
        """The first rows, for Kedro-Viz."""
        return TablePreview(self.load().head(nrows).to_dict("split"))
