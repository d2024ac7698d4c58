"""Node of the export stage."""

from __future__ import annotations

from dataclasses import replace

from uniformaly_pipeline.detector.detector import Detector, with_pictures
from uniformaly_pipeline.detector.exported import ExportedDetector, Format
from uniformaly_pipeline.detector.state import DetectorState, with_asked_threshold
from uniformaly_pipeline.ingestion.images import ImageFolder


def export_detector(
    detector: DetectorState,
    format: Format,
    false_alarm_rate: float | None,
    threshold: float | None,
    sample_images: ImageFolder | None = None,
) -> ExportedDetector:
    """Translate a detector and compare it with what it was, see :mod:`.detector.export`.

    Args:
        detector: The detector.
        format: ``export.format``.
        false_alarm_rate: ``export.false_alarm_rate``.
        threshold: ``export.threshold``.
        sample_images: Images to compare on; by default its pictures of normal images.

    Raises:
        InputError: The two differ, or it cannot keep the rate.
    """
    chosen = with_asked_threshold(detector, threshold, false_alarm_rate, "export")
    images = None if sample_images is None else sample_images.root
    # Only torch's encoder can be translated, also of a detector that was exported before.
    chosen = replace(chosen, translated=None)
    return Detector(with_pictures(chosen), device="cpu").exported(format, images=images)
