"""A checked file, as datasets read and write it."""

from __future__ import annotations

from uniformaly_pipeline.common import checked_file
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.datasets.errors import DatasetInputError
from uniformaly_pipeline.datasets.origins import Origin, note_on, remember


class CheckedFile(checked_file.CheckedFile):
    """See :class:`.checked_file.CheckedFile`; it keeps what its content was made from.

    Kedro passes on what it says as it is.
    """

    def read(self) -> bytes:
        """The whole content.

        Raises:
            DatasetInputError: It is not what was written.
            FileNotFoundError: There is no file.
        """
        try:
            noted = self.read_noted()
        except InputError as error:
            raise DatasetInputError(str(error)) from error
        remember(self.url, Origin.of(noted).identity)
        return noted.content

    def write(self, content: bytes, identity: str = "") -> None:
        """Write in one step, with what it was made from.

        Args:
            content: The whole content.
            identity: Tells it from other states, where the digest of its content says too much.
        """
        super().write(content, note_on(self.url, identity))
