"""Settings and images put together into a stream of features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from uniformaly_pipeline.features.backbone import (
    Backbone,
    checkpoint_digest,
    load_backbone,
    weights_hash,
)
from uniformaly_pipeline.features.encoder import (
    BatchEncoder,
    Encoded,
    Encoder,
    Precision,
    choose_device,
    encode_images,
)
from uniformaly_pipeline.features.engines.choice import (
    Engine,
    check_engine,
    has_openvino,
    seconds_of_openvino,
    torch_engine,
    translated,
)
from uniformaly_pipeline.features.engines.linear import LinearKind
from uniformaly_pipeline.features.masking import BackPatchMasking, Keep, drops_patches
from uniformaly_pipeline.features.precision import check_on_images
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import StoreHeader
from uniformaly_pipeline.features.stream import FeatureStream
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.regions import Region
from uniformaly_pipeline.ingestion.turns import Turn


def feature_stream(
    folder: ImageFolder,
    images: Mapping[str, str],
    backbone: Backbone,
    preprocessing: Preprocessing,
    masking: BackPatchMasking,
    *,
    keep: Keep = "foreground",
    dtype: Literal["float16", "float32"] = "float16",
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 8,
    num_workers: int | Literal["auto"] = "auto",
    compile: bool = False,
    engine: Engine = "auto",
    seed: int = 0,
    layer_choices: Sequence[Sequence[int]] | None = None,
    levels: Mapping[str, Levels] | None = None,
    regions: Mapping[str, Region] | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    linear: LinearKind | None = None,
    turns: Mapping[str, tuple[str, Turn]] | None = None,
) -> FeatureStream:
    """Load the backbone and describe how to encode images with it.

    Args:
        folder: Where the images are.
        images: Relative path of each image by its content hash; equal images are encoded once.
        backbone: The ViT.
        preprocessing: From image to input.
        masking: Chooses the patches to keep.
        keep: ``foreground`` keeps only the patches that a binary masking keeps; a soft masking or
            none needs all of them.
        dtype: Type in which features are stored.
        device: Torch device, or ``auto``.
        precision: Type of the computation; ``auto`` is float32 on the CPU, and on a GPU what
            :func:`.precision.check_on_images` chooses.
        batch_size: Images in a batch.
        num_workers: Decoding processes, or ``auto``.
        compile: Whether to compile the model's blocks.
        engine: What computes: ``torch``, ``openvino`` or ``onnx``; ``auto`` is torch, or OpenVINO
            where it is installed, the CPU computes in float32, and it pays for its translation.
            Torch's linear layers are computed by what was measured to be fastest here.
        seed: Seed of untrained weights.
        layer_choices: Several choices of blocks to average, all from one pass, in place of the
            backbone's own; see :meth:`.store.FeatureStore.with_layers`.
        levels: Black and white of deep images by path.
        regions: What counts of images by path; of others all does.
        sizes: (width, height) of images in pixels by path, to estimate what tiles of them take.
        linear: What computes linear layers in float32 on a CPU, where that was chosen elsewhere.
        turns: See :func:`.encoder.encode_images`.

    Returns:
        A stream that encodes what it is asked for.

    Raises:
        InputError: The backbone cannot be loaded, the engine does not compute so, or no patch
            counts of a region of interest.
    """
    file = checkpoint_digest(backbone)  # before it is read: a later change is found out
    model = load_backbone(backbone, preprocessing.input_size, seed)
    weights_sha256 = weights_hash(model)
    layers = layer_choices or backbone.layers
    block, norm = backbone.attention_layer, backbone.norm
    if precision == "auto" and choose_device(device).startswith("cuda"):
        exact = Encoder(model, layers, block, device, "float32", norm=norm)
        precision = check_on_images(
            exact, folder, images.values(), preprocessing, masking, levels or {}
        )
    size = preprocessing.input_size
    encoder = Encoder(model, layers, block, device, precision, compile, norm=norm)
    header = StoreHeader(
        backbone=backbone.entries(),
        weights_sha256=weights_sha256,
        preprocessing=preprocessing.to_dict(),
        precision=str(encoder.dtype).removeprefix("torch."),
        grid=encoder.grid(size),
        dim=encoder.dim,
        dtype=dtype,
        masking=asdict(masking) if drops_patches(masking, keep) else None,
        layer_choices=encoder.layer_choices if layer_choices else None,
    )
    for region in set((regions or {}).values()):
        preprocessing.check_region(region, header.grid)
    in_torch = torch_engine(encoder, backbone, size, compile, linear)

    def encode_with(prepare: Callable[[], BatchEncoder], images: list[str]) -> Iterator[Encoded]:
        return encode_images(
            prepare(),
            folder,
            images,
            preprocessing=preprocessing,
            batch_size=batch_size,
            num_workers=num_workers,
            levels=levels,
            grid=header.grid,
            regions=regions,
            turns=turns,
        )

    # Of images in tiles each comes by itself, and is told as one.
    at_once, num_inputs = batch_size, {}
    if preprocessing.tiles is not None:
        at_once = 1
        num_inputs = {
            key: preprocessing.num_inputs(sizes[path], header.grid)
            for key, path in images.items()
            if sizes and path in sizes
        }

    def portable(engine: Engine) -> Callable[[int], FeatureStream]:
        return functools.partial(
            _on_cores,
            folder=folder,
            images={},
            backbone=backbone,
            preprocessing=preprocessing,
            masking=masking,
            keep=keep,
            dtype=dtype,
            # The number of a GPU is this machine's.
            device="cuda" if device.startswith("cuda") else device,
            precision=header.precision,
            batch_size=batch_size,
            num_workers=num_workers,
            compile=compile,
            engine=engine,
            seed=seed,
            layer_choices=layer_choices,
            levels=levels,
            regions=regions,
            turns=turns,
            linear=in_torch.linear if engine == "torch" else None,
        )

    def stream_of(other: Literal["openvino", "onnx"]) -> FeatureStream:
        chosen = translated(other, encoder, size, in_torch.measurements)
        return FeatureStream(
            replace(header, engine=other),
            dict(images),
            functools.partial(encode_with, lambda: chosen),
            at_once,
            chosen.peak_memory,
            functools.partial(seconds_of_openvino, in_torch),
            num_inputs=num_inputs,
            checkpoint_sha256=file,
            portable=functools.partial(portable, other),
        )

    if engine in ("openvino", "onnx"):
        check_engine(engine)
        return stream_of(engine)
    stream = FeatureStream(
        header,
        dict(images),
        functools.partial(encode_with, in_torch.prepare),
        at_once,
        encoder.peak_memory,
        in_torch.seconds,
        num_inputs=num_inputs,
        checkpoint_sha256=file,
        portable=functools.partial(portable, "torch"),
    )
    if engine == "auto" and in_torch.measurements is not None and has_openvino():
        stream = replace(stream, alternatives=(stream_of("openvino"),))
    return stream


def _on_cores(cores: int, num_workers: int | Literal["auto"], **settings: Any) -> FeatureStream:
    """A stream for a process that shares its machine with others."""
    if num_workers == "auto":
        num_workers = max(1, min(8, cores - 1))
    return feature_stream(num_workers=num_workers, **settings)
