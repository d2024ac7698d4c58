"""Damaged files end in pixels or in one line with their name; the long form is a command."""

from __future__ import annotations

import pytest

from tools.fuzz_images import fuzz, originals, outcome
from uniformaly_pipeline.ingestion import decoding


def test_damaged_files_of_all_formats_end_in_pixels_or_a_line_with_their_name() -> None:
    ends = fuzz(600, seed=1)
    assert set(ends) == {"pixels", "named"}
    assert min(ends.values()) > 100


def test_sound_files_of_all_formats_are_read() -> None:
    """But for those that Pillow only writes, or reads with another program's help."""
    unread = {
        name.split("_")[0]
        for name, content in originals().items()
        if outcome(content, "a", as_mask=False) != "pixels"
    }
    assert unread <= {"PDF", "EPS", "PALM", "WMF", "BUFR", "GRIB", "HDF5"}


def test_the_fuzz_sees_an_error_that_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "decode_bytes", None)
    monkeypatch.setattr(decoding.Decoded, "to_rgb", lambda *_: 1 / 0)
    assert "ZeroDivisionError: division by zero" in fuzz(60)
