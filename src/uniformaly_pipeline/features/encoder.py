"""Patch features and class-token attention of a ViT in one pass (METHOD "Encoder")."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.processes import be_a_worker
from uniformaly_pipeline.features.estimates import peak_memory
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.decoding import UnreadableImageError, decode_bytes
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.levels import Levels
from uniformaly_pipeline.ingestion.regions import Region
from uniformaly_pipeline.ingestion.turns import Turn

Precision = Literal["auto", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Encoded:
    """What the encoder reads from a batch of images.

    Attributes:
        features: float32 [B, N, D], patch features, row by row over the grid.
        attention: float32 [B, grid height, grid width], the class token's attention to the
            patches, averaged over heads; it sums to less than 1 because the prefix tokens are
            left out.
        content_hashes: SHA-256 of the bytes that each image was decoded from, with the levels of a
            deep one, where they are known.
        counted: bool [B, grid height, grid width], the patches that show something that counts;
            ``None`` for all.
        image_size: (width, height) of the one image whose tiles these are, in pixels; ``None``
            where each is an image.
    """

    features: torch.Tensor
    attention: torch.Tensor
    content_hashes: Sequence[str] = ()
    counted: torch.Tensor | None = None
    image_size: tuple[int, int] | None = None

    @property
    def num_images(self) -> int:
        """How many images these are."""
        return len(self.features) if self.image_size is None else 1


def choose_device(device: str) -> str:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises:
        InputError: The device that is asked for is none, or not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(str(device))
    except RuntimeError as error:
        raise InputError(
            f"encoder.device: {device!r} is no device: set auto, cpu, cuda, cuda:1 or mps"
        ) from error
    kind, _, number = device.partition(":")
    missing = None
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        missing = "this PyTorch was built without CUDA"
    elif kind == "cuda" and not torch.cuda.is_available():
        missing = "PyTorch finds no GPU, or no driver for it"
    elif kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        missing = f"this machine has {torch.cuda.device_count()}, counted from 0"
    elif kind == "mps" and not torch.backends.mps.is_available():
        missing = "PyTorch finds no GPU of Apple's"
    if missing is not None:
        raise InputError(f"encoder.device: there is no {device} ({missing}): set auto or cpu")
    return device


def choose_precision(precision: Precision) -> torch.dtype:
    """``auto`` is float32: half precision must first be checked, see :mod:`.precision`."""
    dtype: torch.dtype = getattr(torch, "float32" if precision == "auto" else precision)
    return dtype


class _ClassTokenAttention(TorchFunctionMode):
    """Watches the fused attention call of one block and computes the class token's row.

    The fused kernel returns no attention weights. Intercepting its arguments gives queries and
    keys as the block really uses them, normalised and rotated, so that only one row per head is
    computed: O(N) memory in place of O(N^2). It works for every timm block that calls
    ``scaled_dot_product_attention``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention: torch.Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self._read(*args, **kwargs)
        return func(*args, **kwargs)

    def _read(self, query: torch.Tensor, key: torch.Tensor, *_: Any, **kwargs: Any) -> None:
        scale = kwargs.get("scale") or query.shape[-1] ** -0.5
        class_query = query[:, :, :1].float() * scale
        logits = class_query @ key.float().transpose(-2, -1)
        bias = kwargs.get("attn_mask")  # BEiT's relative position bias, for instance
        if bias is not None:
            logits = logits + bias[..., :1, :].float()
        self.attention = logits.softmax(dim=-1)[:, :, 0].mean(dim=1)


