"""The code of a detector's model in MLflow, which runs it to load the model: no pickle."""

from mlflow.models import set_model

from uniformaly_pipeline.tracking.detector_model import DetectorModel

set_model(DetectorModel())
