"""What a detector knows, and the one file that holds it; the format is told in docs/detector.md."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from uniformaly_pipeline import __version__
from uniformaly_pipeline.common.array_bundle import ArrayBundle, describe_array
from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.machine import not_written
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.common.secrets import hide_secrets
from uniformaly_pipeline.detector.arguments import check_number
from uniformaly_pipeline.detector.conformal import conformal_threshold
from uniformaly_pipeline.detector.encoding import Reading
from uniformaly_pipeline.features.backbone import Backbone
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import StoreHeader
from uniformaly_pipeline.memory_bank.bank import bank_levels, bank_region
from uniformaly_pipeline.scoring.methods.interface import UNIFORMALY, MethodName

FORMAT = "uniformaly-detector"
FORMAT_VERSION = 1
"""Version of the file's format: a reader takes all up to its own."""

DETECTOR_FILE = "detector.safetensors"
"""A detector's file in a folder that was exported."""

_SIGNED = ("version", "settings", "tensors")


@dataclass(frozen=True)
class Scoring:
    """From distances to scores (paper section 4.2).

    Attributes:
        top_k_ratio: Share of an image's patches whose scores are averaged.
        num_neighbors: Distances are the mean over this many nearest vectors of the bank.
        search: A faiss index factory string; ``Flat`` is exact.
        method: Which method scores, one of those that compare patches, see
            :data:`.scoring.methods.choice.METHODS`.
    """

    top_k_ratio: float = 0.05
    num_neighbors: int = 1
    search: str = "Flat"
    method: MethodName = UNIFORMALY

    def __post_init__(self) -> None:
        """Refuse a method of a newer version, or of a slip: ``ValueError``."""
        if self.method not in get_args(MethodName):
            raise ValueError(f"unknown method '{self.method}'")

    def entries(self) -> dict[str, Any]:
        """What a detector's file says of it; nothing of the method where it is UniFormaly's.

        Versions that know no other read such a file.
        """
        entries = asdict(self)
        if self.method == UNIFORMALY:
            del entries["method"]
        return entries


@dataclass(frozen=True)
class Threshold:
    """The score strictly above which an image is anomalous, and where it is from.

    Attributes:
        value: The threshold [unit of the scores].
        false_alarm_rate: What it keeps by split conformal prediction; ``None`` where it was set
            by hand.
    """

    value: float
    false_alarm_rate: float | None = None

    @classmethod
    def conformal(cls, calibration_scores: np.ndarray, false_alarm_rate: float) -> Threshold:
        """The threshold of a false-alarm rate, see :func:`.conformal.conformal_threshold`.

        Raises:
            InputError: The held-out images are too few for the rate.
        """
        value = conformal_threshold(calibration_scores, false_alarm_rate, "false_alarm_rate")
        return cls(value, false_alarm_rate)

    @classmethod
    def by_hand(cls, value: Any) -> Threshold:
        """A threshold that somebody chose.

        Raises:
            InputError: It is no finite number from 0 on.
        """
        # No score is below 0, so below it every image would be flagged.
        wanted = "a finite number from 0 on"
        check_number("the threshold", value, lambda n: math.isfinite(n) and n >= 0, wanted)
        return cls(float(value))

    def __str__(self) -> str:
        """The value and where it is from."""
        if self.false_alarm_rate is None:
            return f"{self.value:.6g}, set by hand"
        return f"{self.value:.6g}, for a false-alarm rate of at most {self.false_alarm_rate:g}"


@dataclass(frozen=True)
class TranslatedEncoder:
    """An encoder of another engine than torch, as an exported folder holds it.

    Attributes:
        engine: Its format, see :data:`.exported.ENCODER_FILES`.
        files: The contents of its files by name.
        place: The folder's path or URL.
    """

    engine: str
    files: Mapping[str, bytes]
    place: str


