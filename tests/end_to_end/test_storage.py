"""Pipelines with their images and results elsewhere: the same results, and nothing left here."""

from __future__ import annotations

import io
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from fsspec.registry import _registry
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from kedro.runner import ParallelRunner
from safetensors.numpy import load

from tests.end_to_end.conftest import PACKAGE
from tests.end_to_end.elsewhere import keep_in, left_behind, upload
from tests.end_to_end.gcs_stand_in import TOKEN, GoogleStandIn
from uniformaly_pipeline import Detector
from uniformaly_pipeline.common import file_cache
from uniformaly_pipeline.common.checked_file import MARKS
from uniformaly_pipeline.common.errors import CommandError
from uniformaly_pipeline.common.remote_path import as_path
from uniformaly_pipeline.common.storage import locate, use_credentials
from uniformaly_pipeline.datasets.origins import TIMINGS
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.store import FeatureStore
from uniformaly_pipeline.pipeline_registry import register_pipelines

Parameters = dict[str, Any]

OFF = BackPatchMasking(mode="off")
OF_A_PLACE = ["root", "fingerprint"]
"""Columns that tell where images lie, and when they were put there."""

WITHOUT_RESULTS = {"__default__", "download"}
"""Pipelines with another name, or that bring images; see ``test_download.py`` for these."""

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Copies are this test's, and so are credentials."""
    monkeypatch.setenv(file_cache.VARIABLE, str(tmp_path / "cache"))
    yield
    use_credentials({})


@pytest.fixture(params=["s3", "memory"])
def base(request: pytest.FixtureRequest) -> str:
    """Where images and results are to lie."""
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    return f"memory://{uuid.uuid4().hex}"


def track_parts_only(project: Any) -> None:
    """MLflow gets the tasks' own runs; ``paper`` would log each of them once more."""
    settings = yaml.safe_load((project.path / "conf/base/mlflow.yml").read_text())
    settings["tracking"]["disable_tracking"]["pipelines"].append("paper")
    (project.path / "conf/local/mlflow.yml").write_text(yaml.safe_dump(settings))


def results(base: str) -> dict[str, bytes]:
    """All results by their path, in which names that no two runs share are left out."""
    fs, root = locate(f"{base}/results")
    found = {}
    for path in fs.find(root):
        name = path[len(root) :].lstrip("/")
        if MARKS not in name and "04_feature" not in name:
            found[re.sub(r"images-[0-9a-f]{12}|(?<=new-)[0-9a-f]{6}", "_", name)] = fs.cat_file(
                path
            )
    return found


def features(base: str) -> dict[str, np.ndarray]:
    """Features and attention of all stores, by the settings that made them."""
    found = {}
    fs, root = locate(f"{base}/results/04_feature")
    for path in fs.glob(f"{root}/*/*/*/current.json"):
        folder = path[len(root) :].lstrip("/").rpartition("/")[0]
        store = FeatureStore(as_path(f"{base}/results/04_feature/{folder}"))
        keys = sorted(store.index.index)
        masking = BackPatchMasking(**store.header.masking) if store.header.masking else OFF
        found[folder] = store.load(keys, masking).features
        found[f"{folder} attention"] = store.attention(keys)
    return found


def without_timings(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_timings(each) for key, each in value.items() if key not in TIMINGS}
    return [without_timings(each) for each in value] if isinstance(value, list) else value


