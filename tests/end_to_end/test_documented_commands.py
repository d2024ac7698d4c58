"""The commands of README.md and the pages, as they are printed, on the demo; and the screen."""

from __future__ import annotations

import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import pyte  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from tests.end_to_end.conftest import Project
from tests.end_to_end.conftest import commands as forking_commands
from tests.end_to_end.forked import Commands
from uniformaly_pipeline.datasets.image_folder_dataset import ImageFolderDataset
from uniformaly_pipeline.ingestion import drawings
from uniformaly_pipeline.ingestion.layouts.demo import SEED, VERSION, DrawnImages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

ELSEWHERE = {
    r"^make (run|test|bench|bench-gpu|leaderboard|mlflow|viz)\b": "installs, measures or serves",
    r"^python -m (benchmarks|tools)\.": "measures for long",
    r"^(pip|python3 -m venv|pre-commit|docker|curl|printf|cp|tar|source|export) ": "of the system",
    r"^(useradd|systemctl|journalctl|mkdir) ": "of the system",
    r"^/opt/": "of a line's machine",
    r" /opt/": "of a line's machine",
    r"^(kedro viz run|mlflow ui|mlflow models serve)": "serves until it is ended",
    r"^uniformaly (watch|serve)": "goes on until it is ended",
    r"--env=gpu": "needs a GPU",
    r"--pipelines=paper": "runs every task: test_paper.py does, on less",
    r"--env=ray|^ray (up|exec|down) ": "needs a cluster; see test_ray.py",
    r"=download|=mvtec|=species60": "needs the network and the data set",
    r"\bs3://": "needs a bucket; see test_storage.py and tests/commands/test_elsewhere.py",
    r"seeds=0\+1": "fits every model five times; see test_methods.py",
    r"^python -c": "reads results of the whole demo",
    r"--pair": "compares rows of the runs on its page",
}
"""Commands that no test can run, by what they are like."""

NEEDS_WEIGHTS = re.compile(r"backbone[= ](dino|ibot)_|path/to/dinov2|dataset=bottles|root=/images")
"""What ends in one line here: weights that must be downloaded, folders that are examples."""


