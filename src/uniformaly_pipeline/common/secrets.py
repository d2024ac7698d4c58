"""Users, passwords and keys in addresses: told to servers, shown to nobody.

Everything that leaves the program (error lines, logs, reports, MLflow) goes through
:func:`without_secrets`, the one place that knows what a secret looks like.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
"""Stands for a secret in the query of a URL."""

_USER = re.compile(
    # github://owner:repository@ has neither user nor password.
    r"(?<!github)://(?:"
    r"[^/?#\s]*"
    # A password in which / ? # were not written as %2F %3F %23. A port is none, nor is "::".
    r"|[^/?#\s:@]*:(?!:|\d{1,5}[/?#\s])\S*"
    r")@"
)
_QUERY = re.compile(
    r"([?&;](?:sig|[\w.-]*(?:secret|token|passw|pwd|signature|credential|api_?key|access_?key)[\w.-]*)=)"
    r"[^&;#\s'\"]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """A text without the users, passwords and keys of the URLs in it.

    >>> without_secrets("https://me:pw@host/a?sig=x&page=2 is not there")
    'https://host/a?sig=***&page=2 is not there'
    """
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub("://", text)) if "://" in text else text


def hide_secrets(values: Any) -> tuple[Any, dict[str, str]]:
    """Plain nested values without secrets, and the addresses that had some.

    Args:
        values: Mappings, lists and plain values.

    Returns:
        The same values, and full addresses by what is left of them.
    """
    addresses: dict[str, str] = {}

    def cleaned(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {cleaned(key): cleaned(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(cleaned(inner) for inner in value)
        if isinstance(value, str) and (shown := without_secrets(value)) != value:
            addresses[shown] = value
            return shown
        return value

    return cleaned(values), addresses


def split_user(url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without its user and password, and these, decoded.

    >>> split_user("https://me:p%40ss@host/a")
    ('https://host/a', ('me', 'p@ss'))
    """
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, None
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote(name), unquote(password))


def scrub(error: BaseException | None) -> None:
    """Take the secrets out of what an exception and its causes say."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(
            without_secrets(part) if isinstance(part, str) else part for part in error.args
        )
        for name in (*vars(error), "filename", "filename2"):
            value = getattr(error, name, None)
            if isinstance(value, str) and (shown := without_secrets(value)) != value:
                setattr(error, name, shown)
        error = error.__cause__ or error.__context__


class SecretsFilter(logging.Filter):
    """Keeps secrets out of a handler's log: of messages and of tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, with its secrets taken out."""
        message = record.getMessage()
        if (shown := without_secrets(message)) != message:
            record.msg, record.args = shown, ()
        if record.exc_info:
            scrub(record.exc_info[1])
        if record.exc_text:
            record.exc_text = without_secrets(record.exc_text)
        return True
