"""A backbone in OpenVINO, on a CPU."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.engines.arrays import PatchArrays

if TYPE_CHECKING:
    from uniformaly_pipeline.features.encoder import Encoder

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's names; left to itself it takes half precision where the processor has it."""


class OpenVinoEncoder:
    """An encoder in OpenVINO; it needs no torch."""

    def __init__(self, model: Any, precision: Literal["float32", "bfloat16"] = "float32") -> None:
        """Compile a model for this machine.

        Args:
            model: What :func:`translate` or :func:`read` gave, or the path of such a model on disk
                (``.xml``).
            precision: Type of the computation.

        Raises:
            InputError: OpenVINO is not installed.
        """
        openvino = _import()
        source = str(model) if isinstance(model, Path) else model
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": usable_cores(),
        }

        def compile_model() -> Any:
            return openvino.Core().compile_model(source, "CPU", options)

        # OpenVINO gives the thread that it is loaded in a stack for signals, and frees it in the
        # thread that drops the model last. Where that is another one, the next signal ends the
        # process with a segmentation fault, so the first one ends before.
        with ThreadPoolExecutor(1) as thread:
            self._compiled = thread.submit(compile_model).result()

    def __call__(self, images: np.ndarray) -> PatchArrays:
        """Encode a batch, see :class:`.arrays.PatchEncoder`."""
        outputs = self._compiled(np.ascontiguousarray(images, np.float32))
        # The next batch is written to the same memory.
        return PatchArrays(np.array(outputs[0]), np.array(outputs[1]))


def translate(encoder: Encoder, input_size: tuple[int, int]) -> Any:
    """An encoder as an ``openvino.Model``, for batches of any size.

    Args:
        encoder: The encoder, on the CPU in float32.
        input_size: (height, width) of the input in pixels.

    Raises:
        InputError: OpenVINO is not installed.
    """
    from uniformaly_pipeline.features.engines.graph import traceable

    openvino = _import()
    with traceable(encoder, input_size) as (graph, images):
        return openvino.convert_model(
            graph, example_input=images, input=[openvino.PartialShape([-1, 3, *input_size])]
        )


def serialize(model: Any) -> tuple[bytes, bytes]:
    """What :func:`translate` gave as the contents of two files, ``.xml`` and ``.bin``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        _import().save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def read(structure: bytes, weights: bytes) -> Any:
    """The model whose files these are, see :func:`serialize`.

    Raises:
        InputError: OpenVINO is not installed.
    """
    return _import().Core().read_model(structure, weights)


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise InputError(
            "the engine openvino needs openvino, which is not installed: pip install openvino"
        ) from error
    return openvino
