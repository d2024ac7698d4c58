"""Arrays and plain containers come through; whatever a hostile pickle names never runs."""

from __future__ import annotations

import builtins
import collections
import copyreg
import functools
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.layouts.restricted_pickle import load_arrays


def read(content: bytes) -> Any:
    return load_arrays(io.BytesIO(content))


def refused(content: bytes) -> str:
    with pytest.raises(InputError) as error:
        load_arrays(io.BytesIO(content), "data_batch_1")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("data_batch_1 ")
    return message


# --- good ones ------------------------------------------------------------------------------------


def text_2(text: bytes) -> bytes:
    """Python 2's ``str``, which holds bytes."""
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else long_text_2(text)


def long_text_2(text: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(text)) + text


def array_2(array: np.ndarray, module: bytes, dtype: bytes = b"u1", order: bytes = b"|") -> bytes:
    """An array of two dimensions as numpy writes it under python 2, protocol 2."""
    height, width = (b"M" + struct.pack("<H", side) for side in array.shape)
    return (
        b"c" + module + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + height + width + b"\x86cnumpy\ndtype\n" + text_2(dtype) + b"K\x00K\x01\x87R"
        b"(K\x03"
        + text_2(order)
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + long_text_2(array.tobytes())
        + b"tb"
    )


def batch_2(array: np.ndarray, labels: list[int], module: bytes) -> bytes:
    return (
        b"\x80\x02}q\x01("
        + text_2(b"data") + array_2(array, module)
        + text_2(b"labels") + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
        + text_2(b"batch_label") + text_2(b"training batch 1 of 5")
        + b"u."
    )  # fmt: skip


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_a_batch_of_python_2(module: bytes) -> None:
    # All 256 bytes: a wrong text encoding would change or refuse some.
    array = np.arange(2 * 256, dtype=np.int64).astype(np.uint8).reshape(2, 256)
    batch = read(batch_2(array, [3, 9], module))
    assert list(batch) == ["data", "labels", "batch_label"]
    assert batch["data"].dtype == np.uint8
    assert batch["data"].shape == (2, 256)
    assert np.array_equal(batch["data"], array)
    assert batch["labels"] == [3, 9]
    assert batch["batch_label"] == "training batch 1 of 5"


def test_the_hand_made_pickle_is_what_numpy_reads() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    batch = pickle.loads(batch_2(array, [1], b"numpy.core.multiarray"), encoding="latin1")
    assert np.array_equal(batch["data"], array)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("dtype", ["u1", "?", "<i2", ">i4", "<i8", "<f2", "<f4", ">f8"])
