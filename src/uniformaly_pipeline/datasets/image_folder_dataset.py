"""A data set's folder of raw images as a Kedro dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview
from PIL import Image

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.files import new_folder
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, as_path
from uniformaly_pipeline.common.secrets import without_secrets
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.previews import folder_preview
from uniformaly_pipeline.ingestion.decoding import MAX_PIXELS
from uniformaly_pipeline.ingestion.images import ImageFolder, single_image
from uniformaly_pipeline.ingestion.layouts.demo import DrawnImages
from uniformaly_pipeline.ingestion.roots import open_root

VERSION_NAME, UNFINISHED = ".version", b"unfinished"
"""The file that says which images were drawn, and what it says before all are there."""


class ImageFolderDataset(AbstractDataset[DrawnImages, ImageFolder]):
    """Loading gives access to the images below a root; saving puts fabricated ones there."""

    def __init__(
        self,
        *,
        filepath: str,
        layout: str | None = None,
        credentials: dict[str, Any] | None = None,
        max_pixels: int = MAX_PIXELS,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Describe the folder.

        Args:
            filepath: Root of the data set, a local path or a URL.
            layout: How the data set is laid out; its own folder may then lie one level up or
                down, and a published archive is unpacked. Without it the root is taken as it is.
            credentials: What the file system must know, such as keys.
            max_pixels: Most pixels that an image may have.
            metadata: For Kedro-Viz and other plugins.
        """
        self._root = filepath
        self._layout = layout
        options = json.dumps(credentials or {}, sort_keys=True)
        self._folder = ImageFolder(filepath, options, max_pixels)
        self.metadata = metadata

    @property
    def root(self) -> str:
        """Root of the data set, as it was given."""
        return self._root

    def load(self) -> ImageFolder:
        """Access to the images; nothing is read yet, but a published archive is unpacked.

        Raises:
            DatasetInputError: The data set is not there, or its archive is unsafe.
        """
        if self._layout is None:
            return single_image(self._folder)
        try:
            return open_root(self._layout, self._folder)
        except InputError as error:
            raise DatasetInputError(str(error)) from error

    def save(self, data: DrawnImages) -> None:
        """Draw the images, unless the same ones are there; a local folder appears in one step.

        Raises:
            DatasetInputError: The folder holds something else, which is left alone.
        """
        root = as_path(self._root)
        drawn = _version(root)
        if drawn is None and not _is_free(root):
            raise DatasetInputError(
                f"the fabricated images need a folder of their own, not {self._root}: "
                "set the data set's root to a new folder"
            )
        if drawn == data.version:
            return
        images = track(data.draw(), data.num_images, "Drawing the data set", "files")
        if isinstance(root, RemotePath):
            _draw_elsewhere(root, images, data.version)
        else:
            _draw(root, images, data.version)

    def _exists(self) -> bool:
        return self._folder.exists()

    def _describe(self) -> dict[str, Any]:
        # Kedro-Viz and error messages show it.
        return {"filepath": without_secrets(self._root)}

    def preview(self) -> ImagePreview:
        """A contact sheet of images from all over the folder, for Kedro-Viz."""
        return folder_preview(self.load())


def _draw(root: Path, images: Iterable[tuple[str, Image.Image]], version: str) -> None:
    try:
        with new_folder(root) as part:
            for path, image in images:
                (part / path).parent.mkdir(parents=True, exist_ok=True)
                image.save(part / path, compress_level=1)
            (part / VERSION_NAME).write_text(version, encoding="utf-8")
            if _version(root) == version:
                raise FileExistsError(root)
            shutil.rmtree(root, ignore_errors=True)
    except OSError:
        # Another run drew the same images meanwhile, and may be reading them.
        if _version(root) != version:
            raise


def _draw_elsewhere(
    root: RemotePath, images: Iterable[tuple[str, Image.Image]], version: str
) -> None:
    """One after the other: what says that all are there comes last."""
    (root / VERSION_NAME).write_bytes(UNFINISHED)
    for path, image in images:
        content = BytesIO()
        image.save(content, Path(path).suffix[1:].upper(), compress_level=1)
        (root / path).write_bytes(content.getvalue())
    (root / VERSION_NAME).write_bytes(version.encode())


def _version(root: AnyPath) -> str | None:
    """Which images a folder holds; None where it holds none that were drawn."""
    try:
        return (root / VERSION_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _is_free(root: AnyPath) -> bool:
    """Whether a folder is not there, or empty."""
    if isinstance(root, RemotePath):
        return not root.exists()
    return not root.exists() or not any(root.iterdir())
