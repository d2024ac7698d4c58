"""``uniformaly predict``: images judged, with a table, a file of scores and pictures."""

from __future__ import annotations

import csv
import errno
import logging
import sys
from collections.abc import Iterable

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from uniformaly_pipeline.commands import options
from uniformaly_pipeline.common.errors import (
    CommandError,
    InputError,
    find_input_error,
    list_problems,
)
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.common.remote_path import AnyPath, RemotePath, as_path, new_file
from uniformaly_pipeline.common.storage import check_output
from uniformaly_pipeline.common.tables import as_cell
from uniformaly_pipeline.common.words import number_of, significant
from uniformaly_pipeline.detector.conformal import describe_p_values
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.results import PLACE_LEGEND, Result, Unreadable
from uniformaly_pipeline.detector.sources import Source, local_path, sources_of
from uniformaly_pipeline.reporting.gallery.naming import file_names

logger = logging.getLogger(__name__)

OF_ITS_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""Errors of a picture's own name, which no other picture need have."""

SHOWN = 20
"""Images of the table on the screen."""


@click.command(no_args_is_help=True)
@click.argument("detector")
@click.argument("images", nargs=-1, required=True)
@click.option("-o", "--out", type=options.Folder(), metavar="FOLDER",
              help="Write scores.csv and a picture of each image here; a URL will do.")  # fmt: skip
@click.option("--pictures", type=click.Choice(["all", "anomalous", "none"]), default="all",
              show_default=True, help="Which images to draw.")  # fmt: skip
@options.decision
@options.checkpoint
@options.device
def predict(
    detector: str,
    images: tuple[str, ...],
    out: AnyPath | None,
    pictures: str,
    false_alarm_rate: float | None,
    threshold: float | None,
    checkpoint: str | None,
    device: str,
) -> None:
    """Judge IMAGES, files or folders, with DETECTOR.

    Ends with status 1 where an image cannot be read; the others are judged all the same. A folder
    with a pipe, a device or a name that is not UTF-8 or has a newline ends it before any is judged.

    Where a disk is full the table is still shown, and scores.csv written if there is room; a new
    call judges and draws all anew.

    \b
    uniformaly predict bolt.safetensors new.png
    uniformaly predict bolt.safetensors new/ --out results/
    uniformaly predict bolt.safetensors new/ --threshold 31.5 --out results/ --pictures anomalous
    """
    if out is not None:
        check_output(str(out))
    loaded = Detector.load(detector, checkpoint=checkpoint, device=device)
    if threshold is not None or false_alarm_rate is not None:
        loaded.set_threshold(threshold, false_alarm_rate=false_alarm_rate)
    if out is not None:
        _refuse_within(out, images)
    sources = [source for given in images for source in _named(given, len(images) > 1)]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    results, problems, undrawn = [], [], []
    fault: OSError | InputError | None = None
    to_draw = drawn = 0
    names = file_names([source.name for source in sources])
    stale = set() if out is None else set((out / "pictures").rglob("*.png"))
    judged = track(loaded.predict_each_of(sources), len(sources), "Judging", "images")
    for name, each in zip(names, judged, strict=True):
        if isinstance(each, Unreadable):
            problems.append(each)
            continue
        is_drawn = pictures == "all" or (pictures == "anomalous" and each.is_anomalous)
        results.append(each)
        if out is None or not is_drawn:
            continue
        to_draw += 1
        path = out / "pictures" / f"{name}.png"
        stale.discard(path)
        if fault is not None:
            continue
        try:
            picture = each.draw()
        except InputError as error:  # the image is gone or another one by now
            undrawn.append(str(error))
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new_file(path) as part:
                picture.save(part, "PNG")
            drawn += 1
        except (OSError, InputError) as error:
            if isinstance(error, OSError) and error.errno in OF_ITS_NAME:
                undrawn.append(f"{each.name} ({error.strerror})")
            else:
                fault = error
    results.sort(key=lambda result: -result.score)
    has_scores = False
    if out is not None:
        # Also where there was no room for a picture: the table is small.
        try:
            write_scores(out / "scores.csv", results)
            has_scores = True
        except (OSError, InputError) as error:
            fault = fault or error
    if stale and fault is None:
        logger.warning(
            "%s in %s of an earlier call: scores.csv has only those of this one",
            number_of(len(stale), "picture"), out,
        )  # fmt: skip
    # A full disk costs what is written, not what was found out.
    of_rest = "they are in scores.csv" if has_scores else "they are not written"
    _show(results, loaded, "give --out for all of them" if out is None else of_rest)
    if out is not None and fault is None:
        click.echo(f"written to {out}")
    for problem in problems[:SHOWN]:
        click.echo(f"not judged: {problem.reason}", err=True)
    if undrawn:
        click.echo(f"no pictures of {list_problems(undrawn)}", err=True)
    if out is not None and fault is not None:
        told = find_input_error(fault)
        if told is None:
            raise fault
        there = _what_is_there(out, has_scores, drawn, to_draw)
        raise CommandError(f"{told}; {there}") from fault
    if problems:
        raise CommandError(
            f"{len(problems)} of {number_of(len(sources), 'image')} could not be judged"
        )
    if undrawn:
        raise CommandError(f"{number_of(len(undrawn), 'picture')} could not be written")