class Encoder:
    """Encodes batches of preprocessed images.

    Attributes:
        model: A timm ViT in evaluation mode, see :func:`.backbone.load_backbone`.
        layer_choices: For each choice the blocks whose outputs (residual stream) are averaged,
            0-based; patch features of several choices lie side by side.
        attention_layer: Block whose class-token attention is read, 0-based.
        device: Torch device.
        dtype: Torch type of the computation; results are float32.
        norm: Whether the model's final norm is applied to each of these outputs.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[int] | Sequence[Sequence[int]],
        attention_layer: int,
        device: str = "auto",
        precision: Precision = "auto",
        compile_blocks: bool = False,
        *,
        norm: bool = False,
    ) -> None:
        """Move the model to the device; ``auto`` is CUDA where there is one.

        Args:
            model: A timm ViT in evaluation mode.
            layers: Blocks to average, or several choices of blocks.
            attention_layer: Block whose class-token attention is read.
            device: Torch device.
            precision: Type of the computation; ``auto`` is float32.
            compile_blocks: Whether to compile the blocks with torch.compile, which takes a minute
                or so and needs a C++ compiler; the block whose attention is read stays as it is.
            norm: Whether to apply the model's final norm to each block's output before the mean.
        """
        self.device = choose_device(device)
        self.dtype = choose_precision(precision)
        self.norm = norm
        self.model = model.to(self.device)
        choices = [[item] if isinstance(item, int) else list(item) for item in layers]
        if all(isinstance(item, int) for item in layers):
            choices = [[layer for choice in choices for layer in choice]]
        self.layer_choices = [sorted(set(choice)) for choice in choices]
        self.attention_layer = attention_layer
        attention = self._attention_module()
        if hasattr(attention, "fused_attn"):
            attention.fused_attn = True  # type: ignore[assignment]
        if compile_blocks:
            for index in range(self._last_block + 1):
                if index != attention_layer:
                    self.model.blocks[index].compile()  # type: ignore[index,union-attr]

    @property
    def _last_block(self) -> int:
        return max(*itertools.chain(*self.layer_choices), self.attention_layer)

    @property
    def num_blocks(self) -> int:
        """Blocks that are computed."""
        return self._last_block + 1

    @property
    def dim(self) -> int:
        """Length of a patch feature, D, times the number of layer choices."""
        return int(self.model.num_features) * len(self.layer_choices)  # type: ignore[arg-type]

    def grid(self, input_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in patches of an input of (height, width) pixels."""
        height, width = self.model.patch_embed.patch_size  # type: ignore[union-attr,misc]
        return input_size[0] // height, input_size[1] // width

    def num_tokens(self, input_size: tuple[int, int]) -> int:
        """Patches, class token and registers of an input of (height, width) pixels."""
        height, width = self.grid(input_size)
        return height * width + int(getattr(self.model, "num_prefix_tokens", 1))

    def _attention_module(self) -> nn.Module:
        block: nn.Module = self.model.blocks[self.attention_layer]  # type: ignore[index,assignment]
        attention: nn.Module = block.attn  # type: ignore[assignment]
        return attention

    def exact(self, model: nn.Module | None = None) -> Encoder:
        """One that reads the same in float32 on the CPU, of this model or of a copy of it."""
        read = self.model if model is None else model
        return Encoder(
            read, self.layer_choices, self.attention_layer, "cpu", "float32", norm=self.norm
        )

    def peak_memory(self) -> int | None:
        """Most memory held so far where the model computes, in bytes."""
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated(self.device)
        return peak_memory()

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> Encoded:
        """Encode a batch; stops after the last block that is needed.

        Args:
            images: float32 [B, 3, H, W], normalised.

        Returns:
            Features and attention on :attr:`device`.
        """
        return self.encode(images)

    def encode(self, images: torch.Tensor) -> Encoded:
        """As calling it, without telling torch that nothing will be differentiated or traced."""
        images = images.to(self.device, non_blocking=True)
        indices = sorted({*itertools.chain(*self.layer_choices), self.attention_layer})
        autocast = torch.autocast(
            self.device.split(":")[0], self.dtype, enabled=self.dtype != torch.float32
        )
        with autocast, self._watching() as watch:
            outputs = self.model.forward_intermediates(  # type: ignore[operator]
                images,
                indices=indices,
                norm=self.norm,
                stop_early=True,
                output_fmt="NCHW",
                intermediates_only=True,
            )
        maps = {layer: outputs[indices.index(layer)].float() for layer in indices}
        means = [
            functools.reduce(torch.add, [maps[layer] for layer in choice]) / len(choice)
            for choice in self.layer_choices
        ]
        features = means[0] if len(means) == 1 else torch.cat(means, dim=1)
        batch, _, height, width = features.shape
        patches = watch.attention[:, -height * width :]
        return Encoded(
            features=features.flatten(2).transpose(1, 2).contiguous(),
            attention=patches.reshape(batch, height, width).float(),
        )

    def _watching(self) -> WatchedBlock:
        return WatchedBlock(self._attention_module())


