"""The benchmarks compare with a schedule that gives the same results, and report in full."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import (
    against_anomalib,
    backbone_defaults,
    backbones_table,
    few_images,
    gpu,
    hidden_defects,
    leaderboard,
    leaderboard_rows,
    many_categories,
    memory,
    products,
    scaling_step,
)
from benchmarks import authors_schedule as authors
from benchmarks import detector as of_detectors
from benchmarks.__main__ import main
from benchmarks.case import Case, Settings, Workload
from benchmarks.cases import CASES, categories, coreset, search
from benchmarks.cases.categories import CLASSES
from benchmarks.cases.encoding import flops
from benchmarks.cases.scaling import fit
from benchmarks.inputs import draw_classes, draw_defects, maps_and_masks, patch_like
from benchmarks.leaderboard_rows import Entry, Now, Row
from benchmarks.machine import peak_bytes
from benchmarks.products import _makers, fastest, limit
from benchmarks.project import copy_project
from benchmarks.table import HEADER, table
from benchmarks.worker import Worker
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import Backbone, load_backbone
from uniformaly_pipeline.features.encoder import Encoder
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.preprocessing import Preprocessing
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.memory_bank.coreset import greedy_coreset

LAYERS = tuple(range(2, 10))
SMALL = 64  # pixels


@pytest.fixture
def tiny(tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A tiny ViT in place of the large ones of the categories."""
    monkeypatch.setattr(categories, "_backbone", lambda _: tiny_backbone)
    monkeypatch.setattr(categories, "DIM", 48)
    monkeypatch.setattr(categories, "best_rate", lambda _: 1e9)
    return tiny_backbone


def test_both_encode_alike(tiny_backbone: Backbone) -> None:
    images = torch.randn(2, 3, SMALL, SMALL, generator=torch.Generator().manual_seed(0))
    ours = Encoder(load_backbone(tiny_backbone, (SMALL, SMALL)), LAYERS, 9, "cpu")(images)
    encoder = authors.AuthorsEncoder(load_backbone(tiny_backbone, (SMALL, SMALL)), LAYERS, 9)
    torch.testing.assert_close(encoder.features(images), ours.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.attention(images), ours.attention, rtol=1e-4, atol=1e-6)
    # The released code is run at batch size 1, where the maximum is the image's own.
    masks = torch.cat([authors.foreground(encoder.attention(image[None])) for image in images])
    assert (masks == BackPatchMasking().foreground(ours.attention)).all()


def test_both_pick_the_same_coreset() -> None:
    points, starts = patch_like(1000, 16, seed=0), np.arange(10)
    theirs = authors.coreset(torch.from_numpy(points), 100, starts)
    assert (theirs == greedy_coreset(points, 100, starts)).all()


def test_authors_auroc_is_scikit_learns() -> None:
    maps, masks = maps_and_masks(6, side=56, grid=14)
    assert masks.any()
    assert authors.auroc(masks, maps) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))


@pytest.mark.parametrize("name", ["defect_category_b16", "semantic_10"])
def test_both_score_a_category_alike(name: str, tiny: Backbone, tmp_path: Path) -> None:
    settings = Settings(quick=True, folder=tmp_path)
    theirs = Worker(CASES[name], "authors", settings)
    ours = Worker(CASES[name], "ours", settings)
    assert theirs.run()["seconds"] > 0
    assert ours.run()["seconds"] > 0
    theirs.end()
    answer = ours.end()
    assert answer["agrees"]
    assert answer["agreement"]["our_image_auroc"] == pytest.approx(
        answer["agreement"]["authors_image_auroc"], abs=0.02
    )


def test_a_step_of_scaling_encodes_and_scores_what_it_says(
    tmp_path: Path, tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling_step, "_tiny_backbone", lambda: tiny_backbone)
    draw_classes(tmp_path / "images", ["plate"], train=5, test=0)
    found = scaling_step.measure(4, 2, tmp_path)
    assert (found["images"], found["categories"]) == (4, 2)
    assert found["encode_seconds"] > 0
    assert found["category_seconds"] > 0
    assert len(FeatureStore(tmp_path / "store_4_2").index) == 4


def test_a_class_stands_for_ten() -> None:
    stages = categories._Stages(once=1.0, train=2.0, encoding=0.0, test=3.0, aurocs=[])
    test = categories._class_sizes(Settings(False, Path()))[1] * len(CLASSES)
    whole = categories._whole(stages, Settings(False, Path()), measured_classes=1)
    assert whole == pytest.approx(1.0 + 10 * (2.0 + 3.0 * 1000 / test))


