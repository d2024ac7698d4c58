"""Runs ``kedro`` until the first batch is encoded, writes the time of that to a file and ends.

    python startup_probe.py MARKER run ...

It imports nothing that the command would not, and before the command does.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

WATCHED = "uniformaly_pipeline.features.encoder"


class _Watch(MetaPathFinder):
    """Changes the encoder's class as soon as something imports it."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_watch(module: ModuleType) -> None:
            execute(module)
            self._watch(module)

        spec.loader.exec_module = execute_and_watch  # type: ignore[method-assign]
        return spec

    def _watch(self, module: ModuleType) -> None:
        encode = module.Encoder.__call__

        def encode_and_end(*arguments: Any) -> None:
            encode(*arguments)
            self._marker.write_text(str(time.time()))
            os._exit(0)

        module.Encoder.__call__ = encode_and_end


def main() -> None:
    """Watch, then be ``kedro``."""
    marker, *command = sys.argv[1:]
    sys.meta_path.insert(0, _Watch(Path(marker)))
    sys.argv = ["kedro", *command]
    # As ``python -m kedro`` does; a script's own folder is no place to import from.
    sys.path[0] = str(Path.cwd())
    from kedro.framework.cli import main as kedro

    kedro()


if __name__ == "__main__":
    main()
