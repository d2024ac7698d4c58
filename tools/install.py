"""``pip install`` for the Makefile: one line tells how far it is, all that pip says is in a log.

It needs nothing that must be installed first::

    .venv/bin/python tools/install.py --editable ".[cpu]"
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import TextIO

EVERY_S = 0.5
"""Pause between two drawings of the line."""

PLAIN_EVERY_S = 30.0
"""The same where there is no terminal, and each drawing is a line of its own."""

LAST_LINES = 15
"""What is shown of pip's log where it fails."""

UNITS = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}


@dataclass
class State:
    """What pip has done so far, by what it says.

    Attributes:
        packages: Folder that packages are installed into.
        found: Packages that it has looked up.
        megabytes: Downloaded.
        total: Packages that it unpacks; 0 before it does.
        before: Packages that were installed when it began to unpack.
    """

    packages: Path
    found: int = 0
    megabytes: float = 0.0
    total: int = 0
    before: int = 0

    def hear(self, line: str) -> None:
        """Take note of a line of pip's."""
        if line.startswith(("Collecting ", "Processing ")):
            self.found += 1
        elif match := re.match(r"\s*Downloading .*\(([\d.]+) ([kMG]B)\)", line):
            self.megabytes += float(match[1]) * UNITS[match[2]]
        elif line.startswith("Installing collected packages:"):
            self.total, self.before = line.count(",") + 1, self._installed()

    def __str__(self) -> str:
        """How far it is."""
        if self.total:
            done = min(max(self._installed() - self.before, 0), self.total)
            return f"unpacked {done} of {self.total} packages"
        loaded = f", downloaded {self.megabytes:,.0f} MB" if self.megabytes else ""
        return f"found {self.found} packages{loaded}"

    def _installed(self) -> int:
        return len(list(self.packages.glob("*.dist-info")))


def install(command: Sequence[str], log: Path, packages: Path, out: TextIO = sys.stdout) -> int:
    """Run pip and say on one line how far it is.

    Args:
        command: pip's command line.
        log: File for all that pip says.
        packages: Folder that packages are installed into.
        out: Where to say it; not a terminal: a line each half minute.

    Returns:
        pip's exit status.
    """
    started, state, is_done = time.monotonic(), State(packages), threading.Event()
    on_terminal = out.isatty()
    # Into a pipe Python holds back what it prints, but not its errors: of a failure's last lines
    # the log would have the error first, and all that was said before it last.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def draw() -> None:
        while not is_done.wait(EVERY_S if on_terminal else PLAIN_EVERY_S):
            text = f"pip: {state}, {time.monotonic() - started:.0f} s"
            if on_terminal:
                width = get_terminal_size().columns - 1
                print(f"\r{text[:width]:<{width}}", end="", file=out, flush=True)
            else:
                print(text, file=out, flush=True)

    drawing = threading.Thread(target=draw, daemon=True)
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        ) as pip,
    ):
        drawing.start()
        try:
            assert pip.stdout is not None
            for line in pip.stdout:
                kept.write(line)
                kept.flush()
                state.hear(line)
        finally:
            is_done.set()
            drawing.join()
            if on_terminal:
                print(f"\r{'':<{get_terminal_size().columns - 1}}\r", end="", file=out)
    took = f"{time.monotonic() - started:.0f} s"
    if pip.returncode:
        last = log.read_text(encoding="utf-8").splitlines()[-LAST_LINES:]
        print(*last, f"pip failed after {took}; all it said is in {log}", sep="\n", file=out)
    else:
        number = "1 package" if state.total == 1 else f"{state.total} packages"
        print(f"pip: {number} installed in {took}", file=out)
    return pip.returncode


def main() -> None:
    """Install into the environment of this interpreter, with the arguments of ``pip install``."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    plain = ["--progress-bar", "off", *sys.argv[1:]]
    if Path(sys.prefix).is_symlink():
        # What is installed there is another checkout's as well.
        sys.exit(f"{sys.prefix} is a link: remove it, and make will make an environment here")
    log = Path(sys.prefix) / "pip.log"
    try:
        status = install([*pip, *plain], log, Path(sysconfig.get_path("purelib")))
    except KeyboardInterrupt:
        sys.exit("Aborted!")
    sys.exit(status)


if __name__ == "__main__":
    main()
