"""Tables for people: CSV files that spreadsheets open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from kedro_datasets.pandas import CSVDataset

from uniformaly_pipeline.common.tables import as_cells, from_cells


class TableDataset(CSVDataset):
    """kedro-datasets' CSV dataset, in which text stays text: in a spreadsheet and read back.

    A file may be called ``=1+1`` or ``0001``, a category ``null``.
    """

    def __init__(
        self, *, filepath: str, text: Sequence[str], metadata: dict[str, Any] | None = None
    ) -> None:
        """Describe the file.

        Args:
            filepath: Path or URL of the file.
            text: Columns that hold text; the others hold numbers.
            metadata: For Kedro-Viz and other plugins.
        """
        super().__init__(
            filepath=filepath,
            load_args={"dtype": str, "keep_default_na": False},
            save_args={"index": False},
            metadata=metadata,
        )
        self._text = tuple(text)

    def load(self) -> pd.DataFrame:
        """The table as it was saved."""
        return from_cells(super().load(), self._text)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, without its index."""
        super().save(as_cells(data))
