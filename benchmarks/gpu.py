"""The GPU's table, and every test of parity and of invariance on it; ``make bench-gpu``.

    python -m benchmarks.gpu [--quick]

Ends with an error where results differ. Without a GPU it says so in a line and measures nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.__main__ import main as measure
from benchmarks.cases import CASES

ROOT = Path(__file__).parents[1]
TESTS = ("tests/test_parity.py", "tests/test_invariance.py")
DEVICE_VARIABLE = "UNIFORMALY_TEST_DEVICE"
"""The device on which these tests encode."""


def main(given: Sequence[str] | None = None) -> int:
    """Measure and test; 1 where results differ."""
    import torch

    if not torch.cuda.is_available():
        print("No GPU that torch can use: nothing measured.")
        return 0
    names = ",".join(name for name, case in CASES.items() if case.needs in ("cuda", "faiss_gpu"))
    arguments = [*(sys.argv[1:] if given is None else given), f"--cases={names}"]
    measured = measure([*arguments, "--json=build/bench_gpu.json"])
    command = [sys.executable, "-m", "pytest", "-q", *TESTS, "-k", "not openvino and not onnx"]
    tested = subprocess.run(
        command, cwd=ROOT, env={**os.environ, DEVICE_VARIABLE: "cuda"}, check=False
    )
    return int(bool(measured or tested.returncode))


if __name__ == "__main__":
    sys.exit(main())