def assert_same(actual: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Tables, arrays, pictures and metrics are equal; reports name places and times."""
    assert sorted(actual) == sorted(expected)
    compared = 0
    for name, content in actual.items():
        other = expected[name]
        if name.endswith(".parquet"):
            tables = [
                pd.read_parquet(io.BytesIO(each)).drop(columns=OF_A_PLACE, errors="ignore")
                for each in (content, other)
            ]
            pd.testing.assert_frame_equal(*tables)
        elif name.endswith(".safetensors"):
            arrays, others = load(content), load(other)
            for key in {*arrays, *others}:
                np.testing.assert_array_equal(arrays[key], others[key], name)
        elif name.endswith("metrics.json"):
            assert without_timings(json.loads(content)) == without_timings(json.loads(other)), name
        elif name.endswith((".png", ".jpg", "roc.json", "sections.json")):
            assert content == other, name
        else:
            continue
        compared += 1
    assert compared > 10


def run_all(project: Any, parameters: Parameters, classes: Parameters, base: str) -> str:
    """Every pipeline but ``download``, in as few runs as go: ``paper`` holds six of them.

    Returns:
        Where the results of ``defect`` lie.
    """
    track_parts_only(project)
    project.run("paper", **parameters)
    place = str(project.place("defect"))
    new = {"images": f"{base}/new", "category": "nut", "threshold": 1.0}
    export = {"category": "nut", "format": "safetensors"}
    project.run("ingestion,defect,predict,export", predict=new, export=export, **parameters)
    project.run("semantic", **classes)
    return place


def at(base: str, parameters: Parameters, root: Path) -> Parameters:
    """Parameters with the images elsewhere."""
    name = parameters["dataset"]
    data_set = {**parameters["datasets"][name], "root": f"{base}/{root.name}"}
    return {**parameters, "datasets": {name: data_set}}


def prepared(parameters: Parameters, classes: Parameters) -> tuple[Parameters, Parameters]:
    """Few settings to try: what is tested is where things lie."""
    tried = ("kernel_size", "threshold", "mode", "features", "coreset_ratio")
    few = {
        "lowshot": {"shots": [2], "num_draws": 1},
        "ablation": {**{key: [] for key in tried}, "top_k_ratio": [0.1], "layers": [[2, 3]]},
        "reporting": {"gallery_images": 1},
    }
    return {**parameters, **few}, {**classes, **few}


@dataclass(frozen=True)
class Here:
    """What all pipelines give below ``file://``, and the score of a detector from there."""

    results: dict[str, bytes]
    features: dict[str, np.ndarray]
    score: float


_here: list[Here] = []
"""Made once by each process that runs these tests."""


def put_images(base: str, *folders: Path) -> None:
    """Put the images where they are to be read, new ones to judge as well."""
    for folder in folders:
        upload(folder, f"{base}/{folder.name}")
    upload(folders[0] / "nut/test", f"{base}/new")


def on_this_machine(
    project: Any, small: Parameters, classes: Parameters, images: Path, class_images: Path
) -> Here:
    """All pipelines by ``file://``, in a folder beside the project that has a blank in its name."""
    if not _here:
        base = f"file://{project.path.parent}/else where"
        put_images(base, images, class_images)
        keep_in(project, base)
        place = run_all(project, at(base, small, images), at(base, classes, class_images), base)
        assert left_behind(project) == []
        detector = Detector.from_run(f"{base}/results", "nut", run=place)
        score = detector.predict(f"{base}/images/nut/test/hole/000.png").score
        _here.append(Here(results(base), features(base), score))
        for kept in (".viz", "mlruns"):
            shutil.rmtree(project.path / kept, ignore_errors=True)
    return _here[0]


def test_every_pipeline_gives_the_same_elsewhere(
    project: Any,
    small: Parameters,
    small_classes: Parameters,
    images: Path,
    class_images: Path,
    base: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small, small_classes = prepared(small, small_classes)
    expected = on_this_machine(project, small, small_classes, images, class_images)
    put_images(base, images, class_images)
    keep_in(project, base)
    capsys.readouterr()
    there = at(base, small, images)
    place = run_all(project, there, at(base, small_classes, class_images), base)
    shown = "".join(capsys.readouterr().out.split())
    assert f"{base}/results/08_reporting/{project.place('semantic')}/report.html" in shown
    assert left_behind(project) == []
    actual, found = features(base), results(base)
    assert {name.split("/")[1] for name in found} >= set(register_pipelines()) - WITHOUT_RESULTS
    assert_same(found, expected.results)
    assert actual.keys() == expected.features.keys()
    for name, array in actual.items():
        np.testing.assert_array_equal(array, expected.features[name], name)
    # A second run goes on from there, and a detector is taken from it without Kedro.
    with KedroSession.create(project.path, runtime_params=there) as session:
        session.run(pipeline_names=["clustering"], tags=["features"])
    assert "0 images to encode, 20 stored already" in " ".join(capsys.readouterr().out.split())
    detector = Detector.from_run(f"{base}/results", "nut", run=place)
    assert detector.predict(f"{base}/images/nut/test/hole/000.png").score == expected.score


def test_file_urls_are_paths(
    project: Any, small: Parameters, small_classes: Parameters, images: Path, class_images: Path
) -> None:
    """Results by ``file://`` are those by plain paths, which all other tests are of."""
    small, small_classes = prepared(small, small_classes)
    expected = on_this_machine(project, small, small_classes, images, class_images)
    base = str(project.path.parent / "by path")
    keep_in(project, base)
    project.run("ingestion,clustering", **small)
    found = results(base)
    assert {"ingestion", "clustering"} <= {name.split("/")[1] for name in found}
    assert_same(found, {name: expected.results[name] for name in found})


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a bucket by ``gs://``."""
    monkeypatch.setitem(_registry, "gs", GoogleStandIn)
    monkeypatch.setattr(GoogleStandIn, "buckets", {"inspection": {}})
    GoogleStandIn.clear_instance_cache()
    return "gs://inspection"


def test_google_storage(
    project: Any,
    small: Parameters,
    small_classes: Parameters,
    images: Path,
    class_images: Path,
    google: str,
) -> None:
    """Nothing is S3's own: gcsfs's arguments, errors and listings will do, by a stand-in."""
    small, small_classes = prepared(small, small_classes)
    expected = on_this_machine(project, small, small_classes, images, class_images)
    keep_in(project, google, credentials="google")
    key = {"token": "nobody", "project": "inspection"}
    credentials = project.path / "conf/local/credentials.yml"
    credentials.write_text(yaml.safe_dump({"google": key}))
    there = at(google, small, images)
    with pytest.raises(CommandError, match=r"the server answers 401 Unauthorized\): check"):
        project.run("defect", **there)
    credentials.write_text(yaml.safe_dump({"google": {**key, "token": TOKEN}}))
    use_credentials({google: {"token": TOKEN}})
    put_images(google, images)
    new = {"images": f"{google}/new", "category": "nut", "threshold": 1.0}
    project.run("ingestion,defect,clustering,predict", predict=new, **there)
    assert left_behind(project) == []
    found = results(google)
    assert {"defect", "clustering", "predict"} <= {name.split("/")[1] for name in found}
    assert_same(found, {name: expected.results[name] for name in found})
    detector = Detector.from_run(f"{google}/results", "nut", run=project.place("defect"))
    assert detector.predict(f"{google}/images/nut/test/hole/000.png").score == expected.score


def test_credentials_by_kedros_convention_and_worker_processes(
    project: Any,
    small: Parameters,
    images: Path,
    bucket: str,
    s3_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither decoding processes nor those of a runner share the connections of this one."""
    upload(images, f"{bucket}/images")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    keep_in(project, bucket, credentials="team")
    team = {"key": "key-of-tests", "secret": "secret-of-tests", "endpoint_url": s3_server}
    (project.path / "conf/local/credentials.yml").write_text(yaml.safe_dump({"team": team}))
    parameters = {**at(bucket, small, images), "encoder": {"num_workers": 2}}
    (project.path / "conf/local/parameters.yml").write_text(yaml.safe_dump(parameters))
    done = project.kedro("run", "--runner=ParallelRunner", "--runner-params=max_workers=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_behind(project) == []
    use_credentials({bucket: team})
    found = results(bucket)
    of_all = min((name for name in found if name.endswith("/metrics.json")), key=len)
    assert json.loads(found[of_all])["mean"]["image_auroc"] is not None
    assert "secret-of-tests" not in done.stdout + done.stderr
    logs = "".join(path.read_text() for path in (project.path / "logs").glob("*"))
    assert "secret-of-tests" not in logs


@pytest.mark.parametrize("fault", ["bucket", "credentials", "name"])
def test_what_cannot_be_reached_is_one_line_before_any_work(
    project: Any,
    small: Parameters,
    bucket: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = {"credentials": "nobody"} if fault == "name" else {}
    keep_in(project, f"{bucket}-gone" if fault == "bucket" else bucket, **more)
    if fault == "credentials":
        import s3fs

        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(CommandError) as refused:
        project.run("defect", **small)
    line = refused.value.message
    assert "\n" not in line
    assert {
        "bucket": f"{bucket}-gone/results/02_intermediate cannot be written (NoSuchBucket: The "
        "specified bucket does not exist): make the bucket, or mend the address",
        "credentials": "Unable to locate credentials): give them in conf/local/credentials.yml",
        "name": "credentials of globals.yml: there is no 'nobody' in conf/local/credentials.yml",
    }[fault] in line  # fmt: skip
    assert left_behind(project) == []


@pytest.mark.parametrize(
    "fault, words",
    [
        ("memory", r"^memory://\S+ is in the memory of one process: with --runner=ParallelRunner"),
        ("limit", "^UNIFORMALY_CACHE_GB is 'lots': set it to a number of gigabytes"),
    ],
)
def test_what_would_fail_later_is_one_line_before_any_work(
    project: Any, small: Parameters, fault: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "memory":
        keep_in(project, f"memory://{uuid.uuid4().hex}")
    else:
        monkeypatch.setenv("UNIFORMALY_CACHE_GB", "lots")
    runner = {"runner": ParallelRunner()} if fault == "memory" else {}
    configure_project(PACKAGE)
    with (
        pytest.raises(CommandError) as refused,
        KedroSession.create(project_path=project.path, runtime_params=small) as session,
    ):
        session.run(pipeline_names=["defect"], **runner)
    assert re.search(words, refused.value.message)
    assert project.outputs() == []
