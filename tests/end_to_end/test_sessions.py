"""Several sessions in one process: each uses its own parameters, and MLflow what was computed."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.context import KedroContext
from kedro.framework.project import configure_project, pipelines
from kedro.framework.session import KedroSession

from uniformaly_pipeline.common.log_files import all_handlers

Parameters = dict[str, Any]


@pytest.fixture
def session(project: Any, small: Parameters) -> Callable[..., KedroSession]:
    """A session of one process; Kedro is not told that another one begins."""
    configure_project("uniformaly_pipeline")

    def create(**changes: Any) -> KedroSession:
        return KedroSession.create(project_path=project.path, runtime_params={**small, **changes})

    return create


def newest_run(tracking_uri: str) -> Any:
    """The task's run that MLflow saw last."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, "", order_by=["attributes.start_time DESC"])
    return next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)


def run(session: KedroSession, **options: Any) -> Path:
    """Run ``defect``; where its metrics lie."""
    with session:
        session.run(pipeline_names=["defect"], **options)
    return metrics_path(session.load_context())


def metrics_path(context: KedroContext) -> Path:
    return Path(str(context.catalog["defect.metrics"]._filepath))


def what_logging_passes() -> int:
    """How many handlers and filters there are for lines of the log."""
    return sum(1 + len(handler.filters) for _, handler in all_handlers())


def categories_in(name: str) -> set[str]:
    namespaces = (node.namespace or "" for node in pipelines[name].nodes)
    return {namespace.split(".")[1] for namespace in namespaces if "." in namespace}


def test_contexts_side_by_side_keep_their_own_parameters(
    session: Callable[..., KedroSession],
) -> None:
    first = session(categories=["nut"]).load_context()
    assert categories_in("defect") == {"nut"}
    second = session(categories=["cloth"], backbone="untrained").load_context()
    assert categories_in("defect") == {"cloth"}
    named = {"custom": "vit_tiny_patch16_224", "untrained": "untrained"}
    for context, backbone in ((first, "custom"), (second, "untrained"), (first, "custom")):
        assert context.params["backbone"] == backbone
        assert (
            metrics_path(context)
            .parent.relative_to(context.project_path)
            .match(f"*/*/*/*/{named[backbone]}/*")
        )


def test_a_second_run_uses_its_own_parameters(
    session: Callable[..., KedroSession], tracking_uri: str
) -> None:
    sizes = {}
    for ratio in (0.1, 0.5):
        path = run(session(categories=["nut"], memory_bank={"coreset_ratio": ratio}))
        sizes[ratio] = json.loads(path.read_text())["categories"]["nut"]["bank_size"]
        logged = newest_run(tracking_uri).data
        assert logged.params["memory_bank.coreset_ratio"] == str(ratio)
        assert logged.metrics["bank_size"] == sizes[ratio]
        assert logged.tags["computed"].split(" of ")[0] != "0"
    set_up = what_logging_passes()
    assert sizes[0.5] > 3 * sizes[0.1]
    path = run(session(categories=["cloth"]))
    assert list(json.loads(path.read_text())["categories"]) == ["cloth"]
    # A server may run thousands: none leaves anything behind that the next one passes through.
    assert what_logging_passes() == set_up


def test_what_was_not_computed_is_not_logged(
    session: Callable[..., KedroSession], tracking_uri: str
) -> None:
    path = run(session(categories=["nut"]))
    of_first = json.loads(path.read_text())["categories"]["nut"]["bank_size"]

    run(session(categories=["nut"]), only_missing_outputs=True)
    nothing = newest_run(tracking_uri).data
    assert nothing.tags["computed"].startswith("0 of ")
    assert nothing.metrics == {}

    changed = session(categories=["nut"], memory_bank={"coreset_ratio": 0.5})
    run(changed, only_missing_outputs=True)
    logged = newest_run(tracking_uri).data
    assert logged.params["memory_bank.coreset_ratio"] == "0.5"
    assert logged.metrics.get("bank_size") != of_first

    report = path.parent / "report.html"
    report.unlink()
    run(session(categories=["nut"]), only_missing_outputs=True)
    part = newest_run(tracking_uri).data
    assert part.tags["computed"].startswith("1 of ")
    assert "defect.metrics" in part.tags["earlier_results"].split(", ")


def test_reload_kedro_takes_the_new_parameters(project: Any, images: Path) -> None:
    """In IPython, where Kedro imports the project's modules again."""
    script = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_line_magic("load_ext", "kedro.ipython")
        def show():
            names = ("context", "catalog", "pipelines")
            context, catalog, pipelines = (shell.user_ns[name] for name in names)
            nodes = {node.namespace for node in pipelines["defect"].nodes if node.namespace}
            print("SHOWN", context.params["backbone"], catalog["raw_images"]._describe(),
                  catalog["defect.metrics"]._filepath, sorted(nodes))
        show()
        shell.run_line_magic("reload_kedro", "--params PARAMS")
        show()
    """
    params = f"dataset=folder,backbone=untrained,datasets.folder.root={images}"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script).replace("PARAMS", params)],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SHOWN")]
    assert len(lines) == 2, done.stderr
    assert "defect/demo/quickstart" in lines[0]
    assert "defect/images/untrained" in lines[1]
    assert str(images) in lines[1]
    assert "'defect.cloth', 'defect.nut'" in lines[1]
