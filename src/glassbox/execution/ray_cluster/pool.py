"""The pool of workers: it starts them, assigns items, collects records, and ends workers."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from glassbox.core.errors import UserError
from glassbox.execution import workers
from glassbox.execution.ray_cluster import actors, limits, resources
from glassbox.execution.ray_cluster.actors import Lost, ProcessSettings
from glassbox.execution.ray_cluster.resources import Resources


@dataclass(frozen=True)
class Job:
    """A queue of items and what is done with each; see the arguments of `workers.each`."""

    serve: Callable[[], Callable[[Any], workers.Records]]
    todo: deque
    at_once: int
    answer: Callable[[Any, Any], Any] = workers.no_answer
    one_record: bool = False  # whether each item has one record, so that no second one is requested


class WorkerPool:
    """Workers that stay for the next job. Each has at most one open request.

    A worker is set up for each job, and gets an item when that is confirmed: until then no machine may have room for
    it, or it may be lost.

    Args:
        settings: settings of the workers' processes.
        resources: what each worker takes.
        worker: one that is there already.
    """

    def __init__(self, settings: ProcessSettings, resources: Resources, worker: Any) -> None:
        self._settings, self._resources = settings, resources
        self._job: Job | None = None
        self._idle = [worker]
        self._starting: dict[Any, tuple[Any, Job]] = {}  # worker, and the job it is set up for, by request
        self._busy: dict[Any, tuple[Any, Any]] = {}  # worker and item by request
        self._failed_starts = 0  # in a row

    def run(self, job: Job, resources: Resources) -> Iterator[tuple[Any, Any]]:
        """Run a job on workers that take these resources.

        Yields:
            (item, record) in the order in which records come in; (item, error) where the item raised one; (item,
            `Lost`) where its worker was lost.

        Raises:
            UserError: workers cannot be set up, are lost as they start, or no machine has room for one.
            RuntimeError: another job runs.
        """
        if self._job is not None:
            raise RuntimeError("one work at a time: another one is not at its end, and may have all workers")
        if resources != self._resources:
            self.dismiss()  # they hold the resources that others need
        self._job, self._resources = job, resources
        try:
            while self._idle:
                self._set_up(self._idle.pop())
            while job.todo or self._busy:
                self._assign(job)
                self._start_workers(job)
                for request in self._finished():
                    if (collected := self._collect(job, request)) is not None:
                        yield collected
        finally:
            for worker, _ in self._busy.values():
                ray.kill(worker)
            self._busy, self._job = {}, None

    def dismiss(self) -> None:
        """End the workers that have no item: others get their room."""
        for worker in (*self._idle, *(worker for worker, _ in self._starting.values())):
            ray.kill(worker)
        self._idle, self._starting = [], {}

    def _assign(self, job: Job) -> None:
        """Give items to idle workers."""
        while job.todo and self._idle and len(self._busy) < job.at_once:
            worker, item = self._idle.pop(), job.todo.popleft()
            self._busy[worker.begin.remote(item)] = worker, item

    def _start_workers(self, job: Job) -> None:
        """Start as many workers as the items need. Those that an earlier job has started count: otherwise each of many
        short jobs would start others."""
        needed = min(job.at_once, len(job.todo) + len(self._busy))
        for _ in range(needed - len(self._busy) - len(self._idle) - len(self._starting)):
            self._set_up(actors.start_worker(self._resources))

    def _set_up(self, worker: Any) -> None:
        self._starting[worker.set_up.remote(self._settings, self._job.serve)] = worker, self._job

    def _finished(self) -> list[Any]:
        """A request that is completed; none where that takes long."""
        open_requests = [*self._busy, *self._starting]
        finished, _ = ray.wait(open_requests, num_returns=1, timeout=limits.STATUS_INTERVAL)
        if not finished and not self._busy:
            resources.wait_for_room(self._resources, workers=1, reason="work is waiting")
        return finished

    def _collect(self, job: Job, request: Any) -> tuple[Any, Any] | None:
        """The item of a request, and its record, its error or `Lost`; None where there is nothing to report."""
        result = actors.result(request)
        if request in self._starting:
            self._confirm(job, *self._starting.pop(request), result)
            return None
        worker, item = self._busy.pop(request)
        if isinstance(result, Lost):
            ray.kill(worker)  # it may only be unreachable, and would keep the room of the one that replaces it
            return item, result
        self._failed_starts = 0  # work gets done
        if result is None or isinstance(result, Exception):  # None: the item has no further record
            self._idle.append(worker)
            return None if result is None else (item, result)
        (record,) = result  # the worker is kept busy while the caller processes it
        if job.one_record:
            self._idle.append(worker)
            self._assign(job)
        else:
            self._busy[worker.next.remote(job.answer(item, record))] = worker, item
        return item, record

    def _confirm(self, job: Job, worker: Any, set_up_for: Job, result: Any) -> None:
        """Take note of the end of a set-up; raises UserError if too many workers in a row were lost before it."""
        if isinstance(result, Lost):
            ray.kill(worker)
            self._failed_starts += 1
            if self._failed_starts >= limits.RETRIES + job.at_once:  # those of one machine are lost together
                raise UserError(
                    f"{self._failed_starts} workers were lost one after another before they could begin "
                    f"({result.reason}): see the logs of their machines, and how much memory they have"
                )
            return
        self._failed_starts = 0
        if set_up_for is not job:
            self._set_up(worker)
        elif isinstance(result, Exception):
            raise result
        else:
            self._idle.append(worker)
