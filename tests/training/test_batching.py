import pytest
import torch

from glassbox.data.batches import to_float
from glassbox.training import batching
from glassbox.training.batching import balanced_order, batches, stream
from glassbox.training.process_group import Ranks
from tests.training.toys import images_of


@pytest.mark.parametrize(("n", "size", "sizes"), [(5, 2, [2, 3]), (6, 2, [2, 2, 2]), (1, 2, [1]), (7, 3, [3, 4])])
def test_no_batch_of_one_is_left_over(n, size, sizes):
    parts = batches(torch.arange(n), size)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), torch.arange(n))


@pytest.mark.parametrize(("ahead", "calls"), [(1, 13), (2**16, 5), (2**30, 1)])  # bytes: one batch, some, all at a time
def test_batches_and_shares_of_them_come_in_order_however_many_are_prepared_at_a_time(monkeypatch, ahead, calls):
    n, size = 131, 10  # the last image joins the batch before
    monkeypatch.setitem(batching.AHEAD, "cpu", ahead)
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 12, 12, 3).contiguous()
    data, prepared = images_of(images, torch.arange(n)), []
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))

    def change(images: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        prepared.append(len(images))
        return to_float(images, own)

    parts = list(stream(data, order, size, change))
    assert [len(y) for _, y in parts] == [*[10] * 12, 11]
    assert torch.equal(torch.cat([y for _, y in parts]), order)
    assert torch.equal(torch.cat([x[:, 0, 0, 0] for x, _ in parts]), order / 255)
    assert len(prepared) == calls
    shares = [list(stream(data, order, size, change, Ranks(rank, 4))) for rank in range(4)]
    for number, (x, y) in enumerate(parts):
        assert torch.equal(torch.cat([share[number][0] for share in shares]), x)
        assert torch.equal(torch.cat([share[number][1] for share in shares]), y)


def test_an_epoch_of_balanced_sampling_draws_every_class_as_often():
    labels = torch.tensor([0] * 90 + [2] * 9 + [5])
    generator = torch.Generator().manual_seed(0)
    orders = [balanced_order(labels, generator) for _ in range(300)]
    for order in orders:
        counts = torch.bincount(labels[order])[[0, 2, 5]]
        assert counts.sum() == 100
        assert sorted(counts.tolist()) == [33, 33, 34]
        assert len(set(labels[order][:20].tolist())) > 1  # not one class after another
    drawn = torch.bincount(torch.cat(orders), minlength=100)
    assert drawn[99] == pytest.approx(10_000, rel=0.01)  # the only one of its class
    assert drawn[90:99].tolist() == pytest.approx([10_000 / 9] * 9, rel=0.15)
    assert drawn[:90].min() > 60  # of 111 expected: each one is drawn
    again = torch.Generator().manual_seed(0)
    assert torch.equal(balanced_order(labels, again), orders[0])
    assert not torch.equal(orders[0], orders[1])