def test_another_coreset_is_noticed() -> None:
    """A pick that is nearer than the authors' is a fault; one that is farther is not."""
    settings, count = Settings(False, Path()), 500
    points, starts = patch_like(count, coreset.DIM, 0), coreset._starts(count)
    picks = greedy_coreset(points, 5, starts)
    same = coreset._compare(settings, {"picks": picks[:3]}, {"picks": picks}, count)
    assert same.agrees
    assert same.details["compared"] == 3
    other = picks.copy()
    other[2] = int(starts[0])
    theirs = coreset._compare(settings, {"picks": picks}, {"picks": other}, count)
    assert not theirs.agrees
    assert theirs.details["first_difference"] == 2
    assert coreset._compare(settings, {"picks": other}, {"picks": picks}, count).agrees


def test_another_neighbour_is_noticed() -> None:
    settings = Settings(True, Path())
    right = {"indices": search._workload(settings, 500, search._faiss_on_cpu, False).run()[:, 0]}
    wrong = {"indices": right["indices"].copy()}
    wrong["indices"][:3] = (right["indices"][:3] + 1) % 100
    assert search._compare(settings, right, right, 500).agrees
    assert search._compare(settings, wrong, right, 500).agrees
    found = search._compare(settings, right, wrong, 500)
    assert not found.agrees
    assert found.details["ours_farther"] == 3


def test_flops_are_those_of_the_products() -> None:
    """A block of a ViT-B/16: four linear layers, and queries by keys and weights by values."""
    tokens, dim = 197, 768
    linear = tokens * (dim * 3 * dim + dim * dim + 2 * dim * 4 * dim)
    attention = 2 * tokens * tokens * dim
    assert flops(16, blocks=1) == 2.0 * (linear + attention)


def test_fit_of_a_line() -> None:
    found = fit([1, 2, 5], [3.0, 5.0, 11.0])
    assert found["seconds_each"] == pytest.approx(2.0)
    assert found["constant"] == pytest.approx(1.0)
    assert found["r_squared"] == pytest.approx(1.0)


def test_images_are_drawn_once(tmp_path: Path) -> None:
    draw_defects(tmp_path / "defects", train=1, good=1, bad=1)
    draw_classes(tmp_path / "classes", ["a", "b"], train=1, test=2)
    before = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert "defects/plate/ground_truth/stain/000_mask.png" in before
    assert len(before) == 4 + 6
    draw_classes(tmp_path / "classes", ["a", "b"], train=9, test=9)
    assert len(list(tmp_path.rglob("*.png"))) == len(before)


def test_table_of_all_kinds_of_cases() -> None:
    side = {"seconds": 0.5, "share_of_limit": 0.4, "peak_bytes": 2e9, "details": {}}
    cases: dict[str, Any] = {
        "both": {
            "unit": "s/image", "limit": "memory", "note": "", "ratio": 6.0,
            "authors": {**side, "seconds": 3.0},
            "ours": {**side, "agrees": False, "agreement": {"off": 0.25}},
        },
        "alone": {
            "unit": "s", "limit": "", "note": "warm",
            "ours": {**side, "seconds": 1234.5, "share_of_limit": None, "child_peak_bytes": 1e9},
        },
        "missing": {"skipped": "no GPU"},
    }  # fmt: skip
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table(cases).splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == list(HEADER)
    assert rows[2] == [
        "both (DIFFERENT RESULTS)", "3.00 s/image", "500.0 ms/image", "6.0x", "40%",
        "2.00 GB / 2.00 GB",
    ]  # fmt: skip
    assert rows[3] == ["alone †", "-", "1,234 s", "-", "-", "- / 2.00 + 1.00 GB"]
    assert rows[4] == ["missing", "no GPU", "", "", "", ""]


def test_a_case_that_fails_is_told(tmp_path: Path) -> None:
    case = Case("nothing", ours=lambda _: Workload(lambda: None, "nothing"))
    with pytest.raises(ValueError, match="no side 'authors'"):
        Worker(case, "authors", Settings(True, tmp_path))


