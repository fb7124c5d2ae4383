import pickle
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models import registry, weights
from glassbox.models.registry import Hyperparameters, TorchvisionNetwork

PLAIN = Hyperparameters(weights=None, stem="imagenet", dropout=0.0, batch_norm_momentum=0.9)
CLASSES = ("ant", "bee", "cat")
DATA = Description("toy", CLASSES, 32, {"test": 9}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)


def network(name: str = "resnet18", size: int = 32) -> TorchvisionNetwork:
    torch.manual_seed(0)
    return TorchvisionNetwork(name, PLAIN, size, len(CLASSES))


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    """Weights of a network of three classes, whose head has a row of ones, of twos and of threes."""
    torch.manual_seed(1)
    state = torchvision.models.resnet18(weights=None, num_classes=3).state_dict()
    state["fc.weight"] = torch.arange(1.0, 4)[:, None].expand(3, 512).contiguous()
    state["fc.bias"] = torch.arange(1.0, 4)
    return state


def load(content: object, file: str, name: str = "resnet18") -> TorchvisionNetwork:
    """A network with the weights of a file."""
    torch.save(content, file)
    net = network(name)
    registry.load_weights(net, str(file), CLASSES)
    return net


FORMS = {
    "lightning.ckpt": lambda state: {
        "epoch": 3, "global_step": 9, "pytorch-lightning_version": "2.5.0", "optimizer_states": [{"state": {0: {}}}],
        "state_dict": OrderedDict({f"model.{n}": t for n, t in state.items()} | {"loss.weight": torch.ones(3)}),
    },
    "state.pth": lambda state: {"model_state": state, "optimizer_state": {"state": {}, "param_groups": []}},
    "named.pth": lambda state: {"epoch": 1, "net": state},
    "deep.pth": lambda state: {"model": {"state_dict": {f"module.backbone.{n}": t for n, t in state.items()}}},
    "compiled.pt": lambda state: {f"_orig_mod.{n}": t for n, t in state.items()},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_wherever_training_scripts_put_them(trained, tmp_path, form):
    net = load(FORMS[form](trained), tmp_path / form)
    assert net.began_fresh == []
    assert all(torch.equal(tensor, trained[name]) for name, tensor in net.body.state_dict().items())


class Hyper(dict):
    """What Lightning keeps hyperparameters in: a class of its own."""


REFUSED = {
    "numbers.pth": (lambda s: {0: torch.zeros(1), 1: torch.zeros(1)}, r"numbers.pth holds no weights by name"),
    "mixed.pth": (lambda s: {0: torch.zeros(1), "a": torch.zeros(1)}, r"mixed.pth holds no weights by name"),
    "empty.pth": (lambda s: {}, r"empty.pth holds no weights by name"),
    "numbers.safetensors.pth": (lambda s: {"state_dict": {0: torch.zeros(1)}}, r"holds no weights by name"),
    "two.pth": (lambda s: {"student": s, "teacher": s},
                r"two.pth holds several sets of weights \(student, teacher\): save one of them alone, as with torch"),
    "twins.pth": (lambda s: {f"{who}.{n}": t for who in ("a", "b") for n, t in s.items()},
                  r"twins.pth holds the weights of several networks \(a., b.\): save those of one alone"),
    "hyper.ckpt": (lambda s: {"state_dict": s, "hyper_parameters": Hyper(lr=0.1)},
                   r"hyper.ckpt holds no weights, or more than weights, .* where the file was made, with "
                   r"torch.save\(torch.load\('.*hyper.ckpt', weights_only=False\)\['state_dict'\], 'weights.pth'\)$"),
    "whole.pth": (lambda s: nn.Linear(2, 2),
                  r"more than weights, .* with torch.save\(model.state_dict\(\), 'weights.pth'"),
}  # fmt: skip


@pytest.mark.parametrize("file", REFUSED)
def test_what_cannot_be_taken_is_one_sentence_with_what_to_do(trained, tmp_path, file):
    make, sentence = REFUSED[file]
    with pytest.raises(UserError, match=sentence) as refused:
        load(make(trained), tmp_path / file)
    assert "\n" not in str(refused.value)


def test_a_checkpoint_that_holds_itself_has_an_end(tmp_path):
    content: dict = {}
    content["model"] = content
    with pytest.raises(UserError, match="holds no weights by name"):
        load(content, tmp_path / "loop.pth")


def test_a_torchscript_archive_is_refused_with_what_to_do(tmp_path, recwarn):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "script.pt")
    recwarn.clear()
    with pytest.raises(
        UserError, match=r"script.pt is a TorchScript archive, .* torch.save\(torch.jit.load\('.*script.pt'"
    ):
        weights.read(str(tmp_path / "script.pt"))
    assert not recwarn.list


