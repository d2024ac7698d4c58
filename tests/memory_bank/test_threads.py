"""One thread for many small steps."""

from __future__ import annotations

import pytest
import torch

from uniformaly_pipeline.memory_bank.threads import single_thread


def test_the_number_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="no"), single_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("no")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