def test_arrays_of_every_protocol(protocol: int, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for given in (array, np.asfortranarray(array), array[0, 0, 0:1]):
        read_back = read(pickle.dumps(given, protocol))
        assert type(read_back) is np.ndarray
        assert read_back.dtype == given.dtype
        assert np.array_equal(read_back, given)


@pytest.mark.parametrize("protocol", range(5))
def test_plain_containers_of_every_protocol(protocol: int) -> None:
    shared = [1, -(2**70), 2.5]
    plain: Any = {
        "a": shared,
        "b": (shared, None, True, False),
        3: ("x", "é", b"\x00\xff"),
        "c": ({},),
    }
    assert read(pickle.dumps(plain, protocol)) == plain


def test_an_array_shared_by_two_containers_stays_one() -> None:
    array = np.zeros(3, np.uint8)
    first, second = read(pickle.dumps([array, {"again": array}], 2))
    assert second["again"] is first


# --- hostile ones ---------------------------------------------------------------------------------


class Runs:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nest", [lambda bad: bad, lambda bad: {"data": [np.zeros(2), (bad,)]}])
def test_a_call_of_the_system_does_not_happen(tmp_path: Path, protocol: int, nest: Any) -> None:
    witness = tmp_path / "witness"
    content = pickle.dumps(nest(Runs(os.system, f"touch {witness}")), protocol)
    refused(content)
    assert not witness.exists()
    # The pickle does run where nothing stops it.
    pickle.loads(content)
    assert witness.exists()


@pytest.mark.parametrize(
    "function",
    [
        *(os.system, builtins.eval, builtins.getattr, functools.partial, io.open),
        *(copyreg.constructor, collections.OrderedDict, builtins.set, builtins.list),
        *(np.load, np.asarray, np.fromfile),
    ],
    ids=lambda function: function.__name__,
)
def test_a_name_outside_the_list_is_refused_and_named(function: Any) -> None:
    message = refused(pickle.dumps(Runs(function, "1"), 2))
    assert function.__name__ in message
    assert "only arrays and plain containers are read" in message


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    "content",
    [
        b"(S'touch WITNESS'\nios\nsystem\n.",  # INST
        b"(" + global_("os", "system") + b"S'touch WITNESS'\no.",  # OBJ
        global_("os", "system") + b"(S'touch WITNESS'\ntR.",  # GLOBAL, REDUCE
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0dtouch WITNESS\x85R.",  # STACK_GLOBAL
        # BUILD calls __setstate__, which an earlier BUILD has put in the place of an attribute.
        global_("numpy", "ndarray") + b"}S'__setstate__'\n" + global_("os", "system") + b"sb"
        b"S'touch WITNESS'\nb.",
        b"\x80\x02" + global_("numpy", "ndarray") + b")\x81.",  # NEWOBJ
        b"\x80\x04" + global_("numpy", "ndarray") + b")}\x92.",  # NEWOBJ_EX
        b"S'id'\nQ.",  # BINPERSID
        b"Pid\n.",  # PERSID
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02\x83\x01\x00.",  # EXT2
        b"\x80\x02\x84\x01\x00\x00\x00.",  # EXT4
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x04\x8f.",  # EMPTY_SET
        b"\x80\x04\x8c\x05os\n\x1b[\x8c\x06system\x93.",  # a name that would spoil the message
    ],
)
def test_other_ways_to_run_code(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(content)
    assert not list(tmp_path.iterdir())


def test_an_extension_code_is_refused_even_if_the_process_has_used_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unpickler's cache would hand out the function without asking for its name."""
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension(os.system.__module__, "system", 240)
    try:
        content = b"\x80\x02\x82\xf0U\x0dtouch WITNESS\x85R."
        pickle.loads(content)
        (tmp_path / "WITNESS").unlink()
        assert "EXT1" in refused(content)
        assert not list(tmp_path.iterdir())
    finally:
        copyreg.remove_extension(os.system.__module__, "system", 240)


def test_arrays_of_objects_records_and_text_are_refused() -> None:
    for array in (
        np.array([{}, None], dtype=object),
        np.zeros(2, [("a", "u1")]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2020"], "datetime64[Y]"),
        np.zeros(2, np.complex64),
    ):
        refused(pickle.dumps(array, 2))
    refused(pickle.dumps(np.array([Runs(os.getpid)], dtype=object), 2))
    # The code of an object dtype in an array that looks like numbers otherwise.
    ones = np.ones((2, 2), np.uint8)
    for code in (b"O8", b"O", b"V1", b"u1,O", b"M8", b"u3"):
        content = b"\x80\x02" + array_2(ones, b"numpy.core.multiarray", code) + b"."
        assert f"dtype {code.decode()!r}" in refused(content)


@pytest.mark.parametrize(
    "arguments",
    [("text", "utf-16"), ("text", "rot13"), ("text",), (b"text", "latin1"), ("é", "latin1", "x")],
)
def test_encode_serves_bytes_only(arguments: tuple[Any, ...]) -> None:
    import _codecs

    assert "_codecs.encode" in refused(pickle.dumps(Runs(_codecs.encode, *arguments), 3))


def test_arrays_that_do_not_add_up_are_refused() -> None:
    ones = np.ones((2, 2), np.uint8)
    good = array_2(ones, b"numpy.core.multiarray")
    read(b"\x80\x02" + good + b".")
    for old, new in (
        (b"M\x02\x00M\x02\x00", b"M\x02\x00M\x03\x00"),  # more pixels than bytes
        (b"M\x02\x00M\x02\x00", b"J\xfe\xff\xff\xffJ\xfe\xff\xff\xff"),  # -2 x -2
        (b"M\x02\x00M\x02\x00", b"M\x02\x00U\x012"),
        (b"K\x00\x85U\x01b\x87R", b"J\xff\xff\xff\x7f\x85U\x01b\x87R"),  # space for 2 GiB
        (b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
        # Flags say that the bytes are pointers to objects.
        (b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t", b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft"),
        (b"NNNJ\xff\xff\xff\xff", b"NNNK\x08"),  # another size of element
    ):
        assert old in good
        refused(b"\x80\x02" + good.replace(old, new) + b".")


def test_unfinished_pieces_of_arrays_are_refused() -> None:
    for content in (
        global_("numpy", "ndarray"),
        global_("numpy", "dtype"),
        global_("numpy", "dtype") + b"(S'u1'\ntR",
        global_("_codecs", "encode"),
        global_("numpy.core.multiarray", "_reconstruct"),
        global_("numpy.core.multiarray", "_reconstruct") + global_("numpy", "ndarray")
        + b"(I0\ntS'b'\n\x87R",
    ):  # fmt: skip
        refused(content + b".")
        refused(b"(" + content + b"l.")
        refused(b"}" + content + b"I1\ns.")


def test_state_cannot_be_set_on_what_a_name_stands_for() -> None:
    for name in (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")):
        for state in (b"}S'a'\nI1\ns", b"(N}S'__class__'\nI1\nst"):
            refused(global_(*name) + state + b"b.")


def test_damaged_pickles_and_bombs_are_refused() -> None:
    good = pickle.dumps({"data": np.zeros(100, np.uint8), "labels": [1, 2]}, 2)
    for cut in (0, 1, 10, len(good) // 2, len(good) - 1):
        refused(good[:cut])
    refused(b"no pickle at all")
    # Memory for 2**31 - 1 entries.
    for content in (b"\x80\x02Nr\xff\xff\xff\x7f.", b"Np2147483647\n."):
        assert "memory index" in refused(content)
    refused(b"(" * 100_000 + b"l" * 100_000 + b".")
    loop: list[Any] = []
    loop.append(loop)
    assert "holds itself" in refused(pickle.dumps(loop, 2))
    shared: list[Any] = []
    for _ in range(60):  # 2**60 elements if each were visited by itself
        shared = [shared, shared]
    read(pickle.dumps(shared, 2))


def test_the_file_s_own_name_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_3"
    path.write_bytes(b"")
    with path.open("rb") as file, pytest.raises(InputError, match="data_batch_3"):
        load_arrays(file)
    with pytest.raises(InputError, match=r"^the pickle"):
        read(b"")
