"""What kedro run was told to run: each misspelt name is one line with the closest."""

from __future__ import annotations

from typing import Any

import pytest
from kedro.pipeline import Node, Pipeline

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.pipelines.selection import check_selection


def copy(value: object) -> object:
    return value


PIPELINES = {
    "__default__": Pipeline(
        [
            Node(copy, "raw", "defect.nut.scores", name="score_patches", tags="scoring"),
            Node(copy, "defect.nut.scores", "report", name="write_report", tags="reporting"),
        ],
        namespace="defect.nut",
        inputs={"raw"},
        outputs={"report"},
    ),
    "other": Pipeline([Node(copy, "a", "b", name="copy_it", tags="features")]),
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pipeline": None, "pipelines": [], "tags": [], "node_names": [], "namespaces": []},
        {"tags": ["scoring", "reporting"]},
        {"node_names": ["defect.nut.score_patches"]},
        {"namespaces": ["defect"]},
        {"namespaces": ["defect.nut"]},
        {"from_inputs": ["raw"], "to_outputs": ["report"]},
        {"pipeline": "other", "tags": ["features"]},
        {"pipelines": ["__default__", "other"], "tags": ["features", "scoring"]},
    ],
)
def test_what_is_there_may_run(options: dict[str, Any]) -> None:
    check_selection(options, PIPELINES, {})


@pytest.mark.parametrize("options", [{"pipeline": "other", "tags": ["scoring"]}, {}])
def test_a_pipeline_that_cannot_run_says_why_whatever_is_asked_of_it(
    options: dict[str, Any],
) -> None:
    """Without images it has no tags: that a right one is missing would be beside the point."""
    refusals = {"other": "root: there is no such folder", "__default__": "root: not here"}
    with pytest.raises(InputError, match=refusals[options.get("pipeline", "__default__")]):
        check_selection(options, PIPELINES, refusals)


def test_versions_are_there_for_versioned_datasets_only() -> None:
    options = {"load_versions": {"report": "2026-01-01T00.00.00.000Z"}}
    check_selection(options, PIPELINES, {}, versioned={"report"})
    with pytest.raises(InputError, match="--load-versions: there are no versions of 'report'"):
        check_selection(options, PIPELINES, {})


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"pipeline": "othr"}, "there is no pipeline 'othr'; did you mean 'other'?"),
        ({"pipelines": ["other", "defec"]}, "there is no pipeline 'defec'; choose from: "),
        ({"tags": ["scorin"]}, "there is no tag 'scorin'; did you mean 'scoring'?"),
        ({"tags": ["features"]}, "there is no tag 'features'; choose from: reporting, scoring"),
        (
            {"node_names": ["defect.nut.score_patch"]},
            "there is no node 'defect.nut.score_patch'; did you mean 'defect.nut.score_patches'?",
        ),
        ({"from_nodes": ["write_report"]}, "there is no node 'write_report'; did you mean"),
        ({"to_nodes": ["x"]}, "there is no node 'x'; choose from: "),
        (
            {"namespaces": ["defect.nutt"]},
            "there is no namespace 'defect.nutt'; did you mean 'defe",
        ),
        ({"namespaces": ["def"]}, "there is no namespace 'def'; did you mean 'defect'?"),
        ({"from_inputs": ["rw"]}, "there is no dataset 'rw'; did you mean 'raw'?"),
        ({"to_outputs": ["reprt"]}, "there is no dataset 'reprt'; did you mean 'report'?"),
    ],
)
def test_what_is_not_there_is_answered_with_the_closest(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        check_selection(options, PIPELINES, {})
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"tags": ["scoring"], "node_names": ["defect.nut.write_report"]},
            "no node is left by --tags and --nodes together",
        ),
        (
            {
                "namespaces": ["defect.nut"],
                "tags": ["reporting"],
                "to_outputs": ["defect.nut.defect.nut.scores"],
            },
            "no node is left by --tags and --to-outputs and --namespaces together",
        ),
    ],
)
def test_options_that_leave_nothing_to_run_are_named(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as refused:
        check_selection(options, PIPELINES, {})
    assert str(refused.value) == line
