"""Kedro's configuration with the parameters checked, resolved and published.

A hook could do this for ``kedro run``, but Kedro-Viz loads projects without their hooks, and its
graph would lack the parameters and the paths that depend on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project

from uniformaly_pipeline.common.errors import CommandError, InputError, did_you_mean
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run, publish
from uniformaly_pipeline.pipelines.tasks.own_keys import with_own_keys
from uniformaly_pipeline.pipelines.tasks.plan import run_parameters


class RunConfigLoader(OmegaConfigLoader):
    """Publishes the run as soon as its parameters, or paths that depend on them, are asked for."""

    def __getitem__(self, key: str) -> Any:
        """A part of the configuration.

        ``parameters`` come with every default filled in, and with ``run``: what only the run knows
        (:func:`.plan.run_parameters`).

        Raises:
            CommandError: The parameters are not usable, or there is no such environment.
        """
        if key in {"parameters", "catalog"} and "parameters" not in self:
            self._check_environment()
            run = self._published(super().__getitem__("parameters"))
            self["parameters"] = {**run.parameters.resolved(), "run": run_parameters(run)}
        found = super().__getitem__(key)
        current = current_run()
        if key == "catalog" and current is not None:
            return with_own_keys(found, current)
        return found

    def _published(self, raw: dict[str, Any]) -> CurrentRun:
        try:
            credentials = super().__getitem__("credentials")
        except MissingConfigException:
            credentials = {}
        try:
            return publish(raw, self._project_path(), self.runtime_params, self.env, credentials)
        except InputError as error:
            raise CommandError(str(error)) from error

    def _check_environment(self) -> None:
        source = Path(self.conf_source)
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
