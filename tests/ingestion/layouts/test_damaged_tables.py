"""Any damage to the tables that some data sets come with: images as before, or one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from miniatures import make_real_iad, make_visa

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.layouts.interface import Split

BYTES = st.binary(max_size=40) | st.text('0,"\\{}[]:\r\n\0é', max_size=40).map(str.encode)


@pytest.mark.parametrize(
    ("layout", "make", "table", "name"),
    [
        ("visa", make_visa, "split_csv/1cls.csv", "candle"),
        ("visa", make_visa, "candle/image_anno.csv", "candle"),
        ("real_iad", make_real_iad, "realiad_jsons/realiad_jsons/audiojack.json", "audiojack"),
    ],
)
def test_any_bytes_anywhere_in_a_table(
    layout: str, make: object, table: str, name: str, tmp_path: Path
) -> None:
    folder = make(tmp_path)  # type: ignore[operator]
    file = folder / table
    whole = file.read_bytes()
    ends: Counter[str] = Counter()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(whole)), st.integers(0, 9) | st.just(len(whole)), BYTES)
    def damage(start: int, length: int, put: bytes) -> None:
        file.write_bytes(whole[:start] + put + whole[start + length :])
        try:
            LAYOUTS[layout].read(ImageFolder(str(folder)), [name], Split())
            ends["read"] += 1
        except InputError as error:
            ends["refused"] += 1
            assert "\n" not in str(error)
            assert str(folder) in str(error)

    damage()
    assert ends["read"], "nothing but whole tables is read"
    assert ends["refused"] or table.endswith("anno.csv"), "all damage is overlooked"
