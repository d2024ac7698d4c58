"""Kedro's configuration: the parameters come checked and complete, and the run is published."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.framework.project import configure_project

from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.hooks import _tracking_settings
from uniformaly_pipeline.parameters import current_run as publication
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.parameters.naming import LAYERS
from uniformaly_pipeline.pipelines.config_faults import layers_named
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
        env: str | None = "local", conf: str = "conf", runtime_params: dict[str, Any] | None = None
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
        "engine": "auto",
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


@pytest.mark.parametrize(
    "text, env, end",
    [
        (None, "local", "conf/local/credentials.yml"),
        ("buckett:\n  key: x\n", "local", "conf/local/credentials.yml; did you mean 'buckett'?"),
        # With another environment Kedro does not read conf/local.
        ("bucket:\n  key: x\n", "test", "conf/test/credentials.yml"),
    ],
)
def test_credentials_that_are_not_there_end_the_command(
    text: str | None, env: str, end: str, make_loader: MakeLoader, project: Path
) -> None:
    (project / "conf/test").mkdir(exist_ok=True)
    if text is not None:
        (project / "conf/local/credentials.yml").write_text(text)
    with pytest.raises(CommandError) as error:
        make_loader(env=env, runtime_params=BUCKET)["parameters"]
    assert error.value.message == f"datasets.folder.credentials: there is no 'bucket' in {end}"


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


# --- files that cannot be used --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"key: !hush 1\n", "is no proper YAML in line 1 (could not determine a constructor"),
        (b"bpm: {mode: off\n", "is no proper YAML in line 2"),
        (b"bpm:\n  mode: a: b\n", "is no proper YAML in line 2 (mapping values are not allowed"),
        (b"a: 1\na: 2\n", "is no proper YAML in line 2 (found duplicate key a)"),
        (b"- a\n- b\n", "is no mapping of keys to values"),
        (b"name: caf\xe9\n", "is not UTF-8 text"),
        (b"a: \x00\n", "is no proper YAML"),
        (b"a: *b\n", "is no proper YAML in line 1 (found undefined alias"),
    ],
)
@pytest.mark.parametrize("name", ["parameters.yml", "globals.yml", "credentials.yml"])
def test_a_broken_file_is_named(
    name: str, content: bytes, expected: str, make_loader: MakeLoader, project: Path
) -> None:
    path = project / "conf/local" / name
    path.write_bytes(content)
    with pytest.raises(CommandError) as error:
        make_loader()["parameters"]
    if name == "credentials.yml":
        expected = expected.partition(" (")[0]
    # Kedro reads the globals of the base alone.
    assert error.value.message.startswith(f"{path} {expected}")
    assert "\n" not in error.value.message
    assert ("hush" in error.value.message) == (b"hush" in content and name != "credentials.yml")


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("parameters.yml", Path.mkdir, "is a folder where a file is needed: move it away"),
        ("mlflow.yml", lambda path: path.symlink_to("gone"), "is a link to nothing"),
        ("globals.yml", os.mkfifo, "is no file that can be read"),
        ("sub/catalog.YAML", Path.touch, "would not be read: name it catalog.yaml"),
    ],
)
def test_nothing_in_the_configuration_is_passed_over(
    name: str, make: Callable[[Path], Any], expected: str, make_loader: MakeLoader, project: Path
) -> None:
    path = project / "conf/local" / name
    path.parent.mkdir(exist_ok=True)
    make(path)
    with pytest.raises(CommandError) as error:
        make_loader()["parameters"]
    assert error.value.message.startswith(f"{path} {expected}")


def test_the_settings_of_this_machine_have_a_folder(make_loader: MakeLoader, project: Path) -> None:
    (project / "conf/local").rmdir()
    with pytest.raises(CommandError, match="conf/local is gone, which holds the settings of this"):
        make_loader(env=None)["parameters"]


@pytest.mark.parametrize("value", ["''", "' '", "null", "[a]", "{a: b}", "5"])
def test_where_a_run_writes_is_a_folder(value: str, make_loader: MakeLoader, project: Path) -> None:
    (project / "conf/base/globals.yml").write_text("paths: {models: data/models}\n")
    assert make_loader()["catalog"]
    (project / "conf/local/globals.yml").write_text(f"paths: {{models: {value}}}\n")
    with pytest.raises(CommandError, match=r"paths\.models of globals\.yml is .* name a folder"):
        make_loader()["catalog"]


@pytest.mark.parametrize("env", ["base", "local"])
@pytest.mark.parametrize(
    ("key", "hint"),
    [("reportng", "did you mean 'reporting'?"), ("x", "choose from: feature, intermediate, model")],
)
def test_a_layer_that_nothing_is_kept_in_is_refused(
    key: str, hint: str, env: str, make_loader: MakeLoader, project: Path
) -> None:
    shutil.copy(CONF / "globals.yml", project / "conf/base")
    path = project / f"conf/{env}/globals.yml"
    told = yaml.safe_load(path.read_text()) if path.exists() else {"paths": {}}
    told["paths"][key] = "s3://there/results"
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(CommandError) as error:
        make_loader()["parameters"]
    words = f"paths of globals.yml: there is no layer '{key}'; {hint}"
    assert error.value.message.startswith(words)


def test_a_project_may_have_layers_and_globals_of_its_own(
    make_loader: MakeLoader, project: Path
) -> None:
    shutil.copy(CONF / "globals.yml", project / "conf/base")
    (project / "conf/local/globals.yml").write_text(
        "paths:\n  top: data/top\n  near: data/near\n  models: '${.near}/models'\n"
        "  primary: '${paths.top}/03_primary'\nplant: north\n"
    )
    (project / "conf/base/catalog_own.yml").write_text(
        "own:\n  type: pickle.PickleDataset\n  filepath: ${globals:paths.primary}/x.pkl\n"
    )
    assert make_loader()["catalog"]["own"]["filepath"] == "data/top/03_primary/x.pkl"
    assert published().paths["models"] == "data/near/models"


def test_the_layers_that_ship_are_those_that_the_catalog_uses() -> None:
    shipped = yaml.safe_load((CONF / "globals.yml").read_text(encoding="utf-8"))["paths"]
    used = set().union(*map(layers_named, CONF.glob("catalog*.yml")))
    assert set(shipped) == used == LAYERS


@pytest.mark.parametrize("name", ["credentials.json", "credentials/my.yml", "sub/credentials.yml"])
@pytest.mark.parametrize(
    "content", ["key: !hush 1", "key: 'a${hush}'", "key: 'a${b:${hush}'", "hush: hush: hush"]
)
def test_no_fault_tells_a_secret(
    content: str, name: str, make_loader: MakeLoader, project: Path
) -> None:
    path = project / "conf/local" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{content}\n")
    with pytest.raises(CommandError) as error:
        make_loader(runtime_params=BUCKET)["parameters"]
    assert str(path) in error.value.message
    assert "hush" not in error.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: ${sed}", "line 3: seed has a reference to nothing, ${sed} ("),
        ("seed: ${nothing:1}", "line 3: seed has a reference to nothing, ${nothing:1} ("),
        (
            "seed: ${globals:x}",
            "line 3: seed has a reference to nothing, ${globals:x} (Globals key",
        ),
        (
            "datasets:\n  folder: {root: '/a/${'}",
            "line 4: datasets.folder.root has a reference to nothing, ${ (",
        ),
        ("categories: [a, 'b${x.y}c']", "line 3: categories[1] has a reference to nothing, ${x.y}"),
    ],
)
def test_references_to_nothing_are_told_with_their_place(
    text: str, expected: str, make_loader: MakeLoader, project: Path
) -> None:
    """The file that counts, not the one below it with the same key."""
    (project / "conf/local/parameters.yml").write_text(f"# the user's own\nworkers: 1\n{text}\n")
    (project / "conf/local/catalog.yml").write_text("seed: ${workers}\nworkers: 1\n")
    with pytest.raises(CommandError) as error:
        make_loader()["parameters"]
    message = error.value.message
    assert message.startswith(f"{project}/conf/local/parameters.yml {expected}")
    assert message.endswith("; write \\${ where a text has ${")
    assert "\n" not in message


@pytest.mark.parametrize("part", ["catalog", "globals", "credentials"])
def test_references_to_nothing_in_other_parts(
    part: str, make_loader: MakeLoader, project: Path
) -> None:
    path = project / f"conf/local/{part}.yml"
    path.write_text("bucket: {key: 'hush${hu}sh'}\n")
    given = BUCKET if part == "credentials" else {}
    with pytest.raises(CommandError) as error:
        make_loader(runtime_params=given)["catalog"]
    message = error.value.message
    assert message.startswith(f"{path} line 1: bucket.key has a reference to nothing")
    assert ("${hu}" in message) == (part != "credentials"), "no part of a secret is told"
    assert "hush" not in message


def test_no_parameters_at_all_are_one_line(make_loader: MakeLoader, project: Path) -> None:
    shutil.rmtree(project / "conf/base")
    with pytest.raises(CommandError, match="holds no parameters: no file fits parameters"):
        make_loader()["parameters"]


@pytest.mark.parametrize("part", ["catalog", "mlflow"])
def test_nothing_stands_in_for_a_part_that_is_gone(
    part: str, make_loader: MakeLoader, project: Path
) -> None:
    for path in (project / "conf/base").glob(f"{part}*.yml"):
        path.unlink()
    loader = make_loader()
    loader.config_patterns["mlflow"] = ["mlflow*"]  # as kedro-mlflow has it
    with pytest.raises(CommandError, match=f"holds no {part}: no file fits {part}"):
        loader[part]


@pytest.mark.parametrize("root", ["/a/${x}", "${oc.env:HOME}", r"/a\${b}", "/a: b #c", "C:\\d"])
def test_what_was_given_is_text_and_no_reference(root: str, make_loader: MakeLoader) -> None:
    loader = make_loader(runtime_params={"datasets": {"folder": {"root": root}}, "seed": 3})
    given = {"datasets": {"folder": {"root": root}}, "dataset": "folder"}
    loader = make_loader(runtime_params=given)
    assert loader["parameters"]["datasets"]["folder"]["root"] == root
    assert loader.runtime_params == given
    assert published().runtime_params == given


def test_an_environment_that_cannot_be_listed_is_not_an_empty_one(
    make_loader: MakeLoader, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kedro would leave out its files without a word."""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "local")
    with pytest.raises(CommandError, match=r"conf/local cannot be read: check its permissions"):
        make_loader()["parameters"]


