"""A backbone in ONNX Runtime, on a CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.engines.arrays import PatchArrays

if TYPE_CHECKING:
    from uniformaly_pipeline.features.encoder import Encoder

INPUT, OUTPUTS = "images", ("features", "attention")
OPSET = 18
TRANSLATION = ("onnx", "onnxruntime")
"""What translating takes: each translation is tried before it is used. Using one takes the last."""


class OnnxEncoder:
    """An encoder in ONNX Runtime; it needs no torch."""

    def __init__(self, model: bytes | Path) -> None:
        """Open a model.

        Args:
            model: What :func:`translate` gave, or the path of such a file.

        Raises:
            InputError: ONNX Runtime is not installed.
        """
        (onnxruntime,) = import_packages("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        # Waiting threads sleep, see :func:`.cores.prepare_threads`.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model,
            options,
            providers=["CPUExecutionProvider"],
        )

    def __call__(self, images: np.ndarray) -> PatchArrays:
        """Encode a batch, see :class:`.arrays.PatchEncoder`."""
        given = {INPUT: np.ascontiguousarray(images, np.float32)}
        return PatchArrays(*self._session.run(OUTPUTS, given))


def translate(encoder: Encoder, input_size: tuple[int, int]) -> bytes:
    """An encoder as an ONNX model, for batches of any size.

    Args:
        encoder: The encoder, on the CPU in float32.
        input_size: (height, width) of the input in pixels.

    Raises:
        InputError: The packages that write or run ONNX are not installed.
    """
    import torch

    from uniformaly_pipeline.features.engines.graph import traceable

    import_packages(*TRANSLATION)
    with traceable(encoder, input_size) as (graph, images), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        torch.onnx.export(
            graph,
            (images,),
            path,
            dynamo=False,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *OUTPUTS)},
            opset_version=OPSET,
        )
        return path.read_bytes()


def import_packages(*names: str) -> list[Any]:
    """The packages of this engine, all that are missing named at once.

    Args:
        names: Their modules, called as the packages are.

    Raises:
        InputError: Some are not installed.
    """
    import importlib

    found, missing = [], []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except ImportError:
            missing.append(name)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"the engine onnx needs {' and '.join(missing)}, which {verb} not installed: pip "
            f"install {' '.join(missing)}, or in the project's folder pip install -e '.[onnx]'"
        )
    return found
