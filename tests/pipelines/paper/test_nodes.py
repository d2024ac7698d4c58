"""Nodes of the paper stage: what stands for textures, and which results become which items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uniformaly_pipeline.features.masking import smooth_attention
from uniformaly_pipeline.pipelines.paper import nodes

TASK: dict[str, Any] = {
    "tasks": ["defect", "ablation", "multiclass_ablation"],
    "left_out": {"multiclass": "one category"},
    "has_clusters": True,
    "categories": {name: {"name": name} for name in ("bolt", "gear", "oak")},
}


def test_attention_is_of_normal_images_of_textures_and_of_objects(
    fake_encoder: Any, tmp_path: Path
) -> None:
    store = fake_encoder.store(tmp_path / "store", [f"{name}.png" for name in "abcde"])

    def table(**labels: int) -> pd.DataFrame:
        hashes = [f"#{name}.png" for name in labels]
        return pd.DataFrame({"content_hash": hashes, "label": labels.values()})

    figure = nodes.draw_attention_of_textures(
        store,
        {"mode": "binary", "kernel_size": 3, "threshold": 0.3},
        TASK,
        {"dataset": "demo"},
        image_scores_bolt=table(a=0, b=1),
        image_scores_gear=table(c=0),
        image_scores_oak=table(d=0, e=0),
    )

    def share(*names: str) -> float:
        grids = np.stack([fake_encoder.attention(f"{name}.png") for name in names])
        return float(np.mean(smooth_attention(grids, 3) > 0.3))

    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == [
        f"objects: {share('a', 'c'):.0%} above the threshold",
        f"textures: {share('d', 'e'):.0%} above the threshold",
    ]


def test_results_are_told_apart_by_their_task() -> None:
    """One task's name ends like another's, and a category may be called like either."""
    board = pd.DataFrame({"category": ["a", "mean", "std"], "image_auroc": [0.9, 0.9, 0.0]})

    def sections(value: float) -> list[dict[str, Any]]:
        table = {
            "caption": "bpm.kernel_size",
            "columns": ["value", "image_auroc"],
            "index": [0],
            "data": [["7", value]],
        }
        return [{"title": "t", "text": "", "tables": [table], "figures": {}}]

    items = nodes.collect_items(
        {"dataset": "demo"},
        TASK,
        defect_leaderboard=board,
        ablation_leaderboard=board,
        multiclass_ablation_leaderboard=board,
        ablation_sections=sections(0.25),
        multiclass_ablation_sections=sections(0.75),
    )
    found = {item["item"]: item for item in items}
    one, many = found["Table 9"]["section"]["tables"]
    assert (one["data"], many["data"]) == ([["7", 0.25]], [["7", 0.75]])
    assert found["Table 4"]["reason"] == "one category"
