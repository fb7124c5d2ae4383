"""The pool of workers: it starts them, assigns items, collects records, and dismisses workers."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from glassbox.core.errors import UserError
from glassbox.execution import workers
from glassbox.execution.ray_cluster import actors, limits, resources
from glassbox.execution.ray_cluster.actors import Lost, ProcessSettings
from glassbox.execution.ray_cluster.resources import Resources


@dataclass(frozen=True)
class Job:
    """A queue of items and what is done with each, see `workers.each`.

    Attributes:
        serve: called once by each worker; what it returns gives the records of an item.
        todo: items. Some may be added while the job runs.
        at_once: workers at most.
        answer: to a record.
        one_record: whether each item has one record, so that the worker gets no request for a second.
    """

    serve: Callable[[], Callable[[Any], workers.Records]]
    todo: deque
    at_once: int
    answer: Callable[[Any, Any], Any] = workers.no_answer
    one_record: bool = False


class WorkerPool:
    """Workers that stay for the next job, and keep nothing of the one before.

    Args:
        settings: of the workers' processes.
        resources: of each worker.
        idle: workers that are there already.
    """

    def __init__(self, settings: ProcessSettings, resources: Resources, idle: list[Any]) -> None:
        self._settings, self._resources = settings, resources
        self._idle = idle
        self._starting: dict[Any, Any] = {}  # workers whose set-up is not confirmed, by its request
        self._in_use = False

    def run(self, job: Job, resources: Resources) -> Iterator[tuple[Any, Any]]:
        """Run a job on workers that take these resources.

        Yields:
            (item, record) in the order in which records come in; (item, error) where the item raised one; (item,
            `Lost`) where its worker was lost.

        Raises:
            UserError: workers cannot be set up, are lost as they start, or no machine has room for one.
            RuntimeError: another job runs.
        """
        if self._in_use:
            raise RuntimeError("one work at a time: another one is not at its end, and may have all workers")
        if resources != self._resources:
            self.dismiss()  # they hold the resources that others need
        run = _Run(job, self._settings, resources, self._idle, self._starting)
        self._resources, self._idle, self._starting = resources, [], {}
        try:
            self._in_use = True
            yield from run.records()
        finally:
            self._in_use = False
            self._idle, self._starting = run.idle(), run.starting()
            run.stop()

    def dismiss(self) -> None:
        """End the workers that have no item: others get their room."""
        import ray

        for worker in (*self._idle, *self._starting.values()):
            ray.kill(worker)
        self._idle, self._starting = [], {}


class _Run:
    """The workers of one job. A worker is set up first, and gets an item when that is confirmed: until then no machine
    may have room for it. Each worker has at most one open request, which is for its set-up where it has no item."""

    def __init__(
        self,
        job: Job,
        settings: ProcessSettings,
        resources: Resources,
        idle: list[Any],
        starting: dict[Any, Any],
    ) -> None:
        self._job, self._settings, self._resources = job, settings, resources
        self._waiting = idle  # not set up for this job
        self._earlier = starting  # open requests of the job before, by which workers are set up for that one
        self._ready: list[Any] = []  # set up for this job, without an item
        # Worker and item by open request. Few workers may be needed, but those of `starting` count: one of them may
        # have the room that the others wait for.
        self._requests: dict[Any, tuple[Any, Any]] = {request: (worker, None) for request, worker in starting.items()}
        self._unconfirmed = {*starting.values()}  # workers that have not completed any request, as far as is known
        self._failed_starts = 0  # in a row

    def records(self) -> Iterator[tuple[Any, Any]]:
        """See `WorkerPool.run`."""
        while self._job.todo or self._n_assigned():
            self._assign()
            self._start_workers()
            for request in self._finished():
                if (collected := self._collect(request)) is not None:
                    yield collected

    def idle(self) -> list[Any]:
        return self._waiting + self._ready

    def starting(self) -> dict[Any, Any]:
        """Kept for the next job: where jobs are short, each would start anew those whose start takes longer."""
        return {request: worker for request, (worker, item) in self._requests.items() if item is None}

    def stop(self) -> None:
        """End the workers that have an item."""
        import ray

        for worker, item in self._requests.values():
            if item is not None:
                ray.kill(worker)

    def _n_assigned(self) -> int:
        return sum(item is not None for _, item in self._requests.values())

    def _assign(self) -> None:
        """Give items to workers that are ready."""
        while self._job.todo and self._ready:
            worker, item = self._ready.pop(), self._job.todo.popleft()
            if self._job.one_record:
                request = worker.only.remote(item)
            else:
                worker.begin.remote(item)
                request = worker.next.remote()
            self._requests[request] = worker, item

    def _start_workers(self) -> None:
        """Set up as many workers as the items need: those that are there, then new ones."""
        wanted = min(self._job.at_once, len(self._job.todo) + self._n_assigned())
        while self._waiting and len(self._requests) - len(self._earlier) + len(self._ready) < wanted:
            self._set_up(self._waiting.pop())
        while len(self._requests) + len(self._ready) < wanted:
            worker = actors.start_worker(self._resources)
            self._unconfirmed.add(worker)
            self._set_up(worker)

    def _set_up(self, worker: Any) -> None:
        self._requests[worker.set_up.remote(self._settings, self._job.serve)] = worker, None

    def _finished(self) -> list[Any]:
        """A request that is completed; none where that takes long."""
        import ray

        finished, _ = ray.wait([*self._requests], num_returns=1, timeout=limits.STATUS_INTERVAL)
        if not finished and not self._n_assigned():
            resources.wait_for_room(self._resources, workers=1, reason="work is waiting")
        return finished

    def _collect(self, request: Any) -> tuple[Any, Any] | None:
        """The item of a request, and its record, its error or `Lost`; None where there is nothing to report."""
        worker, item = self._requests.pop(request)
        result = actors.result(request)
        of_earlier_job = self._earlier.pop(request, None) is not None
        if isinstance(result, Lost):
            self._remove(worker, item, result)
            return None if item is None else (item, result)
        self._failed_starts = 0
        self._unconfirmed.discard(worker)
        if of_earlier_job:  # so is an error in its result
            self._waiting.append(worker)
            return None
        if isinstance(result, Exception):
            if item is None:
                raise result
            self._ready.append(worker)
            return item, result
        if result is None:  # it is set up, or its item has no further record
            self._ready.append(worker)
            return None
        self._continue(worker, item, *result)
        return item, *result

    def _continue(self, worker: Any, item: Any, record: Any) -> None:
        """Keep a worker busy while the caller processes its record."""
        if self._job.one_record:
            self._ready.append(worker)
            self._assign()
        else:
            self._requests[worker.next.remote(self._job.answer(item, record))] = worker, item

    def _remove(self, worker: Any, item: Any, lost: Lost) -> None:
        """Remove a lost worker.

        Raises:
            UserError: too many were lost in a row before they were set up.
        """
        import ray

        self._failed_starts += item is None and worker in self._unconfirmed
        # It may only be unreachable, and would keep the room of the one that replaces it.
        ray.kill(worker)
        self._unconfirmed.discard(worker)
        if self._failed_starts > max(limits.RETRIES, self._job.at_once):  # those of one machine are lost together
            raise UserError(
                f"{self._failed_starts} workers were lost one after another before they could begin ({lost.reason}): "
                "see the logs of their machines, and how much memory they have"
            )
