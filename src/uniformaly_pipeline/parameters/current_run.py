"""The run that this process is about: its checked parameters, and the classes it covers.

Pipelines depend on both, and Kedro asks for them without arguments. The hooks publish the run as
soon as there is a context, and have Kedro forget the pipelines of the run before: a process may
hold several sessions, and each builds its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.roots import choose_classes, list_classes
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters


@dataclass(frozen=True)
class CurrentRun:
    """What a run is about.

    Attributes:
        parameters: The checked parameters.
        project_path: The project's folder; relative paths start there.
        runtime_params: What ``--params`` set.
        env: The configuration environment, ``--env``.
        storage_options: What the file system of the data set's root must know, such as keys.
    """

    parameters: Parameters
    project_path: Path
    runtime_params: Mapping[str, Any] = field(default_factory=dict)
    env: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> str:
        """Root of the data set, absolute or a URL."""
        return self.absolute(self.parameters.chosen_dataset.root)

    def absolute(self, path: str) -> str:
        """A path of the parameters, relative to the project, or a URL."""
        return path if "://" in path else str(self.project_path / Path(path).expanduser())

    @property
    def has_defects(self) -> bool:
        """Whether the data set shows defective images; otherwise foreign classes are anomalous."""
        return LAYOUTS[self.parameters.chosen_dataset.layout].HAS_DEFECTS

    @cached_property
    def all_classes(self) -> list[str]:
        """The classes of the data set.

        Raises:
            InputError: The root is missing or empty.
        """
        options = json.dumps(dict(self.storage_options), sort_keys=True)
        folder = ImageFolder(self.root, options)
        folder.relist()
        return list_classes(self.parameters.chosen_dataset.layout, folder)

    def classes(self) -> list[str]:
        """The classes that this run covers.

        Raises:
            InputError: The root is missing or empty, or a wanted category is not there.
        """
        return choose_classes(self.all_classes, self.parameters.categories)


_current: CurrentRun | None = None


def publish(
    raw: Mapping[str, Any],
    project_path: Path,
    runtime_params: Mapping[str, Any] | None = None,
    env: str | None = None,
    credentials: Mapping[str, Any] | None = None,
) -> CurrentRun:
    """Check the parameters of a run and make it the current one.

    Raises:
        InputError: They are not usable, see :func:`.schema.parse_parameters`, or the data set's
            credentials are not there.
    """
    global _current  # noqa: PLW0603 - Kedro calls register_pipelines() without arguments
    parameters = parse_parameters(raw)
    name = parameters.chosen_dataset.credentials
    options = {} if name is None else (credentials or {}).get(name)
    if options is None:
        raise InputError(
            f"datasets.{parameters.dataset}.credentials: there is no '{name}' in "
            "conf/local/credentials.yml"
        )
    _current = CurrentRun(parameters, project_path, dict(runtime_params or {}), env, options)
    return _current


def current_run() -> CurrentRun | None:
    """The current run; None where none was published."""
    return _current


def settings_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of Kedro's catalog but ``run``, which nobody sets."""
    return {key: value for key, value in parameters.items() if key != "run"}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings; an empty mapping is a value.

    >>> dict(flatten({"bpm": {"mode": "binary"}, "seed": 0}))
    {'bpm.mode': 'binary', 'seed': 0}
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
