"""All methods and backbones at hand on all data sets at hand: one table, and AUROC against cost.

    python -m benchmarks.leaderboard [--data-sets demo ...] [--backbones quickstart ...]
                                     [--methods uniformaly ...] [--seeds 0+1+2] [--out FOLDER]

At hand are the demo, every data set of ``conf/`` whose root is there, and every backbone whose
weights lie on this machine. Each is a run of its own, ``defect`` or ``semantic``, in the project as
it is set up; each image is encoded once a backbone. What is done is kept in ``leaderboard.json``,
so that the command goes on after an interruption. A run that fails is told, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession

from benchmarks.machine import describe
from uniformaly_pipeline.common.files import new_file
from uniformaly_pipeline.features.backbone import Backbone, is_at_hand
from uniformaly_pipeline.parameters.current_run import current_run
from uniformaly_pipeline.parameters.schema import Parameters, parse_parameters
from uniformaly_pipeline.reporting.figures.style import (
    COLOURS,
    INK,
    MARKERS,
    figure_png,
    new_figure,
)
from uniformaly_pipeline.scoring.methods.interface import MethodName

PROJECT = Path(__file__).parents[1]
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "aupro", "images_per_second")


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

    @property
    def key(self) -> str:
        """One for each entry."""
        return " ".join([self.data_set, self.backbone, self.method, *map(str, self.seeds)])

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


def at_hand(project: Path) -> tuple[list[str], list[str]]:
    """Data sets and backbones of a project that need no download."""
    parameters = _parameters(project)
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


def _parameters(project: Path) -> Parameters:
    loader = OmegaConfigLoader(
        str(project / "conf"),
        base_env="base",
        default_run_env="local",
        merge_strategy={"parameters": "soft"},
    )
    return parse_parameters(loader["parameters"])


def run(entry: Entry, project: Path) -> dict[str, Any]:
    """Run an entry in a process of its own.

    Returns:
        Its mean metrics, or why there are none: ``failed``.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.leaderboard", "--run", json.dumps(asdict(entry)),
         "--project", str(project)],
        stdout=subprocess.PIPE, text=True, check=False, cwd=PROJECT,
    )  # fmt: skip
    if done.returncode:
        return {"failed": f"ended with status {done.returncode}: see what it printed above"}
    means: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return means


def run_here(entry: Entry, project: Path) -> dict[str, Any]:
    """Run an entry in this process and give its mean metrics."""
    configure_project("uniformaly_pipeline")
    options: dict[str, Any] = {"project_path": project, "runtime_params": entry.parameters}
    with KedroSession.create(**options) as session:
        session.load_context()  # type: ignore[attr-defined]
        made = current_run()
        assert made is not None
        task = "defect" if made.has_defects else "semantic"
        session.run(pipeline_names=[task])  # type: ignore[call-arg]
    names = "/".join([task, *made.names(task).values()])
    path = Path(made.paths.get("reporting", project / "data/08_reporting"), names, "metrics.json")
    means: dict[str, Any] = json.loads((project / path).read_text(encoding="utf-8"))["mean"]
    return {name: means[name] for name in means if name.startswith(METRICS)}


def board(found: Mapping[str, Mapping[str, Any]], entries: Sequence[Entry]) -> str:
    """The table in Markdown: of each data set the best image AUROC first, failures last."""
    lines = [
        "| data set | backbone | method | image AUROC | image AP | image F1-max | pixel AUROC | "
        "AUPRO | images/s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in sorted(entries, key=lambda each: _rank(each, found)):
        row = found[entry.key]
        names = f"| {entry.data_set} | {entry.backbone} | `{entry.method}` |"
        if "failed" in row:
            lines.append(f"{names} {row['failed']} | | | | | |")
            continue
        cells = [_cell(row, name) for name in METRICS]
        lines.append(f"{names} {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rank(entry: Entry, found: Mapping[str, Mapping[str, Any]]) -> tuple[str, bool, float, str]:
    row = found[entry.key]
    return entry.data_set, "failed" in row, -(row.get("image_auroc") or 0.0), entry.key


def _cell(row: Mapping[str, Any], name: str) -> str:
    """A mean, with its deviation over seeds where there are several."""
    value, spread = row.get(name), row.get(f"{name}_over_seeds")
    if value is None:
        return "–"
    if name == "images_per_second":
        return f"{value:.1f}"
    return f"{value:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


def picture(found: Mapping[str, Mapping[str, Any]], entries: Sequence[Entry]) -> bytes:
    """Image AUROC against images a second, PNG: a colour a backbone, a marker a method."""
    figure, axes = new_figure("Image AUROC against cost")
    figure.set_size_inches(7.0, 4.5)
    backbones, methods = (
        list(dict.fromkeys(getattr(each, name) for each in entries))
        for name in ("backbone", "method")
    )
    for entry in entries:
        row = found[entry.key]
        if row.get("image_auroc") is None or row.get("images_per_second") is None:
            continue
        axes.plot(
            row["images_per_second"], row["image_auroc"],
            marker=MARKERS[methods.index(entry.method) % len(MARKERS)],
            color=COLOURS[backbones.index(entry.backbone) % len(COLOURS)],
            linestyle="none", label=f"{entry.data_set}, {entry.backbone}, {entry.method}",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("images a second", color=INK)
    axes.set_ylabel("image AUROC", color=INK)
    if axes.lines:
        figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    return figure_png(figure)


def _write(folder: Path, found: Mapping[str, Any], entries: Iterable[Entry]) -> None:
    """All files, each in one step."""
    done = [entry for entry in entries if entry.key in found]
    contents = {
        "leaderboard.json": (json.dumps(found, indent=2) + "\n").encode(),
        "leaderboard.md": board(found, done).encode(),
        "leaderboard.png": picture(found, done),
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


def main(given: Sequence[str] | None = None) -> int:
    """Run what is missing and write the board; 1 where a run failed."""
    arguments = _arguments(given)
    if arguments.run:
        asked = json.loads(arguments.run)
        entry = Entry(**{**asked, "seeds": tuple(asked["seeds"])})
        print(json.dumps(run_here(entry, arguments.project)))
        return 0
    data_sets, backbones = at_hand(arguments.project)
    seeds = tuple(map(int, filter(None, arguments.seeds.split("+"))))
    entries = [
        Entry(data_set, backbone, method, seeds)
        for data_set in arguments.data_sets or data_sets
        for backbone in arguments.backbones or backbones
        for method in arguments.methods
    ]
    kept = arguments.out / "leaderboard.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    # What failed is tried again.
    found = {key: row for key, row in found.items() if "failed" not in row}
    for number, entry in enumerate(entries, start=1):
        if entry.key not in found:
            print(f"[{number}/{len(entries)}] {entry.key}", file=sys.stderr, flush=True)
            found[entry.key] = run(entry, arguments.project)
            _write(arguments.out, found, entries)
    _write(arguments.out, found, entries)
    machine = describe()
    print(f"{machine['cores']} cores of {machine['cpu']}, commit {machine['commit']}\n")
    print(board(found, entries))
    print(f"Written to {arguments.out}: leaderboard.md, .png and .json")
    return int(any("failed" in found[entry.key] for entry in entries))


if __name__ == "__main__":
    sys.exit(main())
