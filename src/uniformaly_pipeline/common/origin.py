"""Where a result says that it belongs, and what it says it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from uniformaly_pipeline.common.checked_file import Noted
from uniformaly_pipeline.common.errors import RUN_AGAIN, InputError
from uniformaly_pipeline.common.storage import locate

PLACE_PARTS = 6
"""Parts of a path that tell results apart: task, data set, backbone, key, category and file."""


@dataclass(frozen=True)
class Origin:
    """One state of a result.

    Attributes:
        identity: Tells it from all other states of the same result; empty while it is the
            digest of the content.
        made_from: Identities of what it was made from, by path relative to its own folder; empty
            where nobody knows.
        place: The end of its own path: a copy at another place is not that place's result.
    """

    identity: str
    made_from: Mapping[str, str] = field(default_factory=dict)
    place: str = ""

    @classmethod
    def of(cls, noted: Noted) -> Origin:
        """What :func:`note_on` kept with a file; without a note only the identity is known."""
        try:
            told = cls(**json.loads(noted.note))
        except (ValueError, TypeError):
            return cls(noted.digest)
        return replace(told, identity=told.identity or noted.digest)

    def check_place(self, path: str, what: str) -> None:
        """Refuse a copy of another result.

        Args:
            path: Path or URL of where the result lies.
            what: What it is, in words, plural.

        Raises:
            InputError: It belongs elsewhere; the line names its own place.
        """
        if not path.endswith(self.place):
            raise InputError(
                f"the {what} were copied there, they are those of {self.place}: {RUN_AGAIN}"
            )


def own_place(path: str, parts: int = PLACE_PARTS) -> str:
    """What a result at a path says of where it belongs: so many last parts of the path."""
    return "/".join(locate(path)[1].split("/")[-parts:])
