"""``uniformaly watch``: every image that arrives in a folder is judged."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from uniformaly_pipeline.commands import options
from uniformaly_pipeline.commands.arrivals import Arrivals
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.files import new_file
from uniformaly_pipeline.common.words import as_text, number_of
from uniformaly_pipeline.detector.detector import Detector
from uniformaly_pipeline.detector.drift import Drift
from uniformaly_pipeline.detector.results import Result, Unreadable
from uniformaly_pipeline.detector.sources import Source
from uniformaly_pipeline.reporting.gallery.naming import possible_names

logger = logging.getLogger(__name__)

TIME = "%Y-%m-%dT%H:%M:%S%z"
"""How a line says when it was written."""

RESULTS = "results.jsonl"


@click.command(no_args_is_help=True)
@click.argument("detector")
@click.argument("folder", type=options.LocalFolder())
@click.option("-o", "--out", type=options.LocalFolder(file_okay=False), metavar="FOLDER",
              help="Keep the lines in results.jsonl and pictures here.")  # fmt: skip
@click.option("--pictures", type=click.Choice(["all", "anomalous", "none"]), default="anomalous",
              show_default=True, help="Which images to draw.")  # fmt: skip
@click.option(
    "--existing",
    is_flag=True,
    help="Judge the files that are there already, but for those in results.jsonl.",
)
@click.option("--settle", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              metavar="SECONDS", help="A file unchanged for so long is whole.")  # fmt: skip
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="An unreadable file unchanged for so long is given up.",
)
@click.option("--poll", is_flag=True, help="For network disks that tell of no changes.")
@options.decision
@options.checkpoint
@options.device
def watch(
    detector: str,
    folder: Path,
    out: Path | None,
    pictures: str,
    existing: bool,
    settle: float,
    patience: float,
    poll: bool,
    false_alarm_rate: float | None,
    threshold: float | None,
    checkpoint: str | None,
    device: str,
) -> None:
    """Judge each image that arrives in FOLDER with DETECTOR: a line of JSON each.

    Stops at Ctrl-C or SIGTERM. A line has the image's score and decision, or under "error" why it
    could not be read, and tells whether the scores drift.

    \b
    uniformaly watch bolt.safetensors incoming/
    uniformaly watch bolt.safetensors incoming/ --out results/ --existing
    uniformaly watch bolt.safetensors incoming/ | jq 'select(.is_anomalous)'
    """
    if not folder.is_dir():
        what = "is no folder: give one" if folder.exists() else "does not exist: make it"
        raise InputError(f"the folder {folder} {what}")
    loaded = Detector.load(detector, checkpoint=checkpoint, device=device)
    if threshold is not None or false_alarm_rate is not None:
        loaded.set_threshold(threshold, false_alarm_rate=false_alarm_rate)
    loaded.warm_up()
    if out is not None:
        if out.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{out} lies in {folder}, whose new files are judged: choose another")
        out.mkdir(parents=True, exist_ok=True)
    arrivals = Arrivals(folder, settle, patience)
    if existing:
        arrivals.skip({} if out is None else judged_before(out / RESULTS))
    elif skipped := arrivals.skip():
        are, them = ("is", "it") if skipped == 1 else ("are", "them")
        logger.warning(
            "%s %s there already: --existing judges %s, too",
            number_of(skipped, "file"), are, them,
        )  # fmt: skip
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logger.info("Watching %s with %r", folder, loaded)
    lines = Lines(folder, out, pictures)
    ticks = wake_ups(folder, stop, max(0.05, settle / 2), poll)
    judge_arrivals(loaded, arrivals, ticks, lines.write, stop.is_set)
    logger.info("Stopped after %s", number_of(lines.count, "image"))


def judged_before(path: Path) -> dict[str, float]:
    """When images were judged by an earlier ``watch``: seconds since 1970 by name.

    Args:
        path: Its lines; there may be none, and the last one may be cut short.
    """
    found = {}
    for entry in _lines_of(path):
        with suppress(ValueError, KeyError, TypeError):
            # Older versions wrote names that are no UTF-8 in another way.
            found[as_text(entry["image"])] = datetime.strptime(entry["time"], TIME).timestamp()
    return found


def pictured_before(path: Path) -> dict[str, str]:
    """Of which image each picture of an earlier ``watch`` is, by the picture's path in lower case.

    Args:
        path: As of :func:`judged_before`.
    """
    found = {}
    for entry in _lines_of(path):
        with suppress(KeyError, TypeError, AttributeError):
            found[entry["picture"].lower()] = as_text(entry["image"])
    return found


def _lines_of(path: Path) -> Iterator[Any]:
    """What the lines say, but for those that are damaged."""
    with (
        suppress(FileNotFoundError, IsADirectoryError),
        path.open(encoding="utf-8", errors="replace") as lines,
    ):
        for line in lines:
            with suppress(ValueError):
                yield json.loads(line)


def wake_ups(folder: Path, stop: threading.Event, every_s: float, poll: bool) -> Iterator[None]:
    """When to look at a folder: at its changes, and every so often without one.

    Args:
        folder: The folder.
        stop: Ends it.
        every_s: Seconds after which to look in any case.
        poll: Whether the system tells of no changes, as of disks on other machines.
    """
    from watchfiles import watch

    try:
        for _ in watch(
            folder,
            stop_event=stop,
            rust_timeout=int(1000 * every_s),
            yield_on_timeout=True,
            debounce=100,
            raise_interrupt=False,
            force_polling=poll or None,
            watch_filter=None,
        ):
            yield
    except RuntimeError as error:
        # Its part in Rust takes no name that is not UTF-8.
        logger.warning("Looking every %g s: changes cannot be told (%s)", every_s, error)
        while not stop.wait(every_s):
            yield


def judge_arrivals(
    detector: Detector,
    arrivals: Arrivals,
    ticks: Iterable[Any],
    write: Callable[[Result | Unreadable, Drift, float], None],
    is_stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Judge what arrives, at each tick, until there are no more ticks.

    Args:
        detector: The detector.
        arrivals: What arrives.
        ticks: When to look.
        write: Takes a result, the drift after it and the seconds since its file was found whole,
            those of images judged with it or before it included.
        is_stopped: Whether to end before the next image.
        clock: Seconds that never go back.
    """
    monitor = detector.monitor()
    for _ in ticks:
        ready = arrivals.look(clock())
        sources = [Source(arrivals.name_of(path), path.read_bytes) for path in ready]
        began = clock()
        for path, each in zip(ready, detector.predict_each_of(sources), strict=True):
            seconds = clock() - began
            if isinstance(each, Unreadable):
                if arrivals.unreadable(path, clock()):
                    write(each, monitor.look(), seconds)
            else:
                arrivals.judged(path)
                write(each, monitor.update(each.score), seconds)
            if is_stopped():
                return


