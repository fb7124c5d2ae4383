"""A training by Ray Train, as the stage sees it: it is started again where its processes are lost."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from glassbox.core.errors import UserError, one_line
from glassbox.data.store import Split
from glassbox.execution.ray_cluster import limits, object_store, ranks, resources
from glassbox.execution.ray_cluster.actors import ProcessSettings
from glassbox.execution.ray_cluster.ranks import Kind, RankRequest
from glassbox.execution.ray_cluster.resources import Resources
from glassbox.provenance import resume

CANCEL_TIMEOUT = 15.0  # seconds in which a training that is cancelled ends in order
EXIT_TIMEOUT = 60.0  # seconds in which the processes of a finished training end
POLL_INTERVAL = 1.0  # seconds


@dataclass
class RemoteTraining:
    """A training on processes of the cluster."""

    training: Any  # a `glassbox.training.loop.Training`
    classifier: torch.nn.Module  # one of this process; gets the weights in the end
    checkpoint: resume.Checkpoint  # a file of this machine
    process: ProcessSettings  # of each process
    resources: Resources  # of each process
    last_epoch: int = 0
    finished: bool = False
    task: Any = None  # runs Ray Train

    def epochs(self, train: Split, validation: Split) -> Iterator[Any]:
        """Train.

        Yields:
            what `training.record` makes of each epoch, once each.

        Raises:
            UserError: a process raised it, too many were lost, or no machines have room for them.
            RuntimeError: a process raised something else; the message holds the traceback.
        """
        splits = {"train": train, "validation": validation}
        data = object_store.put_splits(splits.__getitem__, *splits)
        queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": _this_node()})
        try:
            for _ in range(limits.RETRIES + 1):
                self._start(data, queue)
                yield from self._follow(queue)
                if self.finished:
                    return
                reason = self._reason()
                print(
                    f"a process of the training was lost ({reason}): resuming after epoch {self.last_epoch}",
                    file=sys.stderr,
                )
            raise UserError(
                "the training was given up, because its processes or machines were lost "
                f"{limits.RETRIES + 1} times ({reason}): run the same command again to resume"
            )
        finally:
            self._cancel()
            queue.shutdown(force=True)

    def _start(self, data: Any, queue: Any) -> None:
        """Start Ray Train, at the checkpoint."""
        state, n_ranks = self.checkpoint.load(), self.training.hyperparameters.train.workers
        stored = None if state is None else ray.put(resume.packed(state))
        request = RankRequest(self.training, data, self.process, queue, stored)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": _this_node()}
        task = ray.remote(ranks.run_ray_train).options(**options)
        self.task = task.remote(request, n_ranks, self.resources)
        resources.wait_for_room(self.resources, workers=n_ranks, reason=f"train.workers is {n_ranks}")

    def _follow(self, queue: Any) -> Iterator[Any]:
        """New epochs, until the weights arrive or the task ends."""
        for kind, value in self._messages(queue):
            if kind == Kind.ERROR:
                raise value
            if kind == Kind.STATE:
                self.checkpoint.write(value)
            if kind == Kind.NOTE:
                self.checkpoint.tell(value)
            if kind == Kind.EPOCH and value["epoch"] > self.last_epoch:
                epoch = self.training.record(value)
                self.last_epoch = epoch.epoch
                yield epoch
            if kind == Kind.WEIGHTS:
                self.classifier.load_state_dict(resume.unpacked(value))
                ray.wait([self.task], timeout=EXIT_TIMEOUT)  # its processes make room for what follows
                self.finished = True
                return

    def _messages(self, queue: Any) -> Iterator[tuple[str, Any]]:
        """Messages of the first process, until the task has ended and all are read."""
        ended = False
        while not ended or not queue.empty():
            ended = bool(ray.wait([self.task], timeout=0)[0])  # before the queue is read: no message comes after it
            try:
                message = queue.get(timeout=POLL_INTERVAL)
            except Empty:
                continue
            yield message

    def _reason(self) -> str:
        """Why the task ended before the training did."""
        try:
            ray.get(self.task)
        except ray.exceptions.RayError as error:
            return one_line(error)
        return "it ended without a result"

    def _cancel(self) -> None:
        """End the task. It is cancelled first: if it is killed, its processes keep their room unless Ray's dashboard
        runs."""
        if self.task is None:
            return
        for force in (False, True):
            if ray.wait([self.task], timeout=0)[0]:
                return
            ray.cancel(self.task, force=force)
            ray.wait([self.task], timeout=CANCEL_TIMEOUT)


def _this_node() -> Any:
    """The scheduling strategy for the stage's machine, or for the head that serves it."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