def head_of(*layers: nn.Module) -> dict[str, torch.Tensor]:
    return nn.Sequential(*layers).state_dict()


HEADS = {  # of a network: what stands in the place of its head, and whether that is taken
    "dropout before": ("resnet18", "fc.", lambda: head_of(nn.Dropout(), nn.Linear(512, 3)), True),
    "one in a sequence": ("resnet18", "fc.", lambda: head_of(nn.Linear(512, 3)), True),
    "two layers": ("resnet18", "fc.", lambda: head_of(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3)), False),
    "another width": ("resnet18", "fc.", lambda: head_of(nn.Dropout(), nn.Linear(512, 5)), False),
    "none": ("resnet18", "fc.", dict, False),
    "no sequence": ("mobilenet_v2", "classifier.", lambda: nn.Linear(1280, 3).state_dict(), True),
    "a longer sequence": ("mobilenet_v2", "classifier.",
                          lambda: head_of(nn.Dropout(), nn.Linear(1280, 8), nn.ReLU(), nn.Linear(8, 3)), False),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADS)
def test_a_head_in_a_sequence_is_taken_where_it_is_one_layer_and_begins_fresh_otherwise(tmp_path, case):
    name, region, head, whole = HEADS[case]
    body = network(name).body.state_dict()
    torch.manual_seed(5)
    given = {n: t for n, t in body.items() if not n.startswith(region)} | {region + n: t for n, t in head().items()}
    net = load(given, tmp_path / "w.pth", name)
    own = [f"{net.head_name}.{part}" for part in ("weight", "bias")]
    assert net.began_fresh == ([] if whole else own)
    (layer,) = [t for n, t in given.items() if n.startswith(region) and t.ndim == 2] if whole else [body[own[0]]]
    assert torch.equal(net.body.state_dict()[own[0]], layer)


def told(content: object, path, classes: tuple[str, ...] = CLASSES) -> list[str]:
    torch.save(content, path)
    spec = models.Spec("resnet18", dict(vars(PLAIN)) | {"weights": str(path)}, "data", None)
    return models.fresh(spec, replace(DATA, classes=classes), 0, torch.device("cpu")).network.notes


def test_a_head_of_another_number_of_classes_is_told(trained, tmp_path):
    eleven = trained | {"fc.weight": torch.zeros(11, 512), "fc.bias": torch.zeros(11)}
    assert told(eleven, tmp_path / "w.pth") == [
        f"model.weights: {tmp_path}/w.pth has 11 outputs, and the data have 3 classes: the last layer begins with "
        "fresh weights."
    ]
    without = {name: tensor for name, tensor in trained.items() if not name.startswith("fc.")}
    assert told(without, tmp_path / "w.pth") == [
        f"model.weights: {tmp_path}/w.pth has no head that fits: the last layer begins with fresh weights."
    ]


NAMED = {
    "list": lambda names: {"classes": list(names)},
    "places": lambda names: {"class_to_idx": {name: place for place, name in enumerate(names)}},
    "names": lambda names: {"idx_to_class": dict(enumerate(names))},
}


