"""A dataset of any format in one file, written in one step and checked when it is read."""

from __future__ import annotations

import posixpath
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import AbstractDataset

from uniformaly_pipeline.common.storage import local_path
from uniformaly_pipeline.datasets.errors import damage_as_warning
from uniformaly_pipeline.datasets.files import CheckedFile
from uniformaly_pipeline.datasets.origins import identity_of_content


class CheckedDataset(AbstractDataset[Any, Any]):
    """Has another dataset write and read the bytes of a file, and keeps them itself.

    What kedro-datasets' own classes lack: a file appears whole or not at all, and what is read is
    what was written, see :class:`.files.CheckedFile`.

    Example of a catalog entry::

        "{task}.metrics":
          type: uniformaly_pipeline.datasets.checked_dataset.CheckedDataset
          dataset: {type: json.JSONDataset, save_args: {indent: 2}}
          filepath: data/08_reporting/{task}/metrics.json
    """

    def __init__(
        self,
        *,
        filepath: str,
        dataset: str | dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Describe the file.

        Args:
            filepath: Path or URL of the file.
            dataset: The dataset that knows its format, as in a catalog but without a path.
            metadata: For Kedro-Viz and other plugins.
        """
        self._location = filepath
        if "://" not in local_path(filepath):
            # Kedro-Viz asks for the size of what it finds under this name, after each node, and of
            # a URL without its credentials: somebody else's server, perhaps, and many tries.
            self._filepath = filepath
        self._file = CheckedFile(filepath)
        self._format = {"type": dataset} if isinstance(dataset, str) else dict(dataset)
        self.metadata = metadata

    def load(self) -> Any:
        """Read the file.

        Raises:
            DatasetInputError: It is not what was written.
        """
        content = self._file.read()
        with self._in_memory() as (url, path):
            MemoryFileSystem().pipe_file(path, content)
            return self._at(url).load()

    def save(self, data: Any) -> None:
        """Write the file in one step."""
        with self._in_memory() as (url, path):
            self._at(url).save(data)
            content = MemoryFileSystem().cat_file(path)
        self._file.write(content, identity_of_content(data))

    def paths(self) -> list[str]:
        """The file."""
        return [self._location]

    @contextmanager
    def _in_memory(self) -> Iterator[tuple[str, str]]:
        """A place of its own for the file's bytes: its URL and its path there."""
        path = f"/{uuid.uuid4().hex}-{posixpath.basename(self._location)}"
        try:
            yield f"memory://{path}", path
        finally:
            with suppress(FileNotFoundError):
                MemoryFileSystem().rm_file(path)

    def _at(self, filepath: str) -> Any:
        config = {**self._format, "filepath": filepath}
        return AbstractDataset.from_config(type(self).__name__, config)

    def set_aside_damage(self) -> None:
        """Set the file aside if it is not what was written, with a warning."""
        with damage_as_warning():
            self._file.read()

    def _exists(self) -> bool:
        return self._file.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._location, "dataset": self._format}

    def __getattr__(self, name: str) -> Any:
        """``preview`` as the format's dataset has it, for Kedro-Viz."""
        if name != "preview":
            raise AttributeError(name)
        preview = self._at(posixpath.basename(self._location)).preview

        @wraps(preview)
        def checked(*args: Any, **options: Any) -> Any:
            content = self._file.read()
            # Some formats look at local files only.
            with tempfile.TemporaryDirectory(prefix="uniformaly-") as folder:
                copy = Path(folder, posixpath.basename(self._location))
                copy.write_bytes(content)
                return self._at(str(copy)).preview(*args, **options)

        return checked
