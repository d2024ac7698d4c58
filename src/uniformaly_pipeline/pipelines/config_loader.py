"""Kedro's configuration with the parameters checked, resolved and published.

A hook could do this for ``kedro run``, but Kedro-Viz loads projects without their hooks, and its
graph would lack the parameters and the paths that depend on them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uniformaly_pipeline.common.errors import CommandError, InputError, did_you_mean, first_line
from uniformaly_pipeline.parameters.catalog_values import catalog_value
from uniformaly_pipeline.parameters.current_run import CurrentRun, publish
from uniformaly_pipeline.parameters.naming import LAYERS
from uniformaly_pipeline.pipelines.config_faults import (
    file_fault,
    layers_named,
    passed_over,
    paths_fault,
    reference_fault,
)
from uniformaly_pipeline.pipelines.tasks.chunk_entries import with_chunks
from uniformaly_pipeline.pipelines.tasks.own_keys import with_own_keys
from uniformaly_pipeline.pipelines.tasks.plan import run_parameters

UNUSABLE = (
    yaml.YAMLError,
    OmegaConfBaseException,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What Kedro and OmegaConf raise on files that cannot be read, or hold something else."""


NEEDED = {"parameters", "catalog", "mlflow"}
"""Parts without which Kedro and its plugins would go on with something else."""

SUFFIXES = {".yml", ".yaml", ".json"}
"""Of files that Kedro reads."""


class RunConfigLoader(OmegaConfigLoader):
    """Publishes the run as soon as its parameters, or paths that depend on them, are asked for.

    The catalog's ``${run:...}`` are those of this loader's own run, whichever was published last.
    """

    _run: CurrentRun | None = None

    def __getitem__(self, key: str) -> Any:
        """A part of the configuration.

        ``parameters`` come with every default filled in, and with ``run``: what only the run knows
        (:func:`.plan.run_parameters`).

        Raises:
            CommandError: The parameters are not usable, a file cannot be read, or there is no such
                environment.
            MissingConfigException: There are no files of this part, which others may do without.
        """
        if key in {"parameters", "catalog"} and "parameters" not in self:
            self._check_environment()
            self._run = run = self._published(self._read("parameters"))
            self["parameters"] = {**run.parameters.resolved(), "run": run_parameters(run)}
        if key != "catalog" or self._run is None:
            return self._read(key)
        # OmegaConf's resolvers belong to the process, and Kedro leaves those of before.
        OmegaConf.clear_resolver("run")
        self._register_new_resolvers({"run": partial(catalog_value, self._run)})
        return with_chunks(with_own_keys(self._read(key), self._run), self._run)

    def _read(self, key: str) -> dict[str, Any]:
        """A part of the configuration as the files and ``--params`` say it."""
        given = self.runtime_params
        # What was given is text: "${x}" in it is a name, no reference to another value.
        self.runtime_params = _escaped(given)
        try:
            return super().__getitem__(key)
        except MissingConfigException as error:
            if key not in NEEDED:
                raise
            raise self._refusal(key, None) from error
        except UNUSABLE as error:
            raise self._refusal(key, error) from error
        finally:
            self.runtime_params = given

    def _refusal(self, key: str, error: Exception | None) -> CommandError:
        """One line about configuration that cannot be used; it names the file that is at fault."""
        for path in self._files():
            fault = file_fault(path, self._is_secret(path))
            if fault is not None:
                return CommandError(f"{path} {fault}")
        patterns = self.config_patterns.get(key, [key])
        if error is None:
            return CommandError(
                f"{self.conf_source} holds no {key}: no file fits {', '.join(patterns)}"
            )
        if isinstance(error, OmegaConfBaseException):
            for path in reversed(list(self._files())):
                if self._is_of(path, patterns):
                    fault = reference_fault(path, error, self._is_secret(path))
                    if fault is not None:
                        return CommandError(f"{path} {fault}")
        reason = "" if key == "credentials" else f": {first_line(error)}"
        return CommandError(f"the {key} in {self.conf_source} make no sense{reason}")

    def _is_of(self, path: Path, patterns: Sequence[str]) -> bool:
        """Whether a file of the configuration is one of those that fit a part's patterns."""
        relative = path.relative_to(self.conf_source).as_posix().partition("/")[2]
        return any(fnmatch(relative, pattern) for pattern in patterns)

    def _is_secret(self, path: Path) -> bool:
        return self._is_of(path, self.config_patterns["credentials"])

    def _files(self) -> Iterator[Path]:
        """All files of the configuration that count in this run."""
        for env in dict.fromkeys((self.base_env, self.env or self.default_run_env)):
            folder = Path(self.conf_source, env)
            if folder.is_dir():
                yield from sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)

    def _published(self, raw: dict[str, Any]) -> CurrentRun:
        try:
            credentials = self._read("credentials")
        except MissingConfigException:
            credentials = {}
        try:
            places = self._read("globals")
        except MissingConfigException:
            places = {}
        # A project's own files may use layers of its own.
        known = LAYERS.union(*map(layers_named, self._files()))
        if (fault := paths_fault(places.get("paths"), known)) is not None:
            raise CommandError(fault)
        try:
            return publish(
                raw, self._project_path(), self.runtime_params, self.env, credentials, places
            )
        except InputError as error:
            raise CommandError(str(error)) from error

    def _check_environment(self) -> None:
        source = Path(self.conf_source)
        for folder in (source / self.base_env, source / (self.env or self.default_run_env)):
            # Kedro takes what it cannot list for empty.
            if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
                raise CommandError(f"{folder} cannot be read: check its permissions")
        for folder in (source / self.base_env, source / (self.env or self.default_run_env)):
            # The settings that such a file is to hold would not be those that count.
            for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
                hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
                if not hidden and (fault := passed_over(path, SUFFIXES)) is not None:
                    raise CommandError(f"{path} {fault}")
        usual = source / self.default_run_env
        if not self.env and source.is_dir() and not usual.is_dir():
            raise CommandError(
                f"{usual} is gone, which holds the settings of this machine: make an empty folder "
                "of that name"
            )
        if self.env and source.is_dir() and not (source / self.env).is_dir():
            known = sorted(path.name for path in source.iterdir() if path.is_dir())
            hint = did_you_mean(self.env, known)
            raise CommandError(f"there is no environment '{self.env}' in {source}{hint}")

    def _project_path(self) -> Path:
        """The project's folder, wherever the configuration lies."""
        source = Path(self.conf_source)
        if source.name == settings.CONF_SOURCE:
            return source.parent
        return find_kedro_project(Path.cwd()) or Path.cwd()


def _escaped(value: Any) -> Any:
    """Nested values in which OmegaConf sees no interpolation."""
    if isinstance(value, Mapping):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value
