"""A training by Ray Train, as the stage sees it: started, followed, and started again where its processes are lost."""

import sys
from collections.abc import Iterator
from typing import Any

import torch

from glassbox.core.errors import UserError, one_line
from glassbox.data.store import Split
from glassbox.execution.protocols import Training
from glassbox.execution.ray_cluster import limits, object_store, ranks, resources
from glassbox.execution.ray_cluster.actors import ProcessSettings
from glassbox.execution.ray_cluster.ranks import Kind, RankRequest
from glassbox.execution.ray_cluster.resources import Resources
from glassbox.provenance import resume

CANCEL_TIMEOUT = 15.0  # seconds in which a training that is cancelled ends in order
EXIT_TIMEOUT = 60.0  # seconds in which the processes of a finished training end
POLL_INTERVAL = 1.0  # seconds


class RemoteTraining:
    """A training on processes of the cluster.

    Args:
        training: what is trained.
        classifier: of this process; gets the weights in the end.
        checkpoint: a file of this machine.
        process: settings of each process.
        resources: of each process.
    """

    def __init__(
        self,
        training: Training,
        classifier: torch.nn.Module,
        checkpoint: resume.Checkpoint,
        process: ProcessSettings,
        resources: Resources,
    ) -> None:
        self._training, self._classifier, self._checkpoint = training, classifier, checkpoint
        self._process, self._resources = process, resources
        self._last_epoch, self._finished = 0, False
        self._task: Any = None  # that runs Ray Train

    def epochs(self, train: Split, validation: Split) -> Iterator[Any]:
        """Train.

        Yields:
            what `training.record` makes of each epoch, once each.

        Raises:
            UserError: a process raised it, too many were lost, or no machines have room for them.
            RuntimeError: a process raised something else; the message holds the traceback.
        """
        from ray.util.queue import Queue

        splits = {"train": train, "validation": validation}
        data = object_store.put_splits(splits.__getitem__, *splits)
        queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": _this_node()})
        try:
            for _ in range(limits.RETRIES + 1):
                self._start(data, queue)
                yield from self._follow(queue)
                if self._finished:
                    return
                reason = self._reason()
                print(
                    f"a process of the training was lost ({reason}): going on after epoch {self._last_epoch}",
                    file=sys.stderr,
                )
            raise UserError(
                "the training was given up, because its processes or machines were lost "
                f"{limits.RETRIES + 1} times ({reason}): run the same command again, and it goes on where it was"
            )
        finally:
            self._cancel()
            queue.shutdown(force=True)

    def _start(self, data: Any, queue: Any) -> None:
        """Start Ray Train, at the checkpoint."""
        import ray

        state, n_ranks = self._checkpoint.load(), self._training.settings.workers
        stored = None if state is None else ray.put(resume.packed(state))
        request = RankRequest(self._training, data, self._process, queue, stored)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": _this_node()}
        task = ray.remote(ranks.run_ray_train).options(**options)
        self._task = task.remote(request, n_ranks, self._resources)
        resources.wait_for_room(self._resources, workers=n_ranks, reason=f"train.workers is {n_ranks}")

    def _follow(self, queue: Any) -> Iterator[Any]:
        """Epochs that are new, until the weights come or the task is at its end."""
        import ray

        for kind, value in self._messages(queue):
            if kind == Kind.REFUSED:
                raise value
            if kind == Kind.FAILED:
                raise RuntimeError(value)
            if kind == Kind.STATE:
                self._checkpoint.write(value)
            if kind == Kind.NOTE:
                self._checkpoint.tell(value)
            if kind == Kind.EPOCH and value["epoch"] > self._last_epoch:
                epoch = self._training.record(value)
                self._last_epoch = epoch.epoch
                yield epoch
            if kind == Kind.WEIGHTS:
                self._classifier.load_state_dict(resume.unpacked(value))
                ray.wait([self._task], timeout=EXIT_TIMEOUT)  # its processes make room for what follows
                self._finished = True
                return

    def _messages(self, queue: Any) -> Iterator[tuple[str, Any]]:
        """Messages of the first process, until the task is at its end and they are all read."""
        import ray
        from ray.util.queue import Empty

        ended = False
        while not ended or not queue.empty():
            ended = bool(ray.wait([self._task], timeout=0)[0])  # before the queue is read: no message comes after it
            try:
                message = queue.get(timeout=POLL_INTERVAL)
            except Empty:
                continue
            yield message

    def _reason(self) -> str:
        """Why the task ended before the training did."""
        import ray

        try:
            ray.get(self._task)
        except ray.exceptions.RayError as error:
            return one_line(error)
        return "it ended without a result"

    def _cancel(self) -> None:
        """End the task. Ray Train returns its processes' room only where it is cancelled; where it is killed, that
        needs Ray's dashboard, which may not be there."""
        import ray

        if self._task is None:
            return
        for force in (False, True):
            if ray.wait([self._task], timeout=0)[0]:
                return
            ray.cancel(self._task, force=force)
            ray.wait([self._task], timeout=CANCEL_TIMEOUT)


def _this_node() -> Any:
    """The scheduling strategy for what runs beside the stage, or at the head that serves it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
