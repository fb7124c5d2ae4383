"""What is sent to Ray's object store."""

import pickle

import torch

from glassbox.execution.ray_cluster import object_store


def test_a_view_is_sent_without_the_rest_of_its_tensor():
    whole = torch.arange(4000, dtype=torch.uint8).view(1000, 4)
    item = (whole[7], [whole[2:4], "text"], {"as": "it is"}, whole)
    found = object_store.compact(item)
    assert torch.equal(found[0], item[0])
    assert torch.equal(found[1][0], item[1][0])
    assert [found[1][1], found[2]] == ["text", {"as": "it is"}]
    assert len(pickle.dumps(found[:3])) < 1500 < 4000 < len(pickle.dumps(item[0]))
    assert found[3] is whole
