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
    """Runs commands whose scripts are Python, one after another."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, command: str, folder: Path, timeout_s: int = 600) -> tuple[int, str]:
        """The command's exit status and all it printed; later than ``timeout_s`` it is ended."""
        output = folder.parent / f"{folder.name}.output"
        order = {
            "words": shlex.split(command),
            "folder": str(folder),
            "output": str(output),
            "environment": dict(os.environ),
            "timeout_s": timeout_s,
        }
        assert self._server.stdin is not None
        print(json.dumps(order), file=self._server.stdin, flush=True)
        child = self._answer()
        try:
            status = self._answer()
        except BaseException:
            # The test is interrupted: the command goes with it.
            os.kill(child, signal.SIGKILL)
            raise
        return status, output.read_bytes().decode("utf-8", "replace")

    def close(self) -> None:
        """End the process that forks."""
        self._server.communicate()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        answer = self._server.stdout.readline()
        assert answer, "the process that forks has ended"
        return int(answer)


def serve() -> None:
    """Fork for each order on standard input; answer with the process and then its status."""
    for name in SHARED:
        import_module(name)
    # Else each fork would look through, and so copy, all that is there already.
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(**json.loads(line))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(
    words: list[str], folder: str, output: str, environment: dict[str, str], timeout_s: int
) -> Any:
    """Be the command from here to the end of the process."""
    signal.alarm(timeout_s)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with Path(os.devnull).open() as nothing, Path(output).open("w") as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    script = shutil.which(words[0])
    if script is None:
        sys.exit(f"{words[0]}: command not found")
    sys.argv = [script, *words[1:]]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    serve()