def test_unknown_case(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--cases", "encode_b8,nonsense"])
    assert "no such case: nonsense" in capsys.readouterr().err


def test_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command with one small case, and one that this machine may lack."""
    limits = {
        "busy": False, "load_average": 0.0, "cores": 1, "cpu": "some", "memory_gb": 1.0,
        "commit": "abc", "versions": {"torch": "2"}, "gemm_float32_gflops": 1.0,
        "gemm_float32_library": "some", "gemm_bfloat16_library": "other",
        "gemm_bfloat16_gflops": 1.0, "memory_read_gb_per_s": 1.0, "cuda": False,
        "faiss_gpu": False,
    }  # fmt: skip
    monkeypatch.setattr("benchmarks.__main__.measure_limits", lambda: limits)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "new" / "bench.json"
    command = ["--quick", "--cases", "coreset_1e5,search_gpu_150k", "--json", str(file)]
    assert main([*command, "--repeats", "2"]) == 0
    # What was measured is taken from the file where one asks for it.
    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.__main__.measure", None)
        assert main([*command, "--resume"]) == 0
        with pytest.raises(TypeError):
            main(command)
    printed = capsys.readouterr().out
    assert "| coreset_1e5 " in printed
    assert "no GPU" in printed
    result = json.loads(file.read_text())
    assert result["machine"] == limits
    found = result["cases"]["coreset_1e5"]
    assert found["ratio"] == pytest.approx(np.median(found["ratios"]))
    for side in (found["authors"], found["ours"]):
        assert len(side["samples"]) == 2
        assert side["peak_bytes"] >= side["ready_bytes"] > 1e7
    assert found["ours"]["agrees"]
    assert found["ours"]["share_of_limit"] > 0
    assert result["cases"]["search_gpu_150k"] == {"skipped": "no GPU"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_library_multiplies_the_same(dtype: str) -> None:
    """What is compared is the same work."""
    shape = (6, 32, 8)
    results = {}
    for name, make in _makers(dtype).items():
        found = make(shape)()
        if isinstance(found, torch.Tensor):
            found = found.float().numpy()
        elif not isinstance(found, np.ndarray):
            found = found[0]
        results[name] = np.asarray(found)
    first = next(iter(results.values()))
    assert first.shape == (6, 8)
    assert len(results) >= (4 if dtype == "float32" else 2)
    tolerance = 1e-4 if dtype == "float32" else 5e-2
    for name, found in results.items():
        np.testing.assert_allclose(
            found, first, rtol=0, atol=tolerance * np.abs(first).max(), err_msg=name
        )


def test_the_limit_is_that_of_the_library_that_was_fastest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def takes(calls: int) -> Any:
        return lambda shape: lambda: [sum(range(20_000)) for _ in range(calls)]

    made = {"slow": takes(20), "fast": takes(1), "middling": takes(5)}
    monkeypatch.setattr(products, "_makers", lambda dtype: made)
    assert fastest([(2, 3, 4)]).library == "fast"
    rate = fastest([(2, 3, 4), (2, 3, 4)], libraries=["middling"])
    assert rate.library == "middling"


def test_the_limit_is_measured_apart_and_of_one_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ONNX Runtime or OpenVINO bring must not stay in the process that is measured."""
    monkeypatch.setattr(products, "_FASTEST", {})
    asked: list[list[str]] = []
    run = subprocess.run

    def record(command: list[str], **options: Any) -> Any:
        asked.append(json.loads(options["input"])["libraries"])
        return run(command, **options)

    monkeypatch.setattr(products.subprocess, "run", record)
    monkeypatch.setattr(products, "_makers", lambda dtype: pytest.fail("measured in this process"))
    first, second = limit([(5, 6, 7)]), limit([(5, 6, 7)])
    assert asked == [[], [first.library], [second.library]]
    assert first.library == second.library
    assert second.flops > 0


def test_many_categories_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []
    row = {"seconds": 8.0, "start_s": 3.0, "end_s": 1.0, "nodes": 5, "overhead_ms": 2.5,
           "report_mb": 1.0, "peak_gb": 0.5}  # fmt: skip

    def run(command: list[str], **_: Any) -> Any:
        measured.append(command[3])
        return subprocess.CompletedProcess(command, 0, f"noise\n{json.dumps(row)}\n")

    monkeypatch.setattr(many_categories.subprocess, "run", run)
    monkeypatch.setattr(many_categories, "describe", lambda: {"commit": "abc"})
    file = tmp_path / "many.json"
    for sizes in (["3"], ["3", "4"]):
        monkeypatch.setattr(sys, "argv", ["many", *sizes, "--json", str(file)])
        assert many_categories.main() == 0
    assert measured == ["3", "4"]
    said = capsys.readouterr().out
    assert "4 categories: 8 s, 3.0 s of them before the first of 5 nodes and 1.0 s after" in said
    assert "2.5 ms of overhead a node" in said
    monkeypatch.setattr(many_categories, "describe", lambda: {"commit": "def"})
    many_categories.main()
    assert measured == ["3", "4", "3", "4"]


def test_memory_is_measured_on_defects_with_masks(tmp_path: Path) -> None:
    memory.draw(tmp_path, memory.LEARNED_FROM + 4)
    listed = {path.parent.name: 0 for path in tmp_path.rglob("*.png")}
    for path in tmp_path.rglob("*.png"):
        listed[path.parent.name] += 1
    assert listed == {"good": memory.LEARNED_FROM + 2, "hole": 2 + 2}
    masks = {path.name.removesuffix("_mask.png") for path in tmp_path.rglob("*_mask.png")}
    assert masks == {path.stem for path in (tmp_path / "part/test/hole").iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child's memory is its own")
def test_the_peak_is_that_of_the_process_and_not_of_what_started_it() -> None:
    held = np.ones(100_000_000, np.uint8)
    code = "from benchmarks.machine import peak_bytes; print(peak_bytes())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert 1e6 < int(done.stdout) < 0.9 * held.nbytes
    assert peak_bytes() > held.nbytes


def test_a_copy_of_the_project_has_nothing_of_this_machine(tmp_path: Path) -> None:
    project = copy_project(tmp_path, {"dataset": "folder"})
    assert [path.name for path in (project / "conf/local").iterdir()] == ["parameters.yml"]
    assert json.loads((project / "conf/local/parameters.yml").read_text()) == {"dataset": "folder"}
    assert not any((project / "data").iterdir())
    assert (project / "src/uniformaly_pipeline/settings.py").is_file()


def test_without_a_gpu_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "measure", None)
    assert gpu.main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["No GPU that torch can use: nothing measured."]


@pytest.mark.parametrize(("measured", "tested", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1)])
def test_a_gpu_is_measured_and_tested(
    measured: int, tested: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "measure", lambda arguments: given.append(arguments) or measured)

    def run(command: list[str], env: dict[str, str], **_: Any) -> Any:
        given.append((command, env[gpu.DEVICE_VARIABLE]))
        return subprocess.CompletedProcess(command, tested)

    monkeypatch.setattr(gpu.subprocess, "run", run)
    assert gpu.main(["--quick"]) == code
    (quick, cases, _), (command, device) = given
    assert quick == "--quick"
    assert "encode_gpu_b8" in cases
    assert "encode_b8," not in cases
    assert device == "cuda"
    assert set(gpu.TESTS) < set(command)


