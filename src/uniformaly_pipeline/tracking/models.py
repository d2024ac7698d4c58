"""Detectors as MLflow's models: logged with a run, and registered under their category's name."""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import uniformaly_pipeline
from uniformaly_pipeline.common.provenance import installed_version
from uniformaly_pipeline.detector.detector import Detector, with_pictures
from uniformaly_pipeline.detector.encoding import PatchEncoder
from uniformaly_pipeline.detector.exported import ExportedDetector, Format, write_exported
from uniformaly_pipeline.detector.state import DETECTOR_FILE, DetectorState
from uniformaly_pipeline.parameters.naming import category_key

CODE = Path(__file__).with_name("model_code.py")

_PACKAGES = (
    "mlflow", "click", "fsspec", "matplotlib", "numpy", "pandas", "pillow", "psutil", "rich",
    "safetensors", "scipy", "tqdm",
)  # fmt: skip
"""What a detector takes wherever it runs, and ..."""

_ENGINES: dict[str, tuple[str, ...]] = {
    "safetensors": ("torch", "torchvision", "timm"),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
}
"""... for its encoder."""


def log_exported(run_id: str, exported: ExportedDetector) -> str:
    """Log an exported detector as a model of a run, see :func:`log_detector`."""
    state = DetectorState.from_bytes(exported.files[DETECTOR_FILE], DETECTOR_FILE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector"
        write_exported(exported, path)
        return log_detector(run_id, state, path, exported.card["engine"])


def log_embedded(
    run_id: str, state: DetectorState, encoder: PatchEncoder | None = None
) -> PatchEncoder:
    """Log a detector with its encoder's weights as a model of a run, see :func:`log_detector`.

    Args:
        run_id: The run.
        state: What the detector knows.
        encoder: Its encoder in torch, where it is loaded already.

    Returns:
        Its encoder, for the next detector of the same.
    """
    detector = Detector(with_pictures(state), encoder, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DETECTOR_FILE
        detector.save(path, embed_weights=True)
        log_detector(run_id, detector.state, path, "safetensors")
    return detector.encoder


def log_detector(run_id: str, state: DetectorState, path: Path, engine: Format) -> str:
    """Log a detector as a model of a run, and register it as the next version of its category.

    The model is code and the detector's files, without a pickle: :class:`.DetectorModel` judges a
    table of images in base64, paths or URLs. The package itself goes along, so that an environment
    needs only the pinned requirements.

    Args:
        run_id: The run.
        state: What the detector knows.
        path: Its file or folder, with all that its encoder needs.
        engine: What computes its encoder.

    Returns:
        The registered version, ``models:/<name>/<version>``.
    """
    import mlflow
    from mlflow.models import Model

    from uniformaly_pipeline.tracking.detector_model import ARTIFACT

    name = category_key(state.name)
    # MLflow tries the example on what it is about to log: its code would leave bytecode there.
    with _without_bytecode():
        logged = Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            name=name,
            registered_model_name=name,
            run_id=run_id,
            python_model=str(CODE),
            artifacts={ARTIFACT: str(path)},
            code_paths=[str(Path(uniformaly_pipeline.__file__).parent)],
            pip_requirements=requirements(state, engine),
            signature=_signature(),
            input_example=_example(state),
            params={"threshold": state.threshold.value, "engine": engine},
        )
    return f"models:/{name}/{logged.registered_model_version}"


def requirements(state: DetectorState, engine: Format) -> list[str]:
    """The packages that a detector takes, pinned to what is installed here."""
    wanted = [*_PACKAGES, *_ENGINES[engine]]
    if state.scoring.search != "Flat":
        wanted += ["faiss-cpu", "faiss-gpu"]
    installed = {name: installed_version(name) for name in wanted}
    # A local version such as 2.7.0+cpu is in no public index.
    return [f"{name}=={v.partition('+')[0]}" for name, v in installed.items() if v is not None]


@contextmanager
def _without_bytecode() -> Iterator[None]:
    """Python writes no ``__pycache__`` meanwhile."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from uniformaly_pipeline.tracking.detector_model import COLUMN, OUTPUT_TYPES

    outputs = [ColSpec(type, name, required=False) for name, type in OUTPUT_TYPES.items()]
    return ModelSignature(inputs=Schema([ColSpec("string", COLUMN)]), outputs=Schema([*outputs]))


def _example(state: DetectorState) -> Any:
    """A request: a picture of a normal image, or a grey one where the detector has none."""
    import pandas as pd

    from uniformaly_pipeline.tracking.detector_model import COLUMN

    content = state.thumbnails[0] if state.thumbnails else _grey(state)
    return pd.DataFrame({COLUMN: [base64.b64encode(content).decode()]})


def _grey(state: DetectorState) -> bytes:
    buffer = io.BytesIO()
    size = state.reading.preprocessing.input_size
    Image.fromarray(np.full(size, 127, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
