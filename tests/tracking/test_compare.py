"""Runs of a small MLflow database side by side."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from rich.console import Console

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.parameters.dotted import flatten
from uniformaly_pipeline.parameters.schema import Parameters
from uniformaly_pipeline.tracking.compare import main, print_runs
from uniformaly_pipeline.tracking.lifecycle import PARENT_TAG
from uniformaly_pipeline.tracking.pairs import compare_pair
from uniformaly_pipeline.tracking.run_table import metric_columns, runs_table
from uniformaly_pipeline.tracking.runs import log_parameters, run_tags
from uniformaly_pipeline.tracking.seeds import group_seeds

Run = dict[str, Any]

RUNS: list[Run] = [
    {"backbone": "small", "bpm": "binary", "seed": 0, "image_auroc": 0.9, "num_test": 8},
    {"backbone": "large", "bpm": "binary", "seed": 0, "image_auroc": 0.95, "num_test": 8},
    {"backbone": "large", "bpm": "off", "seed": 0, "image_auroc": 0.85, "num_test": 8},
    {"task": "semantic", "backbone": "large", "bpm": "off", "seed": 1, "image_auroc": 0.7},
]


def parameters(run: Run) -> dict[str, Any]:
    """Resolved parameters of a run, the few that matter here."""
    return {
        "dataset": "demo",
        "categories": run.get("categories", "all"),
        "backbone": run["backbone"],
        "backbones": {run["backbone"]: {"model": f"vit_{run['backbone']}"}},
        "bpm": {"mode": run["bpm"]},
        "scoring": {"top_k_ratio": 0.05, "num_neighbors": 1 if run["bpm"] == "binary" else 3},
        "memory_bank": {"coreset_ratio": 0.1},
        "seed": run["seed"],
    }


def track(client: Any, experiment: str, run: Run, start: int, **tags: str) -> str:
    """A finished run."""
    run_id: str = client.create_run(experiment, start_time=start).info.run_id
    names = {"dataset": "demo", "backbone": run["backbone"], "run_key": f"bpm.mode-{run['bpm']}"}
    own = run_tags(run.get("task", "defect"), parameters(run), names, "0123456789ab+changes")
    log_parameters(run_id, parameters(run), {**own, **tags})
    for name in ("image_auroc", "num_test"):
        if name in run:
            client.log_metric(run_id, name, run[name])
    client.set_terminated(run_id)
    return run_id


@pytest.fixture(scope="module")
def database(made_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The runs, a category of the first, a setting of the second, one of some stages only.

    And one that failed; its category was done before.
    """
    import mlflow
    from mlflow import MlflowClient

    path = Path(shutil.copy(made_database, tmp_path_factory.mktemp("mlflow") / "mlflow.db"))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    client = MlflowClient()
    experiment = client.create_experiment("uniformaly_pipeline")
    for number, run in enumerate(RUNS):
        track(client, experiment, run, start=1_000_000 * (number + 1))
    track(client, experiment, {**RUNS[0], "image_auroc": 1.0}, 1, category="bolt")
    track(client, experiment, RUNS[1], 2, setting="bpm.mode")
    part = client.create_run(experiment, tags={"task": "defect", "dataset": "cut"}).info.run_id
    client.set_terminated(part)
    failed = client.create_run(experiment, tags={"task": "defect"}).info.run_id
    client.set_terminated(failed, "FAILED")
    done = {"category": "bolt", PARENT_TAG: failed}
    track(client, experiment, {**RUNS[0], "image_auroc": 0.1}, 3, **done)
    yield path
    mlflow.set_tracking_uri(before)


@pytest.fixture
def uri(database: Path) -> str:
    """The database's address."""
    return f"sqlite:///{database}"


def test_a_row_per_finished_task_newest_first(uri: str) -> None:
    table = runs_table(uri)
    assert list(table["image_auroc"]) == [0.7, 0.85, 0.95, 0.9]
    assert list(table["task"]) == ["semantic", "defect", "defect", "defect"]
    assert table.index.name == "run_id"
    assert table.index.is_unique
    assert table["started"].is_monotonic_decreasing


