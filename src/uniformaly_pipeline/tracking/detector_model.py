"""A detector as MLflow's models are called: a table in, a table out."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.sources import Source, sources_of

ARTIFACT = "detector"
"""The name of the detector's file or folder among a model's artifacts."""

COLUMN = "image"
"""The column of a request: the bytes of an image's file in base64, or its path or URL."""

OUTPUT_TYPES = {
    "image": "string",
    "score": "double",
    "threshold": "double",
    "is_anomalous": "boolean",
    "p_value": "double",
    "x": "double",
    "y": "double",
    "normal_image": "string",
    "normal_x": "double",
    "normal_y": "double",
    "remarks": "string",
}
"""The columns of an answer, see :meth:`.results.Result.to_dict`, and their types in MLflow."""


class DetectorModel(PythonModel):
    """Judges images that come in base64, or by path or URL, see :mod:`.models`."""

    detector: Detector

    def load_context(self, context: Any) -> None:
        """Load the detector and its encoder."""
        self.detector = Detector.load(context.artifacts[ARTIFACT]).warm_up()

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Judge images.

        Args:
            context: MLflow's.
            model_input: A table with a column :data:`COLUMN`.
            params: Not used.

        Returns:
            A row per image, in order, with the columns :data:`OUTPUT_TYPES`.

        Raises:
            MlflowException: An image cannot be read; the line says which.
        """
        try:
            sources = [_source(f"image {i}", text) for i, text in enumerate(model_input[COLUMN], 1)]
            rows = [each.to_dict() for each in self.detector.predict_all_of(sources)]
        except InputError as error:
            # Of other errors a server tells the traceback alone.
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(rows, columns=list(OUTPUT_TYPES), index=model_input.index)


def _source(name: str, text: Any) -> Source:
    """An image in base64, with or without breaks of lines, or at a path or URL.

    Raises:
        InputError: It is neither.
    """
    if not isinstance(text, str):
        raise InputError(f"{name} is no text but {type(text).__name__}: give base64, a path or URL")
    if "://" in text or os.path.exists(text):  # noqa: PTH110 - base64 may be too long for a Path
        (source,) = sources_of([text])
        return source
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise InputError(f"{name} is neither base64 nor a file: {text[:80]}") from error
    return Source(name, lambda: content)
