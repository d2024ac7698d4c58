"""Reading pickles that hold arrays and plain containers, without running what they say.

A pickle is a program: reading it calls whatever it names. Here nothing it names is ever looked
up. The few names that arrays need stand for the closed set of builders below; every other name,
and every instruction that plain data does not need, is refused before anything is built.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from typing import IO, Any, NoReturn

import numpy as np

from uniformaly_pipeline.common.errors import InputError, first_line

_OPCODES = frozenset(
    # Numbers, text and bytes, of python 2 and 3.
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"NONE", "NEWTRUE", "NEWFALSE", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    # Containers.
    | {"EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2"}
    | {"TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"}
    # The unpickler's own stack and memory.
    | {"MARK", "POP", "POP_MARK", "DUP", "PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET"}
    | {"LONG_BINGET", "MEMOIZE", "PROTO", "FRAME", "STOP"}
    # Arrays: a name, a call, a state. Names go through find_class.
    | {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
)
"""Left out on purpose: INST, OBJ, NEWOBJ and NEWOBJ_EX make instances of classes, EXT1, EXT2 and
EXT4 take objects from a cache that find_class never sees, PERSID and BINPERSID ask the program
for objects; sets, byte arrays and out-of-band buffers are no part of plain arrays."""

_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What the readers of the standard library raise for bytes that make no sense."""

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Booleans, integers and floats. Objects, records, text and times are none of our data."""

_PLAIN = (str, bytes, bool, int, float, type(None))


class _RefusedError(Exception):
    """What the pickle asks for is not admitted; the message says what that is."""


def load_arrays(file: IO[bytes], name: str | None = None) -> Any:
    """Read one pickle of numpy arrays and plain containers, written by python 2 or 3.

    Args:
        file: The pickle, protocol 0 to 4. Text of python 2 is read as latin-1, one character per
            byte, so that the keys of its dictionaries are ``str``.
        name: What to call the file in an error; by default its own ``name``.

    Returns:
        Any nesting of dict, list, tuple, str, bytes, bool, int, float, ``None`` and numpy arrays
        of booleans, integers and floats, in their shapes and dtypes; the arrays are read-only.

    Raises:
        InputError: The pickle names anything else, such as a function or an array of objects, or
            it is damaged. Nothing that it names has been imported or called.
        OSError: The file cannot be read, or whatever else its ``read`` raises.
    """
    shown = name or str(getattr(file, "name", "the pickle"))
    content = file.read()
    try:
        _check_opcodes(content)
        # Python 2 wrote its bytes as text: latin-1 maps them one to one.
        loaded = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        return _finish(loaded, {})
    except _RefusedError as error:
        raise InputError(
            f"{shown} holds {error}: only arrays and plain containers are read, fetch the file "
            "again from its publisher"
        ) from error
    except _DAMAGE as error:
        raise InputError(
            f"{shown} is not a readable pickle ({first_line(error)}): fetch it again"
        ) from error


def _check_opcodes(content: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(io.BytesIO(content)):
        if opcode.name not in _OPCODES:
            raise _RefusedError(f"the pickle instruction {opcode.name}")
        # The unpickler makes room for the largest number, so a large one alone can fill memory.
        if opcode.name in {"PUT", "LONG_BINPUT"} and not 0 <= int(argument or 0) <= len(content):
            raise _RefusedError(f"the memory index {argument}")


class _Builder:
    """Stands for something a pickle names: it has no attributes that a pickle could set."""

    __slots__ = ()


class _NdArray(_Builder):
    """``numpy.ndarray``: only handed on to ``_reconstruct``."""

    __slots__ = ()


class _Array(_Builder):
    """An array in the making: ``BUILD`` gives it shape, dtype and bytes.

    Attributes:
        array: The array [shape as pickled], read-only.
    """

    __slots__ = ("array",)

    array: np.ndarray

    def __setstate__(self, state: Any) -> None:
        match state:
            case (int(), tuple(shape), _DType() as dtype, bool() | int() as fortran, raw):
                pass
            case _:
                raise _RefusedError("an array of an unknown kind")
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise _RefusedError("an array with a shape that is no shape")
        if isinstance(raw, str):
            raw = raw.encode("latin1")
        if not isinstance(raw, bytes) or len(raw) != math.prod(shape) * dtype.dtype.itemsize:
            raise _RefusedError("an array whose bytes do not fill its shape")
        flat = np.frombuffer(raw, dtype.dtype)
        self.array = flat.reshape(shape, order="F" if fortran else "C")


class _DType(_Builder):
    """A dtype in the making; numpy's own would take sizes and flags from the pickle unchecked.

    Attributes:
        dtype: The dtype, of booleans, integers or floats.
    """

    __slots__ = ("dtype",)

    dtype: np.dtype[Any]

    def __setstate__(self, state: Any) -> None:
        match state:
            case (3, "<" | ">" | "|" | "=" as order, None, None, None, -1, -1, 0):
                self.dtype = self.dtype.newbyteorder(order)
            case _:
                raise _RefusedError("a dtype of an unknown kind")


class _Reconstruct(_Builder):
    """``numpy.core.multiarray._reconstruct``: numpy's own gives any subclass, size and dtype."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Array:
        match arguments:
            case (_NdArray(), (0,), "b" | b"b"):
                return _Array()
        raise _RefusedError("an array of an unknown kind")


class _MakeDType(_Builder):
    """``numpy.dtype``."""

    __slots__ = ()

    def __call__(self, code: Any, *_: Any) -> _DType:
        if isinstance(code, bytes):
            code = code.decode("latin1")
        if not isinstance(code, str) or _DTYPE.fullmatch(code) is None:
            raise _RefusedError(f"an array of dtype {code!r}"[:80])
        made = _DType()
        made.dtype = np.dtype(code)
        return made


class _Encode(_Builder):
    """``_codecs.encode``: python 3 writes bytes so at protocol 2, always with latin-1."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> bytes:
        match arguments:
            case (str(text), "latin1"):
                return text.encode("latin1")
        raise _RefusedError("_codecs.encode with other arguments than a text and 'latin1'")


_BUILDERS: dict[tuple[str, str], _Builder] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy", "ndarray"): _NdArray(),
    ("numpy", "dtype"): _MakeDType(),
    ("_codecs", "encode"): _Encode(),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        builder = _BUILDERS.get((module_name, global_name))
        if builder is None:
            # Shown as a literal: a name may hold line ends or a terminal's control characters.
            raise _RefusedError(repr(f"{module_name}.{global_name}"[:80]))
        return builder

    def persistent_load(self, _: Any) -> NoReturn:
        raise _RefusedError("a reference to something outside it")


def _finish(value: Any, done: dict[int, Any]) -> Any:
    """Put the arrays in place of their builders and see that all else is plain.

    Args:
        value: What the unpickler made; it must stay alive as long as ``done``.
        done: Results by ``id``, so that what is shared is finished once; ``...`` while under way.
    """
    if type(value) in _PLAIN:
        return value
    if id(value) in done:
        if done[id(value)] is ...:
            raise _RefusedError("a container that holds itself")
        return done[id(value)]
    done[id(value)] = ...
    finished: Any
    if type(value) is dict:
        finished = {_finish(key, done): _finish(item, done) for key, item in value.items()}
    elif type(value) is list:
        finished = [_finish(item, done) for item in value]
    elif type(value) is tuple:
        finished = tuple(_finish(item, done) for item in value)
    elif isinstance(value, _Array) and hasattr(value, "array"):
        finished = value.array
    else:
        raise _RefusedError("something that is neither an array nor a plain container")
    done[id(value)] = finished
    return finished
