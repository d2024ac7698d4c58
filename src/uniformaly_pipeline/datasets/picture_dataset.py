"""Pictures as PNG files."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview
from kedro_datasets.partitions import PartitionedDataset
from PIL import Image

from uniformaly_pipeline.common.remote_file import RemoteFile, stored
from uniformaly_pipeline.common.storage import locate
from uniformaly_pipeline.datasets.previews import COLUMNS, PREVIEW_IMAGES, picture_preview
from uniformaly_pipeline.reporting.figures.pictures import contact_sheet


class PictureDataset(AbstractDataset[Image.Image, bytes]):
    """Saves a Pillow image as PNG and loads the file's bytes, as reports embed them."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Describe the file.

        Args:
            filepath: Path or URL of the file.
            metadata: For Kedro-Viz and other plugins.
        """
        self._file = RemoteFile(filepath)
        self.metadata = metadata

    def load(self) -> bytes:
        """The encoded picture."""
        return self._file.read()

    def save(self, data: Image.Image) -> None:
        """Encode and write the picture."""
        content = BytesIO()
        data.save(content, "PNG")
        self._file.write(content.getvalue())

    def _exists(self) -> bool:
        return self._file.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._file.url}

    def preview(self) -> ImagePreview:
        """The picture, for Kedro-Viz."""
        return ImagePreview(base64.b64encode(self.load()).decode("ascii"))


class PictureFolderDataset(PartitionedDataset):
    """A folder of PNG files, by name; shown in Kedro-Viz as a contact sheet."""

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        """Describe the folder, which a save replaces.

        Args:
            path: Path or URL of the folder.
            metadata: For Kedro-Viz and other plugins.
        """
        super().__init__(
            path=path,
            dataset=PictureDataset,
            filename_suffix=".png",
            overwrite=True,
            metadata=metadata,
        )

    @property
    def _filesystem(self) -> Any:
        """As results are found everywhere: with credentials, and this process's own."""
        return locate(self._path)[0]

    def save(self, data: dict[str, Any]) -> None:
        """Write the pictures, in place of those that were there.

        Raises:
            InputError: Where the folder lies does not answer.
        """
        with stored(self._path, "written"):
            self._filesystem.exists(self._normalized_path)
        super().save(data)

    def preview(self) -> ImagePreview:
        """Pictures from all over the folder."""
        loaders = self.load()
        names = sorted(loaders)
        step = -(-len(names) // PREVIEW_IMAGES)
        shown = {name: Image.open(BytesIO(loaders[name]())) for name in names[::step]}
        return picture_preview(contact_sheet(list(shown.values()), COLUMNS, list(shown)))
