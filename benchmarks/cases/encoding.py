"""Images to patch features and attention, random weights and images."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks.case import Agreement, Arrays, Case, Settings, Workload
from benchmarks.machine import gemm_rate
from benchmarks.products import Rate, layer_shapes, limit

if TYPE_CHECKING:
    import torch

    from uniformaly_pipeline.features.backbone import Backbone
    from uniformaly_pipeline.features.encoder import BatchEncoder, Precision

LAYERS = (2, 3, 4, 5, 6, 7, 8, 9)
ATTENTION_LAYER = 9
SIDE = 224
BATCH = 8
OTHER_BATCHES = (1, 4, 16)
GPU_BATCH = 128
RTOL, HALF_RTOL = 1e-4, 2e-2
"""Of the largest value; random weights magnify half precision's rounding."""


def flops(patch: int, dim: int = 768, blocks: int = 10) -> float:
    """Operations of the matrix products of an image's blocks: linear layers and attention."""
    tokens = (SIDE // patch) ** 2 + 1
    return blocks * (24.0 * tokens * dim**2 + 4.0 * tokens**2 * dim)


def _limit(patch: int, dtype: str = "float32") -> Rate:
    return limit(layer_shapes(BATCH * ((SIDE // patch) ** 2 + 1)), dtype)


def best_rate(patch: int) -> float:
    """Highest float32 rate of any library for a batch's linear layers, in FLOP/s."""
    return _limit(patch).flops


def _backbone(patch: int) -> Backbone:
    from uniformaly_pipeline.features.backbone import UNTRAINED, Backbone

    return Backbone(f"vit_base_patch{patch}_224", UNTRAINED)


def _model(patch: int) -> Any:
    from uniformaly_pipeline.features.backbone import load_backbone

    return load_backbone(_backbone(patch), (SIDE, SIDE))


def _images(count: int, device: str = "cpu") -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, SIDE, SIDE, generator=generator).to(device)


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _arrays(result: tuple[torch.Tensor, torch.Tensor]) -> Arrays:
    """The first image's features and attention."""
    features, attention = result
    return {
        "features": features[0].float().cpu().numpy(),
        "attention": attention[0].float().cpu().numpy(),
    }


def _authors(settings: Settings, patch: int, device: str = "cpu") -> Workload:
    import torch

    from benchmarks.authors_schedule import AuthorsEncoder

    encoder = AuthorsEncoder(_model(patch).to(device), LAYERS, ATTENTION_LAYER)
    count = 16 if device == "cuda" else (8 if patch == 16 else 2) // (2 if settings.quick else 1)
    images = _images(max(count, 1), device)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        # The released scripts train in half precision on a GPU.
        with torch.autocast(device, torch.float16, enabled=device == "cuda"):
            encoded = [(encoder.features(i[None]), encoder.attention(i[None])) for i in images]
        _wait(device)
        return encoded[0]

    what = f"{len(images)} images one by one, two passes of 12 blocks, attention matrices kept"
    return Workload(run, what, seconds=lambda seconds, _: seconds / len(images), arrays=_arrays)


def _ours(
    settings: Settings,
    patch: int,
    device: str = "cpu",
    precision: Precision = "auto",
    engine: Literal["torch", "openvino"] = "torch",
) -> Workload:
    from uniformaly_pipeline.features.encoder import Encoder
    from uniformaly_pipeline.features.engines.choice import torch_engine, translated

    computed_in: Precision = "float16" if device == "cuda" else precision
    in_torch = Encoder(_model(patch), LAYERS, ATTENTION_LAYER, device, computed_in)
    encoder: BatchEncoder
    if engine == "openvino":
        encoder = translated(engine, in_torch, (SIDE, SIDE))
    else:
        encoder = torch_engine(in_torch, _backbone(patch), (SIDE, SIDE)).prepare()
    batch = GPU_BATCH if device == "cuda" else BATCH
    images = _images(batch, device)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        encoded = encoder(images)
        _wait(device)
        return encoded.features, encoded.attention

    dtype = "float32" if precision == "auto" else precision

    def at_the_limit() -> float:
        on_gpu = device == "cuda"
        rate = gemm_rate("float16", "cuda", scale=8) if on_gpu else _limit(patch, dtype).flops
        return batch * flops(patch) / rate

    def details() -> dict[str, Any]:
        found: dict[str, Any] = {"batches": [_time_batch(encoder, patch, size) for size in others]}
        if device == "cpu":
            found["limit_library"] = _limit(patch, dtype).library
        return found

    others = () if settings.quick or device == "cuda" or precision != "auto" else OTHER_BATCHES
    return Workload(
        run,
        f"{batch} images at once, one pass of ten blocks, {in_torch.dtype}, {engine}",
        seconds=lambda seconds, _: seconds / batch,
        limit=at_the_limit,
        arrays=_arrays,
        details=details,
    )


def _time_batch(encoder: BatchEncoder, patch: int, size: int) -> dict[str, float]:
    images = _images(size)
    encoder(images)
    start = time.perf_counter()
    encoder(images)
    seconds = (time.perf_counter() - start) / size
    share = flops(patch) / best_rate(patch) / seconds
    return {"batch": size, "seconds_per_image": seconds, "share_of_limit": share}


def _compare(_settings: Settings, authors: Arrays, ours: Arrays, rtol: float) -> Agreement:
    """Largest difference relative to the largest value."""
    errors = {
        name: float(np.abs(authors[name] - ours[name]).max() / np.abs(authors[name]).max())
        for name in ours
    }
    return Agreement(all(error < rtol for error in errors.values()), errors)


def _case(
    name: str,
    patch: int,
    device: str = "cpu",
    precision: Precision = "auto",
    engine: Literal["torch", "openvino"] = "torch",
) -> Case:
    on_gpu = device == "cuda"
    is_half = on_gpu or precision != "auto"
    ours_in = "float16" if on_gpu else "float32" if precision == "auto" else precision
    return Case(
        name=name,
        authors=functools.partial(_authors, patch=patch, device=device),
        ours=functools.partial(
            _ours, patch=patch, device=device, precision=precision, engine=engine
        ),
        compare=functools.partial(_compare, rtol=HALF_RTOL if is_half else RTOL),
        unit="s/image",
        limit=f"{ours_in} matrix products of the fastest library",
        needs="cuda" if on_gpu else "openvino" if engine == "openvino" else "",
        warmups=1,
    )


CASES = [
    _case("encode_b8", 8),
    _case("encode_b16", 16),
    _case("encode_b8_openvino", 8, engine="openvino"),
    _case("encode_b16_openvino", 16, engine="openvino"),
    _case("encode_b8_bfloat16", 8, precision="bfloat16"),
    _case("encode_b16_bfloat16", 16, precision="bfloat16"),
    _case("encode_gpu_b8", 8, "cuda"),
    _case("encode_gpu_b16", 16, "cuda"),
]
