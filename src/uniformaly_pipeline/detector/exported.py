"""A detector in a folder: its file, its encoder in another engine, and a card; docs/detector.md."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, cast

from uniformaly_pipeline import __version__
from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.files import new_file, new_folder
from uniformaly_pipeline.common.machine import not_written
from uniformaly_pipeline.common.remote_file import RemoteFile
from uniformaly_pipeline.detector.encoding import PatchEncoder, Reading
from uniformaly_pipeline.detector.state import (
    DETECTOR_FILE,
    DetectorState,
    TranslatedEncoder,
)
from uniformaly_pipeline.features.engines import onnx, openvino

Format = Literal["safetensors", "onnx", "openvino"]

ENCODER_FILES: Mapping[str, tuple[str, ...]] = {
    "safetensors": (),
    "onnx": ("encoder.onnx",),
    "openvino": ("encoder.xml", "encoder.bin"),
}
"""What holds the encoder, by format; ``safetensors`` has its weights in the detector's file."""

CARD = "card.json"
CARD_VERSION = 1


@dataclass(frozen=True)
class ExportedDetector:
    """A detector as files.

    Attributes:
        files: The files' contents by name, without the card.
        card: What they are and how they were checked.
    """

    files: Mapping[str, bytes]
    card: Mapping[str, Any]


def encoder_identity(reading: Reading) -> dict[str, Any]:
    """What makes an encoder the one of a detector, as JSON holds it."""
    backbone = reading.header.backbone
    identity = {
        "model": backbone["model"],
        "weights_sha256": reading.header.weights_sha256,
        "layers": list(backbone["layers"]),
        "attention_layer": backbone["attention_layer"],
        "input_size": list(reading.preprocessing.input_size),
    }
    # Cards from before there was a choice say nothing of it.
    return {**identity, "norm": True} if backbone.get("norm") else identity


def describe_card(card: Mapping[str, Any]) -> list[str]:
    """What a card says of the check, in lines for people."""
    sizes = ", ".join(f"{name} {size:g} MB" for name, size in card["megabytes"].items())
    times = ", ".join(f"{name} {ms:g} ms" for name, ms in card["milliseconds_an_image"].items())
    return [
        f"files: {sizes}, {CARD}",
        f"compared on: {card['decisions_compared']} images ({card['compared_on']}), "
        f"{card['decisions_anomalous']} of them anomalous: all decisions are the same",
        f"features differ by {card['greatest_feature_difference']:.2g} of the largest at most",
        f"encoding an image: {times}",
    ]


