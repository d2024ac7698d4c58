"""A Dagster job: the features, then each category as an op of its own, then the results.

``parts.json`` is what ``python -m uniformaly_pipeline.pipelines.groups defect`` printed.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path

from dagster import In, Nothing, OpDefinition, RetryPolicy, job, op

PROJECT = "/srv/inspection"
"""Where conf/ lies, the same on every worker."""

parts = json.loads(Path(__file__).with_name("parts.json").read_text(encoding="utf-8"))


def name_of(part: str) -> str:
    """A part's name as Dagster takes names."""
    return re.sub(r"\W", "_", part)


def op_of(part: dict) -> OpDefinition:
    """An op that runs a part's command."""

    @op(
        name=name_of(part["name"]),
        ins={name_of(name): In(Nothing) for name in part["needs"]},
        retry_policy=RetryPolicy(max_retries=2),
    )
    def run() -> None:
        subprocess.run(shlex.split(part["command"]), cwd=PROJECT, check=True)

    return run


ops = {part["name"]: op_of(part) for part in parts}


@job
def uniformaly() -> None:
    """All parts, in their order."""
    done: dict = {}
    for part in parts:
        given = {name_of(name): done[name] for name in part["needs"]}
        done[part["name"]] = ops[part["name"]](**given)
