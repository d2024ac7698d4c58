"""Parts of a pipeline for schedulers, and the examples in ``deploy/`` that use them."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.pipelines.groups import groups_of

DEPLOY = Path(__file__).parents[2] / "deploy"


def copy(value: Any) -> Any:
    return value


def node(given: str, made: str) -> Node:
    namespace, _, name = made.rpartition(".")
    return Node(copy, given, made, name=f"make_{name}", namespace=namespace or None)


def both(first: Any, second: Any) -> Any:
    return first, second


PIPELINE = Pipeline(
    [
        node("raw", "manifest"),
        node("manifest", "features"),
        node("manifest", "overview"),
        node("features", "task.all.bank"),
        node("task.all.bank", "task.nut.scores"),
        node("task.nut.scores", "task.nut.metrics"),
        node("features", "task.bolt.scores"),
        Node(both, ["task.nut.metrics", "task.bolt.scores"], "task.metrics", name="average",
             namespace="task"),
    ]
)  # fmt: skip


def test_each_inner_namespace_is_a_part_between_what_is_shared_and_the_results() -> None:
    found = {group.name: group for group in groups_of(PIPELINE)}
    assert list(found) == ["shared", "task.all", "task.bolt", "task.nut", "results"]
    assert {name: group.needs for name, group in found.items()} == {
        "shared": (),
        "task.all": ("shared",),
        "task.bolt": ("shared",),
        "task.nut": ("task.all",),
        "results": ("shared", "task.bolt", "task.nut"),
    }
    assert found["task.nut"].options == ("--namespaces=task.nut",)


def test_the_parts_are_all_of_the_pipeline_once() -> None:
    names: list[str] = []
    for group in groups_of(PIPELINE):
        (option,) = group.options
        kind, _, value = option.partition("=")
        chosen = (
            PIPELINE.filter(node_namespaces=[value])
            if kind == "--namespaces"
            else PIPELINE.filter(node_names=value.split(","))
        )
        names += [each.name for each in chosen.nodes]
    assert sorted(names) == sorted(each.name for each in PIPELINE.nodes)


def test_parts_that_need_each_other_are_refused() -> None:
    across = Pipeline(
        [
            node("raw", "task.nut.scores"),
            node("task.nut.scores", "task.bolt.scores"),
            node("task.bolt.scores", "task.nut.more"),
        ]
    )
    with pytest.raises(ValueError, match="need each other"):
        groups_of(across)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the image of ``deploy/Dockerfile`` has: the configuration, and no project."""
    shutil.copytree(DEPLOY.parent / "conf", tmp_path / "conf")
    return tmp_path


