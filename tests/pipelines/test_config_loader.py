"""Kedro's configuration: the parameters come checked and complete, and the run is published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import configure_project

from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.parameters import current_run as publication
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.pipelines.config_loader import RunConfigLoader
from uniformaly_pipeline.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[2] / "conf/base"

MakeLoader = Callable[..., RunConfigLoader]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of parameters and a catalog of one entry, away from the run of other tests."""
    configure_project("uniformaly_pipeline")
    monkeypatch.setattr(publication, "_current", None)
    for folder in ("conf/base", "conf/local"):
        (tmp_path / folder).mkdir(parents=True)
    for path in CONF.glob("parameters*.yml"):
        shutil.copy(path, tmp_path / "conf/base")
    (tmp_path / "conf/base/catalog.yml").write_text(
        "manifest:\n  type: pickle.PickleDataset\n  filepath: data/${run:data_set}/manifest.pkl\n"
    )
    return tmp_path


@pytest.fixture
def make_loader(project: Path) -> MakeLoader:
    def make(
        env: str = "local", conf: str = "conf", runtime_params: dict[str, Any] | None = None
    ) -> RunConfigLoader:
        source = str(project / conf)
        return RunConfigLoader(source, env, runtime_params or {}, **CONFIG_LOADER_ARGS)

    return make


def published() -> CurrentRun:
    run = current_run()
    assert run is not None
    return run


# --- parameters -----------------------------------------------------------------------------------


def test_the_parameters_are_complete(make_loader: MakeLoader, project: Path) -> None:
    sections = ["features", "bpm", "memory_bank", "scoring", "evaluation", "reporting"]
    lines = ["encoder: {batch_size: 3}", *[f"{section}: {{}}" for section in sections]]
    (project / "conf/base/parameters_detector.yml").write_text("\n".join(lines))
    parameters = make_loader()["parameters"]
    assert parameters["encoder"] == {
        "device": "auto",
        "precision": "auto",
        "batch_size": 3,
        "num_workers": "auto",
        "compile": False,
    }
    assert parameters["memory_bank"]["projection_dim"] == 128


def test_the_parameters_are_those_of_this_run(make_loader: MakeLoader) -> None:
    changes = {"dataset": "mtd", "bpm": {"threshold": 0.3}}
    parameters = make_loader(runtime_params=changes)["parameters"]
    assert parameters["dataset"] == "mtd"
    assert list(parameters["datasets"]) == ["mtd"]
    assert parameters["bpm"] == {"mode": "binary", "kernel_size": 7, "threshold": 0.3}
    assert published().runtime_params == changes
    assert published().parameters.bpm.threshold == 0.3


def test_the_nodes_are_told_what_only_the_run_knows(make_loader: MakeLoader) -> None:
    run = make_loader(runtime_params={"categories": "oak+gear"})["parameters"]["run"]
    assert run["classes"] == ["gear", "oak"]
    assert list(run["defect"]["categories"]) == ["gear", "oak"]


@pytest.mark.parametrize("key", ["parameters", "catalog"])
def test_parameters_that_are_not_usable_end_the_command_with_one_line(
    key: str, make_loader: MakeLoader
) -> None:
    loader = make_loader(runtime_params={"bpm": {"threshhold": 0.3}})
    with pytest.raises(CommandError) as error:
        loader[key]
    assert error.value.message == (
        "parameters: unknown key 'bpm.threshhold'; did you mean 'bpm.threshold'?"
    )
    assert current_run() is None


def test_an_environment_changes_single_keys(make_loader: MakeLoader, project: Path) -> None:
    (project / "conf/server").mkdir()
    (project / "conf/server/parameters.yml").write_text("bpm:\n  kernel_size: 5\n")
    parameters = make_loader(env="server")["parameters"]
    assert parameters["bpm"] == {"mode": "binary", "kernel_size": 5, "threshold": 0.1}
    assert published().env == "server"


# --- the catalog ----------------------------------------------------------------------------------


def test_the_catalogs_paths_are_those_of_this_run(make_loader: MakeLoader) -> None:
    catalog = make_loader(runtime_params={"dataset": "mtd"})["catalog"]
    assert catalog["manifest"]["filepath"] == "data/mtd/manifest.pkl"
    assert published().parameters.dataset == "mtd"


def test_each_loader_publishes_a_run_of_its_own(make_loader: MakeLoader) -> None:
    assert make_loader(runtime_params={"dataset": "mtd"})["catalog"]["manifest"]["filepath"]
    catalog = make_loader(runtime_params={"dataset": "btad"})["catalog"]
    assert catalog["manifest"]["filepath"] == "data/btad/manifest.pkl"


def test_a_run_is_published_once(make_loader: MakeLoader) -> None:
    loader = make_loader()
    parameters = loader["parameters"]
    run = published()
    assert loader["catalog"]
    assert loader["parameters"] is parameters
    assert published() is run


def test_what_does_not_depend_on_the_run_publishes_none(
    make_loader: MakeLoader, project: Path
) -> None:
    (project / "conf/local/credentials.yml").write_text("bucket:\n  key: secret\n")
    assert make_loader()["credentials"] == {"bucket": {"key": "secret"}}
    assert current_run() is None


# --- credentials ----------------------------------------------------------------------------------

BUCKET = {"dataset": "folder", "datasets": {"folder": {"credentials": "bucket"}}}


def test_the_data_sets_credentials_are_found(make_loader: MakeLoader, project: Path) -> None:
    text = json.dumps({"bucket": {"key": "secret"}, "other": {"key": "wrong"}})
    (project / "conf/local/credentials.yml").write_text(text)
    assert make_loader(runtime_params=BUCKET)["parameters"]
    assert published().storage_options == {"key": "secret"}


@pytest.mark.parametrize("text", [None, "other:\n  key: wrong\n"])
def test_credentials_that_are_not_there_end_the_command(
    text: str | None, make_loader: MakeLoader, project: Path
) -> None:
    if text is not None:
        (project / "conf/local/credentials.yml").write_text(text)
    with pytest.raises(CommandError) as error:
        make_loader(runtime_params=BUCKET)["parameters"]
    assert error.value.message == (
        "datasets.folder.credentials: there is no 'bucket' in conf/local/credentials.yml"
    )


def test_without_credentials_none_are_needed(make_loader: MakeLoader) -> None:
    assert make_loader()["parameters"]
    assert published().storage_options == {}


# --- the project's folder -------------------------------------------------------------------------


def test_paths_start_at_the_project(make_loader: MakeLoader, project: Path) -> None:
    assert make_loader()["parameters"]
    assert published().project_path == project
    assert published().root == str(project / "data/01_raw/demo")


def test_the_configuration_may_lie_elsewhere(
    make_loader: MakeLoader, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "conf").rename(project / "my_settings")
    elsewhere = project / "mine"
    (elsewhere / "deep").mkdir(parents=True)
    monkeypatch.chdir(elsewhere / "deep")
    assert make_loader(conf="my_settings")["parameters"]
    assert published().project_path == elsewhere / "deep"
    (elsewhere / "pyproject.toml").write_text('[tool.kedro]\npackage_name = "x"\n')
    assert make_loader(conf="my_settings")["parameters"]
    assert published().project_path == elsewhere
