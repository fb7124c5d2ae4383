"""The engine of a Ray cluster."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import ray
import torch

from glassbox.config.compute import Compute
from glassbox.core.errors import UserError, one_line
from glassbox.data.store import Split
from glassbox.execution import compute
from glassbox.execution.base import Engine
from glassbox.execution.compute import Place
from glassbox.execution.ray_cluster import actors, limits, object_store, resources, shards, versions
from glassbox.execution.ray_cluster.actors import Lost, ProcessSettings
from glassbox.execution.ray_cluster.pool import Job, WorkerPool
from glassbox.execution.ray_cluster.resources import Resources
from glassbox.execution.ray_cluster.training import RemoteTraining
from glassbox.provenance import resume
from glassbox.provenance.resume import Arrays, Items, Work


class RayEngine(Engine):
    """Processes of a Ray cluster do the work. Parts are computed by at most `compute.workers` at a time.

    Args:
        settings: the section `compute`.
    """

    device = torch.device("cpu")  # the stage may run on a laptop without a GPU
    apart = True

    def __init__(self, settings: Compute) -> None:
        self.settings = settings
        # The number of threads determines the last bits of sums: workers take as many as this process would.
        self.threads = settings.threads or torch.get_num_threads()
        self.resources = Resources(cpus=settings.cpus or self.threads, gpus=settings.gpus)
        self._peak_memory = 0.0
        self._classifiers = WeakKeyDictionary()  # their references in the object store
        installed = versions.installed()
        worker, (self.place, self._machine) = self._first_worker(installed)
        self._process = ProcessSettings(self.place, self.threads, installed)
        self.pool = WorkerPool(self._process, self.resources, worker)
        torch.set_num_threads(self.threads)

    def _first_worker(self, installed: dict[str, str]) -> tuple[Any, tuple[Place, dict[str, Any]]]:
        """A worker, and its description of itself; raises UserError if it cannot start, no machine has room for it, or
        its versions differ."""
        for _ in range(limits.RETRIES + 1):
            worker = actors.start_worker(self.resources)
            description = self._describe(worker, installed)
            if isinstance(description, UserError):
                raise description
            if not isinstance(description, Lost | Exception):
                return worker, description
            reason = description.reason if isinstance(description, Lost) else one_line(description)
            if isinstance(description, Exception) or description.import_failed:
                raise UserError(
                    f"a worker of the cluster could not begin ({reason}): install requirements.lock on all machines"
                )
            ray.kill(worker)
        raise UserError(f"the first worker of the cluster was lost ({reason}): run the same command again")

    def _describe(self, worker: Any, installed: dict[str, str]) -> Any:
        """The description; an error; or `Lost`."""
        cpu_only = {} if self.settings.gpus else {"device": "cpu"}
        request = worker.describe.remote(
            self.settings.model_copy(update={"threads": self.threads} | cpu_only), installed
        )
        resources.wait_for_room(self.resources, workers=1, reason=f"compute.workers is {self.settings.workers}")
        while not ray.wait([request], timeout=limits.STATUS_INTERVAL)[0]:
            print("waiting for a worker: the cluster is busy", file=sys.stderr)
        try:
            return actors.result(request)
        except ray.exceptions.RayError as error:
            return error

    def each(self, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        """Workers take several parts at a time where they are small."""
        shared, at_once = [ray.put(work), self._stored(classifier)], self.settings.workers
        queue = shards.ShardQueue(items, limit=shards.AHEAD * at_once)
        serve = partial(shards.serve, shared, self.place.device)
        job = Job(serve=serve, todo=queue.todo, at_once=at_once, one_record=True)
        for shard, result in self.pool.run(job, self.resources):
            if isinstance(result, Lost):
                queue.retry(shard, result)
                continue
            if isinstance(result, Exception):
                raise result
            self._peak_memory = max(self._peak_memory, result.peak_memory)
            queue.add(shard, result)
            yield from queue.results()
            queue.fill()

    def _stored(self, classifier: Any) -> Any:
        if classifier not in self._classifiers:
            self._classifiers[classifier] = ray.put(classifier)
        return self._classifiers[classifier]

    def lend(self, read: Callable[[str], Split], *splits: str) -> Callable[[str], Split]:
        return object_store.put_splits(read, *splits)

    def work_off(self, *queue: Any, gpus: float | None = None) -> Iterator[tuple[Any, Any]]:
        """Where a worker or its machine is lost, the record is `Lost`."""
        needed = self.resources
        if gpus is not None and gpus != needed.gpus:
            needed = replace(needed, gpus=gpus, gpus_parameter="tune.gpus")
        for item, record in self.pool.run(Job(*queue), needed):
            if isinstance(record, Exception):
                raise record if isinstance(record, UserError) else RuntimeError(f"{item}: {record}")
            yield item, record

    def train(self, training: Any, train: Split, validation: Split) -> tuple[Any, Iterator[Any], resume.Checkpoint]:
        """By Ray Train, on `train.workers` processes."""
        classifier, checkpoint = training.fresh(self.device), training.checkpoint(self.place)
        remote = RemoteTraining(training, classifier, checkpoint, self._process, self.resources)
        return classifier, self._epochs(remote, train, validation), checkpoint

    def _epochs(self, remote: RemoteTraining, train: Split, validation: Split) -> Iterator[Any]:
        self.pool.dismiss()
        with closing(remote.epochs(train, validation)) as epochs:
            for epoch in epochs:
                self._peak_memory = max(self._peak_memory, epoch.peak_memory)
                yield epoch

    def costs(self, since: float, images: int) -> dict[str, float]:
        """Peak memory is the highest of any worker. The workers end, so that others have their room."""
        self.pool.dismiss()
        return compute.costs(self._peak_memory, since, images)

    def machine(self) -> dict[str, Any]:
        """The machine of the first worker."""
        return self._machine
