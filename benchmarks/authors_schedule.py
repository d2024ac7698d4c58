"""What the authors' released code computes and in which order, written anew, to compare with.

It is the yardstick of ``python -m benchmarks``, not a part of the pipeline. Where one may be unsure
what belongs to it, the cheaper choice is taken: the released code also keeps masks as Python lists
and computes ROC and precision-recall curves, all of it twice, which is left out here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

KERNEL_SIZE = 7
THRESHOLD = 0.1
TOP_K_RATIO = 0.05
SIGMA = 4.0


class AuthorsEncoder:
    """Two full passes for each batch: one for features, one for attention.

    The second pass computes the attention of every block twice, once for its matrix and once as a
    part of the block, and keeps the matrices of all blocks.
    """

    def __init__(self, model: nn.Module, layers: Sequence[int], attention_layer: int) -> None:
        """Let every block compute its attention matrix, as code from before fused kernels does.

        Args:
            model: A plain timm ViT in evaluation mode.
            layers: Blocks whose outputs are averaged.
            attention_layer: Block whose attention of the class token is read.
        """
        self.model = model
        self.layers = list(layers)
        self.attention_layer = attention_layer
        self._outputs: dict[int, torch.Tensor] = {}
        for number, block in enumerate(model.blocks):  # type: ignore[arg-type]
            block.attn.fused_attn = False
            if number in self.layers:
                block.register_forward_hook(self._keep(number))

    def _keep(self, number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            self._outputs[number] = output

        return hook

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Patch features [B, N, D] of images [B, 3, H, W]."""
        self._outputs.clear()
        self.model.forward_features(images)  # type: ignore[operator]
        outputs = torch.cat([self._outputs[layer].unsqueeze(1) for layer in self.layers], dim=1)
        return outputs.mean(dim=1)[:, 1:]

    @torch.no_grad()
    def attention(self, images: torch.Tensor) -> torch.Tensor:
        """The class token's attention to the patches: [B, grid height, grid width]."""
        tokens = self.model.patch_embed(images)  # type: ignore[operator]
        tokens = self.model._pos_embed(tokens)  # type: ignore[operator]
        matrices = []
        for block in self.model.blocks:  # type: ignore[union-attr]
            matrices.append(_attention_matrix(block.attn, block.norm1(tokens)))
            tokens = block(tokens)
        mean_over_heads = torch.stack(matrices).mean(dim=2)
        row = mean_over_heads[self.attention_layer][:, 0, 1:]
        side = int(np.sqrt(row.shape[-1]))
        return row.reshape(len(images), side, side)


