"""What the machine cannot do is told in one line; mistakes of the program are not."""

from __future__ import annotations

import errno
import os
import pickle
import sqlite3
from concurrent.futures import ProcessPoolExecutor

import pytest
from safetensors import SafetensorError

from uniformaly_pipeline.common.errors import InputError, find_input_error
from uniformaly_pipeline.common.machine import FAULTS, machine_fault


def os_error(number: int, path: str | None = "/data/x") -> OSError:
    parts = (number, os.strerror(number)) if path is None else (number, os.strerror(number), path)
    return OSError(*parts)


def caused(error: BaseException) -> Exception:
    """An error of a library around another one."""
    try:
        try:
            raise error
        except BaseException as cause:
            raise RuntimeError("Failed while saving data") from cause
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize("number", FAULTS)
def test_every_fault_names_the_path_and_what_to_do(number: int) -> None:
    said = machine_fault(caused(os_error(number)))
    assert said is not None
    assert "\n" not in said
    assert ": " in said
    if number != errno.ENOMEM:
        assert "/data/x" in said
        assert "{" not in str(machine_fault(os_error(number, None)))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "the memory is full"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), "the GPU's memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "the memory is full"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "was killed"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "(readonly database)"),
        (sqlite3.OperationalError("disk I/O error"), "MLflow's database cannot be"),
        (SafetensorError("I/O error: No space left (os error 28)"), "the disk is full: make room"),
        (sqlite3.OperationalError("database or disk is full"), "MLflow's database cannot be"),
    ],
)
def test_memory_and_databases(error: Exception, expected: str) -> None:
    assert expected in str(machine_fault(caused(error)))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("shapes differ"), KeyError("x"), FileNotFoundError(2, "no such file", "x"),
        sqlite3.OperationalError("no such table"), SafetensorError("HeaderTooSmall"),
        ConnectionRefusedError(111, "no"), OSError(),
    ],
)  # fmt: skip
def test_mistakes_of_the_program_are_not_the_machines(error: Exception) -> None:
    assert machine_fault(caused(error)) is None
    assert find_input_error(caused(error)) is None


def test_a_cause_that_was_put_away_does_not_count() -> None:
    try:
        try:
            raise os_error(errno.EACCES)
        except OSError:
            raise ValueError("of our own") from None
    except ValueError as error:
        assert machine_fault(error) is None


def test_bad_input_goes_before_the_machine() -> None:
    try:
        raise InputError("x is unreadable: mend it") from os_error(errno.EACCES)
    except InputError as error:
        assert str(find_input_error(error)) == "x is unreadable: mend it"


def fail_in_a_process() -> None:
    raise caused(os_error(errno.ENOSPC, "/data/it's x"))


def test_what_another_process_could_not_do() -> None:
    with ProcessPoolExecutor(1) as pool:
        error = pool.submit(fail_in_a_process).exception()
    assert type(error) is RuntimeError
    assert "the disk is full at " in str(find_input_error(error))
    assert pickle.loads(pickle.dumps(InputError("a"))).args == ("a",)
