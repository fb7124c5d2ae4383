import pytest
import torch
from conftest import SMALL_CNN, model
from torch import nn

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.provenance.resume import Parts

SMALL = model("cnn", SMALL_CNN)
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.5, 0.25)
DATA = Description("toy", ("a", "b", "c"), 8, {}, MEAN, STD, False, "d" * 64)


class Spy(nn.Module):
    """Keeps what it is given."""

    def forward(self, x):
        self.seen = x
        return x.mean(dim=(2, 3))


def test_colours_are_normalised_inside():
    spy, x = Spy(), torch.rand(2, 3, 8, 8)
    classifier = models.Classifier(spy, MEAN, STD)
    classifier(x)
    assert torch.equal(spy.seen, (x - classifier.mean) / classifier.std)


def test_images_are_resized_on_the_way():
    columns = torch.tensor([0.0, 1.0]).expand(1, 3, 2, 2)
    spy = Spy()
    larger = models.Classifier(spy, input_size=4)
    larger(columns)
    # Pixel centres at 0.25 and 0.75 of the width: between them the value grows from 0 to 1, beyond them it stays.
    assert spy.seen.shape == (1, 3, 4, 4)
    assert spy.seen[0, 0, 0].tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])
    models.Classifier(spy, input_size=2, crop=0.5)(columns)  # the centre of that
    assert spy.seen.shape == (1, 3, 2, 2)
    assert spy.seen[0, 0, 0].tolist() == pytest.approx([0.25, 0.75])


def test_explanations_of_a_resized_image_have_the_images_own_size():
    classifier = models.Classifier(Spy(), (0.0,) * 3, (1.0,) * 3, input_size=8)
    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    classifier(x)[0, 1].backward()
    # Each pixel of one channel has an equal share of its mean, where the interpolation does not favour it: sums agree.
    assert x.grad.shape == (1, 3, 4, 4)
    assert x.grad[0, 1].sum().item() == pytest.approx(1)
    assert not x.grad[0, 0].any()


def test_only_the_head_learns_while_the_rest_is_frozen(classifier):
    classifier.train_head_only(True)
    learning = {name for name, p in classifier.named_parameters() if p.requires_grad}
    assert learning == {"network.output.weight", "network.output.bias"}
    assert {name for name, part in classifier.named_modules() if part.training} == {"network.output"}
    classifier.train_head_only(False)
    assert all(p.requires_grad for p in classifier.parameters())
    assert all(part.training for part in classifier.modules())


class TwoHeads(nn.Module):
    """As DeiT's with distillation: the mean of two last layers."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.head_dist, self.rest = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 3)


def test_all_of_several_heads_learn():
    classifier = models.Classifier(TwoHeads())
    classifier.heads = ("head", "head_dist")
    classifier.train_head_only(True)
    assert {name for name, p in classifier.named_parameters() if p.requires_grad} == {
        f"network.{head}.{part}" for head in classifier.heads for part in ("weight", "bias")
    }


def test_a_channel_without_variation_does_not_divide_by_zero():
    constant = models.Classifier(nn.Identity(), (0.5, 0.5, 0.5), (0.0, 0.1, 0.1))
    assert torch.isfinite(constant(torch.full((1, 3, 2, 2), 0.5))).all()


def test_predict_is_the_same_for_any_batch_and_for_bytes(classifier):
    images = torch.randint(0, 256, (7, 8, 8, 3), dtype=torch.uint8)
    logits = models.predict(classifier, images, batch_size=3)
    assert logits.shape == (7, 3)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, models.predict(classifier, images, batch_size=7))
    torch.testing.assert_close(
        logits, models.predict(classifier, images.permute(0, 3, 1, 2).float() / 255, batch_size=2)
    )
    assert classifier.training


def test_predictions_go_on_after_the_last_whole_batch(classifier, tmp_path):
    images = torch.randint(0, 256, (10, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = models.predict(classifier, images, batch_size=4)
    models.predict(classifier, images[:8], batch_size=4, keep=Parts("evaluate", "key", tmp_path))
    seen, again = [], Parts("evaluate", "key", tmp_path)
    handle = classifier.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    resumed = models.predict(classifier, images, batch_size=4, keep=again)
    handle.remove()
    assert seen == [2]
    assert torch.equal(resumed, whole)


def test_the_layer_of_grad_cam_is_found_in_any_network_or_named():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 2))
    assert models.Classifier(network).grad_cam_layer(8) is network[2]
    assert models.Classifier(network, grad_cam_layer="0").grad_cam_layer(8) is network[0]
    with pytest.raises(
        UserError, match=r"^Grad-CAM needs features of .* and Sequential on 2 x 2 pixels has none: take grad_cam"
    ):
        models.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2))).grad_cam_layer(2)


def test_features_of_an_unknown_layout_are_refused_with_their_shape():
    net = models.Classifier(nn.Sequential(nn.Conv2d(3, 4, (3, 1)), nn.Flatten()), grad_cam_layer="0")
    with pytest.raises(
        UserError, match=r"an output of shape \(1, 4, 6, 8\), but needs \(N, C, h, h\), \(N, h, h, C\) or"
    ):
        net.feature_maps(net.grad_cam_layer(8)(torch.rand(1, 3, 8, 8)))
