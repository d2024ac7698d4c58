"""The parameters of the current run, for the catalog's paths and the pipeline registry.

Pipelines are built before Kedro hands parameters to nodes, and one namespace per category depends
on them. The project's context publishes them here first; where there is no context, as for
``kedro registry list``, they are read from the configuration.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project

from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import PACKAGED, UNTRAINED
from uniformaly_pipeline.features.masking import BackPatchMasking, drops_patches
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.roots import choose_classes, list_classes
from uniformaly_pipeline.ingestion.splits import multiclass_splits
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters


@dataclass(frozen=True)
class CurrentRun:
    """What a run does.

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
    def features_key(self) -> str:
        """Name of the feature store's folder: stores that keep other patches lie side by side."""
        features, bpm = self.parameters.features, self.parameters.bpm
        if not drops_patches(BackPatchMasking(**bpm.model_dump()), features.keep):
            return self.all_features_key
        return f"{features.dtype}-foreground-kernel{bpm.kernel_size}-threshold{bpm.threshold:g}"

    @property
    def all_features_key(self) -> str:
        """Name of the folder of a feature store that keeps all patches."""
        return f"{self.parameters.features.dtype}-all"

    @property
    def layer_choices(self) -> list[list[int]] | None:
        """Blocks to average that the ablation compares, the backbone's own first; None: no others.

        Several choices are features of their own, which one pass of the backbone gives.
        """
        own = sorted(set(self.parameters.chosen_backbone.layers))
        others = [sorted(set(layers)) for layers in self.parameters.ablation.layers]
        choices = [own, *(layers for layers in others if layers != own)]
        return choices if len(choices) > 1 else None

    @property
    def layered_features_key(self) -> str:
        """Name of the folder of a feature store of several layer choices."""
        choices = self.layer_choices or []
        return f"{self.all_features_key}-layers-" + "_".join(
            ".".join(map(str, layers)) for layers in choices
        )

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
        return list_classes(self.parameters.chosen_dataset.layout, folder)

    def classes(self) -> list[str]:
        """The classes that this run covers.

        Raises:
            InputError: The root is missing or empty, or a wanted category is not there.
        """
        return choose_classes(self.all_classes, self.parameters.categories)

    def splits(self) -> dict[str, list[str]]:
        """Normal classes of each multi-class memory bank, see :func:`.splits.multiclass_splits`.

        Raises:
            InputError: The root is missing, or the splits do not fit its classes.
        """
        return multiclass_splits(
            self.classes(),
            self.parameters.chosen_dataset.splits,
            has_defects=self.has_defects,
            key=f"datasets.{self.parameters.dataset}.splits",
        )

    def catalog_value(self, key: str) -> str | None:
        """What ``${run:key}`` stands for in the catalog."""
        values = {
            "dataset": self.parameters.dataset,
            "backbone": self.parameters.backbone,
            "root": self.root,
            "layout": self.parameters.chosen_dataset.layout,
            "credentials": self.parameters.chosen_dataset.credentials,
            "features_key": self.features_key,
            "all_features_key": self.all_features_key,
            "layered_features_key": self.layered_features_key,
            "tree": self.absolute(self.parameters.chosen_dataset.tree or ""),
            "predict_images": self.absolute(self.parameters.predict.images or ""),
        }
        return values[key]

    @property
    def notes(self) -> list[str]:
        """What a reader of the results must know first."""
        name = f"The backbone '{self.parameters.backbone}'"
        checkpoint = self.parameters.chosen_backbone.checkpoint or ""
        if checkpoint == UNTRAINED:
            return [
                f"{name} has random weights. It shows that everything runs; its metrics say "
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

    def command(self, pipeline: str, without: str = "") -> str:
        """The command that runs a pipeline like this run, but for one section of parameters."""
        given = {key: value for key, value in self.runtime_params.items() if key != without}
        changes = [f"{key}={_as_text(value)}" for key, value in flatten(given)]
        for key in ("dataset", "backbone"):
            if key not in self.runtime_params:
                changes.append(f"{key}={getattr(self.parameters, key)}")
        words = ["kedro", "run", f"--pipelines={pipeline}"]
        words += [f"--env={self.env}"] if self.env else []
        return shlex.join([*words, f"--params={','.join(changes)}"])


_current: CurrentRun | None = None


def publish(
    raw: Mapping[str, Any],
    project_path: Path,
    runtime_params: Mapping[str, Any] | None = None,
    env: str | None = None,
    credentials: Mapping[str, Any] | None = None,
) -> CurrentRun:
    """Check the parameters of a run and make them the current ones.

    Raises:
        InputError: They are not usable, see :func:`.schema.parse_parameters`, or the data
            set's credentials are not there.
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
    if isinstance(value, list):
        return "+".join(map(_as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


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