class Lines:
    """Writes a line of JSON for each image to the screen and to a file, and pictures.

    Attributes:
        count: Lines written.
    """

    def __init__(self, folder: Path, out: Path | None, pictures: str) -> None:
        """Open nothing yet.

        Args:
            folder: The folder that is watched.
            out: Where to keep lines and pictures; ``None`` keeps none.
            pictures: ``all``, ``anomalous`` or ``none``.
        """
        self.count = 0
        self._folder = folder
        self._out = out
        self._pictures = pictures
        self._was_drifting = False
        self._pictured: dict[str, str] | None = None

    def write(self, each: Result | Unreadable, drift: Drift, seconds: float) -> None:
        """Write what became of an image."""
        if drift.is_drifting != self._was_drifting:
            self._was_drifting = drift.is_drifting
            logger.warning("%s", drift)
        entry: dict[str, Any] = {"time": time.strftime(TIME)}
        if isinstance(each, Unreadable):
            entry |= {"image": each.name, "error": each.reason}
        else:
            entry |= each.to_dict()
            picture = self._draw(each)
            if picture is not None:
                entry["picture"] = picture
        entry |= {"drift": drift.is_drifting, "drift_p_value": drift.p_value,
                  "seconds": round(seconds, 4)}  # fmt: skip
        line = json.dumps(entry)
        click.echo(line)
        if self._out is not None:
            self._keep(line, self._out / RESULTS)
        self.count += 1

    def _keep(self, line: str, path: Path) -> None:
        try:
            with path.open("a+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                # Of a line that a kill cut short the rest is missing, not the next line.
                file.seek(max(end - 1, 0))
                begin = b"\n" if file.read(1) not in (b"", b"\n") else b""
                content = begin + line.encode() + b"\n"
                try:
                    written = file.write(content)
                except OSError:
                    file.truncate(end)
                    raise
                if written < len(content):  # so much the disk had room for
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # Who waits for a disk with room again would judge nothing meanwhile.
            logger.warning("Not in %s: %s (%s)", path, line, error.strerror)

    def _draw(self, result: Result) -> str | None:
        if self._out is None or self._pictures == "none":
            return None
        if self._pictures == "anomalous" and not result.is_anomalous:
            return None
        if self._pictured is None:
            self._pictured = pictured_before(self._out / RESULTS)
        path = _picture_path(self._out, result.name, self._pictured)
        try:
            picture = result.draw()
            path.parent.mkdir(parents=True, exist_ok=True)
            with new_file(path) as part:
                picture.save(part, "PNG")
        except (InputError, OSError) as error:
            # The image may be gone by now, or the disk full: the line is still true.
            logger.warning("No picture of %s: %s", result.name, error)
            return None
        shown = as_text(path.as_posix())
        self._pictured[shown.lower()] = result.name
        return shown


def _picture_path(out: Path, image: str, pictured: Mapping[str, str]) -> Path:
    """Where an image's picture belongs: in the place of its earlier one, never of another's."""
    paths = (out / "pictures" / f"{name}.png" for name in possible_names(image))
    # Some file systems take "A" and "a" for the same name.
    return next(
        path for path in paths if pictured.get(as_text(path.as_posix()).lower(), image) == image
    )
