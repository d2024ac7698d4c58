"""All methods and backbones at hand on all data sets at hand: one table, and AUROC against cost.

    python -m benchmarks.leaderboard [--data-sets demo ...] [--backbones quickstart ...]
                                     [--methods uniformaly ...] [--seeds 0+1+2] [--out FOLDER]

At hand are the demo, every data set of ``conf/`` whose root is there, and every backbone whose
weights lie on this machine. Each is a run of its own, ``defect`` or ``semantic``, in the project as
it is set up; each image is encoded once a backbone. What is done is kept in ``leaderboard.json``,
so that the command goes on after an interruption. A row of an earlier call stays on the board as
long as all that decides its numbers is as it was, see :mod:`benchmarks.leaderboard_rows`; of what
was asked for, other rows are made again. A run that fails is told, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from click import ClickException
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession

from benchmarks.leaderboard_rows import (
    Entry,
    Now,
    Row,
    code_part,
    published,
    read_rows,
    rows_json,
    settings_part,
    task_of,
)
from benchmarks.machine import describe
from uniformaly_pipeline.common.errors import InputError, as_line, did_you_mean, list_problems
from uniformaly_pipeline.common.files import new_file
from uniformaly_pipeline.features.backbone import Backbone, is_at_hand, load_backbone
from uniformaly_pipeline.parameters.current_run import current_run
from uniformaly_pipeline.parameters.schema import Parameters
from uniformaly_pipeline.pipelines.freshness import MANIFEST
from uniformaly_pipeline.reporting.figures.style import (
    COLOURS,
    INK,
    MARKERS,
    figure_png,
    sized_figure,
)
from uniformaly_pipeline.scoring.methods.interface import MethodName
from uniformaly_pipeline.tracking.runs import data_hash

PROJECT = Path(__file__).parents[1]
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "aupro", "images_per_second")
FILLS = ("full", "none", "left", "right", "bottom", "top")
"""Of markers: more backbones than there are colours take the next."""
SEEDS = re.compile(r"([0-9]+(\+[0-9]+)*)?")


def at_hand(project: Path) -> tuple[list[str], list[str]]:
    """Data sets and backbones of a project that need no download.

    Raises:
        ClickException: The project's configuration cannot be used.
    """
    parameters = published(project, {}).parameters
    data_sets = [
        name
        for name, each in parameters.datasets.items()
        if each.layout == "demo" or (each.root and any((project / each.root).glob("*")))
    ]
    backbones = [
        name
        for name, each in parameters.backbones.items()
        if is_at_hand(Backbone(**each.model_dump()))
    ]
    return data_sets, backbones


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds such as ``0+1+2``; none of an empty text.

    Raises:
        InputError: They are not whole numbers from 0 joined by ``+``, or one comes twice.
    """
    found = SEEDS.fullmatch(text)
    seeds = tuple(map(int, filter(None, text.split("+")))) if found else ()
    if not found or len(set(seeds)) < len(seeds):
        raise InputError(
            f"--seeds {text}: give whole numbers from 0, each once, joined by +, such as 0+1+2"
        )
    return seeds


def _faults(
    project: Path, parameters: Parameters, data_sets: Sequence[str], backbones: Sequence[str]
) -> Iterator[str]:
    """What is wrong with names that were given, a line for each."""
    for name in data_sets:
        if name not in parameters.datasets:
            hint = did_you_mean(name, parameters.datasets)
            yield f"--data-sets: conf/ has no data set '{name}'{hint}"
            continue
        try:
            published(project, {"dataset": name}).classes()
        except (InputError, ClickException) as error:
            yield f"--data-sets {name}: {_message(error)}"
    for name in backbones:
        if name not in parameters.backbones:
            hint = did_you_mean(name, parameters.backbones)
            yield f"--backbones: conf/ has no backbone '{name}'{hint}"
            continue
        backbone = Backbone(**parameters.backbones[name].model_dump())
        try:
            load_backbone(backbone, (backbone.input_side, backbone.input_side))
        except InputError as error:
            yield f"--backbones {name}: {error}"


def _message(error: InputError | ClickException) -> str:
    return error.format_message() if isinstance(error, ClickException) else str(error)


def run(entry: Entry, project: Path) -> Row:
    """Run an entry in a process of its own.

    Args:
        entry: What to run.
        project: The project's folder.

    Returns:
        Its row; of a run that failed with the last line of what it printed as an error.
    """
    last = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.leaderboard", "--run", json.dumps(asdict(entry)),
             "--project", str(project)],
            stdout=printed, stderr=subprocess.PIPE, text=True, errors="replace", cwd=PROJECT,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            for line in process.stderr:
                sys.stderr.write(line)
                sys.stderr.flush()
                last = line.strip() or last
        if process.returncode == 0:
            printed.seek(0)
            said = json.loads(printed.read().splitlines()[-1])
            return Row(**{**said, "entry": entry})
    now = Now(project)  # the run may have been the first to see the images
    ended = f"ended with status {process.returncode}"
    reason = as_line(last.removeprefix("Error: ")) or "it said nothing"
    return Row(entry, now.of(entry), now.commit, failed=f"{ended}: {reason}")