class WatchedBlock:
    """Reads the class token's attention whenever an attention module of a timm ViT is called.

    The interception is on for the duration of that module's forward call alone.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take the attention module of one block; it is watched inside a ``with``."""
        self._module = module
        self._mode = _ClassTokenAttention()

    def __enter__(self) -> WatchedBlock:
        """Watch the module."""
        self._handles = [
            self._module.register_forward_pre_hook(lambda *_: self._enter()),
            self._module.register_forward_hook(lambda *_: self._exit(), always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the module as it was."""
        for handle in self._handles:
            handle.remove()

    def _enter(self) -> None:
        self._mode.__enter__()

    def _exit(self) -> None:
        self._mode.__exit__(None, None, None)

    @property
    def attention(self) -> torch.Tensor:
        """Attention of the class token to all tokens: float32 [B, tokens]."""
        if self._mode.attention is None:
            raise RuntimeError("the attention block never called scaled_dot_product_attention")
        return self._mode.attention


class _ImageTensors:
    """The images of a folder as a map-style torch data set."""

    def __init__(
        self,
        folder: ImageFolder,
        images: Sequence[str],
        preprocessing: Preprocessing,
        levels: Mapping[str, Levels],
        grid: tuple[int, int],
        regions: Mapping[str, Region],
        turns: Mapping[str, tuple[str, Turn]],
    ) -> None:
        self.folder = folder
        self.images = list(images)
        self.preprocessing = preprocessing
        self.levels = levels
        self.grid = grid
        self.regions = regions
        self.turns = turns

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        """The encoder's input, the hash of the very bytes, and the patches that count."""
        image, key, region = self.read(index)
        counted = self.preprocessing.counted(image.size, self.grid, region)
        return self.preprocessing.image_tensor(image), key, torch.from_numpy(counted)

    def read(self, index: int) -> tuple[Image.Image, str, Region | None]:
        """An image as RGB, the key of the very bytes that it was decoded from, and what counts.

        Raises:
            InputError: It cannot be read; the line names it.
        """
        path = self.images[index]
        file, turn = self.turns.get(path, (path, None))
        content = self.folder.read_bytes(file)
        levels = self.levels.get(path, Levels())
        try:
            image = decode_bytes(content, self.folder.max_pixels)
        except UnreadableImageError as error:
            raise InputError(f"{path} cannot be read as an image ({error})") from error
        key = levels.key(hashlib.sha256(content).hexdigest(), image.depth)
        region, rgb = self.regions.get(path), image.to_rgb(levels)
        if region is not None:
            region.check_size(rgb.size, path)
            rgb, key = region.hide_rest(rgb), region.key(key)
        if turn is None:
            return rgb, key, region
        turned = None if region is None else turn.region(region)
        return turn.picture(rgb), turn.key(key), turned


class _TiledImages(_ImageTensors):
    """The tiles of each image of a folder."""

    def __getitem__(self, index: int) -> Any:
        """Inputs of an image's tiles, its hash, the patches that count, and its size."""
        image, key, region = self.read(index)
        inputs, counted = self.preprocessing.tensors(image, self.grid, region)
        return torch.from_numpy(inputs), key, torch.from_numpy(counted), image.size


def _encode_tiles(
    encoder: BatchEncoder,
    images: _TiledImages,
    batch_size: int,
    num_workers: int | Literal["auto"],
) -> Iterator[Encoded]:
    """Encode images one after the other, so many tiles of each at a time."""
    workers = choose_num_workers(num_workers)
    loader: DataLoader[Any] = DataLoader(
        images,  # type: ignore[arg-type]
        batch_size=None,
        num_workers=workers,
        prefetch_factor=1 if workers else None,
        worker_init_fn=be_a_worker if workers else None,
    )
    for inputs, key, counted, image_size in loader:
        parts = [encoder(part) for part in inputs.split(batch_size)]
        yield Encoded(
            torch.cat([part.features for part in parts]),
            torch.cat([part.attention for part in parts]),
            (key,),
            None if bool(counted.all()) else counted,
            (int(image_size[0]), int(image_size[1])),
        )


def choose_num_workers(num_workers: int | Literal["auto"]) -> int:
    """``auto`` leaves a core to the model: up to 8 decoding processes, at least 1."""
    if num_workers != "auto":
        return num_workers
    return max(1, min(8, usable_cores() - 1))


class BatchEncoder(Protocol):
    """An encoder of any engine, for torch's data loaders."""

    device: str

    def __call__(self, images: torch.Tensor) -> Encoded:
        """Encode a batch, float32 [B, 3, H, W]."""


def encode_images(
    encoder: BatchEncoder,
    folder: ImageFolder,
    images: Sequence[str],
    preprocessing: Preprocessing,
    batch_size: int = 8,
    num_workers: int | Literal["auto"] = "auto",
    levels: Mapping[str, Levels] | None = None,
    grid: tuple[int, int] | None = None,
    regions: Mapping[str, Region] | None = None,
    turns: Mapping[str, tuple[str, Turn]] | None = None,
) -> Iterator[Encoded]:
    """Decode and encode images in order, decoding in worker processes while the model computes.

    Args:
        encoder: The encoder.
        folder: Where the images are.
        images: Relative paths.
        preprocessing: From image to input.
        batch_size: Images in a batch; it does not change the results.
        num_workers: Decoding processes; 0 decodes in this one.
        levels: Black and white of deep images by path; of others the default.
        grid: (height, width) of an input in patches; by default the encoder's, if it is torch's.
        regions: What counts of images by path; of others all does.
        turns: Of images that are turned the path of the file and the turn, by what stands for
            them among ``images``.

    Yields:
        A batch of results in the order of ``images``, with the hashes of what was decoded.
    """
    if grid is None:
        assert isinstance(encoder, Encoder)
        grid = encoder.grid(preprocessing.input_size)
    if preprocessing.tiles is not None:
        tiled = _TiledImages(
            folder, images, preprocessing, levels or {}, grid, regions or {}, turns or {}
        )
        yield from _encode_tiles(encoder, tiled, batch_size, num_workers)
        return
    workers = choose_num_workers(num_workers)
    loader: DataLoader[Any] = DataLoader(
        _ImageTensors(  # type: ignore[arg-type]
            folder, images, preprocessing, levels or {}, grid, regions or {}, turns or {}
        ),
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=encoder.device.startswith("cuda"),
        prefetch_factor=4 if workers else None,
        worker_init_fn=be_a_worker,
    )
    read: deque[tuple[tuple[str, ...], torch.Tensor | None]] = deque()

    def tensors() -> Iterator[torch.Tensor]:
        for batch, content_hashes, counted in loader:
            read.append((tuple(content_hashes), None if counted.all() else counted))
            yield batch

    for batch in _on_device(tensors(), encoder.device):
        content_hashes, counted = read.popleft()
        yield replace(encoder(batch), content_hashes=content_hashes, counted=counted)


def _on_device(batches: Iterable[torch.Tensor], device: str) -> Iterator[torch.Tensor]:
    """Give batches on the device; copy the next one to a GPU while it works on the last."""
    if not device.startswith("cuda"):
        yield from batches
        return
    stream = torch.cuda.Stream(device)
    ready: torch.Tensor | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            copied = batch.to(device, non_blocking=True)
        if ready is not None:
            yield ready
        torch.cuda.current_stream(device).wait_stream(stream)
        copied.record_stream(torch.cuda.current_stream(device))
        ready = copied
    if ready is not None:
        yield ready
