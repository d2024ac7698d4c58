"""What the terminal shows of a leaderboard, at 80 columns."""

from __future__ import annotations

import pandas as pd
import pytest

from uniformaly_pipeline.reporting.terminal import print_summary

HINTS = [("report", "report.html")]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def board(**metrics: list[float | None]) -> pd.DataFrame:
    """A leaderboard of two categories, then mean and deviation."""
    return pd.DataFrame({"category": ["bolt", "nut", "mean", "std"], **metrics})


def printed(table: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_summary("defect on mvtec with dino_vitb8", table, HINTS)
    lines = capsys.readouterr().out.splitlines()
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= 80
    return lines


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")]


def test_the_papers_numbers_stand_right_after_the_metric_they_are_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = board(
        image_auroc=[0.9, 0.8, 0.85, 0.05],
        paper=[0.95, 0.95, 0.95, None],
        difference=[-0.05, -0.15, -0.1, None],
        pixel_auroc=[0.9, 0.8, 0.85, 0.05],
        paper_pixel_auroc=[0.95, 0.95, 0.95, None],
        aupro=[0.5, 0.5, 0.5, 0.0],
        images_per_second=[8.0, 8.0, 8.0, 0.0],
        bank_size=[9.0, 9.0, 9.0, 0.0],
    )
    _, _, names, _, first, *_ = printed(table, capsys)
    shown = ["category", "image AUROC", "paper", "difference", "pixel AUROC", "AUPRO"]
    assert cells(names) == shown
    assert cells(first) == ["bolt", "0.9000", "0.9500", "-0.0500", "0.9000", "0.5000"]


def test_what_it_costs_is_shown_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[float | None] = [0.9, 0.8, 0.85, 0.05]
    table = board(image_auroc=numbers, images_per_second=[8.0, 8.0, 8.0, 0.0])
    assert cells(printed(table, capsys)[2]) == ["category", "image AUROC", "images/s"]
    monkeypatch.setenv("COLUMNS", "30")
    (names,) = (line for line in printed(table, capsys) if "category" in line)
    assert cells(names) == ["category", "image AUROC"]


def test_of_clusters_they_stand_after_the_nmi(capsys: pytest.CaptureFixture[str]) -> None:
    nothing: list[float | None] = [None] * 4
    numbers: list[float | None] = [0.5, 0.5, 0.5, 0.0]
    table = board(
        image_auroc=numbers, aupro=nothing, nmi=numbers, paper=numbers, difference=numbers,
        ari=numbers, paper_ari=numbers,
    )  # fmt: skip
    names = cells(printed(table, capsys)[2])
    assert names == ["category", "image AUROC", "NMI", "paper", "difference", "ARI"]


def test_a_mean_over_fewer_categories_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(board(image_auroc=[0.9, 0.8, 0.85, 0.05], aupro=[None, 0.5, 0.5, 0.0]), capsys)
    (mean,) = (i for i, line in enumerate(lines) if cells(line)[0] == "mean")
    assert cells(lines[mean]) == ["mean", "0.8500", "0.5000"]
    assert cells(lines[mean + 1]) == ["", "", "(of 1)"]
    assert "(of n): mean of the n categories that have the metric" in lines


def test_means_over_all_categories_are_not_marked(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(printed(board(image_auroc=[0.9, 0.8, 0.85, 0.05]), capsys))
    assert "(of" not in text
    assert "false alarm" not in text


def test_a_threshold_that_passes_no_normal_image_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = board(image_auroc=[0.5, 0.8, 0.65, 0.15], false_positive_rate=[1.0, 0.5, 0.75, 0.25])
    text = " ".join(printed(table, capsys))
    assert "Every normal test image is a false alarm" in text
    assert text.split("best F1")[1].split("report")[0].strip() == ": bolt".strip()
