"""Matrix products of every library installed: the fastest is the machine's limit.

A limit measured with one library is that library's. What a model is compared with is the best rate
that anything here reaches for the very matrices of its linear layers.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import uniformaly_pipeline  # noqa: F401 - its threads wait asleep, as those of what is measured

ROOT = Path(__file__).parents[1]

Shape = tuple[int, int, int]
"""Rows, inner and columns of a product."""

Multiply = Callable[[], Any]

REPEATS = 3


def layer_shapes(rows: int, dim: int = 768) -> list[Shape]:
    """The products of a ViT block's linear layers for so many tokens."""
    return [(rows, dim, 3 * dim), (rows, dim, dim), (rows, dim, 4 * dim), (rows, 4 * dim, dim)]


@dataclass(frozen=True)
class Rate:
    """How fast a library multiplies.

    Attributes:
        library: Its name.
        flops: Floating-point operations a second.
    """

    library: str
    flops: float


def fastest(shapes: Sequence[Shape], dtype: str = "float32", libraries: Sequence[str] = ()) -> Rate:
    """The library that does some products in the least time together.

    Args:
        shapes: The products.
        dtype: ``float32`` or ``bfloat16``.
        libraries: Those to try; by default all that are installed.
    """
    makers = _makers(dtype)
    rates = [
        Rate(name, _rate([makers[name](shape) for shape in shapes], shapes))
        for name in libraries or makers
    ]
    return max(rates, key=lambda rate: rate.flops)


def _rate(products: Sequence[Multiply], shapes: Sequence[Shape]) -> float:
    best = [float("inf")] * len(products)
    for repeat in range(REPEATS + 1):
        for number, multiply in enumerate(products):
            start = time.perf_counter()
            multiply()
            if repeat:  # the first run warms up
                best[number] = min(best[number], time.perf_counter() - start)
    return sum(2.0 * rows * inner * columns for rows, inner, columns in shapes) / sum(best)


def _makers(dtype: str) -> Mapping[str, Callable[[Shape], Multiply]]:
    """What makes a product ready, by the library that multiplies."""
    makers: dict[str, Callable[[Shape], Multiply]] = {
        "torch (MKL)" if dtype == "float32" else "torch": lambda shape: _torch(shape, dtype)
    }
    if dtype == "float32":
        makers |= {"torch (oneDNN)": _onednn, "NumPy": _numpy}
        if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
            makers["ONNX Runtime"] = _onnx
    if importlib.util.find_spec("openvino"):
        makers["OpenVINO"] = lambda shape: _openvino(shape, dtype)
    return makers


def _arrays(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    first = rng.standard_normal((rows, inner), np.float32)
    return first, rng.standard_normal((inner, columns), np.float32)


def _torch(shape: Shape, dtype: str) -> Multiply:
    import torch

    first, second = (torch.from_numpy(array).to(getattr(torch, dtype)) for array in _arrays(shape))
    return lambda: first @ second


def _onednn(shape: Shape) -> Multiply:
    import torch

    first, second = map(torch.from_numpy, _arrays(shape))
    weight = second.T.contiguous()
    linear = torch.ops.mkldnn._linear_pointwise
    return lambda: linear(first, weight, None, "none", [], "")


def _numpy(shape: Shape) -> Multiply:
    first, second = _arrays(shape)
    return lambda: first @ second


def _openvino(shape: Shape, dtype: str) -> Multiply:
    import openvino
    from openvino import opset13 as operations

    from uniformaly_pipeline.features.engines.openvino import PRECISIONS

    first, second = _arrays(shape)
    given = operations.parameter(first.shape, np.float32)
    product = operations.matmul(given, operations.constant(second), False, False)
    model = openvino.Model([product], [given], "product")
    hints = {"INFERENCE_PRECISION_HINT": PRECISIONS[dtype], "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    request.set_input_tensor(openvino.Tensor(first))
    return request.infer


def _onnx(shape: Shape) -> Multiply:
    import onnx
    import onnxruntime

    first, second = _arrays(shape)
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["first", "second"], ["product"])],
        "product",
        [onnx.helper.make_tensor_value_info("first", kind, first.shape)],
        [onnx.helper.make_tensor_value_info("product", kind, (shape[0], shape[2]))],
        [onnx.numpy_helper.from_array(second, "second")],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"first": first})


def limit(shapes: Sequence[Shape], dtype: str = "float32") -> Rate:
    """The best rate now, of the library that was fastest when these products were first asked for.

    Measured next to each run, so that a machine whose speed changes is compared with itself, and
    in a process of its own: what the libraries bring, threads and memory, does not stay with what
    is measured.
    """
    key = (tuple(shapes), dtype)
    if key not in _FASTEST:
        _FASTEST[key] = _apart(shapes, dtype).library
    return _apart(shapes, dtype, [_FASTEST[key]])


_FASTEST: dict[tuple[tuple[Shape, ...], str], str] = {}
"""The library by products and type."""


def _apart(shapes: Sequence[Shape], dtype: str, libraries: Sequence[str] = ()) -> Rate:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.products"],
        input=json.dumps({"shapes": list(shapes), "dtype": dtype, "libraries": list(libraries)}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return Rate(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure what the standard input asks for."""
    asked = json.load(sys.stdin)
    shapes = [(rows, inner, columns) for rows, inner, columns in asked["shapes"]]
    print(json.dumps(asdict(fastest(shapes, asked["dtype"], asked["libraries"]))))


if __name__ == "__main__":
    main()