def _attention_matrix(module: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Run a whole attention module for its matrix [B, heads, tokens, tokens]."""
    batch, count, _ = tokens.shape
    qkv = module.qkv(tokens).reshape(batch, count, 3, module.num_heads, module.head_dim)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    matrix = ((query @ key.transpose(-2, -1)) * module.scale).softmax(dim=-1)
    # The module's output is computed as well, and thrown away.
    module.proj((matrix @ value).transpose(1, 2).reshape(batch, count, -1))
    return matrix


def foreground(attention: torch.Tensor) -> torch.Tensor:
    """Which patches count: bool [B, N] of attention [B, grid height, grid width]."""
    pool = nn.AvgPool2d(KERNEL_SIZE, stride=1, padding=KERNEL_SIZE // 2)
    smoothed = pool(attention).flatten(1)
    return smoothed / smoothed.max() > THRESHOLD


def euclidean(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Distances [n, m] of rows, all squared lengths computed anew, each as a batch of products."""
    lengths = [rows.unsqueeze(1).bmm(rows.unsqueeze(2)).flatten() for rows in (first, second)]
    squares = -2 * first.mm(second.T) + lengths[0][:, None] + lengths[1][None]
    return squares.clamp(0, None).sqrt()


@torch.no_grad()
def coreset(points: torch.Tensor, size: int, starts: np.ndarray) -> np.ndarray:
    """Pick ``size`` of points [N, D], each the farthest from those picked before."""
    nearest = euclidean(points, points[starts]).mean(dim=-1, keepdim=True)
    picks = []
    for _ in range(size):
        pick = int(torch.argmax(nearest).item())
        picks.append(pick)
        distance = euclidean(points, points[pick : pick + 1])
        nearest = torch.cat([nearest, distance], dim=-1).min(dim=1).values.reshape(-1, 1)
    return np.array(picks)


@dataclass(frozen=True)
class Sample:
    """An image of a category; ``mask`` marks what is anomalous, if anything is."""

    image: Path
    label: int = 0
    mask: Path | None = None


class _Samples:
    """Images and masks as the network sees them, as a torch data set."""

    def __init__(self, samples: Sequence[Sample], resize: int, crop: int) -> None:
        from torchvision import transforms

        self.samples = samples
        geometry = [transforms.Resize(resize), transforms.CenterCrop(crop), transforms.ToTensor()]
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.to_input = transforms.Compose([*geometry, transforms.Normalize(mean, deviation)])
        self.to_mask = transforms.Compose(geometry)
        self.no_mask = torch.zeros(1, crop, crop)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        sample = self.samples[index]
        image = self.to_input(Image.open(sample.image).convert("RGB"))
        mask = self.no_mask if sample.mask is None else self.to_mask(Image.open(sample.mask))
        return image, mask


@dataclass(frozen=True)
class Prediction:
    """What the schedule makes of the test images.

    Attributes:
        scores: float [B], image scores.
        maps: float32 [B, H, W], anomaly maps.
        masks: int [B, H, W], 1 where anomalous.
    """

    scores: np.ndarray
    maps: np.ndarray
    masks: np.ndarray


class AuthorsDetector:
    """A category from images to scores, one image at a time."""

    def __init__(
        self, encoder: AuthorsEncoder, resize: int = 256, crop: int = 224, num_workers: int = 1
    ) -> None:
        """Fix the geometry and the number of decoding processes."""
        self.encoder = encoder
        self.resize, self.crop, self.num_workers = resize, crop, num_workers

    def _load(self, samples: Sequence[Sample]) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        dataset: Any = _Samples(samples, self.resize, self.crop)
        return DataLoader(dataset, batch_size=1, num_workers=self.num_workers)

    def fit(
        self, samples: Sequence[Sample], ratio: float, projection: np.ndarray, seed: int
    ) -> None:
        """Fill the memory bank with a coreset of the foreground patches.

        Args:
            samples: Normal images.
            ratio: Share of the patches to keep.
            projection: float32 [P, D], given so that both sides choose among the same points.
            seed: Seed of the starting points, likewise.
        """
        import faiss

        from uniformaly_pipeline.memory_bank.coreset import NUM_STARTS, random_starts

        kept = []
        for image, _ in self._load(samples):
            features = self.encoder.features(image)
            features = features * foreground(self.encoder.attention(image)).unsqueeze(-1)
            rows = torch.unique(features.nonzero(as_tuple=True)[1])
            kept.append(features[:, rows].reshape(-1, features.shape[-1]))
        patches = torch.cat(kept)
        points = patches @ torch.from_numpy(projection).T
        starts = random_starts(len(points), NUM_STARTS, seed)
        bank = patches[coreset(points, int(len(points) * ratio), starts)]
        self.index = faiss.IndexFlatL2(bank.shape[1])
        self.index.add(bank.numpy())

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        """Score test images; every patch is searched for, the background is zeroed afterwards."""
        scored = list(self._predict(samples))
        scores, maps, masks = (np.array(part) for part in zip(*scored, strict=True))
        return Prediction(scores, maps, masks)

    def _predict(self, samples: Sequence[Sample]) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        for image, mask in self._load(samples):
            features = self.encoder.features(image)
            found, _ = self.index.search(features[0].contiguous().numpy(), 1)
            scores = found.mean(axis=-1) * foreground(self.encoder.attention(image))[0].numpy()
            k = round(TOP_K_RATIO * len(scores))
            score = torch.topk(torch.from_numpy(scores), k).values.mean()
            side = int(np.sqrt(len(scores)))
            grid = torch.from_numpy(scores).reshape(1, 1, side, side).float()
            pixels = F.interpolate(grid, size=self.crop, mode="bilinear", align_corners=False)
            smooth = gaussian_filter(pixels[0, 0].numpy(), sigma=SIGMA)
            yield float(score), smooth, mask[0, 0].numpy().astype(int)


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of all items at once, scaled to 0..1 as the released code does."""
    from sklearn.metrics import roc_auc_score

    low, high = scores.min(), scores.max()
    return float(roc_auc_score(labels.ravel(), ((scores - low) / (high - low)).ravel()))
