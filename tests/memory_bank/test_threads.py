"""One thread for many small steps."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from uniformaly_pipeline.memory_bank.threads import side_by_side, single_thread


def test_the_number_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="no"), single_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("no")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("num_items", "workers"), [(7, 3), (3, 3), (2, 2), (1, 1), (0, 1)])
def test_every_step_is_done_once_with_one_thread_each(num_items: int, workers: int) -> None:
    done: list[int] = []
    threads: list[int] = []
    made: list[int] = []

    def make_step() -> Callable[[int], None]:
        made.append(threading.get_ident())

        def step(item: int) -> None:
            done.append(item)
            threads.append(torch.get_num_threads())

        return step

    side_by_side(make_step, range(num_items))
    assert sorted(done) == list(range(num_items))
    assert set(threads) <= {1}
    assert len(made) == workers
    if workers == 1:
        assert made == [threading.get_ident()]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_a_step_is_not_lost() -> None:
    def step(item: int) -> None:
        if item == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        side_by_side(lambda: step, range(9))


def test_with_one_thread_steps_are_done_in_order() -> None:
    done: list[int] = []
    with single_thread():
        side_by_side(lambda: done.append, range(5))
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no forks")
def test_a_fork_has_threads_of_its_own() -> None:
    """The threads stay for the next time, and those of its parent do nothing in a fork."""
    side_by_side(lambda: lambda item: None, range(5))

    def work() -> None:
        done: list[int] = []
        side_by_side(lambda: done.append, range(5))
        assert sorted(done) == list(range(5))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(20)
    process.kill()
    assert process.exitcode == 0
