"""Settings and images put together into a stream of features."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Literal

from uniformaly_pipeline.features.backbone import Backbone, load_backbone, weights_hash
from uniformaly_pipeline.features.encoder import Encoder, Precision, choose_device, encode_images
from uniformaly_pipeline.features.masking import BackPatchMasking, Keep, drops_patches
from uniformaly_pipeline.features.precision import check_on_images
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import StoreHeader
from uniformaly_pipeline.features.store_update import FeatureStream
from uniformaly_pipeline.ingestion.images import ImageFolder


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
    seed: int = 0,
    layer_choices: Sequence[Sequence[int]] | None = None,
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
        seed: Seed of untrained weights.
        layer_choices: Several choices of blocks to average, all from one pass, in place of the
            backbone's own; see :meth:`.store.FeatureStore.with_layers`.

    Returns:
        A stream that encodes what it is asked for.

    Raises:
        InputError: The backbone cannot be loaded.
    """
    model = load_backbone(backbone, preprocessing.input_size, seed)
    weights_sha256 = weights_hash(model)
    layers = layer_choices or backbone.layers
    if precision == "auto" and choose_device(device).startswith("cuda"):
        exact = Encoder(model, layers, backbone.attention_layer, device, "float32")
        precision = check_on_images(exact, folder, images.values(), preprocessing, masking)
    encoder = Encoder(model, layers, backbone.attention_layer, device, precision, compile)
    header = StoreHeader(
        backbone={**asdict(backbone), "layers": list(backbone.layers)},
        weights_sha256=weights_sha256,
        preprocessing=asdict(preprocessing),
        precision=str(encoder.dtype).removeprefix("torch."),
        grid=encoder.grid(preprocessing.input_size),
        dim=encoder.dim,
        dtype=dtype,
        masking=asdict(masking) if drops_patches(masking, keep) else None,
        layer_choices=encoder.layer_choices if layer_choices else None,
    )
    encode = functools.partial(
        encode_images,
        encoder,
        folder,
        preprocessing=preprocessing,
        batch_size=batch_size,
        num_workers=num_workers,
    )
    return FeatureStream(header, dict(images), encode, batch_size, encoder.peak_memory)
