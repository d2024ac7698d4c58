"""When garbage is collected."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from uniformaly_pipeline.common.garbage import collect_garbage, leave_garbage


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The collector as other tests want it."""
    was_on = gc.isenabled()
    yield
    collect_garbage()
    gc.unfreeze()
    (gc.enable if was_on else gc.disable)()


def test_none_is_collected_until_it_is_asked_for() -> None:
    gc.enable()
    leave_garbage()
    assert not gc.isenabled()
    collect_garbage()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize("is_on", [True, False])
def test_who_never_left_it_keeps_the_collector_as_it_is(is_on: bool) -> None:
    """A notebook's session runs the same hooks."""
    (gc.enable if is_on else gc.disable)()
    before = gc.get_freeze_count()
    collect_garbage()
    assert gc.isenabled() == is_on
    assert gc.get_freeze_count() == before