def test_anomalib_is_installed_apart_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    monkeypatch.setattr(against_anomalib.venv, "create", lambda path, **_: path.mkdir())
    monkeypatch.setattr(
        against_anomalib.subprocess, "run", lambda command, **_: done.append(command)
    )
    environment = tmp_path / "anomalib"
    python = against_anomalib.install(environment)
    assert against_anomalib.install(environment) == python
    assert len(done) == 1
    assert done[0][0] == str(python) != sys.executable
    assert python.is_relative_to(environment)


def test_weights_of_the_comparison_are_those_of_every_side(tmp_path: Path) -> None:
    """The backbone that we load is the model whose weights anomalib is given."""
    from safetensors.torch import load_file

    path = tmp_path / "weights.safetensors"
    against_anomalib.random_weights("vit_tiny_patch16_224", path)
    model = load_backbone(Backbone("vit_tiny_patch16_224", str(path)), (224, 224))
    weights = load_file(path)
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


MADE_OF: dict[str, str | None] = dict.fromkeys(leaderboard_rows.PARTS, "one")
ROWS = [
    Row(
        Entry("demo", "quickstart", "padim"), MADE_OF, "abc",
        {"image_auroc": 0.5, "images_per_second": 3.0, "pixel_auroc": None},
    ),
    Row(
        Entry("demo", "quickstart", "uniformaly"), MADE_OF, "abd+",
        {"image_auroc": 0.9, "image_auroc_over_seeds": 0.01, "images_per_second": 2.0},
    ),
    Row(
        Entry("other", "quickstart", "padim", (0, 1)), MADE_OF, "abc",
        {"image_auroc": 0.5, "images_per_second": 3.0},
    ),
    Row(Entry("other", "quickstart", "uniformaly", (0, 1)), MADE_OF, failed="Error: a | b"),
]  # fmt: skip


