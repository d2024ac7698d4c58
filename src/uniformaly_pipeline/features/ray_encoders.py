"""Encoding by actors of a Ray cluster, each with the model, on a GPU where there are any.

An actor writes a shard in one step, and tells that it has. So of one that is lost, with its machine
or without, only the shard is lost that was not written: another actor encodes its images.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, NamedTuple

from uniformaly_pipeline.common.cluster import (
    WAIT_S,
    adopt_environment,
    import_ray,
    machines,
    own_environment,
)
from uniformaly_pipeline.common.cores import use_own_threads
from uniformaly_pipeline.common.errors import InputError, told_faults
from uniformaly_pipeline.common.progress import track
from uniformaly_pipeline.common.remote_path import AnyPath, as_path
from uniformaly_pipeline.common.words import number_of
from uniformaly_pipeline.common.worker_logs import Line, gathered, log_again
from uniformaly_pipeline.features.encoders import OwnEncoder, Shards
from uniformaly_pipeline.features.estimates import EncodingCost
from uniformaly_pipeline.features.shard_encoding import encode_shard
from uniformaly_pipeline.features.store import good_shards
from uniformaly_pipeline.features.stream import FeatureStream

logger = logging.getLogger(__name__)

MOST_SHARDS = 32
"""Shards that an actor gets at a time: within these the next images are decoded meanwhile."""

MOST_LOSSES = 3
"""How often an actor may be lost with the same shard; then it is the shard's fault."""


class Told(NamedTuple):
    """What an actor tells of a shard, or of its start.

    Attributes:
        lines: What it logged.
        fault: Why it could not, in words of :class:`.errors.InputError`.
    """

    lines: list[Line]
    fault: str | None = None


class EncoderActor:
    """The process that has the model; its methods are called through Ray."""

    def __init__(
        self,
        remake: Callable[[int], FeatureStream],
        key: str,
        cores: int,
        home: str,
        environment: Mapping[str, str],
    ) -> None:
        """Keep what is needed; :meth:`start` loads the model.

        Args:
            remake: Makes the stream.
            key: Of the header that it must have.
            cores: Cores that it may use.
            home: Folder in which relative paths begin.
            environment: See :func:`.cluster.own_environment`.
        """
        self._remake, self._key, self._cores, self._home = remake, key, cores, home
        self._environment = environment
        self._stream: FeatureStream | None = None

    def start(self) -> Told:
        """Load the model."""
        adopt_environment(self._environment)
        with suppress(OSError):
            os.chdir(self._home)
        with gathered() as lines, told_faults() as faults:
            use_own_threads(self._cores)
            stream = self._remake(self._cores)
            if stream.header.key != self._key:
                raise InputError(
                    "a machine of the cluster would make other features than this one: its "
                    "weights, GPU or libraries differ"
                )
            self._stream = stream
        return Told(lines, *faults)

    def encode(self, folder: str, shards: Sequence[Mapping[str, str]]) -> Iterator[Told]:
        """Encode lists of images, and tell of each when its shard is in the store."""
        assert self._stream is not None
        images = [image for shard in shards for image in shard.values()]
        encoded = iter(self._stream.encode(images))
        for shard in shards:
            with gathered() as lines, told_faults() as faults:
                encode_shard(as_path(folder), self._stream, shard, encoded)
            yield Told(lines, *faults)
            if faults:
                return


class Room(NamedTuple):
    """What an actor takes of a machine.

    Attributes:
        cpus: Cores.
        gpus: GPUs, or a share of one.
    """

    cpus: int
    gpus: float


@dataclass(eq=False)
class _Worker:
    """An actor, and what it is at work on.

    Attributes:
        actor: Ray's handle.
        room: What it takes.
        is_up: Whether its model is loaded.
        shards: What it was given and has not told of, in its order.
    """

    actor: Any
    room: Room
    is_up: bool = False
    shards: deque[int] = field(default_factory=deque)


