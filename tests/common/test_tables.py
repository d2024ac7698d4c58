"""What a table says is what a spreadsheet shows, and what is read back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformaly_pipeline.common.tables import as_cells, from_cells, to_csv

ODD = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\tx", "'=1", "''=1", "'x", "0001", "1e5", "null", "nan",
    "NaN", "None", "", "a,b", 'a"b', "a\nb", " a ", "é", "true", "-",
]  # fmt: skip
FORMULA = tuple("=+-@\t\r")


def read(csv: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(csv, newline=""), dtype=str, keep_default_na=False)


def back(table: pd.DataFrame, *texts: str) -> pd.DataFrame:
    return from_cells(read(to_csv(table)), texts)


def test_no_cell_is_a_formula() -> None:
    table = pd.DataFrame({"=name": ODD, "score": range(len(ODD))})
    cells = read(to_csv(table))
    assert not any(cell.startswith(FORMULA) for name in cells for cell in [name, *cells[name]])
    assert back(table, "=name")["=name"].tolist() == ODD


def test_negative_numbers_stay_numbers() -> None:
    table = pd.DataFrame({"a": [-1, 2], "b": [-0.5, np.nan], "c": ["-1", "x"]})
    assert to_csv(table) == "a,b,c\n-1,-0.5,'-1\n2,,x\n"


@pytest.mark.parametrize("dtype", [object, "string"])
def test_texts_that_look_like_numbers_are_read_back_as_texts(dtype: Any) -> None:
    table = pd.DataFrame({"image": pd.Series(["0001", "null"], dtype=dtype), "score": [0.1, 2]})
    found = back(table, "image")
    assert found["image"].tolist() == ["0001", "null"]
    assert found["score"].tolist() == [0.1, 2.0]


@given(st.lists(st.floats(allow_infinity=True), min_size=1))
def test_numbers_are_read_back_as_they_were(numbers: list[float]) -> None:
    found = back(pd.DataFrame({"a": numbers, "b": range(len(numbers))}))
    np.testing.assert_array_equal(found["a"].to_numpy(float), numbers)
    assert found["b"].dtype == "int64"


def test_columns_of_neither_kind_are_texts() -> None:
    found = back(pd.DataFrame({"a": ["x", "=y"], "b": ["1", ""], "c": ["", ""]}))
    assert found["a"].tolist() == ["x", "=y"]
    assert found["b"].isna().tolist() == [False, True]
    assert found["c"].isna().all()


def test_an_empty_table_keeps_its_columns() -> None:
    assert list(back(pd.DataFrame({"image": [], "score": []}), "image")) == ["image", "score"]


def test_the_table_itself_is_not_changed() -> None:
    table = pd.DataFrame({"=a": ["=1"]})
    as_cells(table)
    assert table.to_dict("list") == {"=a": ["=1"]}
