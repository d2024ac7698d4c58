"""From images to what is kept of them, by whatever encoder there is.

:class:`PatchEncoder` is all that a detector knows of its encoder. Nothing here imports torch but
:class:`TorchEncoder`, so that another engine works where torch is not installed.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.detector.arguments import check_batch_size
from uniformaly_pipeline.detector.sources import Opened, Source
from uniformaly_pipeline.features.backbone import Backbone, load_backbone, weights_hash
from uniformaly_pipeline.features.engines.arrays import PatchArrays, PatchEncoder
from uniformaly_pipeline.features.masking import BackPatchMasking, drops_patches
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import PatchFeatures, StoreHeader
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.regions import Region

if TYPE_CHECKING:
    from uniformaly_pipeline.features.encoder import Encoder

BATCH_SIZE = 8
"""Images that are encoded at a time; results do not depend on it."""


class TorchEncoder:
    """The encoder in torch, see :class:`.encoder.Encoder`.

    Attributes:
        weights_sha256: Hash of its weights.
        precision: Torch type of the computation.
        dim: Length of a patch feature, D.
        grid: (height, width) in patches.
    """

    def __init__(
        self,
        backbone: Backbone,
        input_size: tuple[int, int],
        *,
        precision: str = "float32",
        device: str = "auto",
        seed: int = 0,
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Load the model.

        Args:
            backbone: What to load.
            input_size: (height, width) of the input in pixels.
            precision: Torch type of the computation.
            device: Torch device; ``auto`` is CUDA where there is one.
            seed: Seed of untrained weights.
            weights: The weights themselves, in place of the backbone's checkpoint.

        Raises:
            InputError: Torch is not installed, or the backbone cannot be loaded.
        """
        # Torch takes seconds to import.
        try:
            import torch
        except ModuleNotFoundError as error:
            raise InputError(
                "this detector's encoder is in torch, which is not installed: pip install torch "
                "torchvision timm, or take a folder that 'uniformaly export' wrote elsewhere"
            ) from error

        from uniformaly_pipeline.features.encoder import Encoder
        from uniformaly_pipeline.features.engines.choice import torch_engine

        tensors = None
        if weights is not None:
            tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        model = load_backbone(backbone, input_size, seed, tensors)
        self.weights_sha256 = weights_hash(model)
        encoder = Encoder(
            model,
            backbone.layers,
            backbone.attention_layer,
            device,
            precision,  # type: ignore[arg-type]
            norm=backbone.norm,
        )
        self._encoder = torch_engine(encoder, backbone, input_size).prepare()
        # It watches a block while it computes: two at a time would read each other's attention.
        self._one_at_a_time = threading.Lock()
        self.precision = precision
        self.dim = self._encoder.dim
        self.grid = self._encoder.grid(input_size)

    def __call__(self, images: np.ndarray) -> PatchArrays:
        """Encode a batch, see :class:`PatchEncoder`."""
        import torch

        with self._one_at_a_time:
            encoded = self._encoder(torch.from_numpy(images))
        return PatchArrays(encoded.features.cpu().numpy(), encoded.attention.cpu().numpy())

    def exact(self) -> Encoder:
        """A copy that computes in float32 on the CPU with torch's own layers, to be translated."""
        return self._encoder.exact(copy.deepcopy(self._encoder.model))

    def weights(self) -> dict[str, np.ndarray]:
        """The model's weights by name, as ``weights`` takes them."""
        state: Mapping[str, Any] = self._encoder.model.state_dict()
        return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}


@dataclass(frozen=True)
class EncodedImage:
    """What is kept of an image.

    Attributes:
        opened: The image.
        features: [M, D] in the stored type, of the patches that count.
        foreground: bool [N], the patches that count.
        weights: float32 [N], the factors of the patches' distances, 1 unless a masking is soft.
        counted: bool [N], the patches that show something that counts, and no padding.
    """

    opened: Opened
    features: np.ndarray
    foreground: np.ndarray
    weights: np.ndarray
    counted: np.ndarray


