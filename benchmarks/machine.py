"""The machine: what it is and how fast it can be at best.

    python -m benchmarks.machine

prints one JSON object.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.products import fastest, layer_shapes
from uniformaly_pipeline.common.cores import cpu_name, usable_cores

PACKAGES = (
    "torch", "numpy", "faiss-cpu", "faiss-gpu", "openvino", "onnxruntime", "scikit-learn", "timm",
)  # fmt: skip
ROWS = 6280
"""Tokens of a batch of 8 with ViT-B/8."""
SHAPES = {(6280, 768, 3072): 4, (4096, 4096, 4096): 2}
"""Rows, inner and columns of the matrix products, a ViT-B/8 layer at batch 8 and a square, and how
often each is tried."""
READ_BYTES = 512 << 20
BUSY = 0.5
"""Load per core above which figures are doubtful."""
OWN, CHILDREN = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def best_seconds(work: Callable[[], Any], repeats: int = 4) -> float:
    """Shortest time of several runs; the first one warms up."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def gemm_rate(dtype: str = "float32", device: str = "cpu", scale: int = 1) -> float:
    """Highest measured rate of a matrix product in FLOP/s.

    Args:
        dtype: Torch type.
        device: Torch device.
        scale: How many times as many rows; GPUs need larger products.
    """
    import torch

    rates = []
    for (rows, inner, columns), repeats in SHAPES.items():
        kind: torch.dtype = getattr(torch, dtype)
        first = torch.randn(rows * scale, inner, device=device).to(kind)
        second = torch.randn(inner, columns, device=device).to(kind)

        def multiply(first: torch.Tensor = first, second: torch.Tensor = second) -> None:
            first @ second
            if first.is_cuda:
                torch.cuda.synchronize()

        rates.append(2.0 * rows * scale * inner * columns / best_seconds(multiply, repeats))
    return max(rates)


def read_rate() -> float:
    """Highest measured rate of reading main memory in bytes/s."""
    import torch

    data = torch.ones(READ_BYTES // 4)
    return READ_BYTES / best_seconds(data.sum)


def peak_bytes(who: int = OWN) -> int:
    """Most memory that this process has had resident at a time, or the largest of its children.

    On Linux ``getrusage`` counts what the parent held when it started the process, too: of
    children the figure is at least this process's own.
    """
    status = Path("/proc/self/status")
    if who == OWN and status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


def describe() -> dict[str, Any]:
    """What the machine and the software are; imports nothing large."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = usable_cores()
    return {
        "cpu": cpu_name(),
        "cores": cores,
        "memory_gb": _memory_gb(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "load_average": load,
        "busy": load > BUSY * cores,
    }


def limits() -> dict[str, Any]:
    """Measured rates of this machine, and what there is of GPUs."""
    import faiss
    import torch

    float32, bfloat16 = (fastest(layer_shapes(ROWS), name) for name in ("float32", "bfloat16"))
    found: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "gemm_float32_gflops": float32.flops / 1e9,
        "gemm_float32_library": float32.library,
        "gemm_bfloat16_gflops": bfloat16.flops / 1e9,
        "gemm_bfloat16_library": bfloat16.library,
        "memory_read_gb_per_s": read_rate() / 1e9,
        "cuda": torch.cuda.is_available(),
        "openvino": importlib.util.find_spec("openvino") is not None,
        "faiss_gpu": faiss.get_num_gpus() > 0,
    }
    if found["cuda"]:
        found["gpu"] = torch.cuda.get_device_name()
        found["gpu_gemm_float16_gflops"] = gemm_rate("float16", "cuda", scale=8) / 1e9
    return found


def _memory_gb() -> float | None:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the working tree, with ``+`` where files differ from it."""
    root = Path(__file__).parents[1]
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    print(json.dumps({**describe(), **limits()}))
