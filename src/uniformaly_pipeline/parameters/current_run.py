"""The run that this process is about: its checked parameters, and the classes it covers.

Pipelines depend on both, and Kedro asks for them without arguments. The hooks publish the run as
soon as there is a context, and have Kedro forget the pipelines of the run before: a process may
hold several sessions, and each builds its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from uniformaly_pipeline.common.errors import InputError, did_you_mean
from uniformaly_pipeline.common.secrets import hide_secrets, without_secrets
from uniformaly_pipeline.common.storage import local_path, shown_path, use_credentials
from uniformaly_pipeline.detector.finished_run import Layers, find_runs
from uniformaly_pipeline.ingestion.download.archives import is_archive
from uniformaly_pipeline.ingestion.images import ImageFolder
from uniformaly_pipeline.ingestion.layouts import LAYOUTS
from uniformaly_pipeline.ingestion.roots import choose_classes, list_classes
from uniformaly_pipeline.parameters.naming import (
    DEFAULT_KEY,
    LAYERS,
    OWN_LAYOUTS,
    backbone_name,
    category_key,
    data_set_name,
    detector_names,
    judging_key,
    manifest_key,
    new_images_name,
    run_key,
    shipped_parameters,
)
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CurrentRun:
    """What a run is about.

    Attributes:
        parameters: The checked parameters; URLs are without users, passwords and keys.
        project_path: The project's folder; relative paths start there.
        runtime_params: What ``--params`` set.
        env: The configuration environment, ``--env``.
        storage_options: What the file system of the data set's root must know, such as keys.
        addresses: URLs with the secrets that they need, by what the parameters call them.
        paths: Folders or URLs of results by layer, as ``globals.yml`` says them.
    """

    parameters: Parameters
    project_path: Path
    runtime_params: Mapping[str, Any] = field(default_factory=dict)
    env: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    addresses: Mapping[str, str] = field(default_factory=dict, repr=False)
    paths: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """Root of the data set, absolute or a URL."""
        return self.absolute(self.parameters.chosen_dataset.root)

    def absolute(self, path: str) -> str:
        """A path of the parameters, relative to the project, or a URL."""
        path = local_path(path)
        return path if "://" in path else str(self.project_path / Path(path).expanduser())

    @property
    def layers(self) -> Layers:
        """Where this project's results lie."""
        shipped = Layers.of(str(self.project_path / "data"))
        if not {"models", "model_input", "model_output"} <= set(self.paths):
            return shipped
        found = (
            self.absolute(self.paths[key]) for key in ("models", "model_input", "model_output")
        )
        banks, images, scores = found
        own = Layers(banks.rpartition("/")[0], banks, images, scores)
        return shipped if replace(own, name=shipped.name) == shipped else own

    def address(self, location: str) -> str:
        """Where to open a path or URL: with the user and password that it was given with."""
        return self.addresses.get(location, location)

    @property
    def data_set(self) -> str:
        """D of the paths: what people call the data set."""
        return data_set_name(self.parameters)

    @property
    def backbone(self) -> str:
        """B of the paths: what people call the backbone."""
        return backbone_name(self.parameters)

    def key(self, task: str = "") -> str:
        """R of the paths, see :func:`.naming.run_key`; without a task what all tasks share."""
        return run_key(self.parameters, shipped_parameters(), task)

    def names(self, task: str = "") -> dict[str, str]:
        """D, B and R of a task's results, by the names of their tags in MLflow.

        ``predict`` goes by the bank that it judges by, ``export`` by the one that it exports.
        """
        if (detector := self.detector_of(task)) is not None:
            names = detector_names(detector, self.layers)
            return {key: names[key] for key in ("dataset", "backbone", "run_key")}
        key = self.key(task)
        if task == "predict":
            made_by = self.parameters.predict.task
            key = judging_key(made_by, self.key(made_by))
        return {"dataset": self.data_set, "backbone": self.backbone, "run_key": key}

    @property
    def manifest_place(self) -> str:
        """Where what is said of the data set's images lies: D, and below it the choice of them."""
        key = manifest_key(self.parameters, shipped_parameters())
        return self.data_set if key == DEFAULT_KEY else f"{self.data_set}/{key}"

    @property
    def new_images(self) -> str:
        """What ``predict`` calls the folder of new images, in paths below the bank's category."""
        images = self.absolute(self.parameters.predict.images or "")
        return new_images_name(self.parameters, shipped_parameters(), images)

    def detector_of(self, task: str) -> str | None:
        """The detector that ``predict`` judges by, or that ``export`` exports.

        Returns:
            Absolute or a URL; ``None`` for other tasks, and where a memory bank judges.
        """
        parameters = self.parameters
        by_task = {"predict": parameters.predict.detector, "export": parameters.export.detector}
        detector = by_task.get(task)
        return None if detector is None else self.absolute(detector)

    @property
    def predict_category(self) -> str:
        """The category of ``predict`` in paths: the one asked for, or the first there is."""
        if (detector := self.detector_of("predict")) is not None:
            return category_key(detector_names(detector, self.layers)["category"])
        name = self.parameters.predict.category
        if name is None:
            try:
                name = self.classes()[0]
            except InputError:
                name = "category"
        return category_key(name)

    @property
    def export_category(self) -> str:
        """The category of ``export`` in paths."""
        detector = self.detector_of("export") or "detector"
        return category_key(detector_names(detector, self.layers)["category"])

    @property
    def root_record(self) -> dict[str, str]:
        """Where the images lie, to be kept without secrets; an archive is its folder."""
        layout = self.parameters.chosen_dataset.layout
        root = without_secrets(self.root).rstrip("/") or "/"
        if "://" not in root:
            path, project = Path(root).resolve(), self.project_path.resolve()
            path = path.parent if layout not in OWN_LAYOUTS and is_archive(path) else path
            inside = path.is_relative_to(project)
            root = (path.relative_to(project) if inside else path).as_posix()
        return {"root": root, "layout": layout}

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
        folder = ImageFolder(self.address(self.root), options)
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
    places: Mapping[str, Any] | None = None,
) -> CurrentRun:
    """Check the parameters of a run and make it the current one.

    Args:
        raw: The parameters.
        project_path: The project's folder.
        runtime_params: What ``--params`` set.
        env: The configuration environment.
        credentials: What file systems must know, by name.
        places: ``globals.yml``: ``paths``, and ``credentials``, a name for all of them or by path.

    Raises:
        InputError: They are not usable, see :func:`.schema.parse_parameters`, or credentials are
            not there, or for a layer that is not.
    """
    global _current  # noqa: PLW0603 - Kedro calls register_pipelines() without arguments
    shown, addresses = hide_secrets(raw)
    given, _ = hide_secrets(runtime_params or {})
    parameters = parse_parameters(shown)
    known = credentials or {}
    named = partial(_named, known, f"conf/{env or 'local'}/credentials.yml")
    options = named(
        parameters.chosen_dataset.credentials, f"datasets.{parameters.dataset}.credentials"
    )
    paths = dict((places or {}).get("paths") or {})
    names = (places or {}).get("credentials")
    by_path = names if isinstance(names, Mapping) else dict.fromkeys(paths, names)
    layers = sorted(LAYERS.union(paths))
    for key in by_path:
        if key not in layers:
            hint = did_you_mean(str(key), layers)
            raise InputError(f"credentials of globals.yml: there is no layer '{key}'{hint}")
    told = {
        paths[key]: named(name, "credentials of globals.yml")
        for key, name in by_path.items()
        if key in paths
    }
    run = CurrentRun(parameters, project_path, given, env, options, addresses, paths)
    # What holds for results comes first: the key to the images may not write.
    told.setdefault(run.address(run.root), options)
    use_credentials(told)
    _current = _exporting_a_finished_run(_judging_by_a_finished_run(run))
    return _current