# --- secrets --------------------------------------------------------------------------------------


def test_nodes_are_told_addresses_without_passwords(make_loader: MakeLoader, project: Path) -> None:
    """Only what opens the data set gets the whole address."""
    catalog = "raw_images:\n  type: x\n  filepath: ${run:root}\n"
    (project / "conf/base/catalog_ingestion.yml").write_text(catalog)
    url = "https://me:hush@host/images"
    given = {"dataset": "folder", "datasets": {"folder": {"root": url, "layout": "demo"}}}
    loader = make_loader(runtime_params=given)
    assert "hush" not in repr(loader["parameters"])
    assert loader["parameters"]["datasets"]["folder"]["root"] == "https://host/images"
    assert "hush" not in repr(published())
    assert loader["catalog"]["raw_images"]["filepath"] == url


PARTS = ("parameters", "catalog", "credentials", "globals", "mlflow")
"""What a run reads of its configuration, also by the names of the files."""


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    part=st.sampled_from(PARTS),
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.text("abcdeot:[]{}&*!|>'\"%@`#-,?=.\n\t $1", max_size=60).map(str.encode),
)
def test_any_bytes_in_a_file_of_the_configuration(
    part: str, content: bytes, make_loader: MakeLoader, project: Path
) -> None:
    path = project / f"conf/local/{part}.yml"
    path.write_bytes(content)
    try:
        loader = make_loader()
        assert loader["parameters"]["dataset"]
        assert loader["catalog"]["manifest"]
        _tracking_settings(loader)
    except CommandError as error:
        assert "\n" not in error.message
    finally:
        path.unlink()
