"""The small ViT, a forward pass for training that may drop tokens, and the training heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

PATCH = 8
LAYERS = range(2, 10)  # the method's feature blocks
ATTENTION_BLOCK = 9  # the method's attention block, and the last one it runs
# Any plain ViT of timm; the arguments below replace all that its name says.
TIMM_MODEL = "vit_tiny_patch16_224"
MODEL_KWARGS: dict[str, Any] = {
    "img_size": 112,
    "patch_size": PATCH,
    "embed_dim": 128,
    "depth": 12,
    "num_heads": 4,
    "num_classes": 0,
}


def build_backbone(model_kwargs: dict[str, Any], seed: int) -> VisionTransformer:
    """A timm ViT with seeded random weights."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    backbone = VisionTransformer(**model_kwargs)
    torch.set_rng_state(generator_state)
    return backbone


def silence_last_blocks(backbone: VisionTransformer) -> None:
    """Make the blocks after `ATTENTION_BLOCK` pass their input through.

    The method reads blocks 2 to 9 and never runs the last two, so training skips them. Left random
    they would garble the model's final output; silent, they leave block 9's.
    """
    later: Any = backbone.blocks[ATTENTION_BLOCK + 1 :]
    for block in later:
        for linear in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)


@dataclass(frozen=True)
class Encoded:
    """What one forward pass gives, for B images and N kept patches.

    Attributes:
        class_token: Class token after block 9, (B, D).
        patches: Patch tokens after block 9, (B, N, D).
        features: Mean patch token over blocks 2 to 9, the method's feature, (B, N, D).
        log_attention: Log of block 9's class attention averaged over heads, renormalised over the
            kept patches, (B, N).
    """

    class_token: Tensor
    patches: Tensor
    features: Tensor
    log_attention: Tensor


def patchify(images: Tensor) -> Tensor:
    """Cut images (B, 3, S, S) into rows of pixels (B, (S/8)^2, 192), channel first."""
    grid = images.shape[-1] // PATCH
    cut = images.unflatten(-1, (grid, PATCH)).unflatten(-3, (grid, PATCH))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def encode(backbone: VisionTransformer, pixels: Tensor, grid: int, kept: Tensor | None) -> Encoded:
    """Run blocks 0 to 9 on some or all patches.

    Args:
        backbone: The ViT.
        pixels: Rows of pixels of the kept patches, (B, N, 192).
        grid: Side of the whole patch grid.
        kept: Position of each kept patch in the grid, (B, N), or None for the whole grid.
    """
    projection = backbone.patch_embed.proj
    tokens = F.linear(pixels, projection.weight.flatten(1), projection.bias)
    position = resample_abs_pos_embed(
        backbone.pos_embed, [grid, grid], num_prefix_tokens=1, antialias=True
    )
    patch_position = position[0, 1:] if kept is None else position[0, 1:][kept]
    tokens = tokens + patch_position
    first = (backbone.cls_token + position[:, :1]).expand(tokens.shape[0], -1, -1)
    stream = torch.cat([first, tokens], dim=1)
    total = torch.zeros_like(stream)
    for index, block in enumerate(backbone.blocks[: ATTENTION_BLOCK + 1]):
        if index == ATTENTION_BLOCK:
            log_attention = _class_attention(block, stream)
        stream = block(stream)
        if index in LAYERS:
            total = total + stream
    return Encoded(
        class_token=stream[:, 0],
        patches=stream[:, 1:],
        features=total[:, 1:] / len(LAYERS),
        log_attention=log_attention,
    )


def _class_attention(block: Any, stream: Tensor) -> Tensor:
    """Log attention of the class token over patches, heads averaged, (B, N)."""
    attention: Any = block.attn
    heads, width = attention.num_heads, attention.head_dim
    batch, length, _ = stream.shape
    normed = block.norm1(stream)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    size = heads * width
    query = F.linear(normed[:, 0], weight[:size], bias[:size]).view(batch, heads, 1, width)
    key = F.linear(normed, weight[size : 2 * size], bias[size : 2 * size])
    key = key.view(batch, length, heads, width).transpose(1, 2)
    scores = (query * key).sum(-1) * width**-0.5
    mass = scores.softmax(-1)[..., 1:].mean(1).clamp_min(1e-12)
    return (mass / mass.sum(-1, keepdim=True)).log()


class CosineClassifier(nn.Module):
    """Names a source from an embedding by cosine similarity to learned prototypes."""

    def __init__(self, width: int, classes: int, scale: float = 12.0) -> None:
        """Make `classes` random prototypes for embeddings of `width` numbers."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        self.prototypes = nn.Parameter(torch.randn(classes, width) * width**-0.5)
        self.scale = scale

    def forward(self, embedding: Tensor) -> Tensor:
        """Embeddings (..., D) to logits (..., classes)."""
        projected = F.normalize(self.project(self.norm(embedding)), dim=-1)
        return self.scale * projected @ F.normalize(self.prototypes, dim=-1).T


class IrregularityHead(nn.Module):
    """Tells damaged from sound patches along one direction of unit length.

    The features are normalised and the direction cannot grow, so the only way to a confident
    answer is to give irregularity a large share of the feature's length: which is what a distance
    to the nearest sound patch measures.
    """

    def __init__(self, width: int, scale: float = 1.0) -> None:
        """Make the head for features of `width` numbers; a smaller scale asks for more length."""
        super().__init__()
        self.scale = scale
        self.direction = nn.Parameter(torch.randn(width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., D) to logits (...)."""
        normed = F.layer_norm(features, features.shape[-1:])
        logits: Tensor = self.scale * (normed @ F.normalize(self.direction, dim=0)) + self.bias
        return logits


class Heads(nn.Module):
    """All training heads; none of them ships."""

    def __init__(self, width: int, classes: int) -> None:
        """Make heads for tokens of `width` numbers and `classes` source families."""
        super().__init__()
        self.class_token = CosineClassifier(width, classes)
        self.pooled = CosineClassifier(width, classes)
        self.patch = CosineClassifier(width, classes)
        self.pixels = nn.Linear(width, 3 * PATCH * PATCH)
        self.irregularity = IrregularityHead(width)
