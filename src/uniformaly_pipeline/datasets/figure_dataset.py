"""Matplotlib figures that can be read back."""

from __future__ import annotations

from kedro_datasets.matplotlib import MatplotlibDataset


class FigureDataset(MatplotlibDataset):
    """kedro-datasets' figure dataset, which only saves, with loading of the picture file."""

    def load(self) -> bytes:
        """The figure as saved, an encoded picture (PNG)."""
        content: bytes = self._fs.cat_file(str(self._get_load_path()))
        return content