def run_here(entry: Entry, project: Path) -> Row:
    """Run an entry in this process.

    Args:
        entry: What to run.
        project: The project's folder.

    Returns:
        Its row, with what the run itself saw of images and weights.

    Raises:
        ClickException: It failed for what a user can mend.
    """
    configure_project("uniformaly_pipeline")
    now = Now(project)  # code that changes meanwhile is not what runs
    options: dict[str, Any] = {"project_path": project, "runtime_params": entry.parameters}
    with KedroSession.create(**options) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        made = current_run()
        assert made is not None
        task = task_of(made)
        session.run(pipeline_names=[task])  # type: ignore[call-arg]
        made_of: dict[str, str | None] = {
            **now.shared,
            "settings": settings_part(made),
            "root": made.root_record["root"],
            "images": data_hash(catalog.load(MANIFEST)),
            "weights": catalog.load("features").header.weights_sha256,
        }
        means = catalog.load(f"{task}.metrics")["mean"]
    if code_part() != now.shared["code"]:
        made_of["code"] = None  # modules may have been imported before or after the change
    shown = {name: means[name] for name in means if name.startswith(METRICS)}
    return Row(entry, made_of, now.commit, shown)


def board(rows: Sequence[Row]) -> str:
    """The table in Markdown: of each data set the best image AUROC first, failures last."""
    lines = [
        "| data set | seeds | backbone | method | image AUROC | image AP | image F1-max | "
        "pixel AUROC | AUPRO | images/s | commit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=_rank):
        entry, seeds = row.entry, "+".join(map(str, row.entry.seeds)) or "–"
        names = f"| {entry.data_set} | {seeds} | {entry.backbone} | `{entry.method}` |"
        commit = f"| {row.commit or 'unknown'} |"
        if row.failed is not None:
            reason = row.failed.replace("|", "\\|")
            lines.append(f"{names} {reason} | | | | | {commit}")
            continue
        cells = [_cell(row.means, name) for name in METRICS]
        lines.append(f"{names} {' | '.join(cells)} {commit}")
    return "\n".join(lines) + "\n"


def _rank(row: Row) -> tuple[str, tuple[int, ...], bool, float, str]:
    best = -(row.means.get("image_auroc") or 0.0)
    return row.entry.data_set, row.entry.seeds, row.failed is not None, best, row.entry.name


def _cell(row: Mapping[str, Any], name: str) -> str:
    """A mean, with its deviation over seeds where there are several."""
    value, spread = row.get(name), row.get(f"{name}_over_seeds")
    if value is None:
        return "–"
    if name == "images_per_second":
        return f"{value:.1f}"
    return f"{value:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


def picture(rows: Sequence[Row]) -> bytes:
    """Image AUROC against images a second, PNG.

    A panel is a data set, with its seeds, a colour a backbone and a marker a method.
    """
    drawn = [
        row
        for row in sorted(rows, key=_rank)
        if row.means.get("image_auroc") is not None and row.means.get("images_per_second")
    ]
    groups, backbones, methods = (
        list(dict.fromkeys(getattr(row.entry, name) for row in drawn))
        for name in ("group", "backbone", "method")
    )
    figure = sized_figure(7.0, 1.0 + 3.0 * max(1, len(groups)))
    figure.suptitle("Image AUROC against cost", fontsize=10, color=INK)
    panels = figure.subplots(max(1, len(groups)), squeeze=False)[:, 0]
    for axes, group in zip(panels, groups, strict=False):
        axes.set_title(group, fontsize=9, loc="left", color=INK, parse_math=False)
    symbols = {}
    for row in drawn:
        number = backbones.index(row.entry.backbone)
        (line,) = panels[groups.index(row.entry.group)].plot(
            row.means["images_per_second"], row.means["image_auroc"],
            marker=MARKERS[methods.index(row.entry.method) % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            fillstyle=FILLS[number // len(COLOURS) % len(FILLS)], linestyle="none",
        )  # fmt: skip
        symbols[f"{row.entry.backbone}, {row.entry.method}"] = line
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9, colors=INK)
        axes.set_xscale("log")
        axes.set_xlabel("images a second", color=INK)
        axes.set_ylabel("image AUROC", color=INK)
    if symbols:
        names = sorted(symbols)
        figure.legend(
            [symbols[name] for name in names], names,
            loc="outside right upper", fontsize=7, frameon=False,
        )  # fmt: skip
    return figure_png(figure)


def _write(folder: Path, rows: Sequence[Row], others: Sequence[Row]) -> None:
    """All files, each in one step; rows that do not hold are kept for when they do again."""
    contents = {
        "leaderboard.json": rows_json([*rows, *others]).encode(),
        "leaderboard.md": board(rows).encode(),
        "leaderboard.png": picture(rows),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with new_file(folder / name) as part:
            part.write_bytes(content)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-sets", nargs="+", metavar="KEY", help="by default those at hand")
    parser.add_argument("--backbones", nargs="+", metavar="KEY", help="by default those at hand")
    methods = get_args(MethodName)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    parser.add_argument("--seeds", default="", help="such as 0+1+2")
    parser.add_argument("--out", type=Path, default=PROJECT / "build/leaderboard")
    parser.add_argument("--project", type=Path, default=PROJECT, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def _asked(arguments: argparse.Namespace) -> list[Entry]:
    """The entries that are asked for, each once.

    Raises:
        InputError: A name or a seed cannot be used; the message tells all of them.
        ClickException: The project's configuration cannot be used.
    """
    project = arguments.project
    data_sets, backbones = at_hand(project)
    parameters = published(project, {}).parameters
    named = arguments.data_sets or [], arguments.backbones or []
    faults: list[str] = []
    seeds: tuple[int, ...] = ()
    try:
        seeds = read_seeds(arguments.seeds)
    except InputError as error:
        faults.append(str(error))
    faults += _faults(project, parameters, *named)
    if faults:
        raise InputError(list_problems(faults))
    entries = (
        Entry(data_set, backbone, method, seeds)
        for data_set in named[0] or data_sets
        for backbone in named[1] or backbones
        for method in arguments.methods
    )
    return list(dict.fromkeys(entries))


def _sort_out(
    rows: Sequence[Row], asked: Sequence[Entry], now: Now
) -> tuple[dict[Entry, Row], list[Row], list[str]]:
    """Rows of earlier calls that hold, those to keep beside them, and a line on each not shown.

    What failed and is asked for is tried again, and is in neither.
    """
    shown: dict[Entry, Row] = {}
    others: list[Row] = []
    told: dict[Entry, str] = {}
    for row in rows:
        is_asked = row.entry in asked
        if row.failed is not None and is_asked:
            continue
        parts = row.differs(now.of(row.entry))
        if not parts:
            shown[row.entry] = row
        elif not is_asked:
            others.append(row)
            told[row.entry] = f"{row.entry.name} ({', '.join(parts)})"
        elif None not in row.made_of.values():
            others.append(row)  # it holds again where things are put back
    return shown, others, [line for entry, line in told.items() if entry not in shown]


def _measure(arguments: argparse.Namespace) -> int:
    """Run what is missing and write the board.

    Returns:
        1 where a run that was asked for failed, else 0.

    Raises:
        InputError: The arguments or the file of earlier rows cannot be used.
        ClickException: The project's configuration cannot be used.
    """
    earlier = read_rows(arguments.out / "leaderboard.json")
    asked = _asked(arguments)
    shown, others, told = _sort_out(earlier, asked, Now(arguments.project))
    if told:
        print(
            "not shown, as what decides them differs now or is not known; ask for them to run "
            f"them again: {list_problems(told)}",
            file=sys.stderr,
        )
    for number, entry in enumerate(asked, start=1):
        if entry not in shown:
            print(f"[{number}/{len(asked)}] {entry.name}", file=sys.stderr, flush=True)
            shown[entry] = run(entry, arguments.project)
            _write(arguments.out, list(shown.values()), others)
    rows = list(shown.values())
    _write(arguments.out, rows, others)
    machine = describe()
    print(f"{machine['cores']} cores of {machine['cpu']}\n")
    print(board(rows))
    print(f"Written to {arguments.out}: leaderboard.md, .png and .json")
    return int(any(shown[entry].failed is not None for entry in asked))


def main(given: Sequence[str] | None = None) -> int:
    """Run what is missing and write the board.

    Args:
        given: The arguments, by default those of the command line.

    Returns:
        The exit status: 1 where a run failed, 2 where nothing could be run.
    """
    arguments = _arguments(given)
    try:
        if not arguments.run:
            return _measure(arguments)
        entry = Entry.of(json.loads(arguments.run))
        try:
            print(json.dumps(asdict(run_here(entry, arguments.project))))
        finally:
            # Kedro has a traceback drawn in a frame, which breaks its last line into several.
            sys.excepthook = sys.__excepthook__
    except (InputError, ClickException) as error:
        print(f"Error: {_message(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
