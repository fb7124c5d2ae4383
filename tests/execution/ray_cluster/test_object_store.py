"""What is sent to Ray's object store."""

import pickle

import torch

from glassbox.execution.ray_cluster import object_store


def test_a_view_is_sent_without_the_rest_of_its_tensor():
    tensor = torch.arange(4000, dtype=torch.uint8).view(1000, 4)
    item = (tensor[7], [tensor[2:4], "text"], {"as": "it is"}, tensor)
    sent = object_store.compact(item)
    assert torch.equal(sent[0], item[0])
    assert torch.equal(sent[1][0], item[1][0])
    assert [sent[1][1], sent[2]] == ["text", {"as": "it is"}]
    assert len(pickle.dumps(sent[:3])) < 1500 < 4000 < len(pickle.dumps(item[0]))
    assert sent[3] is tensor
