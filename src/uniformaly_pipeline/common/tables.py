"""Tables as CSV that a spreadsheet shows as they are, and that are read back as they were."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a cell begins that a spreadsheet would compute, and one that was marked as text before."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def as_cells(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts a spreadsheet takes for texts: a ``'`` goes before what starts a formula.

    Names of files and folders come from outside; ``=HYPERLINK(...)`` is one.

    >>> import pandas as pd
    >>> to_csv(pd.DataFrame({"image": ["=1+1", "a.png"], "score": [-0.5, 1.0]})).split()
    ['image,score', "'=1+1,-0.5", 'a.png,1.0']
    """
    # A detector on a line writes cells without pandas.
    import pandas as pd

    cells = table.copy()
    for name in cells.columns:
        if not pd.api.types.is_numeric_dtype(cells[name]):
            cells[name] = cells[name].map(as_cell)
    return cells.rename(columns=as_cell)


def from_cells(cells: pd.DataFrame, texts: Collection[str]) -> pd.DataFrame:
    """A table from cells that were all read as text, see :func:`as_cells`.

    Args:
        cells: The cells; an empty one is an empty text, or no number.
        texts: Columns that are text, whatever it looks like: ``0001``, ``null``, ``nan``.

    Returns:
        Other columns are int64 or float64 where all of their cells are numbers.
    """
    table = cells.rename(columns=_as_text)
    for name in table.columns:
        if name in texts:
            table[name] = table[name].map(_as_text)
        else:
            table[name] = _numbers(table[name])
    return table


def to_csv(table: pd.DataFrame) -> str:
    """A table without its index as CSV for people and spreadsheets."""
    text: str = as_cells(table).to_csv(index=False)
    return text


def as_cell(value: Any) -> Any:
    """A value as :func:`as_cells` writes it."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _as_text(cell: Any) -> Any:
    is_marked = isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell)
    return cell[1:] if is_marked else cell


def _numbers(column: pd.Series) -> pd.Series:
    if len(column) and all(map(_INTEGER.fullmatch, column)):
        return column.astype("int64")
    try:
        # Python reads back the very number that was written.
        return column.map(lambda cell: float(cell or "nan")).astype(float)
    except ValueError:
        return column.map(_as_text)