class RayEncoders:
    """Encodes by as many actors as the cluster has GPUs, or machines where there are none."""

    def __init__(
        self, number: int | Literal["auto"] = "auto", gpus: float | Literal["auto"] = "auto"
    ) -> None:
        """Start none yet.

        Args:
            number: How many actors; more than there is room for wait for a cluster that grows.
            gpus: GPUs of each; ``auto`` is 1 where any machine has one.
        """
        self._number, self._gpus = number, gpus

    def encode(self, folder: AnyPath, stream: FeatureStream, shards: Shards) -> list[EncodingCost]:
        """Encode all lists and show how far that is, see :class:`.encoders.Encoders`."""
        if stream.portable is None:
            return OwnEncoder().encode(folder, stream, shards)
        total = sum(map(len, shards))
        rooms = self._rooms(len(shards))
        logger.info("Features: %s on the cluster", number_of(len(rooms), "encoder"))
        work = _Work(folder, stream, shards)
        try:
            for _ in track(work.done_by(rooms), total, "Encoding", "images"):
                pass
        finally:
            work.end()
        return []

    def _rooms(self, most: int) -> list[Room]:
        """What each actor takes, of the machines that are there now."""
        found = machines()
        with_gpus = [each for each in found if each.gpus]
        gpus = float(bool(with_gpus)) if self._gpus == "auto" else self._gpus
        rooms: list[Room] = []
        for each in with_gpus if gpus else found:
            count = int(each.gpus / gpus) if gpus else int(each.cpus > 0)
            rooms += [Room(max(1, each.cpus // count), gpus) for _ in range(count)]
        rooms = rooms or [Room(1, gpus)]  # a cluster that has yet to grow
        wanted = len(rooms) if self._number == "auto" else self._number
        return [rooms[number % len(rooms)] for number in range(min(wanted, most))]


class _Work:
    """Shards on their way through actors."""

    def __init__(self, folder: AnyPath, stream: FeatureStream, shards: Shards) -> None:
        assert stream.portable is not None
        self._ray = import_ray()
        self._folder, self._shards, self._key = folder.absolute(), shards, stream.header.key
        self._remake = self._ray.put(stream.portable())
        self._left = deque(range(len(shards)))
        self._losses = dict.fromkeys(range(len(shards)), 0)
        self._busy: dict[Any, _Worker] = {}
        self._idle: list[_Worker] = []

    def done_by(self, rooms: Sequence[Room]) -> Iterator[str]:
        """Have actors encode all; gives each image once it is in the store.

        Raises:
            InputError: An actor met something that a user can mend, or there is no room for one.
        """
        for room in rooms:
            self._start(room)
        last = time.monotonic()
        while self._left or any(worker.shards for worker in self._busy.values()):
            self._hand_out(len(rooms))
            ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=1.0)
            if ready or any(worker.is_up for worker in self._busy.values()):
                last = time.monotonic()
            elif time.monotonic() - last > WAIT_S:
                raise InputError(
                    f"the Ray cluster had no room for an encoder within {WAIT_S:.0f} s: are its "
                    "machines up, with the cores and GPUs that ray.encoders asks for?"
                )
            for source in ready:
                yield from self._heard(source)

    def end(self) -> None:
        """End all actors."""
        for worker in (*self._busy.values(), *self._idle):
            self._ray.kill(worker.actor)

    def _start(self, room: Room) -> None:
        """Ask for an actor; it starts when there is room."""
        actor = (
            self._ray.remote(EncoderActor)
            .options(num_cpus=room.cpus, num_gpus=room.gpus, max_restarts=0)
            .remote(self._remake, self._key, room.cpus, str(Path.cwd()), own_environment())
        )
        self._busy[actor.start.remote()] = _Worker(actor, room)

    def _hand_out(self, workers: int) -> None:
        """Give each idle actor its next shards: many at first, few in the end."""
        while self._idle and self._left:
            worker = self._idle.pop()
            count = max(1, min(MOST_SHARDS, len(self._left) // (2 * workers)))
            worker.shards.extend(self._left.popleft() for _ in range(min(count, len(self._left))))
            lists = [self._shards[number] for number in worker.shards]
            method = worker.actor.encode.options(num_returns="streaming")
            self._busy[method.remote(str(self._folder), lists)] = worker

    def _heard(self, source: Any) -> Iterator[str]:
        """Take what an actor told, or that it is gone."""
        worker = self._busy.pop(source)
        try:
            told = self._ray.get(next(source) if worker.is_up else source)
        except StopIteration:
            self._idle.append(worker)
            return
        except self._ray.exceptions.RayActorError as error:
            yield from self._lost(worker, error)
            return
        log_again(told.lines)
        if told.fault is not None:
            self._idle.append(worker)
            raise InputError(told.fault)
        if not worker.is_up:
            worker.is_up = True
            self._idle.append(worker)
            return
        self._busy[source] = worker
        yield from self._shards[worker.shards.popleft()]

    def _lost(self, worker: _Worker, error: Exception) -> Iterator[str]:
        """Ask for another actor, and have done again what the lost one had not written."""
        logger.warning(
            "Features: an encoder of the cluster was lost (%s); its open shard is encoded anew",
            _why_lost(error),
        )
        infos = good_shards(self._folder)
        stored = {image.content_hash for info in infos for image in info.images}
        opened = [n for n in worker.shards if not stored.issuperset(self._shards[n])]
        for number in worker.shards:
            if number not in opened:
                yield from self._shards[number]
        if opened:
            first = opened[0]
            self._losses[first] += 1
            if self._losses[first] > MOST_LOSSES:
                raise InputError(
                    f"{self._losses[first]} encoders of the cluster ended at the images from "
                    f"{next(iter(self._shards[first].values()))} on: set encoder.batch_size lower "
                    "if memory was short, or look into Ray's logs"
                )
        self._left.extendleft(reversed(opened))
        self._start(worker.room)


def _why_lost(error: Exception) -> str:
    """Ray's words without its table of names and numbers, on one line."""
    lines = [line for line in str(error).splitlines() if not line.startswith("\t")]
    return shorten(" ".join(lines), 300, placeholder=" ...")