def commands_of(page: Path) -> list[str]:
    """What a page tells people to type, without remarks; lines that go on are joined."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        joined = block.replace("\\\n", " ")
        for line in joined.splitlines():
            command = re.sub(r"(^|\s+)#.*$", "", line).strip()
            if command:
                found.append(command)
    return found


def all_commands() -> list[str]:
    """Every command once, in the order of the pages."""
    return list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))


def first_on(pages: slice) -> list[str]:
    """Commands of some of the pages that can be run and stand on no page before."""
    before = {command for page in PAGES[: pages.start] for command in commands_of(page)}
    own = [command for page in PAGES[pages] for command in commands_of(page)]
    return [c for c in dict.fromkeys(own) if c not in before and runs_here(c)]


def runs_here(command: str) -> bool:
    return not any(re.search(pattern, command) for pattern in ELSEWHERE)


@pytest.fixture(scope="module")
def commands() -> Commands:
    """What runs them."""
    return forking_commands()


SHOWN = ["bolt", "denim"]
"""Categories of the demo that the pages name."""


@pytest.fixture(scope="module")
def finished(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after its first run, with what the pages name; its settings make the demo small."""
    path = Project(tmp_path_factory.mktemp("documented") / "project").path
    local = yaml.safe_load((ROOT / "conf/test/parameters.yml").read_text(encoding="utf-8"))
    local["categories"] = SHOWN
    tiny = {"preprocessing": {"resize": 56, "crop": 56}}
    local["datasets"] = dict.fromkeys(("demo", "folder", "class_folder"), tiny)
    (path / "conf/local").mkdir(exist_ok=True)
    (path / "conf/local/parameters.yml").write_text(yaml.safe_dump(local), encoding="utf-8")
    demo = path / "data/01_raw/demo"
    # Drawing all six categories takes longer than everything else of the first run.
    draw = partial(drawings.draw, SEED, SHOWN)
    drawn = DrawnImages(VERSION, len(drawings.paths(SHOWN)), draw)
    ImageFolderDataset(filepath=str(demo)).save(drawn)
    for name in SHOWN:
        link(path / "path/to/images" / name, demo / name)
        for split in ("train", "test"):
            link(path / f"path/to/classes/one_class_{split}/{name}", demo / name / split / "good")
    link(path / "path/to/photographs", path / "path/to/images")
    for name in ("path/to/good", "good", "more_good"):
        link(path / name, demo / "bolt/train/good")
    for name in ("path/to/new", "new", "some_new", "test_images"):
        link(path / name, demo / "bolt/test/stripped")
    with pytest.MonkeyPatch.context() as patch:
        be_a_user(patch)
        status, said = commands.run("kedro run", path)
    assert status == 0, said
    return path


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that project."""
    be_a_user(monkeypatch)
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))


def be_a_user(patch: pytest.MonkeyPatch) -> None:
    """Find the commands, and track runs where the project does."""
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.setenv("DO_NOT_TRACK", "1")
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def problems_of(wanted: list[str], commands: Commands, path: Path) -> list[str]:
    """What did not end as it should, a line for each command."""
    problems = []
    for command in wanted:
        status, said = commands.run(command, path)
        if NEEDS_WEIGHTS.search(command):
            # Offline it says so, and what to do.
            is_right = status > 0 and "Traceback" not in said
        else:
            is_right = status == 0
        if not is_right:
            last = " / ".join(said.strip().splitlines()[-3:])
            problems.append(f"{command}: status {status}: {last}")
    return problems


MAX_LINES = 45
"""What a run says stays on the screen."""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


HALF = next(i for i, page in enumerate(PAGES) if page.name > "gpu")
"""Here the pages are cut in two, so that two workers of pytest share the work."""


@pytest.mark.slow
@forks
@pytest.mark.parametrize("pages", [slice(0, HALF), slice(HALF, len(PAGES))])
def test_every_command_of_kedro_works_as_printed(
    pages: slice, place: Path, commands: Commands
) -> None:
    wanted = [c for c in first_on(pages) if not c.startswith("uniformaly ")]
    wanted = [c.replace("<root>", "path/to/images") for c in wanted]
    # Their Makefile's target only finds the environment.
    wanted = [
        re.sub(r'^make compare(?: ARGS="(.*)")?$', r"uniformaly compare \1", c) for c in wanted
    ]
    assert len(wanted) > 10
    assert problems_of(wanted, commands, place) == []


@pytest.mark.slow
@forks
def test_every_command_of_the_detector_works_as_printed(place: Path, commands: Commands) -> None:
    wanted = [c for c in first_on(slice(0, len(PAGES))) if c.startswith("uniformaly ")]
    assert len(wanted) > 10
    assert problems_of(wanted, commands, place) == []


def screen(text: str, columns: int) -> list[str]:
    """The lines that a terminal so wide shows in the end, down to the last that is not empty."""
    shown = pyte.Screen(columns, 500)
    pyte.Stream(shown).feed(text.replace("\n", "\r\n"))
    lines = [line.rstrip() for line in shown.display]
    return lines[: 1 + max(i for i, line in enumerate(lines) if line)]


@pytest.mark.slow
@forks
@pytest.mark.parametrize(("columns", "setting"), [(80, "kernel_size=3"), (140, "kernel_size=5")])
def test_a_run_is_one_screen_on_which_nothing_is_cut_or_wrapped(
    columns: int, setting: str, place: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    # Paths of an environment that is not active may be of any length.
    programs = [str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(programs))
    # As on a terminal, with lines that are drawn again and again.
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    # A setting of its own, so that images are encoded: that has the most to say.
    status, said = commands.run(f"kedro run --params=bpm.{setting}", place)
    assert status == 0, said
    # The demo is made small, which its path tells.
    said = re.sub(r"quickstart/[^/]+/report", "quickstart/default/report", said)
    lines = screen(said, columns)
    assert lines == screen(said, 10 * columns), "a line is wrapped, or drawn twice"
    assert len(lines) <= MAX_LINES
    assert not [line for line in lines if "…" in line or "..." in line]
    assert any("Features: encoded 120 images in" in line for line in lines)
    stages = [line for line in lines if re.match(r"(ingestion|features|reporting) ", line)]
    assert len(stages) == 3
    (names,) = (line for line in lines if line.startswith("┃"))
    rows = [line for line in lines if line.startswith("│")]
    assert [row.split()[1] for row in rows] == ["bolt", "denim", "mean", "std"]
    for row in rows:
        assert len(row) == len(names)
        figures = [cell.strip() for cell in row.strip("│").split("│")[1:]]
        assert all(re.fullmatch(r"\d\.\d{4}|[\d,]+(\.\d)?", figure) for figure in figures), row
    last = [line.split("  ")[0] for line in lines[-5:]]
    assert last == ["report", "compare runs", "in a browser", "", "lineage"]


def test_each_command_that_is_not_run_has_its_reason() -> None:
    """A pattern that fits no command any more would hide the next one."""
    everything = all_commands()
    for pattern in ELSEWHERE:
        assert any(re.search(pattern, command) for command in everything), pattern
    assert any(NEEDS_WEIGHTS.search(command) for command in everything)