class Board:
    """The command with runs and what decides their numbers played, not looked up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = dict(MADE_OF)
        self.commit = "abc"
        self.asked: list[str] = []
        self.fails: set[str] = set()
        monkeypatch.setattr(leaderboard, "run", self.run)
        monkeypatch.setattr(leaderboard, "Now", lambda _: self)
        monkeypatch.setattr(leaderboard, "describe", lambda: {"cpu": "a", "cores": 2})

    def of(self, entry: Entry) -> dict[str, str | None]:
        return {**self.now, "root": entry.data_set}

    def run(self, entry: Entry, project: Path) -> Row:
        self.asked.append(entry.method)
        if entry.method in self.fails:
            return Row(entry, self.of(entry), self.commit, failed="ended with status 1: no room")
        means = {"image_auroc": 0.75, "images_per_second": 4.0}
        return Row(entry, self.of(entry), self.commit, means)

    def __call__(self, *methods: str, backbone: str = "quickstart") -> int:
        self.asked.clear()
        names = ["--data-sets", "demo", "--backbones", backbone, "--methods", *methods]
        return leaderboard.main([*names, "--out", str(self.folder)])

    @property
    def rows(self) -> list[str]:
        text = (self.folder / "leaderboard.md").read_text(encoding="utf-8")
        return text.splitlines()[2:]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path / "out", monkeypatch)


def test_the_board_has_the_best_first_and_tells_what_failed() -> None:
    rows = leaderboard.board([*ROWS[::-1]]).splitlines()
    columns = {row.replace("\\|", "").count("|") for row in rows}
    assert columns == {12}
    assert rows[2].startswith("| demo | – | quickstart | `uniformaly` | 0.9000 ± 0.0100 | – |")
    assert rows[2].endswith("| 2.0 | abd+ |")
    assert rows[3].endswith("| `padim` | 0.5000 | – | – | – | – | 3.0 | abc |")
    assert rows[4].startswith("| other | 0+1 | quickstart | `padim` |")
    assert "| Error: a \\| b |" in rows[5]
    assert rows[5].endswith("| unknown |")


def test_the_picture_tells_data_sets_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(leaderboard, "figure_png", lambda figure: figures.append(figure) or b"")
    leaderboard.picture(ROWS)
    (figure,) = figures
    drawn = {axes.get_title("left"): len(axes.lines) for axes in figure.axes}
    assert drawn == {"demo": 2, "other, seeds 0+1": 1}
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["quickstart, padim", "quickstart, uniformaly"]
    symbols = {(line.get_color(), line.get_marker()) for axes in figure.axes for line in axes.lines}
    assert len(symbols) == 2


def test_the_board_goes_on_where_it_was_and_tries_again_what_failed(
    played: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    played.fails = {"padim"}
    assert played("uniformaly", "padim", "uniformaly") == 1
    assert played.asked == ["uniformaly", "padim"]
    assert "ended with status 1: no room" in played.rows[1]
    played.fails.clear()
    assert played("uniformaly", "padim") == 0
    assert played.asked == ["padim"]
    assert sum("0.7500" in row for row in played.rows) == len(played.rows) == 2
    with Image.open(played.folder / "leaderboard.png") as image:
        assert image.width > 400
    assert "Written to" in capsys.readouterr().out


def test_a_narrower_call_keeps_rows_that_hold_with_their_own_commit(played: Board) -> None:
    played.fails = {"patchcore"}
    played("uniformaly", "padim", "patchcore")
    played.commit = "abd"
    assert played("padim", "mean_patch_knn") == 0
    assert played.asked == ["mean_patch_knn"]
    commits = {row.split("`")[1]: row.split("|")[-2].strip() for row in played.rows}
    assert commits == {
        "uniformaly": "abc", "padim": "abc", "patchcore": "abc", "mean_patch_knn": "abd",
    }  # fmt: skip


@pytest.mark.parametrize("part", ["settings", "images", "weights", "code"])
def test_a_row_does_not_hold_where_what_decides_it_differs(
    played: Board, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    played("uniformaly", "padim")
    for other in ("two", None):  # None: it cannot be told
        played.now[part] = other
        capsys.readouterr()
        assert played("padim") == 0
        assert played.asked == ["padim"]
        assert len(played.rows) == 1
        assert f"demo: quickstart, uniformaly ({part})" in capsys.readouterr().err
    played.now[part] = "one"
    assert played("padim") == 0
    assert played.asked == []
    assert len(played.rows) == 2
    assert "not shown" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "0,1"], "--seeds 0,1: give whole numbers"),
        (["--seeds", "0+0"], "--seeds 0+0: give whole numbers"),
        (["--seeds=-1"], "--seeds -1: give whole numbers"),
        (["--data-sets", "dmeo"], "no data set 'dmeo'; did you mean 'demo'?"),
        (["--data-sets", "mvtec"], "--data-sets mvtec: datasets: the root"),
        (["--backbones", "quikstart"], "no backbone 'quikstart'; did you mean 'quickstart'?"),
        (["--backbones", "dino_vitb8"], "--backbones dino_vitb8: no network"),
    ],
)
def test_bad_arguments_of_the_board_are_one_line_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("no network")

    monkeypatch.setattr(leaderboard, "load_backbone", refuse)
    monkeypatch.setattr(leaderboard, "run", lambda *_: pytest.fail("it was run"))
    project = copy_project(tmp_path)
    options += ["--project", str(project), "--out", str(tmp_path / "out")]
    assert leaderboard.main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: ")
    assert said in line
    assert not (tmp_path / "out").exists()


def test_rows_that_cannot_be_read_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "leaderboard.json"
    for text in ("{", "[]", '{"demo quickstart padim": {"image_auroc": 1.0}}', '{"rows": [1]}'):
        path.write_text(text)
        assert leaderboard.main(["--out", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(path) in line
        assert path.read_text() == text


def test_other_weights_and_other_code_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, weights = tmp_path / "package", tmp_path / "weights.safetensors"
    package.mkdir()
    (package / "a.py").write_text("1")
    monkeypatch.setattr(leaderboard_rows, "PACKAGE", package)
    custom = {"model": "vit_tiny_patch16_224", "checkpoint": str(weights)}
    project = copy_project(tmp_path, {"backbones": {"custom": custom}})
    entry = Entry("demo", "custom", "padim")
    assert Now(project).of(entry)["weights"] is None
    against_anomalib.random_weights("vit_tiny_patch16_224", weights)
    before = Now(project).of(entry)
    model = load_backbone(Backbone("vit_tiny_patch16_224", "untrained"), (224, 224), seed=1)
    save_file(model.state_dict(), weights)
    (package / "a.py").write_text("2")
    now = Now(project).of(entry)
    assert {part for part in now if now[part] != before[part]} == {"weights", "code"}
    assert None not in (before["weights"], now["weights"])


@pytest.mark.slow
def test_a_run_that_fails_says_why_in_its_row(tmp_path: Path) -> None:
    found = leaderboard.run(Entry("dmeo", "quickstart", "padim"), copy_project(tmp_path))
    assert found.failed is not None
    assert found.failed.startswith("ended with status 2: ")
    assert "did you mean 'demo'?" in found.failed
    assert not found.means


@pytest.mark.slow
def test_an_entry_of_the_board_is_a_run_of_the_project(tmp_path: Path) -> None:
    memory.draw(tmp_path / "images", 36)
    size = {"resize": memory.SIDE, "crop": memory.SIDE}
    folder = {"root": str(tmp_path / "images"), "preprocessing": size}
    parameters = {"datasets": {"folder": folder}, "backbones": {"custom": memory.TINY}}
    project = copy_project(tmp_path, parameters)
    data_sets, backbones = leaderboard.at_hand(project)
    assert data_sets == ["demo", "folder"]
    assert backbones == ["quickstart"]
    entry = Entry("folder", "custom", "patchcore")
    found = leaderboard.run(entry, project)
    assert found.failed is None
    assert 0 <= found.means["image_auroc"] <= 1
    assert found.means["images_per_second"] > 0
    (path,) = (project / "data/08_reporting/defect").glob("*/*/*/metrics.json")
    assert "patchcore" in path.parent.name
    made = json.loads(path.read_text(encoding="utf-8"))["mean"]
    assert made["image_auroc"] == found.means["image_auroc"]

    assert found.differs(Now(project).of(entry)) == []
    local = project / "conf/local/parameters.yml"
    local.write_text(json.dumps({**parameters, "memory_bank": {"coreset_ratio": 0.02}}))
    assert found.differs(Now(project).of(entry)) == ["settings"]
    local.write_text(json.dumps(parameters))
    image = min((tmp_path / "images").glob("*/test/*/*.*"))
    Image.effect_noise(Image.open(image).size, 50).convert("RGB").save(image)
    assert found.differs(Now(project).of(entry)) == ["images"]
    shutil.move(tmp_path / "images", tmp_path / "moved")
    folder["root"] = str(tmp_path / "moved")
    local.write_text(json.dumps(parameters))
    assert "root" in found.differs(Now(project).of(entry))


def test_a_defect_is_hidden_only_where_no_marked_pixel_is_in_the_crop(tmp_path: Path) -> None:
    """The crop sees the middle 1050 x 1050 of 1600 x 1200 pixels."""
    for i, (left, right) in enumerate([(0, 64), (0, 4), (60, 64)]):
        mask = np.zeros((64, 64), np.uint8)
        mask[20:44, left:right] = 255
        for name, pixels in (
            (f"test/dent/{i}.png", np.full((64, 64, 3), i, np.uint8)),
            (f"ground_truth/dent/{i}_mask.png", mask),
        ):
            (tmp_path / "root/nut" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "root/nut" / name)
    hidden = hidden_defects.make(tmp_path / "root", tmp_path / "made")
    for i in range(3):
        with Image.open(tmp_path / f"made/nut/ground_truth/dent/{i}_mask.png") as image:
            marked = np.asarray(image) > 0
        assert marked.shape == (1200, 1600)
        is_hidden = not marked[75:1125, 275:1325].any()
        assert (f"nut/test/dent/{i}.png" in hidden) == is_hidden
    assert 0 < len(hidden) < 3


def test_aurocs_of_hidden_defects_are_beside_all_normal_images() -> None:
    rows = [("a", 0, 1.0), ("b", 0, 2.0), ("hidden", 1, 1.5), ("plain", 1, 3.0)]
    scores = pd.DataFrame(rows, columns=["image", "label", "score"]).assign(category="nut")
    assert hidden_defects.aurocs(scores, ["hidden"]) == (0.75, 0.5, 1.0)


def test_a_detectors_times_are_told_by_engine(tiny_backbone: Backbone, tmp_path: Path) -> None:
    """Encoding and what is not add up; the memory bank has the size that was asked for."""
    size = of_detectors.Size(side=32, bank=9, repeats=1, seconds=0.0, processes=1)
    draw_defects(tmp_path / "images", 6, 2, 1)
    detector = of_detectors.fit(tiny_backbone, size, tmp_path / "images")
    assert len(detector.state.bank.arrays["memory_bank"]) == 9
    rows = list(of_detectors.latencies(detector, tmp_path, tmp_path / "images", size))
    assert {row["batch"] for row in rows} == {1, 8}
    assert {row["engine"] for row in rows} >= {"torch (MKL)", "onnxruntime", "openvino"}
    for row in rows:
        assert row["encoding"] > 0
        assert row["rest"] > 0
        assert row["encoding"] + row["rest"] == pytest.approx(row["total"])
    start = dict.fromkeys(("import", "load", "warm_up", "first_image", "shell"), 1.0)
    found = {
        "tiny": {
            "vectors": 9, "dim": 48, "patches": 4, "patches_searched": 3, "latency_ms": rows,
            "start_up": [{"format": "onnx", "peak_bytes": 5e8, **start}],
        }
    }  # fmt: skip
    text = of_detectors.table(found)
    assert "| tiny | onnx | 1.00 s | 1.00 s | 1.00 s | 1.00 s | 0.50 GB | 1.00 s |" in text
    assert "9 vectors of 48, 3 of 4 patches" in text


# --- backbones ------------------------------------------------------------------------------------

SIDE = 32
WHOLE = Preprocessing(SIDE, SIDE)


@pytest.mark.parametrize("norm", [False, True])
def test_blocks_read_at_once_are_what_an_encoder_reads(
    norm: bool, tiny_backbone: Backbone, make_dataset: Any, tmp_path: Path
) -> None:
    folder: ImageFolder = make_dataset(tmp_path, train=3)
    (category,) = few_images.read_categories(folder)
    assert (len(category.normal), list(category.labels)) == (3, [1, 0, 0])
    model = load_backbone(tiny_backbone, (SIDE, SIDE))
    torch.nn.init.normal_(model.norm.weight)
    blocks = few_images.read_blocks(model, [9, 11], folder, category.images, WHOLE)
    for layers, layer in (((2, 3), 9), ((11,), 11)):
        view = blocks.view(layers, layer, norm)
        encoder = Encoder(model, layers, layer, "cpu", norm=norm)
        expected = few_images.encode(encoder, folder, category.images, WHOLE)
        every = BackPatchMasking("off")
        found = view.load(category.images, every), expected.load(category.images, every)
        np.testing.assert_allclose(found[0].features, found[1].features, rtol=0, atol=5e-3)
        np.testing.assert_allclose(
            view.attention(category.images), expected.attention(category.images), atol=1e-5
        )
        assert float(np.std(view.attention(category.images))) > 0


def test_classes_are_normal_in_turn(tmp_path: Path) -> None:
    for name in ("bird", "cat"):
        for part, count in ((few_images.TRAIN, 3), (few_images.TEST, 2)):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8)).save(tmp_path / part / name / f"{i}.png")
    bird, cat = few_images.read_categories(ImageFolder(str(tmp_path)), limit=2)
    assert list(bird.normal) == [f"{few_images.TRAIN}/bird/{i}.png" for i in range(2)]
    assert list(bird.tested) == list(cat.tested)
    assert (list(bird.labels), list(cat.labels)) == ([0, 0, 1, 1], [1, 1, 0, 0])


@pytest.mark.parametrize(("grid", "kernel"), [(16, 5), (24, 7), (28, 7), (32, 9)])
def test_one_thing_is_changed_at_a_time(grid: int, kernel: int) -> None:
    paper, *others = backbone_defaults.choices(grid)
    assert paper.kernels[0] == kernel and set(paper.kernels) >= {3, 5, 7, 9, 11}
    for choice in others:
        assert choice.kernels == (kernel,)
        assert not choice.norm or choice.attention_layer == paper.attention_layer
        assert choice.layers == paper.layers or choice.attention_layer == paper.attention_layer
    assert len({choice.describe(kernel) for choice in (paper, *others)}) == 1 + len(others)


@pytest.fixture
def small_demo(make_dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two categories of few images in place of the demo."""
    draw = functools.partial(make_dataset, categories=("bolt", "nut"), dent=2)
    monkeypatch.setattr(few_images, "draw_demo", draw)


