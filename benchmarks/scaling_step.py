"""One size of the scaling case in a process of its own, with its own peak of memory.

    python -m benchmarks.scaling_step IMAGES CATEGORIES FOLDER

prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import peak_bytes

RATIO = 0.01
"""A greedy coreset of a fixed share of the patches takes time that grows with their square."""


def measure(num_images: int, num_categories: int, folder: Path) -> dict[str, Any]:
    """Encode, bank and score all images, half of them train images, in this process.

    Each category has a bank of its own of all train images and scores all test images.
    """
    from uniformaly_pipeline.features.extraction import feature_stream
    from uniformaly_pipeline.features.masking import BackPatchMasking
    from uniformaly_pipeline.features.preprocessing import Preprocessing
    from uniformaly_pipeline.features.store import FeatureStore
    from uniformaly_pipeline.features.store_update import update_store
    from uniformaly_pipeline.ingestion.images import ImageFolder
    from uniformaly_pipeline.memory_bank.bank import build_memory_bank
    from uniformaly_pipeline.scoring.patches import score_patches

    paths = sorted((folder / "images").rglob("*.png"))
    root = ImageFolder("/")
    images = {root.content_hash(str(path)): str(path) for path in paths[:num_images]}
    masking = BackPatchMasking()
    start = time.perf_counter()
    stream = feature_stream(
        root,
        images,
        _tiny_backbone(),
        Preprocessing(),
        masking,
        device="cpu",
    )
    store_path = folder / f"store_{num_images}_{num_categories}"
    update_store(store_path, stream)
    features = FeatureStore(store_path)
    encoded = time.perf_counter()
    hashes = list(images)
    train, test = hashes[: num_images // 2], hashes[num_images // 2 :]
    for seed in range(num_categories):
        bank = build_memory_bank(features, train, masking, coreset_ratio=RATIO, seed=seed)
        score_patches(features, test, bank.arrays["memory_bank"], masking)
    return {
        "images": num_images,
        "categories": num_categories,
        "encode_seconds": encoded - start,
        "category_seconds": time.perf_counter() - encoded,
    }


def _tiny_backbone() -> Any:
    from uniformaly_pipeline.features.backbone import UNTRAINED, Backbone

    kwargs = {"img_size": 112, "patch_size": 8, "embed_dim": 128, "depth": 12, "num_heads": 4}
    return Backbone("vit_tiny_patch16_224", UNTRAINED, model_kwargs=kwargs)


def main() -> None:
    """Measure one size."""
    images, categories, folder = sys.argv[1:]
    found = measure(int(images), int(categories), Path(folder))
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
