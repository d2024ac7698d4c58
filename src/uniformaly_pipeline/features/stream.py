"""Features that are computed as they are asked for, and how to compute the same elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from uniformaly_pipeline.features.estimates import peak_memory
from uniformaly_pipeline.features.store import StoreHeader

if TYPE_CHECKING:
    from uniformaly_pipeline.features.encoder import Encoded


@dataclass(frozen=True)
class FeatureStream:
    """Features that are computed as they are asked for, so that a store asks for missing ones only.

    Attributes:
        header: How they are made.
        images: Relative path of each image by its content hash.
        encode: Encodes images given by path, in order, in batches.
        batch_size: Images in a batch.
        peak_memory: Most memory held so far where the model computes, in bytes.
        seconds: What encoding so many inputs takes, about.
        alternatives: Other ways to make such features, into stores of their own.
        checkpoint_sha256: Hash of the file that the weights were read from, if there is one.
        num_inputs: Inputs of an image by its content hash, where it is cut into tiles; else one.
        portable: Gives what makes a stream of the same features in another process, without
            images of its own; ``None`` where that cannot be. It is given the cores that it may
            use, and can be pickled.
    """

    header: StoreHeader
    images: Mapping[str, str]
    encode: Callable[[list[str]], Iterator[Encoded]]
    batch_size: int
    peak_memory: Callable[[], int | None] = peak_memory
    seconds: Callable[[int], float] = float
    alternatives: Sequence[FeatureStream] = ()
    num_inputs: Mapping[str, int] = field(default_factory=dict)
    checkpoint_sha256: str | None = None
    portable: Callable[[], Callable[[int], FeatureStream]] | None = None

    def inputs_of(self, content_hashes: Iterable[str]) -> int:
        """How often the encoder computes for these images."""
        return sum(self.num_inputs.get(key, 1) for key in content_hashes)
