"""A list of images encoded into one shard: the work that one machine does, or one of many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.remote_path import AnyPath
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.shards import StoredImage, write_shard
from uniformaly_pipeline.features.stream import FeatureStream

if TYPE_CHECKING:
    from uniformaly_pipeline.features.encoder import Encoded


@dataclass(frozen=True)
class StoredBatch:
    """Encoded images as they are stored, on the host.

    Attributes:
        content_hashes: Its images.
        features: [M, D] in the store's type, the kept patches of all.
        attention: float32 [B, grid height, grid width].
        foreground: bool [B, N].
        seconds: What decoding and encoding them took.
        image_size: (width, height) of the one image whose tiles these are; ``None`` where each is
            an image.
    """

    content_hashes: Sequence[str]
    features: np.ndarray
    attention: np.ndarray
    foreground: np.ndarray
    seconds: float
    image_size: tuple[int, int] | None = None

    @property
    def images(self) -> list[StoredImage]:
        """The images, with what is stored of each."""
        if self.image_size is not None:
            (key,), count = self.content_hashes, int(self.foreground.sum())
            return [StoredImage(key, count, self.seconds, len(self.foreground), *self.image_size)]
        counts = self.foreground.sum(axis=1).tolist()
        seconds = self.seconds / len(counts)
        return [
            StoredImage(content_hash, count, seconds)
            for content_hash, count in zip(self.content_hashes, counts, strict=True)
        ]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.features.nbytes + self.attention.nbytes + self.foreground.nbytes


def encode_shard(
    folder: AnyPath,
    stream: FeatureStream,
    wanted: Mapping[str, str],
    encoded: Iterator[Encoded] | None = None,
    on_batch: Callable[[StoredBatch], None] | None = None,
) -> int:
    """Encode a list of images into one shard of a store.

    Images that are encoded in the same batches give the same bits, wherever that is done.

    Args:
        folder: The store's own folder.
        stream: How to encode.
        wanted: Relative path of each image by its content hash, in whole batches of the stream but
            for the last of all.
        encoded: Where to take the batches from, if they come from a stream of several lists: then
            the next images are decoded while this shard is written.
        on_batch: Called with each batch as it is stored.

    Returns:
        How many images are in the shard: all, unless ``encoded`` ended early; of none there is no
        shard.

    Raises:
        InputError: An image is not the one that is wanted, the backbone's values are not finite,
            or they overflow the stored type.
    """
    images, expected = list(wanted.values()), list(wanted)
    masking = BackPatchMasking(**stream.header.masking) if stream.header.masking else None
    if encoded is None:
        encoded = iter(stream.encode(images))
    batches: list[StoredBatch] = []
    done, last = 0, time.monotonic()
    while done < len(images) and (part := next(encoded, None)) is not None:
        size = part.num_images
        _check_contents(expected[done : done + size], images[done : done + size], part)
        now = time.monotonic()
        batch = replace(to_batch(part, masking, stream.header.dtype), seconds=now - last)
        batches.append(batch)
        done, last = done + size, now
        if on_batch is not None:
            on_batch(batch)
    if not batches:
        return 0
    stored = [image for batch in batches for image in batch.images]
    tensors = {
        "features": np.concatenate([batch.features for batch in batches]),
        "attention": np.concatenate([batch.attention for batch in batches]),
        "foreground": np.concatenate([batch.foreground for batch in batches]).astype(np.uint8),
    }
    batches.clear()  # before the file's own copy is made
    write_shard(folder, stream.header.to_json(), stored, tensors)
    return done


def _check_contents(expected: Sequence[str], images: Sequence[str], encoded: Encoded) -> None:
    """Refuse features of other bytes than those that the manifest read.

    Raises:
        InputError: An image has changed; the line names it.
    """
    for wanted, image, decoded in zip(expected, images, encoded.content_hashes, strict=True):
        if wanted != decoded:
            raise InputError(
                f"{image} has changed since this run read it: nothing is stored of it; run again"
            )


def to_batch(encoded: Encoded, masking: BackPatchMasking | None, dtype: str) -> StoredBatch:
    """Keep the patches wanted and convert on the device; what leaves it is what is stored.

    Raises:
        InputError: The backbone's values are not finite, or overflow the stored type.
    """
    import torch

    attention = encoded.attention
    if encoded.counted is not None:
        attention = torch.where(encoded.counted.to(attention.device), attention, torch.nan)
    if masking is None:
        foreground = torch.ones(encoded.features.shape[:2], dtype=torch.bool)
        kept = encoded.features.flatten(0, 1)
    else:
        foreground = masking.foreground(attention)
        kept = encoded.features[foreground]
    features = kept.to(getattr(torch, dtype))
    if not bool(torch.isfinite(encoded.attention).all() & torch.isfinite(kept).all()):
        raise InputError(
            "the backbone's values overflow or are not finite: set encoder.precision to float32, "
            "or check its weights"
        )
    if not bool(torch.isfinite(features).all()):
        raise InputError(f"features overflow {dtype}: set features.dtype to float32")
    return StoredBatch(
        content_hashes=encoded.content_hashes,
        features=features.cpu().numpy(),
        attention=attention.cpu().numpy(),
        foreground=foreground.cpu().numpy(),
        seconds=0.0,
        image_size=encoded.image_size,
    )
