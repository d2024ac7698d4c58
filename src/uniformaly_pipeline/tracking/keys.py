"""Names and values in a form that MLflow takes."""

from __future__ import annotations

import hashlib
import re

LONGEST_KEY = 250
LONGEST_VALUE = 6000
"""Characters that MLflow takes of a parameter's value; it cuts longer ones."""

_DIGEST = 12
_REFUSED = re.compile(
    # Letters of any script, digits and these are taken; a slash must not make a path.
    r"[^\w.\- ]"
    # What looks like one of our own escapes.
    r"|_(?=x[0-9A-F]{4,6}_)"
    # ".." and the like are no names.
    r"|^\."
)


def mlflow_key(key: str) -> str:
    """A key that MLflow takes, another one for every key.

    What it refuses becomes ``_x28_`` and the like, the character's number, as in spreadsheets. A
    key that is too long is cut and ends in a hash of it all.

    >>> mlflow_key("datasets.line 2.root"), mlflow_key("datasets.a(1).root")
    ('datasets.line 2.root', 'datasets.a_x0028_1_x0029_.root')
    """
    taken = _REFUSED.sub(lambda match: f"_x{ord(match.group()):04X}_", key)
    if len(taken) <= LONGEST_KEY:
        return taken
    digest = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST]
    return f"{taken[: LONGEST_KEY - _DIGEST - 1]}-{digest}"


def mlflow_value(value: object) -> str:
    r"""A value as text that any database holds: file names need not be UTF-8.

    >>> mlflow_value("caf\udce9")
    'caf\\udce9'
    """
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
