"""CSV files keep names that look like numbers or formulas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from uniformaly_pipeline.datasets.table_dataset import TableDataset


def test_names_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    dataset = TableDataset(filepath=str(path), text=["image", "normal_image"])
    table = pd.DataFrame(
        {"image": ["0001", "=a", "null"], "score": [0.1, -2.5, 3], "normal_image": ["", "1", "x"]}
    )
    dataset.save(table)
    assert path.read_text() == "image,score,normal_image\n0001,0.1,\n'=a,-2.5,1\nnull,3.0,x\n"
    pd.testing.assert_frame_equal(dataset.load(), table, check_dtype=False)
