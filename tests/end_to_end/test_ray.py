"""Many machines: a simulated Ray cluster of two gives what one machine gives, whatever is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset

from tests.end_to_end.conftest import ROOT, Project
from tests.end_to_end.elsewhere import keep_in, left_behind, upload
from uniformaly_pipeline.common import cluster as cluster_module
from uniformaly_pipeline.common.cluster import require_shared
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.spread import over_cluster, spread_by
from uniformaly_pipeline.common.storage import locate, use_credentials
from uniformaly_pipeline.datasets.origins import origin_at
from uniformaly_pipeline.features import ray_encoders, store_update
from uniformaly_pipeline.features.encoders import encoded_by
from uniformaly_pipeline.features.masking import BackPatchMasking
from uniformaly_pipeline.features.ray_encoders import RayEncoders
from uniformaly_pipeline.features.store import FeatureStore, StoreHeader
from uniformaly_pipeline.features.store_update import update_store
from uniformaly_pipeline.features.stream import FeatureStream
from uniformaly_pipeline.memory_bank.bank import build_memory_bank
from uniformaly_pipeline.pipelines.ray_runner import RayRunner

ray = pytest.importorskip("ray")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

HERE = sys.modules[__name__]
TIMES = {"images_per_second"}
"""What differs between two runs that give the same result."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines with a core each; this process is on the first one."""
    from ray.cluster_utils import Cluster

    # Workers find the package, and compute with as many threads as this process.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["NO_PROXY"] = "127.0.0.1"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    before = signal.getsignal(signal.SIGTERM)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    signal.signal(signal.SIGTERM, before)
    # The workers do not see the tests.
    ray.cloudpickle.register_pickle_by_value(HERE)
    yield made
    ray.shutdown()
    made.shutdown()
    for name in ("OMP_NUM_THREADS", "NO_PROXY"):
        os.environ.pop(name)


# --- whole runs -----------------------------------------------------------------------------------


def stored_features(data: Path) -> dict[str, bytes]:
    """The bits of each image's features, by its content hash."""
    (header,) = (data / "04_feature").rglob("header.json")
    store = FeatureStore(header.parent)
    every = BackPatchMasking(**store.header.masking)
    return {
        key: store.load([key], every).features.tobytes() + store.attention([key]).tobytes()
        for key in store.index.index
    }


def results(data: Path) -> dict[str, Any]:
    """Metrics and scores of a run, without what a clock says."""
    found: dict[str, Any] = {}
    for path in sorted(data.rglob("metrics.json")):
        metrics = json.loads(path.read_text())
        for part in (metrics, *metrics.values(), *metrics.get("categories", {}).values()):
            for name in TIMES & set(part if isinstance(part, dict) else ()):
                del part[name]
        found[path.relative_to(data).as_posix()] = metrics
    for path in sorted(data.rglob("image_scores.parquet")):
        found[path.relative_to(data).as_posix()] = pd.read_parquet(path).to_dict("list")
    return found


def origins(data: Path) -> dict[str, Any]:
    """What each result says that it was made from."""
    paths = [path for path in data.rglob("*") if path.is_file() and ".checksums" not in path.parts]
    marked = {path.relative_to(data).as_posix(): origin_at(str(path)) for path in paths}
    # Tables of metrics hold how many images a second there were.
    return {
        name: {
            source: identity * (not source.endswith("leaderboard.csv"))
            for source, identity in each.made_from.items()
        }
        for name, each in marked.items()
        if each is not None
    }


DEMO: dict[str, Any] = yaml.safe_load((ROOT / "conf/test/parameters.yml").read_text())
"""Two of the demo's six categories, 120 images at 112 pixels, with the backbone that ships."""

TASKS = ["defect", "semantic"]