def file_hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of an encoder's files; the detector's own file checks itself."""
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if name != DETECTOR_FILE
    }


def write_exported(exported: ExportedDetector, folder: str | PathLike[str]) -> None:
    """Write the folder; an older export there is replaced.

    On a local disk it appears in one step. Elsewhere the card comes last, and without the right one
    nothing can be loaded.

    Args:
        exported: What to write.
        folder: Path or URL.

    Raises:
        InputError: The folder holds something else, or it cannot be written.
    """
    place = fspath(folder)
    card = json.dumps(exported.card, indent=2).encode() + b"\n"
    files = {**exported.files, CARD: card}
    try:
        if "://" in place:
            for name, content in files.items():
                RemoteFile(_inside(place, name)).write(content)
        else:
            _write_local(files, Path(place).expanduser())
    except OSError as error:
        raise InputError(not_written(error, place)) from error


def _write_local(files: Mapping[str, bytes], folder: Path) -> None:
    check_free(folder)
    # A link stays one: what it leads to is replaced.
    folder = Path(os.path.realpath(folder))
    if os.path.ismount(folder):
        _write_in_place(files, folder)
        return
    with new_folder(folder, replace=True) as part:
        for name, content in files.items():
            (part / name).write_bytes(content)


def _write_in_place(files: Mapping[str, bytes], folder: Path) -> None:
    """Replace the files of a folder that cannot be replaced itself, such as a mounted disk."""
    for name, content in files.items():  # the card is the last
        with new_file(folder / name) as part:
            part.write_bytes(content)
    for old in folder.iterdir():
        if old.name not in files:
            old.unlink()


def check_free(folder: str | PathLike[str]) -> None:
    """Refuse a local folder that an export may not replace.

    Raises:
        InputError: It holds something else, or is a file.
    """
    place = fspath(folder)
    if "://" in place or not Path(place).expanduser().exists():
        return
    path = Path(place).expanduser()
    if not path.is_dir():
        raise InputError(f"{place} is a file: give a folder to export to")
    ours = {CARD, DETECTOR_FILE, *(name for each in ENCODER_FILES.values() for name in each)}
    if other := next((each.name for each in path.iterdir() if each.name not in ours), None):
        raise InputError(f"{place} holds something else, {other}: give a new folder to export to")


def read_exported(folder: str | PathLike[str]) -> ExportedDetector:
    """Read what :func:`write_exported` wrote, and check the encoder's files.

    Args:
        folder: Path or URL.

    Raises:
        InputError: Something is missing, damaged or of a newer version.
    """
    place = fspath(folder)
    card = _read_card(place)
    files = {name: _read(place, name) for name in (DETECTOR_FILE, *card["files"])}
    for name, sha256 in card["files"].items():
        if hashlib.sha256(files[name]).hexdigest() != sha256:
            raise InputError(f"{_inside(place, name)} is damaged: copy or export it anew")
    return ExportedDetector(files, card)


def load_exported(
    folder: str | PathLike[str], device: str = "auto"
) -> tuple[DetectorState, PatchEncoder | None]:
    """A detector from its folder, all of which is checked.

    Args:
        folder: Path or URL.
        device: Torch device; an encoder of another engine computes on the CPU.

    Returns:
        What the detector knows, and its encoder; ``None`` where it is the state's own, in torch.

    Raises:
        InputError: Something is missing, damaged, of a newer version or of another detector, or
            the engine is not installed.
    """
    state = load_exported_state(folder)
    if state.translated is None:
        return state, None
    # The loaded encoder is enough: its files may be hundreds of megabytes.
    return replace(state, translated=None), load_translated(state.translated, device)


def load_exported_state(folder: str | PathLike[str]) -> DetectorState:
    """What the detector of a folder knows, all of which is checked; its encoder comes as files.

    Args:
        folder: Path or URL.

    Raises:
        InputError: Something is missing, damaged, of a newer version or of another detector.
    """
    place, exported = fspath(folder), read_exported(folder)
    content = exported.files[DETECTOR_FILE]
    state = DetectorState.from_bytes(content, _inside(place, DETECTOR_FILE))
    if exported.card["encoder"] != encoder_identity(state.reading):
        raise InputError(f"{place} holds the encoder of another detector: export it anew")
    engine = exported.card["engine"]
    files = {name: exported.files[name] for name in ENCODER_FILES[engine]}
    return replace(state, translated=TranslatedEncoder(engine, files, place) if files else None)


def load_translated(translated: TranslatedEncoder, device: str = "auto") -> PatchEncoder:
    """The encoder of an exported folder.

    Args:
        translated: Its files.
        device: What was asked for; it computes on the CPU.

    Raises:
        InputError: The engine is not installed, or another device was asked for.
    """
    if device not in ("auto", "cpu"):
        raise InputError(f"{translated.place} computes on a CPU: leave the device {device} out")
    encoder = encoder_of(cast(Format, translated.engine), translated.files)
    assert encoder is not None
    return encoder


def encoder_of(engine: Format, files: Mapping[str, bytes]) -> PatchEncoder | None:
    """The encoder that an export's files hold.

    Raises:
        InputError: The engine is not installed.
    """
    contents = [files[name] for name in ENCODER_FILES[engine]]
    if engine == "onnx":
        return onnx.OnnxEncoder(*contents)
    if engine == "openvino":
        return openvino.OpenVinoEncoder(openvino.read(*contents))
    return None


def _read_card(folder: str) -> dict[str, Any]:
    """The card, with what loading needs of it.

    Raises:
        InputError: It is missing, damaged or of a newer version.
    """
    called, content = _inside(folder, CARD), _read(folder, CARD)
    try:
        card = json.loads(content)
        version, engine, names = card["version"], card["engine"], tuple(card["files"])
        is_whole = card["encoder"].keys() and names == ENCODER_FILES.get(engine, names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{called} is damaged: export the detector anew") from error
    if version != CARD_VERSION or engine not in ENCODER_FILES:
        raise InputError(
            f"{called} is of a version {version!r} that this version {__version__} of "
            "uniformaly-pipeline does not know: update it"
        )
    if not is_whole:
        raise InputError(f"{called} is damaged: export the detector anew")
    return dict(card)


def _read(folder: str, name: str) -> bytes:
    called = _inside(folder, name)
    try:
        return RemoteFile(called).read()
    except FileNotFoundError as error:
        whole = "export the detector anew" if name != CARD else "give a folder that was exported"
        raise InputError(f"{called} is missing: {whole}") from error
    except OSError as error:
        raise InputError(f"{called} cannot be read: {first_line(error)}") from error


def _inside(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"
