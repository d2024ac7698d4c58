"""What the terminal shows of a leaderboard, at 80 columns."""

from __future__ import annotations

import pandas as pd
import pytest

from uniformaly_pipeline.reporting.terminal import print_decisions, print_summary, print_sweep

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


def test_of_several_seeds_it_is_told_how_far_their_means_lie_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers: list[float | None] = [0.9, 0.8, 0.85, 0.05]
    table = board(
        image_auroc=numbers,
        image_auroc_over_seeds=[0.02, 0.03, 0.01234, None],
        pixel_auroc=numbers,
    )
    assert "means over seeds: image AUROC ±0.0123" in printed(table, capsys)
    of_one = board(image_auroc=numbers)
    assert not any("seeds" in line for line in printed(of_one, capsys))


def test_a_threshold_that_passes_no_normal_image_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = board(image_auroc=[0.5, 0.8, 0.65, 0.15], false_positive_rate=[1.0, 0.5, 0.75, 0.25])
    text = " ".join(printed(table, capsys))
    assert "Every normal test image is a false alarm" in text
    assert text.split("best F1")[1].split("report")[0].strip() == ": bolt".strip()


def test_of_many_categories_the_hardest_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    number = 2000
    names = [*(f"part {i}" for i in range(number)), "mean", "std"]
    aurocs = [*(i / number for i in range(number)), 0.5, 0.3]
    rates = [*[1.0] * number, 1.0, 0.0]
    table = pd.DataFrame({"category": names, "image_auroc": aurocs, "false_positive_rate": rates})
    lines = printed(table, capsys)
    assert len(lines) < 90
    assert "50 of 2,000 categories, those with the lowest image AUROC" in lines
    assert any(cells(line)[0] == "part 49" for line in lines)
    assert not any(cells(line)[0] == "part 50" for line in lines)
    assert any(cells(line)[:2] == ["mean", "0.5000"] for line in lines)
    assert "and 1950 more" in " ".join(lines)


def swept(**metrics: list[float]) -> pd.DataFrame:
    """Three kernels and two modes."""
    parameters = ["bpm.kernel_size"] * 3 + ["bpm.mode"] * 2
    table = pd.DataFrame({"parameter": parameters, "value": ["3", "5", "7", "binary", "off"]})
    return table.assign(**metrics)


OWN = {"bpm.kernel_size": "7", "bpm.mode": "binary", "scoring.top_k_ratio": "0.05"}


def printed_sweep(table: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_sweep("ablation on demo", table, OWN, HINTS)
    lines = capsys.readouterr().out.splitlines()
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= 80
    return lines


def test_every_setting_is_a_row_and_the_own_and_the_best_are_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = swept(
        image_auroc=[0.90, 0.95, 0.93, 0.93, 0.80],
        image_auroc_std=[0.01, 0.02, 0.03, 0.03, 0.04],
    )
    lines = printed_sweep(table, capsys)
    rows = [cells(line) for line in lines if line.startswith("│")]
    assert rows == [
        ["bpm.kernel_size", "3", "0.9000 ±0.0100"],
        ["", "5", "0.9500 ±0.0200*"],
        ["", "7 <", "0.9300 ±0.0300"],
        ["bpm.mode", "binary <", "0.9300 ±0.0300*"],
        ["", "off", "0.8000 ±0.0400"],
    ]
    told = "* best of its parameter, < this run's own setting, ± deviation over categories"
    assert told in lines
    assert lines[-1] == "report  report.html"


def test_of_a_sweep_deviations_give_way_before_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ("image_auroc", "pixel_auroc", "nmi", "ari", "f1")
    metrics = {name: [0.5, 0.5, 0.5, 0.7, 0.6] for name in names}
    table = swept(**metrics, **{f"{name}_std": [0.1] * 5 for name in names})
    lines = printed_sweep(table, capsys)
    header = next(line for line in lines if "parameter" in line)
    assert cells(header)[2:] == ["AUROC", "AUROC", "NMI", "ARI", "F1"]
    assert not any("±" in line for line in lines)
    # What a parameter does not move has no best.
    rows = [cells(line) for line in lines if line.startswith("│")]
    assert rows[0][2:] == ["0.5000"] * 5
    assert rows[3][2:] == ["0.7000*"] * 5


def test_of_a_sweep_whole_columns_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    metrics = {name: [0.5] * 5 for name in ("image_auroc", "pixel_auroc", "nmi", "ari", "f1")}
    lines = printed_sweep(swept(**metrics), capsys)
    header = next(line for line in lines if "parameter" in line)
    assert "AUROC" in header
    (told,) = [line for line in lines if line.startswith("no room for ")]
    assert "F1" in told
    for label in ("NMI", "ARI", "F1"):
        assert (label in header) != (label in told), label


def test_numbers_of_images_have_no_own_value(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(
        {"parameter": "lowshot.shots", "value": ["1", "4"], "image_auroc": [0.8, 0.9],
         "image_auroc_std": [0.05, 0.0]}
    )  # fmt: skip
    lines = printed_sweep(table, capsys)
    assert "* best of its parameter, ± deviation over random draws" in lines
    assert [cells(line)[1] for line in lines if line.startswith("│")] == ["1", "4"]


def test_of_new_images_no_name_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{'/'.join(['some_folder'] * 6)}/012.png"
    row = {"image": name, "score": 1.23456, "p_value": 0.0123, "flagged": True, "x": 11, "y": 222}
    metrics = {
        "num_flagged": 1, "num_images": 1, "threshold": 1.0, "false_alarm_rate": 0.1,
        "num_calibration": 9,
    }  # fmt: skip
    print_decisions("predict on demo", pd.DataFrame([row]), metrics, HINTS)
    lines = capsys.readouterr().out.splitlines()
    assert "…" not in "".join(lines)
    rows = [cells(line) for line in lines if line.startswith("│")]
    assert "".join(row[0] for row in rows) == name
    assert rows[0][1:] == ["1.2346", "0.0123", "yes", "(11, 222)"]
    assert "p-value: share of normal images that score as high, by 9 held out: 0.1 or more" in lines
    assert any("which at most 10 % of normal images exceed" in line for line in lines)
    assert any(line.startswith("where: ") and "pixels" in line for line in lines)
    metrics |= {"num_calibration": 12}
    print_decisions("predict on demo", pd.DataFrame([{**row, "score": 286.5}]), metrics, HINTS)
    said = capsys.readouterr().out
    assert "│ 286.50 │" in said
    assert "by 12 held out: 0.0769 or" in said
    metrics |= {"num_calibration": 0, "false_alarm_rate": None}
    print_decisions("predict on demo", pd.DataFrame([{**row, "p_value": None}]), metrics, HINTS)
    assert "p-value:" not in capsys.readouterr().out
