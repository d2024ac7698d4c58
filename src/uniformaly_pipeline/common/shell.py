"""Commands that people copy into a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def runnable(command: str) -> str:
    """A command of this environment as it can be run from here, where nobody activated it too.

    ``make run`` activates nothing: a bare name is not found then, or another environment's.

    Args:
        command: Program and arguments, as they are where the environment is activated.

    Returns:
        The same, or with the program's path as seen from the working directory.
    """
    program, space, arguments = command.partition(" ")
    ours = shutil.which(program, path=str(Path(sys.executable).parent))
    found = shutil.which(program)
    if ours is None or (found is not None and Path(found).samefile(ours)):
        return command
    seen = os.path.relpath(ours)
    # Without a folder a shell would look it up in PATH.
    ways = [ours, seen if os.sep in seen else f"{os.curdir}{os.sep}{seen}"]
    return f"{shlex.quote(min(ways, key=len))}{space}{arguments}"
