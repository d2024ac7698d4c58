"""A copy of the project to run pipelines in, so that tests leave the working tree alone."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from PIL import Image

from tests.end_to_end.forked import Commands
from uniformaly_pipeline.common.checked_file import MARKS
from uniformaly_pipeline.parameters.current_run import current_run

ROOT = Path(__file__).parents[2]
PACKAGE = "uniformaly_pipeline"
KEDRO = str(Path(sys.executable).with_name("kedro"))


@cache
def commands() -> Commands:
    """What runs commands, for all tests of a worker of pytest: it imports for seconds."""
    made = Commands()
    atexit.register(made.close)
    return made


def link_package(project: Path) -> None:
    """Give a copy of the project this package; ``src`` itself must lie in it, says Kedro.

    Nobody writes there; a copy for each test takes seconds of every minute.
    """
    (project / "src").mkdir(parents=True)
    (project / "src" / PACKAGE).symlink_to(ROOT / "src" / PACKAGE, target_is_directory=True)


class Project:
    """A copy of the project without data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(ROOT / "conf", path / "conf")
        shutil.copy(ROOT / "pyproject.toml", path)
        link_package(path)
        (path / "data").mkdir()

    def with_demo(self, demo_images: Path) -> Project:
        """The project, with its own copy of the demo's images in their place."""
        shutil.copytree(demo_images, self.path / "data/01_raw/demo")
        return self

    def run(self, pipeline: str = "defect", **params: Any) -> None:
        """Run pipelines (``a,b``) in this process, ``params`` as from the command line."""
        configure_project(PACKAGE)
        with KedroSession.create(project_path=self.path, runtime_params=params) as session:
            session.run(pipeline_names=pipeline.split(","))

    def kedro(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``kedro`` as a user does, but for the imports; see :mod:`.forked`."""
        if not hasattr(os, "fork"):
            return self.kedro_from_scratch(*arguments)
        return commands().complete([KEDRO, *arguments], self.path)

    def kedro_from_scratch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``kedro`` in an interpreter of its own, which the environment tells how to start."""
        return subprocess.run(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=False,
        )

    def place(self, task: str = "defect") -> str:
        """Where a task's results lie below each layer, with the parameters of the last run."""
        run = current_run()
        assert run is not None
        return "/".join([task, *run.names(task).values()])

    def outputs(self) -> list[str]:
        """All files that runs wrote, relative to ``data``, but for the marks of their content."""
        data = self.path / "data"
        return sorted(
            path.relative_to(data).as_posix()
            for path in data.rglob("*")
            if path.is_file() and path.parent.name != MARKS
        )


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One tracking database for all in-process runs: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def project(
    tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project that tracks to a database outside it; the working directory is inside."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    made = Project(tmp_path / "project")
    monkeypatch.chdir(made.path)
    yield made
    import mlflow

    while mlflow.active_run():
        mlflow.end_run()


@pytest.fixture
def demo(project: Project, demo_images: Path) -> Project:
    """That project, with the demo's images of ``--env=test`` in their place."""
    return project.with_demo(demo_images)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A small data set of one's own: two categories, one with masks, in MVTec AD's layout."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    for category, has_masks in [("nut", True), ("cloth", False)]:
        for split, number in [("train/good", 4), ("test/good", 3), ("test/hole", 3)]:
            folder = root / category / split
            folder.mkdir(parents=True)
            for i in range(number):
                picture = rng.integers(90, 160, (72, 72, 3), dtype=np.uint8)
                mask = np.zeros((72, 72), np.uint8)
                if split == "test/hole":
                    picture[20:44, 24:48] = 0
                    mask[20:44, 24:48] = 255
                    if has_masks:
                        masks = root / category / "ground_truth" / "hole"
                        masks.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(mask).save(masks / f"{i:03d}_mask.png")
                Image.fromarray(picture).save(folder / f"{i:03d}.png")
    return root


TINY = {
    "model": "vit_tiny_patch16_224",
    "checkpoint": "untrained",
    "model_kwargs": {"img_size": 64, "patch_size": 8, "embed_dim": 24, "depth": 10, "num_heads": 2},
}


@pytest.fixture
def small(images: Path) -> dict[str, Any]:
    """Parameters of a quick run on the small data set."""
    return {
        "dataset": "folder",
        "backbone": "custom",
        "datasets": {"folder": {"root": str(images), "preprocessing": {"resize": 64, "crop": 64}}},
        "backbones": {"custom": TINY},
        "encoder": {"num_workers": 0},
    }


@pytest.fixture
def class_images(tmp_path: Path) -> Path:
    """A small data set of one's own classes, told apart by their colour."""
    root = tmp_path / "classes"
    rng = np.random.default_rng(0)
    colours = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
    for name, colour in colours.items():
        for split, number in (("train", 3), ("test", 2)):
            folder = root / f"one_class_{split}" / name / "nested"
            folder.mkdir(parents=True)
            for i in range(number):
                picture = rng.normal(colour, 12, (64, 64, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(picture).save(folder / f"{i}.png")
    return root


@pytest.fixture
def small_classes(small: dict[str, Any], class_images: Path) -> dict[str, Any]:
    """Parameters of a quick run on the small data set of classes."""
    preprocessing = {"resize": 64, "crop": 64}
    dataset = {"root": str(class_images), "preprocessing": preprocessing, "coreset_ratio": 0.1}
    return {**small, "dataset": "class_folder", "datasets": {"class_folder": dataset}}