def _named(known: Mapping[str, Any], file: str, name: object, key: str) -> dict[str, Any]:
    """Credentials by their name; none where none is given.

    Args:
        known: All there are.
        file: Where they belong.
        name: The name, as ``key`` gives it.
        key: What gives it.

    Raises:
        InputError: There are none of that name, or it is no name.
    """
    if name is None:
        return {}
    if not isinstance(name, str):  # it may be the keys themselves: it is not shown
        raise InputError(f"{key} must be the name of an entry of {file}")
    if not isinstance(known.get(name), Mapping):
        found = [each for each, value in known.items() if isinstance(value, Mapping)]
        hint = did_you_mean(name, found) if found else ""
        raise InputError(f"{key}: there is no '{name}' in {file}{hint}")
    return dict(known[name])


def _judging_by_a_finished_run(run: CurrentRun) -> CurrentRun:
    """``predict`` by the only finished run that has the category, where no settings were given.

    Raises:
        InputError: Several runs have it; the line names them.
    """
    wanted = run.parameters.predict
    if wanted.images is None or wanted.category is None or wanted.detector is not None:
        return run
    place = _only_place(run, "predict", wanted.task, wanted.category)
    if place is None:
        return run
    logger.info("predict: the only finished run that has '%s' judges: %s", wanted.category, place)
    chosen = wanted.model_copy(update={"detector": place})
    return replace(run, parameters=run.parameters.model_copy(update={"predict": chosen}))


def _exporting_a_finished_run(run: CurrentRun) -> CurrentRun:
    """``export`` of the category of this run's settings, or of the only finished run that has it.

    Raises:
        InputError: Several runs have it; the line names them.
    """
    wanted = run.parameters.export
    if wanted.category is None or wanted.detector is not None:
        return run
    place = _only_place(run, "export", wanted.task, wanted.category)
    if place is None:
        own = "/".join([wanted.task, *run.names(wanted.task).values()])
        place = _place_of(run, own, wanted.category)
    chosen = wanted.model_copy(update={"detector": place})
    return replace(run, parameters=run.parameters.model_copy(update={"export": chosen}))


def _only_place(run: CurrentRun, section: str, task: str, name: str) -> str | None:
    """The folder of a category of the only finished run that has it.

    Returns:
        ``None`` where settings were given, whose own bank is meant, where there is one of the
        configuration's settings, and where there is none at all.

    Raises:
        InputError: Several runs have it; the line names them.
    """
    if set(run.runtime_params) - {section}:
        return None
    runs = find_runs(run.layers, category_key(name), task)
    if "/".join([task, *run.names(task).values()]) in runs or not runs:
        return None
    places = [_place_of(run, found, name) for found in runs]
    if len(places) > 1:
        choices = ", ".join(map(shown_path, places))
        raise InputError(
            f"{section}.category: {len(places)} finished runs have '{name}'; give "
            f"{section}.detector, one of {choices}"
        )
    return places[0]


def _place_of(run: CurrentRun, finished: str, category: str) -> str:
    return f"{run.layers.banks.rstrip('/')}/{finished}/{category_key(category)}"


def current_run() -> CurrentRun | None:
    """The current run; None where none was published."""
    return _current


def adopt(run: CurrentRun) -> None:
    """Make the run of the process that this one works for the current one."""
    global _current  # noqa: PLW0603 - Kedro calls register_pipelines() without arguments
    _current = run


def settings_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of Kedro's catalog but ``run``, which nobody sets."""
    return {key: value for key, value in parameters.items() if key != "run"}
