"""An encoder as one module, which other engines translate."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from uniformaly_pipeline.features.encoder import Encoder
from uniformaly_pipeline.features.engines.linear import use_linear

EXAMPLES = 2
"""Images that a graph is traced with: with one, its number would be taken for a constant."""


class EncoderGraph(nn.Module):
    """Images float32 [B, 3, H, W] to features [B, N, D] and attention [B, grid height, width]."""

    def __init__(self, encoder: Encoder) -> None:
        """Share the encoder's weights."""
        super().__init__()
        self.encoder = copy.copy(encoder)
        self.model = encoder.model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder reads from a batch."""
        encoded = self.encoder.encode(images)
        return encoded.features, encoded.attention


@contextmanager
def traceable(
    encoder: Encoder, input_size: tuple[int, int]
) -> Iterator[tuple[EncoderGraph, torch.Tensor]]:
    """The graph of an encoder with torch's own layers, and images to trace it with."""
    use_linear(encoder.model, "mkl")
    with torch.no_grad(), warnings.catch_warnings():
        # Torch's newer way to export takes half a minute where tracing takes seconds; what it
        # warns of, sizes taken for constants, are those of the grid.
        warnings.simplefilter("ignore")
        yield EncoderGraph(encoder).eval(), torch.zeros(EXAMPLES, 3, *input_size)