@dataclass(frozen=True)
class DetectorState:
    """All that a detector knows but its encoder.

    Attributes:
        name: What it is a detector of, a class of the bank.
        bank: The memory bank, see :func:`.bank.build_memory_bank`.
        scoring: From distances to scores.
        calibration_scores: float32 [n], scores of normal images that are not in the bank.
        threshold: When an image is anomalous.
        normal_images: Names of the bank's images, in the order it counts them.
        thumbnails: JPEGs of the encoder's view of each of them; empty for none.
        weights: The encoder's weights by name; empty where it is loaded by the backbone's name.
        made_with: Version of this package that made it.
        root: Where the normal images lie, on the machine of the run; no file tells it.
        translated: The encoder of the folder that it was exported to, which computes in place of
            torch; its file does not hold it.
    """

    name: str
    bank: ArrayBundle
    scoring: Scoring
    calibration_scores: np.ndarray
    threshold: Threshold
    normal_images: tuple[str, ...]
    thumbnails: tuple[bytes, ...] = ()
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    made_with: str = __version__
    root: str = ""
    translated: TranslatedEncoder | None = None

    @cached_property
    def reading(self) -> Reading:
        """How its images become features."""
        entries = self.bank.metadata["features"]
        header = StoreHeader.from_json(json.dumps(entries))
        masking = BackPatchMasking(**self.bank.metadata["bpm"])
        levels, region = bank_levels(self.bank, self.name), bank_region(self.bank, self.name)
        return Reading(header, masking, levels, region)

    @property
    def backbone(self) -> Backbone:
        """Its encoder's backbone."""
        entries = self.reading.header.backbone
        return Backbone(**{**entries, "layers": tuple(entries["layers"])})

    def describe(self) -> dict[str, str]:
        """What it is, in words."""
        header, metadata = self.reading.header, self.bank.metadata
        height, width = self.reading.preprocessing.input_size
        grid = f"{header.grid[1]} x {header.grid[0]}"
        region = self.reading.region
        counts = "" if region is None else f", where {region.pixels.mean():.0%} of an image counts"
        vectors = len(self.bank.arrays["memory_bank"])
        weights = "in the file" if self.weights else f"SHA-256 {header.weights_sha256[:12]}..."
        return {
            "detector of": self.name,
            "backbone": f"{self.backbone.model}, weights {weights}",
            "looks at": f"{width} x {height} pixels, {grid} patches{counts}",
            "memory bank": f"{vectors:,} of {metadata['num_patches']:,} patches of "
            f"{metadata['num_images']} normal images",
            "held out": f"{len(self.calibration_scores)} normal images",
            "threshold": str(self.threshold),
            "made with": f"uniformaly-pipeline {self.made_with}",
        }

    def to_bytes(self) -> bytes:
        """The content of a detector's file."""
        arrays = {f"bank.{name}": array for name, array in self.bank.arrays.items()}
        arrays["calibration_scores"] = self.calibration_scores
        if self.thumbnails:
            arrays["thumbnails"] = np.frombuffer(b"".join(self.thumbnails), np.uint8)
            arrays["thumbnail_ends"] = np.cumsum([len(each) for each in self.thumbnails])
        arrays |= {f"weights.{name}": array for name, array in self.weights.items()}
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        # The address of a checkpoint may hold a user and password.
        settings, _ = hide_secrets({
            "name": self.name,
            "bank": dict(self.bank.metadata),
            "scoring": self.scoring.entries(),
            "threshold": asdict(self.threshold),
            "normal_images": list(self.normal_images),
            "made_with": self.made_with,
        })  # fmt: skip
        described = {
            "format": FORMAT,
            "version": str(FORMAT_VERSION),
            "settings": json.dumps(settings, sort_keys=True),
            "tensors": json.dumps({name: describe_array(arrays[name]) for name in sorted(arrays)}),
        }
        content: bytes = save(arrays, {**described, "digest": _digest(described)})
        return content

    @classmethod
    def from_bytes(cls, content: bytes, called: str) -> DetectorState:
        """Read the content of a detector's file.

        Args:
            content: The file's bytes.
            called: What an error calls the file.

        Raises:
            InputError: It is no detector, damaged, or of a newer version.
        """
        metadata = _metadata(content, called)
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{called} is no detector: give a file that 'uniformaly fit' or Detector.save wrote"
            )
        _check_version(metadata.get("version", ""), called)
        damaged = InputError(f"{called} is damaged: copy or make it anew")
        if metadata.get("digest") != _digest(metadata):
            raise damaged
        try:
            arrays = load(content)
        except SafetensorError as error:
            raise damaged from error
        described = json.loads(metadata["tensors"])
        if {name: describe_array(array) for name, array in arrays.items()} != described:
            raise damaged
        try:
            state = _from_parts(arrays, json.loads(metadata["settings"]))
            _ = state.reading.preprocessing, state.backbone
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(
                f"{called} has settings that this version {__version__} of uniformaly-pipeline "
                f"does not know ({first_line(error)}): update it"
            ) from error
        return state