def write_scores(path: AnyPath, results: Iterable[Result]) -> None:
    """Write a table of results, highest score first, in one step.

    Columns are those of :meth:`.results.Result.to_dict`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = [
            {name: as_cell(value) for name, value in result.to_dict().items()} for result in results
        ]
        columns = list(rows[0]) if rows else ["image", "score"]
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _what_is_there(out: AnyPath, has_scores: bool, drawn: int, to_draw: int) -> str:
    """What a call has written that could not write everything."""
    pictures = f"{drawn:,} of {number_of(to_draw, 'picture')}"
    if has_scores:
        return f"written are scores.csv, whole, and {pictures}"
    old = ", the one there is of an earlier call" if _is_there(out / "scores.csv") else ""
    return f"written are {pictures} but no scores.csv{old}"


def _is_there(path: AnyPath) -> bool:
    """Whether there is a file; not where its disk does not answer."""
    try:
        return path.exists()
    except (OSError, InputError):
        return False


def _refuse_within(out: AnyPath, images: Iterable[str]) -> None:
    """Refuse to write where the next call would judge what is written.

    Raises:
        InputError: The folder lies in one whose images are judged.
    """
    for given in images:
        judged = as_path(given)
        if isinstance(out, RemotePath):
            is_within = f"{out}/".startswith(f"{judged}/")
        elif isinstance(judged, RemotePath):
            is_within = False
        else:
            is_within = out.resolve().is_relative_to(local_path(str(judged)).resolve())
        if is_within:
            raise InputError(f"{out} lies in {given}, whose images are judged: choose another")


def _named(given: str, is_one_of_several: bool) -> list[Source]:
    """The images of an argument; of several folders each image says which it is of."""
    sources = sources_of(given)
    if is_one_of_several and not (len(sources) == 1 and sources[0].name == given):
        folder = given.rstrip("/")
        return [Source(f"{folder}/{each.name}", each.read) for each in sources]
    return sources


def _show(results: list[Result], detector: Detector, rest: str) -> None:
    """Print a table of the first results, and of ``rest`` where the others are."""
    table = Table(title=f"threshold {detector.threshold}", title_justify="left")
    # Where the terminal is narrow names go on in the next line: their ends tell them apart.
    table.add_column("image", overflow="fold")
    for column in ("score", "p-value", "anomalous", "where"):
        is_number = column in ("score", "p-value")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    table.add_column("nearest\nnormal", overflow="fold")
    for result in results[:SHOWN]:
        place, evidence = result.place, result.evidence
        table.add_row(
            Text(result.name),
            significant(result.score),
            "" if result.p_value is None else f"{result.p_value:.3g}",
            "[bold red]yes[/]" if result.is_anomalous else "no",
            "" if place is None else f"({place.x:.0f}, {place.y:.0f})",
            Text("" if evidence is None else evidence.normal_image),
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if num_held_out := len(detector.calibration_scores):
        click.echo(describe_p_values(num_held_out))
    click.echo(PLACE_LEGEND)
    if len(results) > SHOWN:
        click.echo(f"and {len(results) - SHOWN} more with lower scores: {rest}")
    flagged = sum(result.is_anomalous for result in results)
    verb = "is" if flagged == 1 or len(results) == 1 else "are"
    click.echo(f"{flagged} of {number_of(len(results), 'image')} {verb} anomalous")
