import copy
import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from conftest import TinyNetwork, export, model
from network_files import DATA, IMAGES, PIXELS, SIDE, SIZES, taken
from torch import nn

import glassbox
from glassbox import models
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.explainers.base import Request
from glassbox.xai_metrics import attack, randomization

exported = partial(taken, "exported", explainers=("grad_cam",))


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    return export(TinyNetwork(), tmp_path_factory.mktemp("program") / "own.pt2")


@pytest.fixture(scope="module")
def classifier(file) -> models.Classifier:
    return exported(file)


@pytest.fixture(scope="module")
def owned() -> models.Classifier:
    """The same network as its owner has it."""
    return models.Classifier(TinyNetwork(), (0.5,) * 3, (0.5,) * 3).eval().to(memory_format=torch.channels_last)


def test_its_answers_are_the_owners_in_every_mode(classifier, owned):
    expected = owned(PIXELS)
    for mode in (True, False):
        classifier.train(mode)
        torch.testing.assert_close(classifier(PIXELS), expected, atol=1e-5, rtol=0)
    assert torch.allclose(classifier(PIXELS[:1]), expected[:1], atol=1e-5)


@pytest.mark.parametrize("explainer", ["integrated_gradients", "grad_cam", "libra_grad", "rise"])
def test_it_is_explained_like_the_owners_network(classifier, owned, explainer):
    maps = [glassbox.explain(classifier=one, images=IMAGES, explainer=explainer).maps for one in (classifier, owned)]
    assert maps[0] == pytest.approx(maps[1], abs=1e-6)
    assert np.abs(maps[0]).max() > 1e-5


@pytest.mark.parametrize("surrogate", attack.SURROGATES)
def test_it_is_attacked_like_the_owners_network(classifier, owned, surrogate):
    request = Request(IMAGES, models.probabilities(owned, IMAGES, 4).argmax(dim=1), (1, 2, 3, 4))
    options = {"radius": 0.05, "steps": 1, "batch_size": 64}
    how = attack.SURROGATES[surrogate]
    attacked = [attack.attack(one, request, how, **options) for one in (classifier, owned)]
    assert (attacked[0] == attacked[1]).mean() > 0.99
    assert (attacked[0] != IMAGES.numpy()).any()


def test_its_layers_have_the_names_and_kinds_of_the_owners(classifier):
    layers = models.describe(model("exported", weights=None), classifier, DATA, []).layers
    kinds = [(layer["name"].removeprefix("program."), layer["kind"]) for layer in layers]
    assert kinds[:3] == [("body.0", "Conv2d"), ("body.1", "BatchNorm2d"), ("body.2", "ReLU")]
    assert kinds[-1] == ("head", "Linear")
    assert sum(layer["trainable"] for layer in layers) == sum(p.numel() for p in TinyNetwork().parameters())


def test_saved_it_needs_no_other_file(classifier, file, tmp_path):
    card = models.describe(model("exported", weights=file), classifier, DATA, [])
    models.save(tmp_path, classifier, card)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors", "network.pt2"]
    written = json.loads((tmp_path / "model.json").read_text())
    assert written["network_sha256"] == files.sha256(file) == files.sha256(tmp_path / "network.pt2")
    loaded, read = models.load(tmp_path)
    assert read == card
    for copied in (loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):  # noqa: S301
        assert torch.equal(copied(PIXELS), classifier(PIXELS))
        assert not copied.training
    (tmp_path / "network.pt2").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"network\.pt2 cannot be read \(its SHA-256 is not that in model.json\)"):
        models.load(tmp_path)
    (tmp_path / "network.pt2").unlink()
    with pytest.raises(UserError, match=r"network\.pt2 cannot be read"):
        models.load(tmp_path)


def test_weights_of_another_program_are_refused(classifier, tmp_path):
    torch.manual_seed(1)
    other = TinyNetwork()
    nn.init.normal_(other.head.weight)
    with pytest.raises(RuntimeError, match="another file"):
        exported(export(other, tmp_path / "other.pt2")).load_state_dict(classifier.state_dict())


def test_without_what_it_has_learnt_its_tensors_hold_the_same_values_in_another_order(classifier, file):
    card = models.describe(model("exported", weights=file), classifier, DATA, [])
    before = classifier(PIXELS)
    untrained, again = (models.untrained(classifier, card, 3) for _ in range(2))
    for name, tensor in classifier.network.named_parameters():
        other = untrained.network.get_parameter(name)
        assert torch.equal(other.flatten().sort().values, tensor.flatten().sort().values)
        assert torch.equal(other, again.network.get_parameter(name))
    assert not torch.equal(untrained(PIXELS), before)
    assert torch.equal(classifier(PIXELS), before)
    steps = [*randomization.cascade(classifier, untrained, [layer["name"] for layer in card.layers], 2)]
    assert [name for name, _ in steps] == ["program.body.4", "program.body.0"]
    assert torch.equal(steps[-1][1](PIXELS), untrained(PIXELS))


def test_outputs_in_another_order_are_put_in_that_of_the_classes(classifier, tmp_path):
    file = export(TinyNetwork(), tmp_path / "own.pt2")
    assert "does not name its classes" in classifier.notes[0]
    (tmp_path / "own.json").write_text('{"classes": ["c", "a", "b"]}')
    ordered = exported(file)
    assert "in the order c, a, b" in ordered.notes[0]
    assert torch.equal(ordered(PIXELS), classifier(PIXELS)[:, [1, 2, 0]])
    models.save(tmp_path / "saved", ordered, models.describe(model("exported", weights=file), ordered, DATA, []))
    assert torch.equal(models.load(tmp_path / "saved")[0](PIXELS), ordered(PIXELS))


def both(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.mean(dim=(2, 3)), x


class Two(nn.Module):
    """Not one output."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return both(x)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda file: export(TinyNetwork(), file, fixed=1), r"own\.pt2 takes batches of 1 alone: export it anew .*Dim"),
        (lambda file: export(TinyNetwork().train(), file), r"own\.pt2 was exported in training mode, .*network\.eval"),
        (lambda file: export(Two(), file), r"own\.pt2 must give logits \(N, K\), one tensor, but has"),
        (lambda file: export(TinyNetwork(), file, side=8), r"of 8 x 8 pixels, not 16 x 16: set model\.input_size to 8"),
        (lambda file: file.write_bytes(b"no program"), r"own\.pt2 cannot be read as model\.name = exported says \("),
        (lambda file: None, r"names the file .*own\.pt2, which does not exist"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_a_sentence(made, sentence, tmp_path):
    made(tmp_path / "own.pt2")
    with pytest.raises(UserError, match=sentence):
        exported(str(tmp_path / "own.pt2"))


def test_the_images_can_be_resized_for_it(tmp_path):
    assert exported(export(TinyNetwork(), tmp_path / "own.pt2", side=8), input_size=8)(PIXELS).shape == (5, 3)


def test_arguments_and_another_number_of_classes_are_refused(file):
    with pytest.raises(UserError, match=r"^model\.arguments\.width is not taken by exported"):
        exported(file, {"width": 3})
    two = Description("mine", ("a", "b"), SIDE, SIZES, (0.5,) * 3, (0.3,) * 3, False, "")
    with pytest.raises(UserError, match=r"own\.pt2 has 3 outputs, but there are 2 classes: name one"):
        models.check_data(model("exported", weights=file), two, trained=False)
