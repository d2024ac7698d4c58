"""The parameters of the current run, for the catalog's paths and the pipeline registry.

Pipelines are built before Kedro hands parameters to nodes, and one namespace per category depends
on them. The project's context publishes them here first; where there is no context, as for
``kedro registry list``, they are read from the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project

from uniformaly_pipeline.backbone import PACKAGED, UNTRAINED
from uniformaly_pipeline.dotted import flatten
from uniformaly_pipeline.images import ImageFolder
from uniformaly_pipeline.layouts import choose_classes, find_classes
from uniformaly_pipeline.masking import BackPatchMasking, drops_patches
from uniformaly_pipeline.parameters import Parameters, parse_parameters


@dataclass(frozen=True)
class CurrentRun:
    """What a run does.

    Attributes:
        parameters: The checked parameters.
        project_path: The project's folder; relative paths start there.
        runtime_params: What ``--params`` set.
        env: The configuration environment, ``--env``.
    """

    parameters: Parameters
    project_path: Path
    runtime_params: Mapping[str, Any] = field(default_factory=dict)
    env: str | None = None

    @property
    def root(self) -> str:
        """Root of the data set, absolute or a URL."""
        root = self.parameters.chosen_dataset.root
        return root if "://" in root else str(self.project_path / Path(root).expanduser())

    @property
    def features_key(self) -> str:
        """Name of the feature store's folder: stores that keep other patches lie side by side."""
        features, bpm = self.parameters.features, self.parameters.bpm
        if not drops_patches(BackPatchMasking(**bpm.model_dump()), features.keep):
            return f"{features.dtype}-all"
        return f"{features.dtype}-foreground-kernel{bpm.kernel_size}-threshold{bpm.threshold:g}"

    def classes(self) -> list[str]:
        """The classes that this run covers.

        Raises:
            InputError: The root is missing or empty, or a wanted category is not there.
        """
        available = find_classes(self.parameters.chosen_dataset.layout, ImageFolder(self.root))
        return choose_classes(available, self.parameters.categories)

    def catalog_value(self, key: str) -> str:
        """What ``${run:key}`` stands for in the catalog: dataset, backbone, root, features_key."""
        values = {
            "dataset": self.parameters.dataset,
            "backbone": self.parameters.backbone,
            "root": self.root,
            "features_key": self.features_key,
        }
        return values[key]

    @property
    def notes(self) -> list[str]:
        """What a reader of the results must know first."""
        name = f"The backbone '{self.parameters.backbone}'"
        checkpoint = self.parameters.chosen_backbone.checkpoint or ""
        if checkpoint == UNTRAINED:
            return [
                f"{name} has random weights. It shows that everything runs; its figures say "
                "nothing about the method. Choose a trained one, for instance backbone=quickstart."
            ]
        if checkpoint.startswith(PACKAGED):
            return [
                f"{name} is a small one that ships with the project, for trying things out. For "
                "real work choose one such as backbone=dino_vitb8."
            ]
        return []

    def title(self, task: str) -> str:
        """The run in a few words, as a heading."""
        return f"{task} on {self.parameters.dataset} with {self.parameters.backbone}"

    def command(self, pipeline: str) -> str:
        """The command that repeats this run."""
        changes = [f"{key}={_as_text(value)}" for key, value in flatten(self.runtime_params)]
        for key in ("dataset", "backbone"):
            if key not in self.runtime_params:
                changes.append(f"{key}={getattr(self.parameters, key)}")
        env = f" --env={self.env}" if self.env else ""
        return f"kedro run --pipelines={pipeline}{env} --params={','.join(changes)}"


_current: CurrentRun | None = None


def publish(
    raw: Mapping[str, Any],
    project_path: Path,
    runtime_params: Mapping[str, Any] | None = None,
    env: str | None = None,
) -> CurrentRun:
    """Check the parameters of a run and make them the current ones.

    Raises:
        InputError: They are not usable, see :func:`.parameters.parse_parameters`.
    """
    global _current  # noqa: PLW0603 - Kedro calls register_pipelines() without arguments
    _current = CurrentRun(parse_parameters(raw), project_path, dict(runtime_params or {}), env)
    return _current


def current_run() -> CurrentRun:
    """The current run; the configuration's defaults where none was published.

    Raises:
        InputError: The configuration is not usable.
    """
    if _current is not None:
        return _current
    project_path = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = OmegaConfigLoader(
        conf_source=str(project_path / settings.CONF_SOURCE), **settings.CONFIG_LOADER_ARGS
    )
    return CurrentRun(parse_parameters(loader["parameters"]), project_path)


def _as_text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