def test_runs_without_metrics_are_left_out_and_counted(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert runs_table(uri)["image_auroc"].notna().all()
    assert caplog.messages == ["runs of some stages only have no metrics: 1 left out"]
    with pytest.raises(InputError, match=r"fits \(runs of some stages only .*: 1 left out\)$"):
        runs_table(uri, dataset="cut")


def test_settings_then_parameters_that_differ_then_metrics(uri: str) -> None:
    table = runs_table(uri)
    assert list(table.columns) == [
        "run", "started", "task", "dataset", "backbone", "categories", "bpm", "top_k_ratio",
        "coreset_ratio", "seed", "run_key", "git_commit", "data_hash", "scoring.num_neighbors",
        "image_auroc", "num_test",
    ]  # fmt: skip
    # Numbers can be drawn and sorted; what a run lacks is undefined.
    assert list(table["top_k_ratio"]) == [0.05] * 4
    assert list(table["scoring.num_neighbors"]) == [3, 3, 1, 1]
    assert pd.isna(table["num_test"].iloc[0])


def test_differing_leaves_out_what_is_the_same(uri: str) -> None:
    table = runs_table(uri, task="defect", differing=True)
    assert list(table.columns) == [
        "run", "started", "backbone", "bpm", "run_key", "scoring.num_neighbors",
        "image_auroc",
    ]  # fmt: skip
    asked_for = runs_table(uri, task="defect", differing=True, metrics=["num_test"])
    assert list(asked_for.columns)[-1] == "num_test"


def test_a_run_alone_differs_in_nothing_and_is_shown_whole(uri: str, database: Path) -> None:
    alone = runs_table(uri, task="semantic")
    assert list(runs_table(uri, task="semantic", differing=True)) == list(alone)
    options = ["--tracking-uri", str(database), "--task=semantic"]
    plain, differing = (
        CliRunner().invoke(main, [*options, *more]).output for more in ([], ["--differing"])
    )
    assert differing == plain
    assert "0.7000" in differing
    assert "settings: task semantic, dataset demo" in differing


def test_filters(uri: str) -> None:
    assert list(runs_table(uri, task="defect", last=2)["image_auroc"]) == [0.85, 0.95]
    of_bolt = runs_table(uri, category="bolt")
    assert list(of_bolt["image_auroc"]) == [1.0]
    with pytest.raises(InputError, match="no finished run"):
        runs_table(uri, dataset="mvtec")
    with pytest.raises(InputError, match="did you mean 'image_auroc'"):
        runs_table(uri, metrics=["image_aurok"])
    with pytest.raises(InputError, match="did you mean 'uniformaly_pipeline'"):
        runs_table(uri, experiment="uniformaly")


def test_runs_without_tags_show_their_parameters(uri: str) -> None:
    """As tracked before there were such tags."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.create_experiment("old")
    run_id = track(client, experiment, RUNS[2], 5)
    for name in ("bpm", "top_k_ratio", "coreset_ratio", "seed"):
        client.delete_tag(run_id, name)
    row = runs_table(uri, experiment="old").iloc[0]
    assert (row["bpm"], row["top_k_ratio"], row["seed"]) == ("off", 0.05, 0)


def test_no_database_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there are no runs in sqlite:///mlflow"):
        runs_table()
    assert not list(tmp_path.iterdir())


def test_comparing_does_not_change_where_runs_are_tracked(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook may compare a colleague's runs between two of its own."""
    import mlflow

    before = mlflow.get_tracking_uri()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = tmp_path / "mlflow.db"
    shutil.copy(uri.removeprefix("sqlite:///"), copy)
    assert len(runs_table(f"sqlite:///{copy}")) == len(RUNS)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.get_tracking_uri() == before


def test_command(database: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["--tracking-uri", str(database), "--task=defect"])
    assert run.exit_code == 0, run.output
    for shown in ("AUROC", "0.9500", "binary", "0123456+changes", "scoring.num_neighbors"):
        assert shown in run.output
    assert "semantic" not in run.output
    csv = tmp_path / "runs.csv"
    run = CliRunner().invoke(main, ["--tracking-uri", str(database), "--csv", str(csv)])
    assert run.exit_code == 0, run.output
    assert len(pd.read_csv(csv)) == len(RUNS)


def test_command_ends_with_one_line(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["--tracking-uri", str(tmp_path / "none.db")])
    assert run.exit_code == 1
    assert run.output.startswith("Error: there are no runs in sqlite:///")


def test_what_all_runs_share_is_said_once(database: Path) -> None:
    run = CliRunner().invoke(main, ["--tracking-uri", str(database), "--task=defect"])
    line = run.output.splitlines()[-1]
    assert line.startswith("all: task defect, dataset demo, categories all, top k ratio 0.05")
    assert "dataset" not in run.output.removesuffix(line + "\n")


def test_a_run_alone_has_its_settings_below_so_that_its_metrics_have_room(uri: str) -> None:
    table = runs_table(uri, last=1)
    numbers = {"pixel_auroc": 0.9, "aupro": 0.5, "images_per_second": 8.0, "bank_size": 900}
    table = table.assign(**numbers)
    shown = io.StringIO()
    terminal = Console(width=80, file=shown, force_terminal=True, no_color=True)
    print_runs(table, console=terminal)
    said = " ".join(shown.getvalue().split())
    assert "no room for" not in said
    for label in ("AUPRO", "images/s", "bank size"):
        assert all(word in said for word in label.split()), label
    assert "settings: task semantic, dataset demo, backbone large, categories all, bpm off," in said
    assert "seed 1" in said


def test_a_run_alone_keeps_its_settings_in_latex(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_runs(runs_table(uri, last=1), style="latex")
    assert "semantic" in capsys.readouterr().out


# --- several seeds, and two runs on the same images -----------------------------------------------

IMAGES = [f"bolt/test/{i:02d}.png" for i in range(60)]
LABELS = np.repeat([0, 1], 30)


def scores_of(gain: float, seed: int) -> pd.DataFrame:
    """Image scores, good ones where ``gain`` is large."""
    noise = np.random.default_rng(seed).normal(size=len(IMAGES))
    scores = {"image": IMAGES, "label": LABELS, "score": gain * LABELS + noise}
    return pd.DataFrame({**scores, "content_hash": [f"{i:064x}@0..4095" for i in range(60)]})


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Path:
    """Three seeds of one setting, one run of another, one on other images; oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    place = tmp_path_factory.mktemp("artifacts").as_uri()
    experiment = client.create_experiment("studied", artifact_location=place)
    runs = [
        ({"bpm": "binary", "seed": 0, "image_auroc": 0.90}, scores_of(3.0, 0)),
        ({"bpm": "binary", "seed": 1, "image_auroc": 0.92}, scores_of(3.0, 0)),
        ({"bpm": "binary", "seed": 2, "image_auroc": 0.97}, scores_of(3.0, 0)),
        ({"bpm": "binary", "seed": 2, "image_auroc": 0.94}, scores_of(3.0, 0)),
        ({"bpm": "off", "seed": 0, "image_auroc": 0.60}, scores_of(0.3, 1)),
        ({"bpm": "soft", "seed": 0, "image_auroc": 0.60}, scores_of(0.3, 1)[:-1]),
    ]
    for number, (run, scores) in enumerate(runs):
        start = 1_000_000 * (number + 1)
        settings = {"backbone": "small", **run}
        parent = track(client, experiment, settings, start)
        tags = {"category": "bolt", "mlflow.parentRunId": parent}
        child = track(client, experiment, settings, start, **tags)
        client.log_text(child, scores.to_csv(index=False), "image_scores.csv")
    return database


@pytest.fixture
def study(studied: Path) -> pd.DataFrame:
    return runs_table(f"sqlite:///{studied}", experiment="studied")


def test_no_parameter_is_taken_for_a_metric(shipped: Parameters) -> None:
    """Also those in no section, such as ``seeds``, whose values are text: they have no mean."""
    table = pd.DataFrame(columns=[*dict(flatten(shipped.resolved())), "image_auroc"])
    assert metric_columns(table) == ["image_auroc"]


def test_runs_that_differ_in_the_seed_are_one_row(study: pd.DataFrame) -> None:
    """Of two runs with the same seed the newer counts; 4.303 is Student's t for three runs."""
    grouped = group_seeds(study)
    assert list(grouped["bpm"]) == ["soft", "off", "binary"]
    assert list(grouped["runs"]) == [1, 1, 3]
    row = grouped.iloc[2]
    assert row["image_auroc"] == pytest.approx(0.92)
    assert row["image_auroc_interval"] == pytest.approx(4.302653 * 0.02 / np.sqrt(3), rel=1e-6)
    assert row["seed"] == "0, 1, 2"
    assert pd.isna(row["run_key"])
    assert grouped["run_key"].iloc[1] == "bpm.mode-off"
    assert grouped.index[2] == study.index[2]
    assert grouped["image_auroc_interval"].isna().tolist() == [True, True, False]


def test_runs_of_other_categories_are_not_averaged(study: pd.DataFrame) -> None:
    """A class may be named by a number, which is no metric."""
    for names in (["bolt", "all", "gear"], ["1", "2", "3"]):
        table = study[study["bpm"] == "binary"].drop_duplicates("seed")
        table = table.assign(categories=names)
        grouped = group_seeds(table)
        assert list(grouped["categories"]) == names
        assert list(grouped["runs"]) == [1, 1, 1]
        assert list(grouped["image_auroc"]) == list(table["image_auroc"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tiles": None}, {"tiles": {"size": 200, "overlap": 32}}),
        ({"levels": [0, 1]}, {}),  # of an older version
        ({}, {"new": {"switch": True}}),
    ],
)
def test_a_setting_that_only_some_runs_have_tells_them_apart(
    tracked: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracked)
    experiment = client.create_experiment("tiles")
    run = {"backbone": "small", "bpm": "off", "image_auroc": 0.9}
    for number, (settings, seed) in enumerate([(one, 0), (other, 1), (other, 2)], 1):
        run_id = client.create_run(experiment, start_time=1_000_000 * number).info.run_id
        own = parameters({**run, "seed": seed})
        names = {"dataset": "demo", "backbone": "small", "run_key": f"seed-{seed}"}
        log_parameters(
            run_id,
            {**own, "scoring": {**own["scoring"], **settings}},
            run_tags("defect", own, names, "0123456789ab"),
        )
        client.log_metric(run_id, "image_auroc", 0.9)
        client.set_terminated(run_id)
    table = runs_table(tracked, experiment="tiles")
    assert list(group_seeds(table)["runs"]) == [2, 1]
    assert list(group_seeds(table.sort_values("started"))["runs"]) == [1, 2]
    if "tiles" in one:
        shown = group_seeds(table)["scoring.tiles"]
        assert list(shown) == ["overlap 32, size 200", "None"]


def test_a_tasks_own_settings_tell_its_runs_apart_beside_other_tasks(tracked: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracked)
    experiment = client.create_experiment("mixed")
    run = {"backbone": "small", "bpm": "off", "seed": 0}
    for number, (task, of) in enumerate(
        [("clustering", "all"), ("clustering", "max"), ("defect", "all"), ("defect", "max")], 1
    ):
        run_id = client.create_run(experiment, start_time=1_000_000 * number).info.run_id
        own = {**parameters(run), "clustering": {"features": of}}
        names = {"dataset": "demo", "backbone": "small", "run_key": f"{of}"}
        log_parameters(run_id, own, run_tags(task, own, names, "0123456789ab"))
        client.log_metric(run_id, "image_auroc", 0.9)
        client.set_terminated(run_id)
    table = group_seeds(runs_table(tracked, experiment="mixed"))
    # To find defects they are nothing; of the two runs of one seed the newer counts.
    assert list(table["task"]) == ["defect", "clustering", "clustering"]


def test_where_and_sort(studied: Path) -> None:
    place = f"sqlite:///{studied}"
    table = runs_table(place, experiment="studied", where={"bpm": "binary"}, sort="image_auroc")
    assert list(table["image_auroc"]) == [0.97, 0.94, 0.92, 0.90]
    table = runs_table(place, experiment="studied", where={"memory_bank.coreset_ratio": "0.10"})
    assert len(table) == 6
    assert list(runs_table(place, experiment="studied", sort="seed")["seed"]) == [0, 0, 0, 1, 2, 2]
    with pytest.raises(InputError, match=r"did you mean 'bpm\.mode'"):
        runs_table(place, experiment="studied", where={"bpm.mod": "off"})
    with pytest.raises(InputError, match="did you mean 'image_auroc'"):
        runs_table(place, experiment="studied", sort="image_aurok")
    with pytest.raises(InputError, match="no finished run"):
        runs_table(place, experiment="studied", where={"bpm": "on"})


def test_two_runs_on_the_same_images_are_compared(studied: Path, study: pd.DataFrame) -> None:
    place = f"sqlite:///{studied}"
    off, binary = study.index[1], study.index[2]
    found = compare_pair(place, binary, off)
    assert (found.num_images, found.num_categories) == (60, 1)
    assert found.delong.first > 0.95
    assert found.delong.second < 0.75
    assert found.delong.is_significant
    assert found.bootstrap.is_significant
    same = compare_pair(place, binary, study.index[3])
    assert same.delong.difference == 0
    assert not same.delong.is_significant


def test_pictures_that_only_bear_the_same_names_are_not_the_same(
    studied: Path, study: pd.DataFrame
) -> None:
    from mlflow import MlflowClient

    client, place = MlflowClient(f"sqlite:///{studied}"), f"sqlite:///{studied}"
    experiment = client.get_experiment_by_name("studied").experiment_id
    other = scores_of(3.0, 0)
    read_anew = other.assign(content_hash=other["content_hash"].str.replace("4095", "65535"))
    replaced = other.assign(content_hash=other["content_hash"].str.replace("0", "1"))
    made = []
    for scores in (read_anew, replaced):
        run_id = client.create_run(experiment, tags={"category": "bolt"}).info.run_id
        client.log_text(run_id, scores.to_csv(index=False), "image_scores.csv")
        client.set_terminated(run_id, "FAILED")  # so that no other test lists it
        made.append(run_id)
    assert compare_pair(place, study.index[2], made[0]).num_images == 60
    with pytest.raises(InputError, match=r"^row 1 and row 2 are not on the same images of bolt"):
        compare_pair(place, study.index[2], made[1], ("row 1", "row 2"))


def test_runs_on_other_images_or_without_scores_are_not_compared(
    studied: Path, study: pd.DataFrame, uri: str
) -> None:
    with pytest.raises(InputError, match="not on the same images of bolt"):
        compare_pair(f"sqlite:///{studied}", study.index[0], study.index[1])
    plain = runs_table(uri).index
    with pytest.raises(InputError, match="keeps no scores of images"):
        compare_pair(uri, plain[0], plain[1])


def compare(studied: Path, *options: str) -> str:
    place = ["--tracking-uri", str(studied), "--experiment=studied"]
    run = CliRunner().invoke(main, [*place, *options])
    assert run.exit_code == 0, run.output
    return run.output


def test_the_command_groups_seeds_and_judges_pairs(studied: Path) -> None:
    output = compare(studied)
    assert "0.9200 ±0.0497" in output
    assert "0, 1, 2" in output
    output = compare(studied, "--each-seed", "--pair", "3", "2")
    assert "Row 3 is better than row 2: image AUROC" in output
    assert "on the same 60 images." in output
    # Two rows are compared without being asked.
    last = compare(studied, "--where", "bpm=binary", "--last", "2", "--each-seed")
    assert "Rows 1 and 2 differ by no more than chance" in last
    # Nothing is said of two that cannot be.
    assert "Row" not in compare(studied, "--last", "2")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--pair", "1", "9"], "there is no row 9: the table has 3"),
        (["--pair", "1", "3"], "row 3 is of several seeds"),
        (["--pair", "1", "2"], "not on the same images"),
        (["--where", "bpm"], "--where takes a setting and its value"),
    ],
)
def test_the_command_refuses_in_one_line(studied: Path, options: list[str], line: str) -> None:
    place = ["--tracking-uri", str(studied), "--experiment=studied"]
    run = CliRunner().invoke(main, [*place, *options])
    assert run.exit_code == 1
    assert len(run.output.splitlines()) == 1
    assert line in run.output


