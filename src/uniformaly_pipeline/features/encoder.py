"""Patch features and class-token attention of a ViT in one pass (METHOD "Encoder")."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader

from uniformaly_pipeline.features.estimates import peak_memory
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.ingestion.images import ImageFolder, read_image

Precision = Literal["auto", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Encoded:
    """What the encoder reads from a batch of images.

    Attributes:
        features: float32 [B, N, D], patch features, row by row over the grid.
        attention: float32 [B, grid height, grid width], the class token's attention to the
            patches, averaged over heads; it sums to less than 1 because the prefix tokens are
            left out.
        content_hashes: SHA-256 of the bytes that each image was decoded from, where they are known.
    """

    features: torch.Tensor
    attention: torch.Tensor
    content_hashes: Sequence[str] = ()


def choose_device(device: str) -> str:
    """``auto`` is CUDA where there is one, else the CPU."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


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
        layer_choices: For each choice the blocks whose outputs (residual stream, no final norm)
            are averaged, 0-based; patch features of several choices lie side by side.
        attention_layer: Block whose class-token attention is read, 0-based.
        device: Torch device.
        dtype: Torch type of the computation; results are float32.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[int] | Sequence[Sequence[int]],
        attention_layer: int,
        device: str = "auto",
        precision: Precision = "auto",
        compile_blocks: bool = False,
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
        """
        self.device = choose_device(device)
        self.dtype = choose_precision(precision)
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
    def dim(self) -> int:
        """Length of a patch feature, D, times the number of layer choices."""
        return int(self.model.num_features) * len(self.layer_choices)  # type: ignore[arg-type]

    def grid(self, input_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in patches of an input of (height, width) pixels."""
        height, width = self.model.patch_embed.patch_size  # type: ignore[union-attr,misc]
        return input_size[0] // height, input_size[1] // width

    def _attention_module(self) -> nn.Module:
        block: nn.Module = self.model.blocks[self.attention_layer]  # type: ignore[index,assignment]
        attention: nn.Module = block.attn  # type: ignore[assignment]
        return attention

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
        images = images.to(self.device, non_blocking=True)
        indices = sorted({*itertools.chain(*self.layer_choices), self.attention_layer})
        autocast = torch.autocast(
            self.device.split(":")[0], self.dtype, enabled=self.dtype != torch.float32
        )
        with autocast, self._watching() as watch:
            outputs = self.model.forward_intermediates(  # type: ignore[operator]
                images,
                indices=indices,
                norm=False,
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

    def _watching(self) -> _WatchedBlock:
        return _WatchedBlock(self._attention_module())


class _WatchedBlock:
    """Switches the interception on for the duration of one attention module's forward call."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._mode = _ClassTokenAttention()

    def __enter__(self) -> _WatchedBlock:
        self._handles = [
            self._module.register_forward_pre_hook(lambda *_: self._enter()),
            self._module.register_forward_hook(lambda *_: self._exit(), always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
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
        self, folder: ImageFolder, images: Sequence[str], preprocessing: Preprocessing
    ) -> None:
        self.folder = folder
        self.images = list(images)
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        """The encoder's input, and the hash of the very bytes that it was decoded from."""
        with self.folder.open(self.images[index]) as file:
            content = file.read()
        image = read_image(BytesIO(content))
        return self.preprocessing.image_tensor(image), hashlib.sha256(content).hexdigest()


def choose_num_workers(num_workers: int | Literal["auto"]) -> int:
    """``auto`` leaves a core to the model: up to 8 decoding processes, at least 1."""
    if num_workers != "auto":
        return num_workers
    return max(1, min(8, (os.cpu_count() or 1) - 1))


def encode_images(
    encoder: Encoder,
    folder: ImageFolder,
    images: Sequence[str],
    preprocessing: Preprocessing,
    batch_size: int = 8,
    num_workers: int | Literal["auto"] = "auto",
) -> Iterator[Encoded]:
    """Decode and encode images in order, decoding in worker processes while the model computes.

    Args:
        encoder: The encoder.
        folder: Where the images are.
        images: Relative paths.
        preprocessing: From image to input.
        batch_size: Images in a batch; it does not change the results.
        num_workers: Decoding processes; 0 decodes in this one.

    Yields:
        A batch of results in the order of ``images``, with the hashes of what was decoded.
    """
    workers = choose_num_workers(num_workers)
    loader: DataLoader[Any] = DataLoader(
        _ImageTensors(folder, images, preprocessing),  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=encoder.device.startswith("cuda"),
        prefetch_factor=4 if workers else None,
    )
    hashes: deque[tuple[str, ...]] = deque()

    def tensors() -> Iterator[torch.Tensor]:
        for batch, content_hashes in loader:
            hashes.append(tuple(content_hashes))
            yield batch

    for batch in _on_device(tensors(), encoder.device):
        yield replace(encoder(batch), content_hashes=hashes.popleft())


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