@pytest.mark.usefixtures("small_demo")
def test_the_defaults_of_a_backbone_are_told_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "vit_tiny_patch16_224", "--checkpoint", "untrained"]
    options += ["--resolutions", "64", "80", "--brief", "--json", str(tmp_path / "found.json")]
    backbone_defaults.main(options)
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "| pixels | setting | demo |"
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 64"] * 4 + ["| 80"] * 4
    found = json.loads((tmp_path / "found.json").read_text())
    shown = found["64"][rows[2].split(" | ")[1]]["demo"]
    assert 0 <= shown["image_auroc"] <= 1 and 0 <= shown["pixel_auroc"] <= 1
    assert f"| {100 * shown['image_auroc']:.1f} / {100 * shown['pixel_auroc']:.1f} |" in rows[2]


@pytest.mark.usefixtures("small_demo")
def test_the_table_says_which_backbones_were_not_measured(
    tiny_backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = replace(tiny_backbone, resolution=64, kernel_size=3, layers=(2, 3))
    listed = {"here": own, "elsewhere": replace(own, checkpoint=None)}
    monkeypatch.setattr(backbones_table, "shipped_backbones", lambda _: listed)
    backbones_table.main(["--json", str(tmp_path / "found.json")])
    here, elsewhere = capsys.readouterr().out.splitlines()[-2:]
    cells = [cell.strip() for cell in here.strip("|").split("|")]
    assert cells[0] == "`here`" and cells[2:6] == ["16", "64", "4 x 4", "3"]
    assert float(cells[6]) > 0 and len(cells[7].split(" / ")) == 2
    assert elsewhere.endswith("| not measured |")
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [bool(row["metrics"]) for row in rows] == [True, False]
    assert 0 < rows[0]["parameters"] < 1_000_000


def test_every_backbone_that_ships_is_in_the_table() -> None:
    found = backbones_table.shipped_backbones("weights.safetensors")
    assert {"quickstart", "dinov3_vitl16", "mae_vitb16", "ibot_vitb16_block"} <= set(found)
    plain = found.pop("dinov2_vits14 without registers")
    assert (
        replace(plain, checkpoint=None, model=found["dinov2_vits14"].model)
        == (found["dinov2_vits14"])
    )
    assert "custom" not in found
