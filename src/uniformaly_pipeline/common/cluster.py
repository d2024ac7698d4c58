"""A Ray cluster: the one that is named, or else one on this machine for as long as it is needed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from uniformaly_pipeline.common.cores import usable_cores
from uniformaly_pipeline.common.errors import InputError, first_line
from uniformaly_pipeline.common.files import part_name
from uniformaly_pipeline.common.storage import refuse_memory

ADDRESS = "RAY_ADDRESS"
"""Variable of the environment that names a cluster, ``host:port``."""

ANSWER_S = 5.0
"""How long a machine may take to answer at all, and ..."""
HEALTHY_S = 30.0
"""... a cluster to say that it is well."""
WAIT_S = 300.0
"""How long a run waits for a machine where the cluster has none left."""

DEFAULTS = {
    # Nobody is told that Ray is used, and no page is served.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    # Work that asks for no GPU sees none, as so far; unset, Ray warns that this may change.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


def import_ray() -> Any:
    """The module ``ray``.

    Raises:
        InputError: It is not installed; the line says how to.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "Ray is not installed: pip install 'uniformaly-pipeline[ray]', or leave --env=ray out"
        ) from error
    return ray


@contextmanager
def connected() -> Iterator[Any]:
    """A connection to the cluster that ``RAY_ADDRESS`` names, or to one made on this machine.

    One that this process has already is used and left as it is.

    Yields:
        The module ``ray``.

    Raises:
        InputError: Ray is not installed, or the cluster does not answer in time.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _connect(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any) -> None:
    address = os.environ.get(ADDRESS) or "local"
    if address not in ("local", "auto"):
        _require_answer(address)
    own = {"num_cpus": usable_cores(), "include_dashboard": False} if address == "local" else {}
    # Ray answers SIGTERM itself from then on, with a status that says nothing.
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_main else None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError) as error:
        what = "no Ray cluster could be started here" if own else f"{ADDRESS}: {address}"
        raise InputError(f"{what}: {first_line(error)}") from error
    finally:
        if in_main and before is not None:
            signal.signal(signal.SIGTERM, before)


def _require_answer(address: str) -> None:
    """Find out in bounded time whether there is a cluster: Ray itself tries for minutes.

    Raises:
        InputError: There is none; the line names the address.
    """
    named = f"{ADDRESS} is {address}"
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise InputError(
            f"{named}: give host:port of the cluster's head, auto for the one on this machine, or "
            "unset it for one of the run's own"
        )
    hint = "is the head node running (ray start --head), and does a firewall let this machine in?"
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as error:
        raise InputError(f"{named}, which does not answer ({first_line(error)}): {hint}") from error
    # Something else may listen there; Ray's client ends its process over some answers.
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=HEALTHY_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{named}, where no Ray cluster answers: {hint}") from None
    if done.returncode:
        mismatch = [
            line for line in done.stderr.splitlines() if "Ray: " in line or "Python: " in line
        ]
        why = f"is of other versions ({' '.join(' '.join(mismatch).split())})" if mismatch else ""
        raise InputError(f"{named}, which {why or 'is no Ray cluster'}: {hint}")


@dataclass(frozen=True)
class Machine:
    """A machine of a cluster.

    Attributes:
        node_id: Ray's name for it.
        host: Its address.
        cpus: Cores that it offers.
        gpus: GPUs that it offers.
    """

    node_id: str
    host: str
    cpus: int
    gpus: int


def machines() -> list[Machine]:
    """The machines of the cluster that are alive."""
    ray = import_ray()
    return [
        Machine(
            node["NodeID"],
            node["NodeManagerAddress"],
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


# --- the environment of workers -------------------------------------------------------------------

ENVIRONMENT, OF_A_MACHINE = "UNIFORMALY_", {"UNIFORMALY_CACHE"}
"""Variables that workers take over begin so; those that stay each machine's own."""


def own_environment() -> dict[str, str]:
    """The variables that workers take over, such as what file systems must know."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT) and name not in OF_A_MACHINE
    }


def adopt_environment(environment: Mapping[str, str]) -> None:
    """Give this process the variables of another, and none that it has not."""
    for name in own_environment().keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


# --- storage that all machines share --------------------------------------------------------------


def require_shared(paths: Iterable[str], roots: Iterable[str] = ()) -> None:
    """Find out before any work whether all machines of the cluster see the same files.

    Args:
        paths: Paths and URLs of what is read and written.
        roots: Paths and URLs of what is only read.

    Raises:
        InputError: They do not; the line names a path and a machine.
    """
    ray = import_ray()
    others = [
        each for each in machines() if each.node_id != ray.get_runtime_context().get_node_id()
    ]
    folders = _local_folders(paths)
    # What is missing here, too, is for others to tell.
    inputs = [
        place for root in roots if (place := _local(root)) is not None and Path(place).exists()
    ]
    if not others:
        return
    with _probes(folders) as probes:
        seen = ray.remote(num_cpus=0)(missing_of)
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        asked = {
            each: seen.options(scheduling_strategy=strategy(each.node_id, soft=False)).remote(
                probes, inputs
            )
            for each in others
        }
        for machine, answer in asked.items():
            try:
                missing = ray.get(answer, timeout=WAIT_S)
            except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
                continue  # lost meanwhile: it will do no work
            except ray.exceptions.GetTimeoutError:
                raise InputError(
                    f"the machine {machine.host} of the Ray cluster does not start work within "
                    f"{WAIT_S:.0f} s: look into its logs"
                ) from None
            if missing:
                raise InputError(
                    f"{missing} is not there on the machine {machine.host} of the Ray cluster: "
                    "all machines must share the storage; mount it everywhere under the same path, "
                    "or set paths and roots to URLs such as s3://"
                )


def missing_of(probes: dict[str, str], inputs: list[str]) -> str | None:
    """What a machine does not see, asked on that machine.

    Args:
        probes: Content of files by their paths.
        inputs: Paths.

    Returns:
        The first path that is missing or holds something else; of probes their folder.
    """
    for path, content in probes.items():
        with suppress(OSError, UnicodeDecodeError):
            if Path(path).read_text(encoding="utf-8") == content:
                continue
        return str(Path(path).parent)
    return next((path for path in inputs if not Path(path).exists()), None)


def _local(path: str) -> str | None:
    """A path on this machine's own file system; ``None`` for URLs of others.

    Raises:
        InputError: It is in the memory of this process.
    """
    refuse_memory(path, "--env=ray", "machines")
    fs, place = url_to_fs(path) if path.partition("://")[0] in ("file", path) else (0, "")
    return place if isinstance(fs, LocalFileSystem) else None


def _local_folders(paths: Iterable[str]) -> set[Path]:
    """The outermost folders that exist of some places, on each of the machine's file systems."""
    found: dict[int, set[Path]] = {}
    for path in paths:
        if (place := _local(path)) is not None:
            folder = next(each for each in (Path(place), *Path(place).parents) if each.is_dir())
            found.setdefault(folder.stat().st_dev, set()).add(folder)
    return {
        folder
        for folders in found.values()
        for folder in folders
        if not folders.intersection(folder.parents)
    }


@contextmanager
def _probes(folders: Iterable[Path]) -> Iterator[dict[str, str]]:
    """A file in each folder that no other machine can have, unless it sees this one's."""
    probes = {str(folder / part_name("probe")): uuid.uuid4().hex for folder in folders}
    try:
        for path, content in probes.items():
            Path(path).write_text(content, encoding="utf-8")
        yield probes
    finally:
        for path in probes:
            Path(path).unlink(missing_ok=True)