def test_formats(studied: Path) -> None:
    csv = pd.read_csv(io.StringIO(compare(studied, "--format=csv")))
    assert csv["image_auroc"].tolist() == pytest.approx([0.6, 0.6, 0.92])
    markdown = compare(studied, "--format=markdown").splitlines()
    header = next(line for line in markdown if line.startswith("| row"))
    assert "image AUROC" in header
    rows = [line for line in markdown if line.startswith("|")]
    assert len(rows) == 5
    assert len({line.count("|") for line in rows}) == 1
    latex = compare(studied, "--format=latex")
    assert latex.startswith("\\begin{tabular}")
    assert latex.count("\\\\\n") == 4


@pytest.mark.parametrize("width", [60, 80, 140])
def test_columns_are_left_out_whole(study: pd.DataFrame, width: int) -> None:
    """No number is cut, no row is wrapped, and what is left out is named."""
    table = study.assign(pixel_auroc=0.9717, aupro=0.9426, images_per_second=5.3, bank_size=1571.0)
    file = io.StringIO()
    print_runs(
        table, console=Console(width=width, force_terminal=True, color_system=None, file=file)
    )
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line[:1] == " " and line.strip()[:1].isdigit()]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    for row, auroc in zip(rows, study["image_auroc"], strict=True):
        assert f"{auroc:.4f}" in row.split()
        assert "…" not in row
    dropped = " ".join(lines).partition("no room for: ")[2]
    assert ("bank size" in dropped) == (width < 140)
    assert ("AUPRO" in dropped) == (width == 60)
