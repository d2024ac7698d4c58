"""Time and memory of a memory bank of millions of patches that do not fit into memory.

    python -m benchmarks.large_bank --patches 3e6 --keep 3000

Writes a feature store of made-up patch features of 768 dimensions in half precision (4.6 GB for
three million) and builds a memory bank from it, greedily and in two rounds. The covering radii of
both are compared on the first hundred thousand patches.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.features.encoder import Encoded
from uniformaly_pipeline.features.estimates import peak_memory
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore, StoreHeader
from uniformaly_pipeline.features.store_update import FeatureStream, update_store
from uniformaly_pipeline.memory_bank.bank import (
    build_memory_bank,
    choose_points,
    collect_candidates,
)
from uniformaly_pipeline.memory_bank.coreset import covering_radius

GRID, DIM, RANK = (28, 28), 768, 40
MASKING = BackPatchMasking(mode="off")


def made_up_features(images: list[str]) -> Iterator[Encoded]:
    """Features near a few dozen axes of falling importance, in clusters, as a ViT's are."""
    rng = np.random.default_rng(0)
    axes = rng.standard_normal((RANK, DIM)).astype(np.float32)
    axes *= np.geomspace(1, 0.1, RANK, dtype=np.float32)[:, None]
    centers = rng.standard_normal((300, RANK)).astype(np.float32)
    patches = GRID[0] * GRID[1]
    for image in images:
        rng = np.random.default_rng(int(image))
        along = centers[rng.integers(0, len(centers), patches)]
        along = along + 0.4 * rng.standard_normal((patches, RANK), dtype=np.float32)
        features = along @ axes + 0.05 * rng.standard_normal((patches, DIM), dtype=np.float32)
        yield Encoded(torch.from_numpy(features)[None], torch.ones(1, *GRID), [image])


def write_store(path: Path, num_patches: int) -> list[str]:
    """Write the store; gives the content hashes of its images."""
    images = [str(number) for number in range(-(-num_patches // (GRID[0] * GRID[1])))]
    header = StoreHeader({}, "0" * 64, {}, "float32", GRID, DIM, "float16", None)
    stream = FeatureStream(header, {image: image for image in images}, made_up_features, 1)
    update_store(path, stream)
    return images


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=float, default=3e6)
    parser.add_argument("--keep", type=int, default=3000, help="vectors of the memory bank")
    parser.add_argument("--parts", type=int, default=8, help="of the coreset in two rounds")
    parser.add_argument("--folder", type=Path, help="where to write the features")
    arguments = parser.parse_args()
    figures: dict[str, float] = {"patches": arguments.patches, "keep": arguments.keep}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        images = write_store(Path(folder), int(arguments.patches))
        store = FeatureStore(Path(folder))
        ratio = (arguments.keep + 0.5) / (len(images) * store.header.num_patches)
        for name, parts in (("two_rounds", arguments.parts), ("greedy", 1)):
            start = time.perf_counter()
            bank = build_memory_bank(
                store, images, MASKING, coreset_ratio=ratio, coreset_parts=parts
            )
            figures[f"{name}_s"] = round(time.perf_counter() - start, 1)
            figures[f"{name}_vectors"] = len(bank.arrays["memory_bank"])
            figures[f"peak_gb_after_{name}"] = round((peak_memory() or 0) / 1e9, 2)
        few = collect_candidates(store, images[:128], MASKING).points
        for name, parts in (("two_rounds", arguments.parts), ("greedy", 1)):
            start = time.perf_counter()
            kept, bound = choose_points(few, 0.01, parts=parts)
            figures[f"{name}_100k_s"] = round(time.perf_counter() - start, 2)
            figures[f"{name}_100k_covering_radius"] = round(covering_radius(few, kept), 4)
            if bound is not None:
                figures[f"{name}_100k_covering_radius_bound"] = round(bound, 4)
    print(json.dumps(figures | {"cores": usable_cores()}))


if __name__ == "__main__":
    main()
