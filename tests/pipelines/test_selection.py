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
    check_selection(options, PIPELINES)


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
        check_selection(options, PIPELINES)
    assert str(caught.value).startswith(line)
