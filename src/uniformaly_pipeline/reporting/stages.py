"""How far a run has come: a line for each stage, drawn once a terminal, logged elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rich
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from uniformaly_pipeline.common.progress import Progress

logger = logging.getLogger(__name__)

BAR_WIDTH = 20
STEPS = 1000
"""Parts of a bar: a step within a node shows, too."""

FEW_NODES = 3
"""Stages of so few nodes advance with the steps inside of them, others with their nodes."""


@dataclass
class _Stage:
    """One stage of a run.

    Attributes:
        nodes: Names of its nodes that are not done.
        total: How many nodes it has.
        started: Clock when its first node began, None before.
        running: Its nodes that have begun and are not done.
        since: Clock when the first of these began.
        spent: Seconds in which any of its nodes ran, up to then.
        seconds: What it took, once it is done; other stages' nodes in between do not count.
        step: The long step inside the running node.
        line: Its line among the bars.
    """

    nodes: set[str]
    total: int
    started: float | None = None
    running: set[str] = field(default_factory=set)
    since: float = 0.0
    spent: float = 0.0
    seconds: float | None = None
    step: Progress | None = None
    line: Any = None

    @property
    def done(self) -> float:
        """Share that is done, 0..1."""
        inside = 0.0
        if self.step is not None and self.total <= FEW_NODES and self.nodes:
            inside = self.step.done / max(self.step.total, 1)
        return (self.total - len(self.nodes) + min(inside, 1.0)) / self.total

    def begin(self, node: str) -> None:
        """One of its nodes begins."""
        now = time.monotonic()
        if not self.running:
            self.since = now
        self.started = self.started or now
        self.running.add(node)
        self.step = None

    def complete(self, node: str) -> None:
        """One of its nodes is done."""
        now = time.monotonic()
        # Runners with workers do not say when a node begins.
        self.started = self.started or now
        self.nodes.discard(node)
        self.step = None
        if node in self.running:
            self.running.discard(node)
            if not self.running:
                self.spent += now - self.since
        if not self.nodes:
            self.seconds = self.spent or now - self.started

    @property
    def elapsed(self) -> float:
        """Seconds in which any of its nodes ran, up to now."""
        now = time.monotonic()
        if not self.spent and not self.running:
            return now - (self.started or now)
        return self.spent + (now - self.since if self.running else 0.0)


@dataclass
class StageDisplay:
    """Shows the stages of one run; used by the process that drives it.

    Attributes:
        stages: The nodes of each stage by name, in the order of the run.
        console: Where to draw; None for the terminal that logs go to.
    """

    stages: Mapping[str, Sequence[str]]
    console: Console | None = None
    _open: dict[str, _Stage] = field(default_factory=dict)
    _stage_of: dict[str, str] = field(default_factory=dict)
    _bars: Bars | None = None

    def start(self) -> None:
        """Draw the stages, none of them begun."""
        self._open = {name: _Stage(set(nodes), len(nodes)) for name, nodes in self.stages.items()}
        self._stage_of = {node: name for name, nodes in self.stages.items() for node in nodes}
        console = self.console or rich.get_console()
        if not console.is_terminal:
            return
        self._bars = Bars(
            TextColumn("{task.description:<12}"),
            BarColumn(BAR_WIDTH),
            TextColumn("{task.fields[nodes]:>9}"),
            TextColumn("{task.fields[told]}"),
            console=console,
        )
        for name, stage in self._open.items():
            stage.line = self._bars.add_task(
                _spelt(name), total=STEPS, nodes=f"0/{stage.total}", told="", start=False
            )
        self._bars.start()

    def begin(self, node: str) -> None:
        """A node begins to run."""
        stage = self._open.get(self._stage_of.get(node, ""))
        if stage is not None:
            stage.begin(node)

    def tell(self, progress: Progress) -> None:
        """A long step inside the running node has come so far."""
        running = [stage for stage in self._open.values() if stage.started and stage.nodes]
        if running:
            running[-1].step = progress
            self._draw(running[-1])

    def complete(self, node: str) -> None:
        """A node is done."""
        name = self._stage_of.get(node, "")
        stage = self._open.get(name)
        if stage is None or node not in stage.nodes:
            return
        stage.complete(node)
        if stage.seconds is not None and self._bars is None:
            nodes = "1 node" if stage.total == 1 else f"{stage.total} nodes"
            logger.info("%s: %s in %s", _spelt(name), nodes, duration(stage.seconds))
        self._draw(stage)

    def stop(self) -> None:
        """Draw no more; what is on the screen stays."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _draw(self, stage: _Stage) -> None:
        if self._bars is None or stage.line is None:
            return
        self._bars.update(
            stage.line,
            completed=STEPS * stage.done,
            nodes=f"{stage.total - len(stage.nodes)}/{stage.total}",
            told=_told(stage),
        )


def _spelt(stage: str) -> str:
    return stage.replace("_", " ")


def _told(stage: _Stage) -> str:
    """What a stage's line says after its bar."""
    if stage.seconds is not None:
        return duration(stage.seconds)
    words = []
    if stage.step is not None:
        step = stage.step
        words.append(f"{step.description} {step.done:,} of {step.total:,} {step.unit}")
    left = seconds_left(stage.done, stage.elapsed)
    if left is not None:
        words.append(f"{duration(left)} left")
    return ", ".join(words)


def seconds_left(done: float, elapsed: float) -> float | None:
    """How long a stage still takes where it goes on as it went; None where that is a guess.

    Args:
        done: Share that is done, 0..1.
        elapsed: Seconds since it began.
    """
    if done <= 0.02 or elapsed < 1.0:
        return None
    return elapsed * (1 - done) / done


def duration(seconds: float) -> str:
    """A length of time in one or two units.

    >>> duration(0.42), duration(42.4), duration(130), duration(7300)
    ('0.4 s', '42 s', '2 min 10 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class CompletedNodes(logging.Handler):
    """Hears from Kedro's runners, whichever it is, which nodes are done."""

    MESSAGE = "Completed node: %s"

    def __init__(self, display: StageDisplay) -> None:
        """Tell ``display``."""
        super().__init__(logging.INFO)
        self.display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a node that is done."""
        if record.msg == self.MESSAGE and isinstance(record.args, tuple):
            self.display.complete(str(record.args[0]))