@dataclass(frozen=True)
class Reading:
    """How images become features.

    Attributes:
        header: How features are made; it names the type in which they are stored.
        masking: Which patches count.
        levels: Black and white of images deeper than 8 bits.
        region: What counts of the images, their region of interest; ``None`` for all.
    """

    header: StoreHeader
    masking: BackPatchMasking
    levels: Levels = field(default_factory=Levels)
    region: Region | None = None

    def __post_init__(self) -> None:
        """Refuse what a detector does not do.

        Raises:
            InputError: The features are of tiles.
        """
        if self.header.preprocessing.get("tiles"):
            raise InputError(
                "a detector does not cut images into tiles yet: use kedro run "
                "--pipelines=predict, or preprocessing without tiles"
            )

    @classmethod
    def of(
        cls,
        encoder: TorchEncoder,
        backbone: Backbone,
        preprocessing: Preprocessing,
        masking: BackPatchMasking,
        dtype: str,
        levels: Levels,
        region: Region | None = None,
    ) -> Reading:
        """What a run with these settings would call the same features."""
        from dataclasses import asdict

        header = StoreHeader(
            backbone=backbone.entries(),
            weights_sha256=encoder.weights_sha256,
            preprocessing=preprocessing.to_dict(),
            precision=encoder.precision,
            grid=encoder.grid,
            dim=encoder.dim,
            dtype=dtype,  # type: ignore[arg-type]
            masking=asdict(masking) if drops_patches(masking, "foreground") else None,
        )
        return cls(header, masking, levels, region)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """From image to input."""
        return Preprocessing(**self.header.preprocessing)

    def encode(
        self, encoder: PatchEncoder, sources: Iterable[Source], batch_size: int = BATCH_SIZE
    ) -> Iterator[EncodedImage | InputError]:
        """Read and encode images in order; the next ones are decoded while the encoder works.

        Args:
            encoder: The encoder.
            sources: The images.
            batch_size: Images that are encoded at a time.

        Yields:
            What is kept of each image, or what is wrong with one that cannot be read.

        Raises:
            InputError: ``batch_size`` is no whole number from 1 on.
        """
        check_batch_size(batch_size)
        for batch in _batches(_prepared(sources, self._prepare, batch_size), batch_size):
            good = [each for each in batch if not isinstance(each, InputError)]
            encoded = iter(self._encode_batch(encoder, good) if good else ())
            for each in batch:
                yield each if isinstance(each, InputError) else next(encoded)

    def _prepare(self, source: Source) -> tuple[Opened, np.ndarray] | InputError:
        try:
            opened = source.open(self.levels, self.region)
            if not source.is_known:
                opened.warn()
            seen = opened.image if self.region is None else self.region.hide_rest(opened.image)
            return opened, self.preprocessing.image_array(seen)
        except InputError as error:
            return error

    def _encode_batch(
        self, encoder: PatchEncoder, batch: Sequence[tuple[Opened, np.ndarray]]
    ) -> Iterator[EncodedImage]:
        features, attention = encoder(np.stack([array for _, array in batch]))
        counted = np.stack(
            [
                self.preprocessing.counted(opened.image.size, self.header.grid, self.region)
                for opened, _ in batch
            ]
        )
        attention = np.where(counted, attention, np.float32(np.nan))
        foreground, weights = self.masking.foreground(attention), self.masking.weights(attention)
        for i, (opened, _) in enumerate(batch):
            with np.errstate(over="ignore"):
                stored = features[i][foreground[i]].astype(self.header.dtype)
            if not np.isfinite(stored).all():
                raise InputError(
                    f"{opened.name}: features overflow {self.header.dtype}: fit with "
                    "feature_dtype='float32'"
                )
            yield EncodedImage(opened, stored, foreground[i], weights[i], counted[i].ravel())


class EncodedImages:
    """Encoded images in memory, as a memory bank reads them from a feature store."""

    def __init__(self, header: StoreHeader, images: Sequence[EncodedImage]) -> None:
        """Take images, of which equal ones count as one."""
        self.header = header
        self.dim = header.dim
        self._images = {each.opened.content_hash: each for each in images}

    def grid_of(self, content_hashes: Sequence[str]) -> tuple[int, int]:  # noqa: ARG002 - of all
        """(height, width) in patches."""
        return self.header.grid

    def load(
        self,
        content_hashes: Sequence[str],
        masking: BackPatchMasking,  # noqa: ARG002 - the masking is that of the images
        grid: tuple[int, int] | None = None,  # noqa: ARG002 - there is but one
    ) -> PatchFeatures:
        """The features of the patches that count, see :meth:`.store.FeatureStore.load`."""
        images = [self._images[key] for key in content_hashes]
        image, patch = np.nonzero(np.stack([each.foreground for each in images]))
        features = np.concatenate([each.features for each in images]).astype(np.float32)
        return PatchFeatures(features, image, patch, len(images), self.header.grid)


def _prepared(
    sources: Iterable[Source], prepare: Any, batch_size: int
) -> Iterator[tuple[Opened, np.ndarray] | InputError]:
    """Decode images in order on a few threads, no more than two batches ahead."""
    waiting = iter(sources)
    first = list(islice(waiting, 2))
    if len(first) < 2:
        yield from map(prepare, first)
        return
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        futures: deque[Future[Any]] = deque(pool.submit(prepare, each) for each in first)
        try:
            while futures:
                for source in islice(waiting, max(0, 2 * batch_size - len(futures))):
                    futures.append(pool.submit(prepare, source))
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
