"""Shards for `RayEngine.each`: several parts of a work that are sent to a worker together.

Their size keeps the costs of sending at a hundredth of the time that the parts take.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, groupby, islice
from typing import Any, NamedTuple

import ray
import torch

from glassbox.core.errors import UserError
from glassbox.execution import compute
from glassbox.execution.ray_cluster import limits, object_store
from glassbox.execution.ray_cluster.actors import Lost
from glassbox.provenance.resume import Arrays, Items

SECONDS = 0.2  # of work in a shard
MOST_PARTS = 64  # in a shard
AHEAD = 4  # shards for each worker that are in progress or done while an earlier one is awaited


class Shard(NamedTuple):
    """Consecutive parts."""

    number: int  # position among the shards
    common: Any  # reference to what these parts share
    own: list[Any]  # what is specific to each part


class ShardResult(NamedTuple):
    """The result of a worker."""

    arrays: list[Arrays]  # of each part
    seconds: float  # for all parts
    peak_memory: float  # of the process, GiB


class ShardQueue:
    """Shards to be computed, made from the items as results come in, and results in the order of the items.

    Args:
        items: see `resume.Keep.each`.
        limit: maximal number of shards that are made and whose results are not returned yet.

    Attributes:
        todo: shards that are not assigned to a worker.
    """

    def __init__(self, items: Items, *, limit: int) -> None:
        self.todo: deque[Shard] = deque()
        self._limit, self._size = limit, 1
        self._order: deque[int] = deque()  # numbers of shards whose results are not returned yet
        self._done: dict[int, list[Arrays]] = {}
        self._losses: Counter[int] = Counter()
        self._shards = self._make(items)
        self.fill()

    def fill(self) -> None:
        """Make shards up to the limit."""
        while len(self._order) < self._limit and (shard := next(self._shards, None)):
            self._order.append(shard.number)
            self.todo.append(shard)

    def retry(self, shard: Shard, lost: Lost) -> None:
        """Put a lost shard back; raises UserError if it was lost too often."""
        self._losses[shard.number] += 1
        if self._losses[shard.number] > limits.RETRIES:
            raise UserError(
                "a part of the work was given up, because the processes or machines that did it were lost "
                f"{limits.RETRIES + 1} times ({lost.reason}): run the same command again to resume"
            )
        self.todo.appendleft(shard)

    def add(self, shard: Shard, result: ShardResult) -> None:
        """Take the result of a shard, and adapt the size of the next ones to its time."""
        self._size = min(MOST_PARTS, max(1, round(SECONDS * len(result.arrays) / max(result.seconds, 1e-6))))
        # Copies, because an array that is read in place keeps the store's memory occupied.
        self._done[shard.number] = [{name: array.copy() for name, array in part.items()} for part in result.arrays]

    def results(self) -> Iterator[Arrays]:
        """Results that are next in the order of the items."""
        while self._order and self._order[0] in self._done:
            yield from self._done.pop(self._order.popleft())

    def _make(self, items: Items) -> Iterator[Shard]:
        numbers = count()
        for _, same in groupby(items, key=lambda item: id(item[0])):
            shared = None
            while parts := [*islice(same, self._size)]:
                if shared is None:
                    # Put into the store once. The object is kept as well: else another one could get its id.
                    shared = parts[0][0], ray.put(object_store.compact(parts[0][0]))
                yield Shard(next(numbers), shared[1], [object_store.compact(own) for _, own in parts])


def serve(shared: list[Any], device: torch.device) -> Callable[[Shard], Iterator[ShardResult]]:
    """A function that computes a shard.

    Args:
        shared: references to the work and its classifier.
        device: device of the classifier.
    """
    return partial(_compute, shared, device)


def _compute(shared: list[Any], device: torch.device, shard: Shard) -> Iterator[ShardResult]:
    work, classifier, common = object_store.read([*shared, shard.common], device)
    start = time.perf_counter()
    arrays = [work(classifier, common, own) for own in shard.own]
    yield ShardResult(arrays, time.perf_counter() - start, compute.peak_memory(device))
