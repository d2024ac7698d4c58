"""Where a run's results lie, and the credentials that it tells file systems."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from uniformaly_pipeline.common import storage
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.storage import credentials_of, use_credentials
from uniformaly_pipeline.detector.finished_run import Layers
from uniformaly_pipeline.parameters import naming
from uniformaly_pipeline.parameters.current_run import publish
from uniformaly_pipeline.parameters.naming import detector_names

PATHS = {
    "models": "s3://banks/of/all",
    "model_input": "s3://tables",
    "model_output": "gs://scores/x",
    "reporting": "reports",
}
KNOWN = {"team": {"key": "team"}, "google": {"token": "t"}, "images": {"key": "images"}}


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The parameters that ship."""
    monkeypatch.delenv(storage.CREDENTIALS, raising=False)
    yield json.loads(Path(naming.__file__).with_name("shipped.json").read_text(encoding="utf-8"))
    use_credentials({})


def test_layers_may_have_any_names_and_places(raw: dict[str, Any], tmp_path: Path) -> None:
    layers = publish(raw, tmp_path, places={"paths": PATHS}).layers
    assert (layers.banks, layers.images, layers.scores) == (
        "s3://banks/of/all",
        "s3://tables",
        "gs://scores/x",
    )
    place = "s3://banks/of/all/multiclass/nuts/quickstart/default/bolt"
    assert detector_names(place, layers) == {
        "dataset": "nuts",
        "backbone": "quickstart",
        "run_key": "multiclass-default",
        "category": "bolt",
    }
    assert detector_names(place)["dataset"] == "detectors"


@pytest.mark.parametrize("base", ["data", "{}/data", "file://{}/data"])
def test_layers_that_lie_as_they_ship(base: str, raw: dict[str, Any], tmp_path: Path) -> None:
    base = base.format(tmp_path)
    shipped = {"models": "06_models", "model_input": "05_model_input",
               "model_output": "07_model_output"}  # fmt: skip
    paths = {key: f"{base}/{name}" for key, name in shipped.items()}
    assert publish(raw, tmp_path, places={"paths": paths}).layers == Layers.of(f"{tmp_path}/data")


def test_credentials_of_all_paths_or_of_each(raw: dict[str, Any], tmp_path: Path) -> None:
    publish(raw, tmp_path, credentials=KNOWN, places={"paths": PATHS, "credentials": "team"})
    assert credentials_of("s3://banks/of/all/x") == credentials_of("s3://tables/y") == KNOWN["team"]
    by_path = {"models": "team", "model_output": "google"}
    raw["dataset"] = "folder"
    raw["datasets"]["folder"] |= {"root": "s3://banks/photos", "credentials": "images"}
    publish(raw, tmp_path, credentials=KNOWN, places={"paths": PATHS, "credentials": by_path})
    assert credentials_of("gs://scores/x/y") == KNOWN["google"]
    assert credentials_of("s3://tables/y") == {}
    assert credentials_of("s3://banks/photos/1.png") == KNOWN["images"]
    assert credentials_of("s3://banks/new/1.png") == KNOWN["team"]
    publish(raw, tmp_path, credentials=KNOWN, places={"paths": PATHS})
    assert credentials_of("s3://banks/of/all/x") == KNOWN["images"]
    with pytest.raises(InputError, match=r"^credentials of globals\.yml: there is no 'nobody' in"):
        publish(raw, tmp_path, credentials=KNOWN, places={"paths": PATHS, "credentials": "nobody"})


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ({"modls": "team"}, "there is no layer 'modls'; did you mean 'models'?"),
        ({"key": "hush"}, "there is no layer 'key'; choose from: feature, intermediate, model_in"),
        ({"models": {"key": "hush"}}, "must be the name of an entry of conf/local/credentials.yml"),
        (["team"], "must be the name of an entry of conf/local/credentials.yml"),
    ],
)
def test_credentials_of_no_layer_or_without_a_name(
    names: Any, line: str, raw: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        publish(raw, tmp_path, credentials=KNOWN, places={"paths": PATHS, "credentials": names})
    assert str(error.value).replace(": ", " ", 1).startswith(f"credentials of globals.yml {line}")
    assert "hush" not in str(error.value)