def with_demo(root: Path | str) -> dict[str, Any]:
    """Parameters of a run on the demo's images there."""
    return {**DEMO, "datasets": {"demo": {**DEMO["datasets"]["demo"], "root": str(root)}}}


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, demo_images: Path, tracking_uri: str
) -> Iterator[Path]:
    """What one machine makes of the demo: its folder ``data``."""
    project = Project(tmp_path_factory.mktemp("alone") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
        patch.setenv("DO_NOT_TRACK", "1")
        patch.chdir(project.path)
        patch.setattr(store_update, "SHARD_BYTES", 1)
        project.run(",".join(TASKS), **with_demo(demo_images))
        yield project.path / "data"


def run_on(project: Any, parameters: dict[str, Any], patch: pytest.MonkeyPatch) -> list[str]:
    """Run both tasks on the cluster, in several shards; what is said of encoders."""
    patch.setattr(store_update, "SHARD_BYTES", 1)
    told: list[str] = []
    patch.setattr(ray_encoders.logger, "info", lambda text, *args: told.append(text % args))
    configure_project("uniformaly_pipeline")
    with KedroSession.create(project.path, env="ray", runtime_params=parameters) as session:
        session.run(pipeline_names=TASKS, runner=RayRunner())
    return told


def test_two_machines_give_what_one_gives(
    cluster: Any, alone: Path, project: Any, demo_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, data = run_on(project, with_demo(demo_images), monkeypatch), project.path / "data"
    assert told == ["Features: 2 encoders on the cluster"]
    assert stored_features(data) == stored_features(alone)
    assert results(data) == results(alone)
    assert len(results(data)) == 10  # of two tasks and their two categories
    assert origins(data) == origins(alone)
    assert sum(bool(sources) for sources in origins(data).values()) > 10


def test_machines_that_share_a_bucket_give_what_one_gives(
    cluster: Any,
    alone: Path,
    project: Any,
    demo_images: Path,
    bucket: str,
    s3_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the driver is told of the bucket, by Kedro's credentials; workers hear it from there."""
    root = upload(demo_images, f"{bucket}/demo")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    keep_in(project, bucket, env="ray", credentials="team")
    team = {"key": "key-of-tests", "secret": "secret-of-tests", "endpoint_url": s3_server}
    (project.path / "conf/ray/credentials.yml").write_text(yaml.safe_dump({"team": team}))
    try:
        assert run_on(project, with_demo(root), monkeypatch) == [
            "Features: 2 encoders on the cluster"
        ]
        assert left_behind(project) == []
        fs, path = locate(f"{bucket}/results")
        fs.get(path, str(tmp_path / "fetched"), recursive=True)
    finally:
        use_credentials({})
    assert stored_features(tmp_path / "fetched") == stored_features(alone)
    assert results(tmp_path / "fetched") == results(alone)


# --- encoding -------------------------------------------------------------------------------------

IMAGES = [f"{number:02d}" for number in range(16)]
HEADER = StoreHeader({"model": "fake"}, "0" * 64, {}, "float32", (2, 3), 4, "float32", None)
SECONDS = 0.25


def features_of(image: str) -> np.ndarray:
    """float32 [N, D], by the image's name."""
    return np.random.default_rng(list(image.encode())).random((6, 4), np.float32)


def stream_for(notes: str, images: list[str]) -> FeatureStream:
    """A slow stream, which notes which process begins an image."""

    def encode(wanted: list[str]) -> Iterator[Any]:
        import torch

        from uniformaly_pipeline.features.encoder import Encoded

        for image in wanted:
            with Path(notes).open("a") as file:
                file.write(f"{image} {os.getpid()}\n")
            time.sleep(SECONDS)
            features = torch.from_numpy(features_of(image))[None]
            yield Encoded(features, torch.ones(1, 2, 3), [f"#{image}"])

    return FeatureStream(
        HEADER,
        {f"#{image}": image for image in images},
        encode,
        batch_size=1,
        portable=lambda: lambda _: stream_for(notes, []),
    )


def noted(notes: Path) -> list[tuple[str, int]]:
    """Which process began which image, in order."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [(image, int(process)) for image, process in map(str.split, lines)]


def assert_complete(path: Path) -> None:
    store = FeatureStore(path)
    loaded = store.load([f"#{image}" for image in IMAGES], BackPatchMasking("off"))
    expected = np.concatenate([features_of(image) for image in IMAGES])
    np.testing.assert_array_equal(loaded.features, expected)


def when(condition: Any, action: Any) -> threading.Thread:
    """Do something as soon as it is time, beside the test."""

    def wait() -> None:
        while not condition():
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_lost_encoder_and_a_lost_machine_cost_their_open_shards(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_update, "SHARD_BYTES", 1)  # a shard per image
    notes, third = tmp_path / "notes", cluster.add_node(num_cpus=1)
    ended: list[int] = []

    def end_one() -> None:
        ended.append(noted(notes)[0][1])
        os.kill(ended[0], signal.SIGKILL)

    threads = [
        when(lambda: len(noted(notes)) >= 4, end_one),
        when(lambda: len(noted(notes)) >= 8, lambda: cluster.remove_node(third, False)),
    ]
    with encoded_by(RayEncoders()):
        update_store(tmp_path / "store", stream_for(str(notes), IMAGES))
    for thread in threads:
        thread.join()
    assert_complete(tmp_path / "store")
    begun = Counter(image for image, _ in noted(notes))
    # How many began in time depends on the machine; the one that ended was not the last.
    assert {process for _, process in noted(notes)} > set(ended)
    # One shard was open where the encoder ended, and one on the machine.
    assert sum(begun.values()) <= len(IMAGES) + 2
    assert set(begun) == set(IMAGES)


DRIVER = """
import sys
sys.path[:0] = sys.argv[2:]
import ray
ray.init(log_to_driver=False, logging_level="ERROR")
from tests.end_to_end import test_ray as tests
ray.cloudpickle.register_pickle_by_value(tests)
tests.store_update.SHARD_BYTES = 1
with tests.encoded_by(tests.RayEncoders()):
    tests.update_store(
        tests.Path(sys.argv[1], "store"), tests.stream_for(sys.argv[1] + "/notes", tests.IMAGES)
    )
"""


def test_a_lost_driver_goes_on_where_it_was(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_update, "SHARD_BYTES", 1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    notes = tmp_path / "notes"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), str(ROOT), *sys.path])
    while len(noted(notes)) < 6:
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    killed = {process for _, process in noted(notes)}
    while any(Path(f"/proc/{process}").exists() for process in killed):
        time.sleep(0.1)  # Ray ends what worked for it
    before = [image for image, _ in noted(notes)]
    stored = {key.removeprefix("#") for key in FeatureStore(tmp_path / "store").index.index}
    assert 0 < len(stored) < len(IMAGES)
    with encoded_by(RayEncoders()):
        update_store(tmp_path / "store", stream_for(str(notes), IMAGES))
    assert_complete(tmp_path / "store")
    again = [image for image, _ in noted(notes)[len(before) :]]
    assert sorted(again) == sorted(set(IMAGES) - stored)
    assert len(set(before) - stored) <= len(killed)


def test_what_a_user_can_mend_ends_encoding_with_its_line(cluster: Any, tmp_path: Path) -> None:
    stream = stream_for(str(tmp_path / "notes"), ["00"])
    changed = FeatureStream(HEADER, {"#another": "00"}, stream.encode, 1, portable=stream.portable)
    with encoded_by(RayEncoders()), pytest.raises(InputError, match=r"^00 has changed since"):
        update_store(tmp_path / "store", changed)


# --- categories -----------------------------------------------------------------------------------


def slow(notes: str) -> int:
    """Note which process does it, and take a while."""
    with Path(notes).open("a") as file:
        file.write(f"x {os.getpid()}\n")
    time.sleep(1)
    return os.getpid()


def refuse(_: int) -> None:
    """Bad input, found by a node."""
    raise InputError("parts/7.png is broken: mend it")


def categories(tmp_path: Path, *more: Node) -> tuple[Pipeline, DataCatalog]:
    """Three categories, whose one node is slow."""
    names = [f"task.{name}.done" for name in ("bolt", "nut", "gear")]
    nodes = [
        Node(slow, "params:notes", name, name=name, namespace=name.rpartition(".")[0])
        for name in names
    ]
    kept = {name: JSONDataset(filepath=str(tmp_path / f"{name}.json")) for name in names}
    notes = {"params:notes": MemoryDataset(str(tmp_path / "notes"))}
    return Pipeline([*nodes, *more]), DataCatalog({**kept, **notes})


def test_categories_of_a_lost_process_are_done_again(cluster: Any, tmp_path: Path) -> None:
    configure_project("uniformaly_pipeline")
    notes = tmp_path / "notes"
    ended = when(lambda: noted(notes), lambda: os.kill(noted(notes)[0][1], signal.SIGKILL))
    pipeline, catalog = categories(tmp_path)
    RayRunner().run(pipeline, catalog)
    ended.join()
    done = [catalog.load(name) for name in sorted(pipeline.all_outputs())]
    assert len(noted(notes)) == 4
    assert {process for _, process in noted(notes)} - set(done) == {noted(notes)[0][1]}
    assert os.getpid() not in done


def test_what_a_user_can_mend_of_a_category_is_its_line(cluster: Any, tmp_path: Path) -> None:
    configure_project("uniformaly_pipeline")
    node = Node(refuse, "task.nut.done", None, name="refuse", namespace="task.nut")
    pipeline, catalog = categories(tmp_path, node)
    with pytest.raises(InputError, match=r"^parts/7\.png is broken: mend it$"):
        RayRunner().run(pipeline.filter(node_namespaces=["task.nut"]), catalog)


# --- the memory bank ------------------------------------------------------------------------------


def test_a_bank_in_parts_is_the_same_over_machines(
    cluster: Any, fake_encoder: Any, tmp_path: Path
) -> None:
    masking = BackPatchMasking(kernel_size=1, threshold=0.2)
    store = fake_encoder.store(tmp_path, IMAGES, masking=masking)
    hashes = [f"#{image}" for image in IMAGES]
    settings: dict[str, Any] = {"coreset_ratio": 0.1, "coreset_parts": 3, "projection_dim": 4}
    one = build_memory_bank(store, hashes, masking, **settings)
    with spread_by(over_cluster):
        many = build_memory_bank(store, hashes, masking, **settings)
    assert many.metadata == one.metadata
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(many.arrays[name], array)


# --- storage that is not shared -------------------------------------------------------------------


def test_storage_that_another_machine_does_not_see_is_named(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_shared([str(tmp_path / "data")], [str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
    # To the other machine it is as if its own folder of the same name were empty.
    content = iter(["here", "there"])
    monkeypatch.setattr(cluster_module.uuid, "uuid4", lambda: type("U", (), {"hex": "x" * 32}))
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: next(content))
    line = f"{tmp_path} is not there on the machine .* of the Ray cluster: all machines must share"
    with pytest.raises(InputError, match=line):
        require_shared([str(tmp_path / "data")])


def test_a_machine_that_is_lost_meanwhile_need_not_see_the_storage(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray goes on listing a lost machine for a while."""
    present = cluster_module.machines()
    lost = cluster_module.Machine("ab" * (len(present[0].node_id) // 2), "192.0.2.1", 1, 0)
    monkeypatch.setattr(cluster_module, "machines", lambda: [lost, *present])
    require_shared([str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_one_process_is_no_storage_of_many(cluster: Any) -> None:
    with pytest.raises(InputError, match="memory://data is in the memory of one process"):
        require_shared(["memory://data"])
