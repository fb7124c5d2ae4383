"""Shards, without a cluster."""

import numpy as np
import pytest
import ray

from glassbox.core.errors import UserError
from glassbox.execution.ray_cluster import limits, shards
from glassbox.execution.ray_cluster.actors import Lost


@pytest.fixture
def stored(monkeypatch):
    """What is put into the store."""
    objects = []
    monkeypatch.setattr(ray, "put", lambda item: objects.append(item) or len(objects) - 1)
    return objects


def computed(shard, seconds=0.1):
    return shards.ShardResult([{"n": np.array([own])} for own in shard.own], seconds * len(shard.own), 1.0)


def returned(queue):
    return [int(part["n"][0]) for part in queue.results()]


def test_results_come_in_the_order_of_the_items(stored):
    items = [(("a", "b")[n // 3], n) for n in range(6)]
    queue = shards.ShardQueue(iter(items), limit=3)
    first, second, third = queue.todo
    assert [shard.own for shard in queue.todo] == [[0], [1], [2]], "one part each, until their time is known"
    queue.todo.clear()
    queue.add(third, computed(third))
    queue.add(second, computed(second))
    queue.fill()
    assert not queue.todo, "the limit is of shards whose results are not returned"
    assert returned(queue) == []
    queue.add(first, computed(first))
    assert returned(queue) == [0, 1, 2]
    queue.fill()
    assert [shard.own for shard in queue.todo] == [[3, 4], [5]], "of a tenth of a second two in a shard"
    assert {shard.common for shard in queue.todo} == {1}
    assert stored == ["a", "b"], "once each"


@pytest.mark.parametrize(("seconds", "size"), [(1.0, 1), (0.05, 4), (1e-9, shards.MOST_PARTS)])
def test_the_size_follows_the_time_of_a_part(stored, seconds, size):
    queue = shards.ShardQueue((("same", n) for n in range(1000)), limit=1)
    shard = queue.todo.pop()
    queue.add(shard, computed(shard, seconds))
    assert returned(queue) == [0]
    queue.fill()
    assert len(queue.todo[0].own) == size


def test_a_lost_shard_is_next_and_given_up_after_some_losses(stored):
    lost = Lost("by the test")
    assert str(lost) == "its process or its machine was lost (by the test)"
    queue = shards.ShardQueue((("same", n) for n in range(9)), limit=2)
    shard = queue.todo.popleft()
    for _ in range(limits.RETRIES):
        queue.retry(shard, lost)
        assert queue.todo.popleft() is shard
    with pytest.raises(UserError, match=rf"were lost {limits.RETRIES + 1} times \(by the test\)"):
        queue.retry(shard, lost)
