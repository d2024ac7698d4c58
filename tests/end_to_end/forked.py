"""Commands as processes of their own that do not import everything anew.

Three quarters of a short command's time go into imports. One process imports what the commands
share and forks for each: the fork runs the command's script from the top, with its own folder,
arguments, output and exit status. What Kedro sets up as it is imported is left to the fork.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

SHARED = (
    "uniformaly_pipeline",  # before what brings OpenMP
    "uniformaly_pipeline.detector.detector",
    "uniformaly_pipeline.features.encoder",
    "uniformaly_pipeline.reporting.page.page",
    "faiss",
    "fastapi",
    "kedro.io",
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "plotly.graph_objects",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.metrics",
    "timm",
    "torch._dynamo",
    "torchvision",
)


class Commands:
    """Runs commands whose scripts are Python, one after another or several at once."""

    def __init__(self) -> None:
        self._outputs = tempfile.TemporaryDirectory(prefix="uniformaly-forked-")
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, command: str, folder: Path, timeout_s: int = 600) -> tuple[int, str]:
        """The command's exit status and all it printed; later than ``timeout_s`` it is ended."""
        (done,) = self.run_at_once([shlex.split(command)], folder, timeout_s)
        return done.returncode, done.stdout

    def complete(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str] = os.environ
    ) -> subprocess.CompletedProcess[str]:
        """What became of a command, as :func:`subprocess.run` says it."""
        return self._complete([words], folder, 600, ("stdout", "stderr"), environment)[0]

    def run_at_once(
        self, commands: Sequence[Sequence[str]], folder: Path, timeout_s: int = 600
    ) -> list[subprocess.CompletedProcess[str]]:
        """Commands that start at once, each with all it printed as its ``stdout``."""
        return self._complete(commands, folder, timeout_s, ("stdout", "stdout"))

    def close(self) -> None:
        """End the process that forks."""
        self._server.communicate()
        self._outputs.cleanup()

    def _complete(
        self,
        commands: Sequence[Sequence[str]],
        folder: Path,
        timeout_s: int,
        streams: tuple[str, str],
        environment: Mapping[str, str] = os.environ,
    ) -> list[subprocess.CompletedProcess[str]]:
        files = [
            {name: Path(self._outputs.name, f"{number}.{name}") for name in streams}
            for number, _ in enumerate(commands)
        ]
        orders = [
            {
                "words": list(words),
                "folder": str(folder),
                "outputs": [str(each[name]) for name in streams],
                "environment": dict(environment),
                "timeout_s": timeout_s,
            }
            for words, each in zip(commands, files, strict=True)
        ]
        assert self._server.stdin is not None
        print(json.dumps(orders), file=self._server.stdin, flush=True)
        children = self._answer()
        try:
            statuses = self._answer()
        except BaseException:
            # The test is interrupted: the commands go with it.
            for child in children:
                os.kill(child, signal.SIGKILL)
            raise
        return [
            subprocess.CompletedProcess(words, status, **{
                name: path.read_bytes().decode("utf-8", "replace") for name, path in each.items()
            })
            for words, status, each in zip(commands, statuses, files, strict=True)
        ]  # fmt: skip

    def _answer(self) -> list[int]:
        assert self._server.stdout is not None
        answer = self._server.stdout.readline()
        assert answer, "the process that forks has ended"
        numbers: list[int] = json.loads(answer)
        return numbers


def serve() -> None:
    """Fork for the orders of a line of input; answer with the processes, then their statuses."""
    for name in SHARED:
        import_module(name)
    # Else each fork would look through, and so copy, all that is there already.
    gc.freeze()
    for line in sys.stdin:
        children = []
        for order in json.loads(line):
            child = os.fork()
            if child == 0:
                become(**order)
            children.append(child)
        print(json.dumps(children), flush=True)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(statuses), flush=True)


def become(
    words: list[str],
    folder: str,
    outputs: list[str],
    environment: dict[str, str],
    timeout_s: int,
) -> Any:
    """Be the command from here to the end of the process."""
    signal.alarm(timeout_s)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor, output in enumerate(outputs, 1):
        if output in outputs[: descriptor - 1]:
            os.dup2(1, descriptor)  # both in the order in which they were printed
            continue
        with Path(output).open("w") as log:
            os.dup2(log.fileno(), descriptor)
    script = shutil.which(words[0])
    if script is None:
        sys.exit(f"{words[0]}: command not found")
    sys.argv = [script, *words[1:]]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    serve()
