"""A Kedro runner on a Ray cluster: categories side by side, and features encoded by actors."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor
from itertools import chain
from pathlib import Path
from typing import Any

from kedro.framework import project
from kedro.io import CatalogProtocol, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import AbstractRunner
from kedro.runner.task import Task
from pluggy import PluginManager

from uniformaly_pipeline.common.cluster import WAIT_S, connected, own_environment, require_shared
from uniformaly_pipeline.common.errors import InputError
from uniformaly_pipeline.common.worker_logs import log_again
from uniformaly_pipeline.features.encoders import encoded_by
from uniformaly_pipeline.features.ray_encoders import RayEncoders
from uniformaly_pipeline.parameters.current_run import current_run
from uniformaly_pipeline.pipelines.places import places_of
from uniformaly_pipeline.pipelines.ray_worker import Around, Outcome, run_nodes


class RayRunner(AbstractRunner):
    """Runs the nodes of a category, or of a chunk of them, as one task of a Ray cluster.

    All other nodes run in the process that drives the run, and so do the hooks, but for those that
    say what results were made from. A task that is lost with its machine is done again. Features
    are encoded by :class:`.ray_encoders.RayEncoders`.

    ``RAY_ADDRESS`` names the cluster, ``host:port``; without it there is one on this machine for as
    long as the run takes. All machines must share the storage of images and results.
    """

    @property
    def _logger(self) -> logging.Logger:
        # The screen hears from Kedro's runners.
        return logging.getLogger("kedro.runner.ray_runner")

    def _get_executor(self, max_workers: int) -> Executor | None:  # noqa: ARG002 - Kedro's
        return None

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        """Run a pipeline.

        Raises:
            InputError: There is no Ray or no cluster, or its machines do not share the storage;
                or a node met something that a user can mend.
        """
        with connected() as ray:
            require_shared(*places_of(pipeline, catalog))
            run = current_run()
            wanted = run.parameters.ray if run is not None else None
            encoders = RayEncoders(wanted.encoders, wanted.gpus) if wanted else RayEncoders()
            with encoded_by(encoders):
                _Running(self, ray, pipeline, catalog, hook_manager, run_id).run()


class _Running:
    """A pipeline while it runs."""

    def __init__(
        self,
        runner: RayRunner,
        ray: Any,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None,
        run_id: str | None,
    ) -> None:
        self._runner, self._ray, self._hooks = runner, ray, hook_manager
        self._pipeline, self._catalog = pipeline, catalog
        self._needs = pipeline.node_dependencies
        self._by_name = {node.name: node for node in pipeline.nodes}
        self._todo = list(pipeline.nodes)
        self._done: set[Node] = set()
        self._loads = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        self._at_work: dict[Any, list[Node]] = {}
        self._task = ray.remote(num_cpus=1, max_retries=-1)(run_nodes)
        run, is_async = current_run(), runner._is_async
        package = str(project.PACKAGE_NAME)
        environment = own_environment()
        self._around = Around(package, run, run_id, str(Path.cwd()), is_async, environment)
        self._around_ref = ray.put(self._around)

    def run(self) -> None:
        """Run all nodes, as soon as what they need is there.

        Raises:
            InputError: A node met something that a user can mend.
        """
        try:
            while self._todo or self._at_work:
                self._hand_out()
                own = next((node for node in self._todo if self._is_ready(node)), None)
                if own is not None:
                    self._todo.remove(own)
                    self._do(own)
                else:
                    self._hear()
        # Whatever it was: what is at work elsewhere would go on.
        except BaseException:
            for task in self._at_work:
                self._ray.cancel(task, force=True, recursive=True)
            self._runner._suggest_resume_scenario(self._pipeline, self._done, self._catalog)
            raise

    def _is_ready(self, node: Node, besides: Iterable[Node] = ()) -> bool:
        return self._needs[node] <= self._done.union(besides)

    def _is_elsewhere(self, node: Node) -> bool:
        """Whether a node is of a category and all that it reads and writes can be had anywhere."""
        if "." not in (node.namespace or ""):
            return False
        return not any(
            isinstance(self._catalog.get(name), MemoryDataset) and not _is_parameter(name)
            for name in (*node.inputs, *node.outputs)
        )

    def _hand_out(self) -> None:
        """Start each namespace's nodes of which all that others make for them is there."""
        found: dict[str, list[Node]] = {}
        for node in self._todo:
            if self._is_elsewhere(node):
                before = found.setdefault(str(node.namespace), [])
                if self._is_ready(node, before):
                    before.append(node)
        for namespace, nodes in found.items():
            if nodes:
                names = {name for node in nodes for name in (*node.inputs, *node.outputs)}
                datasets = {name: self._catalog.get(name) for name in sorted(names)}
                task = self._task.options(name=namespace)
                self._at_work[task.remote(nodes, datasets, self._around_ref)] = nodes
                self._todo = [node for node in self._todo if node not in nodes]

    def _do(self, node: Node) -> None:
        """Run a node in this process."""
        Task(node, self._catalog, self._around.is_async, self._hooks, self._around.run_id).execute()
        self._complete(node)

    def _hear(self) -> None:
        """Wait for a task.

        Raises:
            InputError: It met something that a user can mend, or no machine is left to do it.
        """
        start, ready = time.monotonic(), list[Any]()
        while not ready:
            ready, _ = self._ray.wait(list(self._at_work), num_returns=1, timeout=10.0)
            if self._ray.cluster_resources().get("CPU", 0) >= 1:
                start = time.monotonic()
            elif time.monotonic() - start > WAIT_S:
                raise InputError(
                    f"the Ray cluster has had no machine with a core for {WAIT_S:.0f} s: start one"
                )
        outcome: Outcome = self._ray.get(ready[0])
        nodes = self._at_work.pop(ready[0])
        log_again(outcome.lines)
        for name in outcome.completed:
            self._complete(self._by_name[name])
        if outcome.fault is not None:
            raise InputError(outcome.fault)
        assert len(outcome.completed) == len(nodes)

    def _complete(self, node: Node) -> None:
        self._done.add(node)
        logger = self._runner._logger
        logger.info("Completed node: %s", node.name)
        logger.info("Completed %d out of %d tasks", len(self._done), len(self._pipeline.nodes))
        self._runner._release_datasets(node, self._catalog, self._loads, self._pipeline)


def _is_parameter(name: str) -> bool:
    return name.startswith("params:") or name == "parameters"
