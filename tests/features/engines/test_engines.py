"""Every engine reads the same from images, whatever the batch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoder
from uniformaly_pipeline.features.engines import onnx, openvino
from uniformaly_pipeline.features.engines.arrays import PatchEncoder
from uniformaly_pipeline.features.engines.linear import OneDnnLinear, has_onednn, use_linear

SIZE = (32, 48)
LAYERS = [[2, 3, 4], [5, 9]]


@pytest.fixture(scope="module")
def encoder(tiny_backbone: Backbone) -> Encoder:
    return Encoder(load_backbone(tiny_backbone, SIZE), LAYERS, 9, "cpu", "float32")


def in_openvino(encoder: Encoder, folder: Path) -> PatchEncoder:
    import openvino as library

    model = openvino.translate(encoder, SIZE)
    library.save_model(model, folder / "encoder.xml", compress_to_fp16=False)
    return openvino.OpenVinoEncoder(folder / "encoder.xml")


def in_onnx(encoder: Encoder, folder: Path) -> PatchEncoder:
    (folder / "encoder.onnx").write_bytes(onnx.translate(encoder, SIZE))
    return onnx.OnnxEncoder(folder / "encoder.onnx")


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [in_openvino, in_onnx])
def test_features_and_attention_are_torchs_in_any_batch(
    make: Callable[[Encoder, Path], PatchEncoder], encoder: Encoder, tmp_path: Path
) -> None:
    engine = make(encoder, tmp_path)
    given = images(5)
    expected = encoder(given)
    together = engine(given.numpy())
    assert together.features.dtype == together.attention.dtype == np.float32
    largest = float(expected.features.abs().max())
    np.testing.assert_allclose(together.features, expected.features, rtol=0, atol=1e-4 * largest)
    np.testing.assert_allclose(together.attention, expected.attention, rtol=0, atol=1e-4)
    kept = together.features.copy()
    for one in range(5):
        alone = engine(given[one : one + 1].numpy())
        np.testing.assert_allclose(alone.features[0], kept[one], rtol=0, atol=1e-5 * largest)
        np.testing.assert_allclose(alone.attention[0], together.attention[one], rtol=0, atol=1e-5)
    # Later batches do not overwrite earlier results.
    np.testing.assert_array_equal(together.features, kept)


DROPPED = """
import os, signal, sys, threading
import numpy as np
from pathlib import Path
from uniformaly_pipeline.features.engines.openvino import OpenVinoEncoder

encoders = [OpenVinoEncoder(Path(sys.argv[1]))]
encoders[0](np.zeros((1, 3, 32, 48), np.float32))
thread = threading.Thread(target=encoders.clear)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_a_model_was_dropped_in_another_thread_is_handled(
    encoder: Encoder, tmp_path: Path
) -> None:
    """OpenVINO frees the stack that it gave the signals of the thread that loaded it."""
    in_openvino(encoder, tmp_path)
    command = [sys.executable, "-c", DROPPED, str(tmp_path / "encoder.xml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
def test_libraries_of_linear_layers_agree(tiny_backbone: Backbone) -> None:
    encoder = Encoder(load_backbone(tiny_backbone, SIZE), LAYERS, 9, "cpu", "float32")
    given = images(3)
    expected = encoder(given)
    use_linear(encoder.model, "onednn")
    changed = [m for m in encoder.model.modules() if isinstance(m, OneDnnLinear)]
    assert len(changed) == 4 * 12  # four in each block
    found = encoder(given)
    largest = float(expected.features.abs().max())
    np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-5 * largest)
    np.testing.assert_allclose(found.attention, expected.attention, rtol=0, atol=1e-5)
    for one in range(3):
        alone = encoder(given[one : one + 1]).features[0]
        np.testing.assert_allclose(alone, found.features[one], rtol=0, atol=1e-5 * largest)
    # Half precision is torch's own.
    half = Encoder(encoder.model, LAYERS, 9, "cpu", "bfloat16")(given).features
    use_linear(encoder.model, "mkl")
    assert not any(isinstance(m, OneDnnLinear) for m in encoder.model.modules())
    np.testing.assert_array_equal(encoder(given).features, expected.features)
    again = Encoder(encoder.model, LAYERS, 9, "cpu", "bfloat16")(given).features
    np.testing.assert_array_equal(half, again)


def test_a_translated_model_needs_no_torch(encoder: Encoder, tmp_path: Path) -> None:
    in_openvino(encoder, tmp_path)
    in_onnx(encoder, tmp_path)
    script = """
import sys
from pathlib import Path
import numpy as np
from uniformaly_pipeline.features.engines.onnx import OnnxEncoder
from uniformaly_pipeline.features.engines.openvino import OpenVinoEncoder
folder, height, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
images = np.ones((2, 3, height, width), np.float32)
one = OpenVinoEncoder(folder / "encoder.xml")(images)
other = OnnxEncoder(folder / "encoder.onnx")(images)
assert np.abs(one.features - other.features).max() < 1e-4 * np.abs(one.features).max()
assert "torch" not in sys.modules
"""
    command = [sys.executable, "-c", script, str(tmp_path), *map(str, SIZE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
