"""What encoding will take, and how far off that was."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.features.estimates import EncodingCost, peak_memory
from uniformaly_pipeline.features.store_update import update_store


def test_the_difference_is_a_share_of_the_estimate() -> None:
    measured = EncodingCost(30.0, 1_500_000_000)
    assert measured.compared_with(EncodingCost(40.0, 1_000_000_000)) == (
        "25% less time and 50% more memory than estimated"
    )
    assert measured.compared_with(EncodingCost(30.0, None)) == "as estimated"
    assert measured.compared_with(EncodingCost(30.0, 1_000_000_000)) == (
        "50% more memory than estimated"
    )
    assert str(measured) == "30.0 s and 1.50 GB of memory"


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory()
    if before is None:
        pytest.skip("this system does not tell")
    held = np.ones(before // 8 + 2**23)  # more than the peak so far
    after = peak_memory()
    assert after is not None
    assert after >= held.nbytes


def test_estimate_and_error_are_logged_early_and_at_the_end(
    fake_encoder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory grows from 1 GB in the second batch to 2 GB in the end."""
    fake_encoder.batch_size = 1
    peaks = iter([10**9, 2 * 10**9])
    stream = replace(fake_encoder.stream(["a", "b", "c"]), peak_memory=lambda: next(peaks))
    with caplog.at_level(logging.INFO):
        update_store(tmp_path, stream)
    messages = [record.getMessage() for record in caplog.records]
    before, after = (text for text in messages if "encoding" in text or "encoded" in text)
    assert re.search(r"encoding 3 images will take about \d+\.\d s and 1\.00 GB", before)
    assert "encoded 3 images in" in after
    assert "and 2.00 GB of memory" in after
    assert re.search(r"\d+% (more|less) time and 100% more memory than estimated", after)


@pytest.mark.parametrize("num_images", [1, 2, 3, 5])
def test_there_is_always_one_estimate(
    fake_encoder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, num_images: int
) -> None:
    fake_encoder.batch_size = 2
    with caplog.at_level(logging.INFO):
        update_store(tmp_path, fake_encoder.stream([str(i) for i in range(num_images)]))
    assert caplog.text.count("will take about") == 1
