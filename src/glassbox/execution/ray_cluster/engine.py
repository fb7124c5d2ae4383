"""The engine of a Ray cluster, see `protocols.Engine`."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

from glassbox.config.compute import Compute
from glassbox.core.errors import UserError, one_line
from glassbox.data.store import Split
from glassbox.execution import compute, workers
from glassbox.execution.compute import Place
from glassbox.execution.protocols import Training
from glassbox.execution.ray_cluster import actors, limits, object_store, resources, shards, versions
from glassbox.execution.ray_cluster.actors import Lost, ProcessSettings
from glassbox.execution.ray_cluster.pool import Job, WorkerPool
from glassbox.execution.ray_cluster.resources import Resources
from glassbox.execution.ray_cluster.training import RemoteTraining
from glassbox.provenance import resume
from glassbox.provenance.resume import Arrays, Items, Work


class RayEngine:
    """An engine whose parts are computed by processes of a Ray cluster, at most `compute.workers` at a time.

    Args:
        settings: the section `compute`.
    """

    device = torch.device("cpu")  # the stage may run on a laptop without a GPU
    apart = True

    def __init__(self, settings: Compute) -> None:
        self.settings = settings
        # The number of threads decides the last bits of sums: workers take as many as this process would.
        self.threads = settings.threads or torch.get_num_threads()
        self.resources = Resources(cpus=settings.cpus or self.threads, gpus=settings.gpus)
        self._peak_memory = 0.0
        self._classifiers = WeakKeyDictionary()  # references to those in the store
        installed = versions.installed()
        worker, (self.place, self._machine) = self._first_worker(installed)
        self._process = ProcessSettings(self.place, self.threads, installed)
        self.pool = WorkerPool(self._process, self.resources, [worker])
        torch.set_num_threads(self.threads)

    def _first_worker(self, installed: dict[str, str]) -> tuple[Any, tuple[Place, dict[str, Any]]]:
        """A worker, and its description of itself.

        Raises:
            UserError: it cannot be started, has other versions than these, or no machine has room for it.
        """
        import ray

        for _ in range(limits.RETRIES + 1):
            worker = actors.start_worker(self.resources)
            description = self._describe(worker, installed)
            if not isinstance(description, Lost) or description.import_failed:
                break
            ray.kill(worker)
        else:
            raise UserError(
                f"the first worker of the cluster was lost ({description.reason}): run the same command again"
            )
        if isinstance(description, UserError):
            raise description
        if isinstance(description, Lost | Exception):
            reason = description.reason if isinstance(description, Lost) else one_line(description)
            raise UserError(
                f"a worker of the cluster could not begin ({reason}): install requirements.lock on all machines"
            )
        return worker, description

    def _describe(self, worker: Any, installed: dict[str, str]) -> Any:
        """The description; an error; or `Lost`."""
        import ray

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
        """See `resume.Keep.each`. Workers take several parts at a time where they are small."""
        import ray

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
        import ray

        if classifier not in self._classifiers:
            self._classifiers[classifier] = ray.put(classifier)
        return self._classifiers[classifier]

    def lend(self, read: Callable[[str], Split], *splits: str) -> Callable[[str], Split]:
        """See `protocols.Engine.lend`; they are put into the store."""
        return object_store.put_splits(read, *splits)

    def work_off(
        self,
        serve: Callable[[], Callable[[Any], workers.Records]],
        todo: deque,
        at_once: int,
        answer: Callable[[Any, Any], Any] = workers.no_answer,
        *,
        gpus: float | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """See `workers.each`; by processes on any machine of the cluster. Where one is lost, the record is `Lost`."""
        needed = self.resources
        if gpus is not None and gpus != needed.gpus:
            needed = replace(needed, gpus=gpus, gpus_parameter="tune.gpus")
        job = Job(serve=serve, todo=todo, at_once=at_once, answer=answer)
        for item, record in self.pool.run(job, needed):
            if isinstance(record, Exception):
                raise record if isinstance(record, UserError) else RuntimeError(f"{item}: {record}")
            yield item, record

    def train(
        self, training: Training, train: Split, validation: Split
    ) -> tuple[torch.nn.Module, Iterator[Any], resume.Checkpoint]:
        """See `protocols.Engine.train`; by Ray Train, on `train.workers` processes."""
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
        """See `compute.costs`; memory is the highest of any worker. The work is over: others may have the room."""
        self.pool.dismiss()
        return compute.costs(self._peak_memory, since, images)

    def machine(self) -> dict[str, Any]:
        """See `compute.machine`; of the first worker."""
        return self._machine
