"""Shards: several parts of a work that a worker takes at a time, for `RayEngine.each`.

What is sent with a shard costs a hundredth of the time that its parts take, however small they are.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, groupby, islice
from typing import Any, NamedTuple

import torch

from glassbox.core.errors import UserError
from glassbox.execution import compute
from glassbox.execution.ray_cluster import limits, object_store
from glassbox.execution.ray_cluster.actors import Lost
from glassbox.provenance.resume import Arrays, Items

SECONDS = 0.2  # of work in a shard
MOST_PARTS = 64  # in a shard
AHEAD = 4  # shards for each worker that are computed, or begun, while an earlier one is waited for


class Shard(NamedTuple):
    """Some parts in a row.

    Attributes:
        number: in the order of the shards.
        common: reference to what these parts share.
        own: what each part has for itself.
    """

    number: int
    common: Any
    own: list[Any]


class ShardResult(NamedTuple):
    """What a worker returns.

    Attributes:
        arrays: of each part.
        seconds: that the parts took.
        peak_memory: the most memory that the process has had in use, in GiB.
    """

    arrays: list[Arrays]
    seconds: float
    peak_memory: float


class ShardQueue:
    """Shards to be computed, made from the items as results come in, and results in the order of the items.

    Args:
        items: see `resume.Keep.each`.
        limit: of shards that are made and whose results are not returned yet.

    Attributes:
        todo: shards that no worker has.
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
        """Put a lost shard back.

        Raises:
            UserError: it was lost too often.
        """
        self._losses[shard.number] += 1
        if self._losses[shard.number] > limits.RETRIES:
            raise UserError(
                "a part of the work was given up, because the processes or machines that did it were lost "
                f"{limits.RETRIES + 1} times ({lost.reason}): run the same command again, and it goes on where it was"
            )
        self.todo.appendleft(shard)

    def add(self, shard: Shard, result: ShardResult) -> None:
        """Take the result of a shard, and fit the size of the next ones to the time that it took."""
        self._size = min(MOST_PARTS, max(1, round(SECONDS * len(result.arrays) / max(result.seconds, 1e-6))))
        # Copies: an array that is read in place keeps the store's memory occupied.
        self._done[shard.number] = [{name: array.copy() for name, array in part.items()} for part in result.arrays]

    def results(self) -> Iterator[Arrays]:
        """Results that are next in the order of the items."""
        while self._order and self._order[0] in self._done:
            yield from self._done.pop(self._order.popleft())

    def _make(self, items: Items) -> Iterator[Shard]:
        import ray

        numbers = count()
        for _, same in groupby(items, key=lambda item: id(item[0])):
            shared = None
            while some := [*islice(same, self._size)]:
                if shared is None:
                    # Put into the store once. The object is kept as well: else another one could get its id.
                    shared = some[0][0], ray.put(object_store.compact(some[0][0]))
                yield Shard(next(numbers), shared[1], [object_store.compact(own) for _, own in some])


def serve(shared: list[Any], device: torch.device) -> Callable[[Shard], Iterator[ShardResult]]:
    """What a worker does with a shard.

    Args:
        shared: references to the work and its classifier.
        device: where the classifier is to be.
    """
    return partial(_compute, shared, device)


def _compute(shared: list[Any], device: torch.device, shard: Shard) -> Iterator[ShardResult]:
    work, classifier, common = object_store.read([*shared, shard.common], device)
    start = time.perf_counter()
    arrays = [work(classifier, common, own) for own in shard.own]
    yield ShardResult(arrays, time.perf_counter() - start, compute.peak_memory(device))
