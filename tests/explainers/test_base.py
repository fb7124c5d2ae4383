import numpy as np
import pytest
import torch

from glassbox.explainers import base
from glassbox.explainers.base import Attribution, Request, constant, counting, gradients_end_at, join


def request(n: int = 4) -> Request:
    """Images 0, 0, 1, 2, ...: the first two rows show the same one."""
    images = torch.stack([torch.full((2, 2, 3), max(0, row - 1) * 10, dtype=torch.uint8) for row in range(n)])
    return Request(images, torch.arange(n) % 2, (7, 7, *range(8, 6 + n)))


def test_maps_of_one_value():
    maps = np.zeros((5, 2, 2), np.float32)
    maps[1] = -3.7
    maps[2] = np.nextafter(np.float32(5), np.float32(6))  # what enlarging may leave of one value
    maps[2, 0, 0] = 5
    maps[3, 1, 1] = 1e-30  # small, but one pixel is above the others
    maps[4] = [[1, 1], [1, 1.001]]
    assert constant(maps).tolist() == [True, True, True, False, False]


def test_counting_counts_images_and_leaves_the_model_as_it_was(linear):
    model = linear(np.ones((2, 2)))
    model.network.eval()
    with counting(model) as count:
        assert not any(part.training for part in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        model(torch.rand(3, 3, 2, 2))
        model(torch.rand(2, 3, 2, 2))
        model(torch.rand(4, 3, 2, 2, requires_grad=True)).sum().backward()
    with pytest.raises(RuntimeError, match="stop"), counting(model):  # and after an error
        raise RuntimeError("stop")
    assert count == [9, 4]
    assert (model.training, model.network.training) == (True, False)
    assert all(p.requires_grad for p in model.parameters())
    assert not model._forward_hooks


def twice(model, image, targets, seed):
    """A map of the seed for each target; two images go through the model."""
    model(image.permute(2, 0, 1)[None].float().expand(2, 3, 2, 2))
    return np.stack([np.full((2, 2), float(seed + target)) for target in targets]), {"n": np.array(targets) * 10}


@pytest.mark.parametrize(("at_once", "evaluations"), [(True, [2, 2, 2, 2]), (False, [1, 1, 2, 2])])
def test_rows_of_the_same_image_are_explained_together(linear, at_once, evaluations):
    made = base.image_by_image(twice, linear(np.ones((2, 2))), request(), at_once)
    assert made.maps[:, 0, 0].tolist() == [7, 8, 8, 10]  # seed + target
    assert made.maps.dtype == np.float32
    assert made.forward_passes.tolist() == evaluations
    assert made.details["n"].tolist() == [0, 10, 0, 10]
    assert (made.seconds > 0).all()


def test_in_batches_keeps_the_order(linear):
    def explain(model, images, targets):
        model(images.permute(0, 3, 1, 2).float())
        return images[..., 0].numpy(), {"target": targets.numpy()}

    made = base.in_batches(explain, linear(np.ones((2, 2))), request(5), batch_size=2)
    assert made.maps[:, 0, 0].tolist() == [0, 0, 10, 20, 30]
    assert made.details["target"].tolist() == [0, 1, 0, 1, 0]
    assert made.forward_passes.tolist() == [1] * 5


def test_parts_joined_are_the_whole():
    whole = request(5)
    assert torch.equal(whole.part(1, 3).images, whole.images[1:3])
    assert whole.part(1, 3).seeds == whole.seeds[1:3]
    numbers = np.arange(3.0)
    attribution = Attribution(np.zeros((3, 2, 2)), numbers, numbers + 1, numbers + 2, {"a": numbers + 3})
    joined = join([attribution.rows([2, 0]), attribution])
    assert joined.maps.shape == (5, 2, 2)
    columns = joined.seconds, joined.forward_passes, joined.backward_passes, joined.details["a"]
    for place, values in enumerate(columns):
        assert values.tolist() == [2 + place, place, place, 1 + place, 2 + place]


def test_gradients_end_at_a_layer_and_no_further():
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    model, x = torch.nn.Sequential(first, second), torch.rand(3, 2, requires_grad=True)
    with gradients_end_at(first) as outputs:
        out = model(x)
        model(x)
    assert len(outputs) == 2
    assert torch.equal(outputs[0], first(x))
    (gradient,) = torch.autograd.grad(out.sum(), outputs[0], retain_graph=True)
    assert torch.equal(gradient, second.weight.expand(3, 2))
    (before,) = torch.autograd.grad(out.sum(), x, allow_unused=True)
    assert before is None
    assert not first._forward_hooks


def test_what_comes_after_may_overwrite_the_layers_output():
    first = torch.nn.Linear(2, 2)
    model, x = torch.nn.Sequential(first, torch.nn.ReLU(inplace=True)), torch.rand(3, 2)
    with gradients_end_at(first, in_place=True) as outputs:
        out = model(x)
    (gradient,) = torch.autograd.grad(out.sum(), outputs[0])
    assert torch.equal(outputs[0], first(x))
    assert torch.equal(gradient, (first(x) > 0).float())
