"""Few images in memory: every block of a ViT read once, then evaluated under many settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from uniformaly_pipeline.evaluation.category import ground_truth
from uniformaly_pipeline.evaluation.sweep import Setting, SweepInputs, evaluate_settings
from uniformaly_pipeline.features.encoder import Encoder, WatchedBlock, encode_images
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import PatchFeatures, StoreHeader
from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.ingestion.images import ImageFolder

BATCH = 4
TRAIN, TEST = "one_class_train", "one_class_test"


@dataclass(frozen=True)
class Category:
    """Normal images to learn from and images to test.

    Attributes:
        name: What is normal.
        normal: Paths of the normal images.
        tested: Paths of the test images.
        labels: int [T], 1 anomalous.
        masks: Path of each test image's mask, ``None`` where nothing is anomalous; empty where
            there are no masks.
    """

    name: str
    normal: Sequence[str]
    tested: Sequence[str]
    labels: np.ndarray
    masks: Sequence[str | None] = ()

    @property
    def images(self) -> list[str]:
        """All of them."""
        return [*self.normal, *self.tested]


def read_categories(folder: ImageFolder, limit: int | None = None) -> list[Category]:
    """The categories of a folder in MVTec AD's layout, or in that of one-class classification.

    Args:
        folder: The folder.
        limit: Most normal images of a category, and most test images of a kind or class.
    """
    names = folder.folders()
    if TRAIN in names:
        return list(_classes(folder, limit))
    return [_defects(folder, name, limit) for name in names]


def _defects(folder: ImageFolder, name: str, limit: int | None) -> Category:
    tested, masks = [], []
    for kind in folder.folders(f"{name}/test"):
        for path in folder.files(f"{name}/test/{kind}")[:limit]:
            mask = f"{name}/ground_truth/{kind}/{Path(path).stem}_mask.png"
            tested.append(path)
            masks.append(None if kind == "good" else mask)
    labels = np.array([int(mask is not None) for mask in masks])
    return Category(name, folder.files(f"{name}/train/good")[:limit], tested, labels, masks)


def _classes(folder: ImageFolder, limit: int | None) -> Iterator[Category]:
    names = folder.folders(TEST)
    tested = [(name, path) for name in names for path in folder.files(f"{TEST}/{name}")[:limit]]
    for normal in folder.folders(TRAIN):
        labels = np.array([int(name != normal) for name, _ in tested])
        paths = [path for _, path in tested]
        yield Category(normal, folder.files(f"{TRAIN}/{normal}")[:limit], paths, labels)


def read_data(
    root: Path, photographs: Sequence[str], limit: int | None
) -> dict[str, tuple[ImageFolder, list[Category]]]:
    """The demo, drawn below ``root``, and folders of photographs by their names."""
    folders = {"demo": draw_demo(root)}
    folders |= {Path(path).name: ImageFolder(path) for path in photographs}
    return {name: (folder, read_categories(folder, limit)) for name, folder in folders.items()}


def draw_demo(root: Path) -> ImageFolder:
    """The demo's images, drawn in a folder."""
    for path, image in drawings.draw(seed=0):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / path)
    return ImageFolder(str(root))


def encode(
    encoder: Encoder, folder: ImageFolder, images: Sequence[str], preprocessing: Preprocessing
) -> View:
    """What an encoder reads of images, as a run would have stored it."""
    batches = list(encode_images(encoder, folder, images, preprocessing, BATCH, num_workers=0))
    features = torch.cat([batch.features for batch in batches]).half().numpy()
    return View(images, features, torch.cat([batch.attention for batch in batches]).numpy())


@dataclass(frozen=True)
class Blocks:
    """What every block says of some images.

    Attributes:
        images: The images, by which the rows go.
        outputs: float16 [B, blocks, N, D], the residual stream after each block, patches only.
        attention: float32 [B, grid height, grid width] by block, the class token's.
        norm: The model's final norm.
    """

    images: Sequence[str]
    outputs: np.ndarray
    attention: Mapping[int, np.ndarray]
    norm: nn.Module

    @torch.inference_mode()
    def view(self, layers: Sequence[int], attention_layer: int, norm: bool = False) -> View:
        """Features of a choice of blocks, as a run would have stored them."""
        features = np.empty((len(self.images), *self.outputs.shape[2:]), np.float16)
        for row, outputs in enumerate(self.outputs):
            chosen = torch.from_numpy(outputs[list(layers)]).float()
            features[row] = (self.norm(chosen) if norm else chosen).mean(dim=0).numpy()
        return View(self.images, features, self.attention[attention_layer])


