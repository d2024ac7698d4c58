"""Linear layers in float32 on a CPU: torch computes them with MKL, or with oneDNN.

Torch brings both libraries and uses MKL. On AMD's processors oneDNN takes about half the time, on
others MKL may win: :mod:`.choice` measures. Their results differ by rounding, 1e-6 of the largest.
"""

from __future__ import annotations

import time
from typing import Literal

import torch
from torch import nn

LinearKind = Literal["mkl", "onednn"]
KINDS: tuple[LinearKind, ...] = ("mkl", "onednn")

REPEATS = 3


class OneDnnLinear(nn.Linear):
    """A linear layer that oneDNN computes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As :class:`torch.nn.Linear`; another type than float32 is left to torch."""
        if input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, "none", [], ""
        )
        return output


def has_onednn() -> bool:
    """Whether this torch can hand a linear layer to oneDNN."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def use_linear(model: nn.Module, kind: LinearKind) -> None:
    """Have a library compute all linear layers of a model; weights stay where they are."""
    for module in model.modules():
        if type(module) in (nn.Linear, OneDnnLinear):
            module.__class__ = OneDnnLinear if kind == "onednn" else nn.Linear


@torch.inference_mode()
def block_seconds(model: nn.Module, tokens: int) -> dict[LinearKind, float]:
    """Time that a ViT's first block takes for an image, by the library of its linear layers.

    Args:
        model: A timm ViT on the CPU in float32; its linear layers are torch's own afterwards.
        tokens: Patches and other tokens of an image.

    Returns:
        Seconds, the least of some runs: the libraries take turns, so that a machine that is busy
        for a while is busy for both.
    """
    block: nn.Module = model.blocks[0]  # type: ignore[index,assignment]
    kinds = KINDS if has_onednn() else KINDS[:1]
    seconds = dict.fromkeys(kinds, float("inf"))
    images = torch.randn(1, tokens, int(model.num_features))  # type: ignore[arg-type]
    for repeat in range(REPEATS + 1):
        for kind in kinds:
            use_linear(block, kind)
            start = time.perf_counter()
            block(images)
            if repeat:  # the first run warms up
                seconds[kind] = min(seconds[kind], time.perf_counter() - start)
    use_linear(block, "mkl")
    return seconds
