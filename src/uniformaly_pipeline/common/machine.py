"""What the machine cannot do, in words: full disks, missing permissions, too little memory."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

FAULTS = {
    errno.ENOSPC: "the disk is full{at}: make room and run again",
    errno.EDQUOT: "the quota of the disk is used up{at}: make room and run again",
    errno.EFBIG: "the file is larger than the disk or a limit allows{at}: see ulimit -f",
    errno.EROFS: "the disk can only be read{at}: set another folder, or mount it for writing",
    errno.EACCES: "permission denied{at}: check its owner and permissions",
    errno.EPERM: "the operation is not permitted{at}: check its owner and permissions",
    errno.EIO: "the disk fails{at}: check the disk and its connection",
    errno.ESTALE: "the network disk has lost the file{at}: mount it again and run again",
    errno.ENOTDIR: "a file is where a folder is needed{at}: move it away",
    errno.EEXIST: "something is in the way{at}: move it away",
    errno.EISDIR: "a folder is where a file is needed{at}: move it away",
    errno.ENAMETOOLONG: "the name is too long for the disk{at}: shorten it",
    errno.ELOOP: "links lead in a circle{at}: mend the links",
    errno.EMFILE: "too many files are open{at}: raise the limit with ulimit -n",
    errno.ENFILE: "too many files are open on this machine{at}: close other programs",
    errno.ENOMEM: "the memory is full: close other programs or lower encoder.batch_size",
}
"""What to say of an error of the operating system."""

_FULL_MEMORY = FAULTS[errno.ENOMEM]
_FULL_GPU = "the GPU's memory is full: lower encoder.batch_size or close other programs on it"
_KILLED = (
    "a process of this run was killed, as Linux does where memory ends: run with fewer processes "
    "(--runner-params=max_workers=2, encoder.num_workers=0)"
)
_DATABASE = (
    "MLflow's database cannot be written ({reason}): check its folder, space and permissions"
)

_REMOTE_OS_ERROR = re.compile(
    r"^\w*(?:Error|Exception): \[Errno (?P<number>\d+)\] (?P<text>[^:\n]*)(?:: (?P<path>.*))?$",
    re.MULTILINE,
)
"""How a traceback of another process shows an error of the operating system."""

_OF_RUST = re.compile(r"\(os error (?P<number>\d+)\)")
"""How libraries in Rust, such as safetensors, name an error of the operating system."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of writing alone."""

_OF_SQLITE = (
    "database or disk is full",
    "disk I/O error",
    "readonly database",
    "unable to open database file",
)
_PATH = re.compile(r"""^(['"])(.*)\1(?: -> .*)?$""")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was caused by, the last first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def machine_fault(error: BaseException | None) -> str | None:
    """What the machine could not do, and what to do: one line; None where it is not to blame.

    Args:
        error: What a run ended with.
    """
    for cause in causes(error):
        said = _fault_of(cause)
        if said is not None:
            return said
    return None


def no_room_error(error: BaseException, path: str | os.PathLike[str]) -> OSError | None:
    """An error of writing a file, with the file's name, which the system does not tell.

    Args:
        error: What ended the writing.
        path: The file.

    Returns:
        The error as the system's; None where it is not that there was no room.
    """
    number = _number_of(error)
    if number not in _NO_ROOM:
        return None
    return OSError(number, os.strerror(number), os.fspath(path))


def not_written(error: OSError, place: str) -> str:
    """The line of a file or folder that could not be written.

    Args:
        error: What the system answered.
        place: Its path or URL, as the user gave it.
    """
    no_room = no_room_error(error, place)
    return machine_fault(no_room) or f"{place} cannot be written: {error}"


def no_permission(error: OSError) -> str:
    """What follows the name of a file or folder that may not be read."""
    return f" cannot be read ({error.strerror}): check its permissions"


def _number_of(error: BaseException) -> int | None:
    """The system's number of an error, also where a library in Rust has put it into words."""
    if isinstance(error, OSError):
        return error.errno
    found = _OF_RUST.search(str(error))
    return None if found is None else int(found["number"])


def _fault_of(error: BaseException) -> str | None:
    kind = type(error).__name__
    if isinstance(error, OSError):
        path = error.filename2 or error.filename
        return _fault(error.errno, None if path is None else str(path))
    if kind == "SafetensorError":
        return _fault(_number_of(error), None)
    if kind == "OutOfMemoryError":  # torch's, which takes seconds to import
        return _FULL_GPU
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return _FULL_MEMORY
    if kind == "RuntimeError" and "determine home directory" in str(error):
        return "a path begins with ~ and a name that nobody has here: write it in full"
    if kind == "BrokenProcessPool" or re.search(r"DataLoader worker .* killed", str(error)):
        return _KILLED
    if kind == "OperationalError":
        for reason in _OF_SQLITE:
            if reason in str(error):
                return _DATABASE.format(reason=reason)
    if kind == "_RemoteTraceback":
        for found in reversed(list(_REMOTE_OS_ERROR.finditer(str(error)))):
            path = _PATH.match(found["path"] or "")
            if said := _fault(int(found["number"]), path[2] if path else None):
                return said
    return None


def _fault(number: int | None, path: str | None) -> str | None:
    fault = FAULTS.get(number or 0)
    return None if fault is None else fault.format(at="" if path is None else f" at {path}")