@torch.inference_mode()
def read_blocks(
    model: nn.Module,
    attention_layers: Sequence[int],
    folder: ImageFolder,
    images: Sequence[str],
    preprocessing: Preprocessing,
) -> Blocks:
    """Read all blocks of a timm ViT, in one pass of each image.

    Args:
        model: The model, set to the input's size.
        attention_layers: Blocks whose class-token attention is read.
        folder: Where the images are.
        images: Their paths.
        preprocessing: From image to input.
    """
    found: dict[int, list[np.ndarray]] = {layer: [] for layer in attention_layers}
    outputs = []
    with contextlib.ExitStack() as stack:
        watched = {
            layer: stack.enter_context(WatchedBlock(_attention(model, layer)))
            for layer in attention_layers
        }
        for first in range(0, len(images), BATCH):
            paths = images[first : first + BATCH]
            batch = [preprocessing.image_tensor(folder.read_image(path)) for path in paths]
            blocks = model.forward_intermediates(  # type: ignore[operator]
                torch.stack(batch), norm=False, output_fmt="NLC", intermediates_only=True
            )
            outputs.append(torch.stack(blocks, dim=1).half().numpy())
            for layer, block in watched.items():
                found[layer].append(block.attention.numpy())
    height, width = model.patch_embed.grid_size  # type: ignore[union-attr,misc]
    attention = {
        layer: np.concatenate(rows)[:, -height * width :].reshape(-1, height, width)
        for layer, rows in found.items()
    }
    norm: nn.Module = model.norm  # type: ignore[assignment]
    return Blocks(images, np.concatenate(outputs), attention, norm)


def _attention(model: nn.Module, layer: int) -> Any:
    return model.blocks[layer].attn  # type: ignore[index,union-attr]


class View:
    """Features in memory, as a sweep reads them from a store."""

    def __init__(self, images: Sequence[str], features: np.ndarray, attention: np.ndarray) -> None:
        """Take features [B, N, D] and attention [B, grid height, grid width] of images."""
        self._rows = {image: row for row, image in enumerate(images)}
        self._features, self._attention = features, attention
        self.grid = (attention.shape[1], attention.shape[2])
        self.dim = features.shape[2]
        self.header = StoreHeader({}, "", {}, "float32", self.grid, self.dim, "float16", None)

    def grid_of(self, images: Sequence[str]) -> tuple[int, int]:  # noqa: ARG002 - of all
        """(height, width) in patches."""
        return self.grid

    def attention(
        self,
        images: Sequence[str],
        grid: tuple[int, int] | None = None,  # noqa: ARG002 - there is but one
    ) -> np.ndarray:
        """The class token's attention: float32 [B, grid height, grid width]."""
        return self._attention[[self._rows[image] for image in images]]

    def foreground(self, images: Sequence[str], masking: BackPatchMasking) -> np.ndarray:
        """The patches that count: bool [B, N]."""
        found: np.ndarray = masking.foreground(self.attention(images))
        return found

    def load(
        self,
        images: Sequence[str],
        masking: BackPatchMasking,
        grid: tuple[int, int] | None = None,  # noqa: ARG002 - there is but one
    ) -> PatchFeatures:
        """The features of the patches that count."""
        kept = self.foreground(images, masking)
        features = self._features[[self._rows[image] for image in images]][kept]
        image, patch = np.nonzero(kept)
        return PatchFeatures(features.astype(np.float32), image, patch, len(images), self.grid)


def evaluate(
    view: View,
    category: Category,
    folder: ImageFolder,
    preprocessing: Preprocessing,
    maskings: Sequence[BackPatchMasking],
    coreset_ratio: float,
    seed: int = 0,
) -> pd.DataFrame:
    """Metrics of a category, a row per masking, as :func:`.sweep.evaluate_settings` gives them."""
    masks = [ground_truth(folder, mask, preprocessing) for mask in category.masks]
    inputs = SweepInputs(
        store=cast(Any, view),
        normal=category.normal,
        tested=category.tested,
        labels=category.labels,
        masks=np.stack(masks) if masks else None,
        preprocessing=preprocessing,
        seed=seed,
    )
    settings = [
        Setting("bpm", f"{masking.kernel_size}", masking, coreset_ratio, top_k_ratio=0.05)
        for masking in maskings
    ]
    return evaluate_settings(inputs, settings)
