"""Figures in the catalog."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from uniformaly_pipeline.datasets.figure_dataset import FigureDataset


def test_a_figure_is_read_back_as_the_picture_that_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "folder/roc.png"
    dataset = FigureDataset(filepath=str(path))
    figure = plt.figure(figsize=(2, 1), dpi=50)
    dataset.save(figure)
    plt.close(figure)
    content = FigureDataset(filepath=str(path)).load()
    assert content == path.read_bytes()
    assert Image.open(io.BytesIO(content)).format == "PNG"


def test_a_figure_on_another_file_system() -> None:
    dataset = FigureDataset(filepath="memory://figures/roc.png")
    figure = plt.figure(figsize=(1, 1))
    dataset.save(figure)
    plt.close(figure)
    assert dataset.load().startswith(b"\x89PNG")