def save_state(state: DetectorState, path: str | PathLike[str]) -> None:
    """Write a detector's file, in one step.

    Args:
        state: What it holds.
        path: Local path or URL of the file, or of a folder that was exported, whose it is.

    Raises:
        InputError: It cannot be written.
    """
    content, called = state.to_bytes(), _file_of(path)
    if "://" not in called and Path(called).expanduser().is_symlink():
        called = os.path.realpath(Path(called).expanduser())  # a link stays one
    if "://" not in called and Path(called).expanduser().is_dir():
        raise InputError(f"{called} is a folder: give a file such as bolt.safetensors")
    try:
        RemoteFile(called).write(content)
    except OSError as error:
        raise InputError(not_written(error, called)) from error


def load_state(path: str | PathLike[str]) -> DetectorState:
    """Read a detector's file and check it.

    Args:
        path: Local path or URL of the file, or of a folder that was exported.

    Raises:
        InputError: It does not exist, is no detector, damaged, or of a newer version.
    """
    called = _file_of(path)
    local = None if "://" in called else Path(called).expanduser()
    if local is not None and local.exists() and not local.is_file():
        what = "is a folder without a detector" if local.is_dir() else "is no file"
        raise InputError(f"{called} {what}: give a detector's file, such as bolt.safetensors")
    try:
        content = RemoteFile(called).read()
    except FileNotFoundError as error:
        raise InputError(f"{called} does not exist: give a detector's file") from error
    except OSError as error:
        raise InputError(f"{called} cannot be read: {first_line(error)}") from error
    return DetectorState.from_bytes(content, called)


def _file_of(path: str | PathLike[str]) -> str:
    called = fspath(path)
    inside = f"{called.rstrip('/')}/{DETECTOR_FILE}"
    return inside if RemoteFile(inside).exists() else called


def _from_parts(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> DetectorState:
    def below(prefix: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }

    thumbnails: tuple[bytes, ...] = ()
    if "thumbnails" in arrays:
        parts = np.split(arrays["thumbnails"], arrays["thumbnail_ends"][:-1])
        thumbnails = tuple(part.tobytes() for part in parts)
    return DetectorState(
        name=settings["name"],
        bank=ArrayBundle(below("bank."), settings["bank"]),
        scoring=Scoring(**settings["scoring"]),
        calibration_scores=arrays["calibration_scores"],
        threshold=Threshold(**settings["threshold"]),
        normal_images=tuple(settings["normal_images"]),
        thumbnails=thumbnails,
        weights=below("weights."),
        made_with=settings["made_with"],
    )


def _metadata(content: bytes, called: str) -> dict[str, str]:
    """What a safetensors file says of itself; its header is JSON after eight bytes of length."""
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        metadata: dict[str, str] = header.get("__metadata__", {})
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{called} is no detector, or a damaged one: give a file that 'uniformaly fit' "
            "or Detector.save wrote"
        ) from error
    return metadata


def _check_version(version: str, called: str) -> None:
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise InputError(
            f"{called} has format {version or 'unknown'}, and this version {__version__} of "
            f"uniformaly-pipeline reads up to {FORMAT_VERSION}: update it"
        )


def _digest(described: Mapping[str, str]) -> str:
    text = "\n".join(described.get(key, "") for key in _SIGNED)
    return hashlib.sha256(text.encode()).hexdigest()


def with_asked_threshold(
    state: DetectorState, value: float | None, false_alarm_rate: float | None, section: str
) -> DetectorState:
    """The same detector with the threshold that a section of parameters asks for, or its own.

    Raises:
        InputError: As :func:`with_threshold`; the line begins with the section.
    """
    if value is None and false_alarm_rate is None:
        return state
    try:
        return with_threshold(state, value, false_alarm_rate)
    except InputError as error:
        raise InputError(f"{section}: {error}") from error


def with_threshold(
    state: DetectorState, value: float | None, false_alarm_rate: float | None
) -> DetectorState:
    """The same detector with a threshold by hand or by false-alarm rate: exactly one of them.

    Raises:
        InputError: Both or none are given, the value is not finite or below 0, or the held-out
            images are too few for the rate.
    """
    if (value is None) == (false_alarm_rate is None):
        raise InputError("give either a threshold or a false_alarm_rate")
    if false_alarm_rate is not None:
        return replace(
            state, threshold=Threshold.conformal(state.calibration_scores, false_alarm_rate)
        )
    return replace(state, threshold=Threshold.by_hand(value))
