"""The rows of the leaderboard: of what run each is, and what decided its numbers.

A row is taken from an earlier call only where all of that is as it was: the settings, the images,
the weights, the code, the libraries and the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from click import ClickException
from kedro.framework.project import configure_project, settings
from kedro.framework.session import KedroSession
from kedro.io import DatasetError

import uniformaly_pipeline
from benchmarks.machine import describe
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.features.backbone import Backbone, load_backbone, weights_hash
from uniformaly_pipeline.ingestion.manifest import manifest_of
from uniformaly_pipeline.parameters.current_run import CurrentRun, current_run
from uniformaly_pipeline.pipelines.freshness import MANIFEST
from uniformaly_pipeline.pipelines.ingestion.nodes import plan_manifest
from uniformaly_pipeline.tracking.runs import data_hash

PACKAGE = Path(uniformaly_pipeline.__file__).parent
PARTS = ("settings", "root", "images", "weights", "code", "libraries", "machine")
"""What decides a row's numbers."""


@dataclass(frozen=True)
class Entry:
    """What stands on the board.

    Attributes:
        data_set: Key of ``datasets``.
        backbone: Key of ``backbones``.
        method: ``scoring.method``.
        seeds: ``seeds``; none for the run's own alone.
    """

    data_set: str
    backbone: str
    method: str
    seeds: tuple[int, ...] = ()

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Entry:
        """An entry as JSON holds it.

        Raises:
            TypeError: It is none.
            KeyError: It says no seeds.
        """
        return cls(**{**said, "seeds": tuple(said["seeds"])})

    @property
    def group(self) -> str:
        """What it is compared within: the data set, and the seeds where there are any."""
        seeds = "+".join(map(str, self.seeds))
        return f"{self.data_set}, seeds {seeds}" if seeds else self.data_set

    @property
    def name(self) -> str:
        """One for each entry."""
        return f"{self.group}: {self.backbone}, {self.method}"

    @property
    def parameters(self) -> dict[str, Any]:
        """Of its run: all patches are kept, so that methods share the features."""
        return {
            "dataset": self.data_set,
            "backbone": self.backbone,
            "scoring": {"method": self.method},
            "features": {"keep": "all"},
            "seeds": list(self.seeds),
        }


@dataclass(frozen=True)
class Row:
    """What a run of an entry gave.

    Attributes:
        entry: The entry.
        made_of: What decided its numbers, by :data:`PARTS`; ``None`` where it is not known.
        commit: The commit that it ran at, ``+`` where files differed from it.
        means: Its mean metrics; none of a run that failed.
        failed: Why there are none.
    """

    entry: Entry
    made_of: Mapping[str, str | None]
    commit: str | None = None
    means: Mapping[str, Any] = field(default_factory=dict)
    failed: str | None = None

    def differs(self, now: Mapping[str, str | None]) -> list[str]:
        """The parts in which things are not, or not for certain, as they were at its run.

        What was not known when a run failed is no difference: it has no numbers.
        """
        is_open = self.failed is not None
        return [
            part
            for part in PARTS
            if self.made_of.get(part) != now.get(part) or (now.get(part) is None and not is_open)
        ]


def read_rows(path: Path) -> list[Row]:
    """The rows of earlier calls.

    Raises:
        InputError: The file is damaged, or of a version that did not say what rows were made of.
    """
    if not path.exists():
        return []
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return [Row(**{**row, "entry": Entry.of(row["entry"])}) for row in said]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as rows of this version of the leaderboard: move it away, or "
            "give another folder with --out"
        ) from error


def rows_json(rows: Iterable[Row]) -> str:
    """The rows as :func:`read_rows` takes them."""
    return json.dumps({"rows": [asdict(row) for row in rows]}, indent=2) + "\n"


def published(project: Path, parameters: Mapping[str, Any]) -> CurrentRun:
    """The run of some parameters in a project; nothing is run.

    Raises:
        ClickException: The configuration cannot be used; the message is one line.
    """
    configure_project("uniformaly_pipeline")
    loader = settings.CONFIG_LOADER_CLASS(
        str(project / "conf"), runtime_params=dict(parameters), **settings.CONFIG_LOADER_ARGS
    )
    loader["parameters"]  # publishes the run
    run = current_run()
    assert run is not None
    return run


def task_of(run: CurrentRun) -> str:
    """The task that stands on the board for a run's data set."""
    return "defect" if run.has_defects else "semantic"


def settings_part(run: CurrentRun) -> str:
    """The names of a run's results, of which the run key holds all settings that differ."""
    task = task_of(run)
    return "/".join([task, *run.names(task).values()])


def code_part() -> str:
    """A short hash of the package's files, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(PACKAGE).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


class Now:
    """What decides the numbers of entries as things are now; each is looked up once."""

    def __init__(self, project: Path) -> None:
        """Look at the code and the machine.

        Args:
            project: The project's folder.
        """
        self._project = project
        machine = describe()
        self.commit: str | None = machine["commit"]
        self.shared: dict[str, str | None] = {
            "code": code_part(),
            "libraries": " ".join(f"{name} {each}" for name, each in machine["versions"].items()),
            "machine": f"{machine['cores']} cores of {machine['cpu']}",
        }
        self._images = cache(self._find_images)
        self._weights: dict[str, str | None] = {}

    def of(self, entry: Entry) -> dict[str, str | None]:
        """By :data:`PARTS`; ``None`` for what no run has seen yet and for what cannot be had."""
        try:
            run = published(self._project, entry.parameters)
        except ClickException:
            return {**dict.fromkeys(PARTS), **self.shared}
        return {
            **self.shared,
            "settings": settings_part(run),
            "root": run.root_record["root"],
            "weights": self._find_weights(run),
            "images": self._images(entry.data_set),
        }

    def _find_images(self, data_set: str) -> str | None:
        """The hash of a data set's images; files that an earlier run knew are only listed."""
        try:
            parameters = {"dataset": data_set}
            with KedroSession.create(self._project, runtime_params=parameters) as session:
                catalog = session.load_context().catalog  # type: ignore[attr-defined]
                if not catalog.exists(MANIFEST):
                    return None
                names = ("raw_images", f"params:datasets.{data_set}", "params:categories")
                plan = plan_manifest(*map(catalog.load, names))
                return data_hash(manifest_of(plan, catalog.load(MANIFEST)))
        except (InputError, DatasetError, ClickException):
            return None  # a run says what is wrong

    def _find_weights(self, run: CurrentRun) -> str | None:
        """The hash of a backbone's weights, as features that are stored tell theirs."""
        parameters = run.parameters
        backbone = Backbone(**parameters.chosen_backbone.model_dump())
        key = repr((backbone, parameters.input_size, parameters.seed))
        if key not in self._weights:
            try:
                model = load_backbone(backbone, parameters.input_size, parameters.seed)
                self._weights[key] = weights_hash(model)
            except InputError:
                self._weights[key] = None  # a run says what is wrong
        return self._weights[key]