def listed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "uniformaly_pipeline.pipelines.groups", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(DEPLOY.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_beside_the_configuration_alone_the_package_runs_the_parts(folder: Path) -> None:
    done = listed(folder, "defect", "--params=dataset=demo")
    assert done.returncode == 0, done.stderr
    first, *_, last = json.loads(done.stdout)
    assert (first["name"], last["name"]) == ("shared", "results")
    for part in (first, last):
        words = ["uniformaly-pipeline", "--pipelines=defect", "--params=dataset=demo"]
        assert shlex.split(part["command"]) == [*words, *part["options"]]


def test_in_a_project_kedro_runs_them_unless_something_else_is_named(folder: Path) -> None:
    shutil.copy(DEPLOY.parent / "pyproject.toml", folder)
    (folder / "src").mkdir()
    (folder / "src/uniformaly_pipeline").symlink_to(DEPLOY.parent / "src/uniformaly_pipeline")
    for more, begins in [
        ([], "kedro run --pipelines=defect "),
        (["--command=docker run 'my image'"], "docker run 'my image' --pipelines=defect "),
    ]:
        done = listed(folder, "defect", "--params=dataset=demo", *more)
        assert done.returncode == 0, done.stderr
        assert all(part["command"].startswith(begins) for part in json.loads(done.stdout))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["defect", "--params=dataset=mvtec"], "datasets.mvtec: the root "),
        (
            ["defect", "--params=dataset=folder,datasets.folder.root=/nothere"],
            "datasets.folder: the root /nothere does not exist",
        ),
        (["ingestion", "--params=dataset=mvtec"], "datasets.mvtec: the root "),
        (["predict"], "predict.images: give a folder of new images to judge"),
        (["export"], "export.category: give a category of a finished run, or a detector: "),
        (["download"], "there is nothing to download for the layout 'demo': "),
        (["defct"], "there is no pipeline 'defct'; did you mean 'defect'?"),
        (["defect", "--params=categries=01"], "unknown key 'categries'"),
        (["defect", "--params=x"], "--params: 'x' is no key=value"),
        (["defect", "--env=tst"], "there is no environment 'tst'"),
        (["defect", "--command=a 'b"], "--command: a 'b cannot be read"),
    ],
)
def test_what_cannot_run_is_one_line_and_no_parts(
    folder: Path, arguments: list[str], words: str
) -> None:
    done = listed(folder, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_where_there_is_no_project_it_says_where_to_go(tmp_path: Path) -> None:
    done = listed(tmp_path, "defect")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Error: {tmp_path} holds neither a project nor conf/: go to" in done.stderr


# --- the examples ---------------------------------------------------------------------------------


class Recorder(ModuleType):
    """Stands in for a scheduler: remembers what is made of its classes."""

    def __init__(self, name: str, **members: Any) -> None:
        super().__init__(name)
        vars(self).update(members)


def run_example(
    name: str, modules: dict[str, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    parts = [
        {"name": g.name, "needs": g.needs, "command": f"kedro run {g.options[0]}"}
        for g in groups_of(PIPELINE)
    ]
    (tmp_path / "parts.json").write_text(json.dumps(parts))
    (tmp_path / name).write_text((DEPLOY / name).read_text(encoding="utf-8"))
    for module, recorder in modules.items():
        monkeypatch.setitem(sys.modules, module, recorder)
    return runpy.run_path(str(tmp_path / name))


EDGES = {
    ("shared", "task.all"), ("shared", "task.bolt"), ("task.all", "task.nut"),
    ("shared", "results"), ("task.bolt", "results"), ("task.nut", "results"),
}  # fmt: skip


@pytest.mark.parametrize("module", ["airflow.providers.standard.operators", "airflow.operators"])
def test_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    edges, commands = set(), {}

    class Operator:
        def __init__(self, task_id: str, bash_command: str, **_: Any) -> None:
            self.task_id = task_id
            commands[task_id] = bash_command

        def __rshift__(self, other: Operator) -> None:
            edges.add((self.task_id, other.task_id))

    class Dag:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *_: Any) -> None: ...

    modules = {
        "airflow": Recorder("airflow", DAG=Dag),
        module: Recorder(module),
        f"{module}.bash": Recorder(f"{module}.bash", BashOperator=Operator),
    }
    if "providers" in module:  # the old one must not be asked for
        modules |= {
            above: Recorder(above) for above in ("airflow.providers", "airflow.providers.standard")
        }
    run_example("airflow_dag.py", modules, tmp_path, monkeypatch)
    assert edges == EDGES
    assert commands["task.nut"] == "kedro run --namespaces=task.nut"


def test_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edges, ran = set(), []

    def op(name: str, ins: dict[str, Any], **_: Any) -> Any:
        def made(function: Any) -> Any:
            def call(**given: str) -> str:
                assert set(given) == set(ins)
                edges.update((before, name) for before in given.values())
                function()
                return name

            return call

        return made

    dagster = Recorder(
        "dagster", op=op, job=lambda function: function, In=lambda kind: kind, Nothing=None,
        OpDefinition=object, RetryPolicy=lambda **_: None,
    )  # fmt: skip
    found = run_example("dagster_job.py", {"dagster": dagster}, tmp_path, monkeypatch)
    monkeypatch.setattr(found["subprocess"], "run", lambda words, **_: ran.append(words))
    found["uniformaly"]()
    assert edges == {(a.replace(".", "_"), b.replace(".", "_")) for a, b in EDGES}
    assert ["kedro", "run", "--namespaces=task.bolt"] in ran


def test_dagsters_names_are_ascii_and_distinct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["a-b", "a_b", "schräg", "schrög", "nut"]
    pipeline = Pipeline([node("raw", f"task.{key}.scores") for key in keys])
    monkeypatch.setitem(globals(), "PIPELINE", pipeline)
    names: list[str] = []
    dagster = Recorder(
        "dagster", op=lambda name, **_: names.append(name) or (lambda function: function),
        job=lambda function: function, In=lambda kind: kind, Nothing=None,
        OpDefinition=object, RetryPolicy=lambda **_: None,
    )  # fmt: skip
    run_example("dagster_job.py", {"dagster": dagster}, tmp_path, monkeypatch)
    assert len(set(names)) == len(names) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in names), names
    assert "task_nut" in names


def test_the_image_has_what_every_address_needs() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "[cpu,ray,s3,gs]" in text
    assert "MLFLOW_TRACKING_URI" in text


def test_the_cluster_names_its_head_among_its_types() -> None:
    described = yaml.safe_load((DEPLOY / "ray_cluster.yml").read_text(encoding="utf-8"))
    assert described["head_node_type"] in described["available_node_types"]
    assert described["docker"]["image"]
