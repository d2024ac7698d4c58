"""What datasets say of files that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from kedro.io import DatasetError

from uniformaly_pipeline.common.errors import InputError

logger = logging.getLogger(__name__)


class DatasetInputError(DatasetError, InputError):
    """An input error that Kedro passes on as it is; it wraps others in a message of its own."""


@runtime_checkable
class CanBeDamaged(Protocol):
    """A dataset that checks what it reads."""

    def set_aside_damage(self) -> None:
        """Set what is damaged aside, with a warning: it is as if it were not there."""


@contextmanager
def damage_as_warning() -> Iterator[None]:
    """Log what a dataset says of a damaged file; one that is not there is not damaged."""
    try:
        yield
    except FileNotFoundError:
        return
    except InputError as error:
        logger.warning("%s", error)
