"""A Dagster job: the features, then each category as an op of its own, then the results.

``parts.json`` is what ``python -m uniformaly_pipeline.pipelines.groups defect`` printed, with
``--command=uniformaly-pipeline`` where workers have only the package and conf/.
"""

import json
import re
import shlex
import subprocess
import zlib
from collections import Counter
from pathlib import Path

from dagster import In, Nothing, OpDefinition, RetryPolicy, job, op

PROJECT = "/srv/inspection"
"""Where conf/ lies, the same on every worker: the project's folder for ``kedro run``,
/project in the image of deploy/Dockerfile for ``uniformaly-pipeline``."""

parts = json.loads(Path(__file__).with_name("parts.json").read_text(encoding="utf-8"))


def plain_name(part: str) -> str:
    """A part's name without what Dagster refuses; that of several parts may be the same."""
    return re.sub(r"[^A-Za-z0-9_]", "_", part)


alike = Counter(plain_name(part["name"]) for part in parts)


def name_of(part: str) -> str:
    """A part's name as Dagster takes names: of ASCII, and of each part another."""
    plain = plain_name(part)
    return plain if alike[plain] == 1 else f"{plain}_{zlib.crc32(part.encode()):08x}"


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