@pytest.mark.parametrize("how", NAMED)
def test_rows_of_a_head_come_into_the_order_of_the_data_where_the_file_names_its_classes(trained, tmp_path, how):
    theirs = ("cat", "ant", "bee")
    net = load({"state_dict": trained} | NAMED[how](theirs), tmp_path / "w.pth")
    assert net.head().weight[:, 0].tolist() == net.head().bias.tolist() == [2, 3, 1]
    assert net.notes == [
        f"model.weights: {tmp_path}/w.pth has the classes in the order cat, ant, bee: the rows of its last layer are "
        "put in that of the data."
    ]
    same = load({"state_dict": trained} | NAMED[how](CLASSES), tmp_path / "w.pth")
    assert same.head().bias.tolist() == [1, 2, 3]
    assert same.notes == []


def test_a_file_beside_the_weights_names_their_classes(trained, tmp_path):
    save_file(trained, tmp_path / "w.safetensors", {"classes": '["bee", "ant", "cat"]'})
    net = network()
    registry.load_weights(net, str(tmp_path / "w.safetensors"), CLASSES)
    assert net.head().bias.tolist() == [2, 1, 3]
    one = weights.digest(str(tmp_path / "w.safetensors"))
    (tmp_path / "w.json").write_text('{"classes": ["cat", "bee", "ant"], "weights_sha256": "as glassbox writes it"}')
    registry.load_weights(net, str(tmp_path / "w.safetensors"), CLASSES)
    assert net.head().bias.tolist() == [3, 2, 1]
    assert weights.digest(str(tmp_path / "w.safetensors")) != one  # it is another training
    (tmp_path / "w.json").write_text("{")
    with pytest.raises(UserError, match=r"w.json, which names the classes of model.weights, cannot be read \("):
        registry.load_weights(net, str(tmp_path / "w.safetensors"), CLASSES)


def test_an_order_that_nobody_knows_is_told(trained, tmp_path):
    assert told(trained, tmp_path / "w.pth") == [
        f"model.weights: {tmp_path}/w.pth does not name its classes: its outputs are taken for ant, bee, cat, in this "
        f'order. If theirs is another one, write it to {tmp_path}/w.json as {{"classes": [...]}}.'
    ]
    others = {"state_dict": trained, "classes": ["x", "y", "z"]}
    assert told(others, tmp_path / "w.pth") == [
        f"model.weights: the classes of {tmp_path}/w.pth (x, y, z) are not called like those of the data (ant, bee, "
        "cat): its outputs are taken for these, in their order."
    ]


def test_it_is_told_before_the_search_and_in_the_model_card(trained, tmp_path):
    torch.save(trained, tmp_path / "w.pth")
    spec = models.Spec("resnet18", dict(vars(PLAIN)) | {"weights": str(tmp_path / "w.pth")}, "data", None)
    (sentence,) = models.check_data(spec, DATA)
    assert sentence.startswith(f"model.weights: {tmp_path}/w.pth does not name its classes")
    classifier = models.fresh(spec, DATA, 0, torch.device("cpu"))
    assert models.describe(spec, classifier, DATA, []).contradictions == [sentence]
    named = replace(spec, hyperparameters=spec.hyperparameters | {"weights": "DEFAULT"})
    assert models.check_data(named, DATA) == []  # nothing is downloaded
    assert models.check_data(models.Spec("cnn", {}, "data", None), DATA) == []


def test_no_code_in_a_file_runs(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (tmp_path / "it-ran").touch, ()

    for file in ("a.pth", "a.pt", "a.ckpt"):
        (tmp_path / file).write_bytes(pickle.dumps({"state_dict": Harmful()}, protocol=2))
        with pytest.raises(UserError, match="could run code"):
            weights.read(str(tmp_path / file))
        torch.save({"state_dict": Harmful()}, tmp_path / file)
        with pytest.raises(UserError, match="could run code"):
            weights.read(str(tmp_path / file))
    assert not (tmp_path / "it-ran").exists()
