import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from conftest import model
from safetensors.torch import save_file
from torch import nn

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models import weights
from glassbox.models.weights import Fitted

CLASSES = ("ant", "bee", "cat")


def network(head: str = "fc", width: int = 4) -> dict[str, torch.Tensor]:
    """Fresh tensors of a network of three classes."""
    layers = {"conv": nn.Conv2d(3, width, 1, bias=False), "norm": nn.BatchNorm2d(width), head: nn.Linear(width, 3)}
    return {f"{name}.{part}": t for name, layer in layers.items() for part, t in layer.state_dict().items()}


@pytest.fixture
def trained() -> dict[str, torch.Tensor]:
    """Weights of such a network, whose head has a row of ones, of twos and of threes."""
    rows = torch.arange(1.0, 4)
    return network() | {"fc.weight": rows[:, None].expand(3, 4).contiguous(), "fc.bias": rows}


def fit(file: Path, head: str = "fc") -> Fitted:
    """What the network takes of a file."""
    given, own = weights.read(str(file)), network(head)
    return weights.fit(given, own, [head], None, which=str(file), network="resnet18", classes=CLASSES)


def load(content: object, file: Path, head: str = "fc") -> Fitted:
    """What the network takes of a file with this content, which may be text."""
    if isinstance(content, str):
        file.write_text(content)
    elif file.suffix == ".safetensors":
        save_file(content, file)
    else:
        torch.save(content, file)
    return fit(file, head)


FORMS = {
    "plain.pth": lambda state: state,
    "plain.safetensors": lambda state: state,
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
    fitted = load(FORMS[form](trained), tmp_path / form)
    assert fitted.fresh == []
    assert sorted(fitted.tensors) == sorted(trained)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in fitted.tensors.items())


class Hyper(dict):
    """What Lightning keeps hyperparameters in: a class of its own."""


REFUSED = {
    "list.pth": (lambda s: [torch.zeros(1)], r"list.pth holds no weights by name \(a state_dict\)"),
    "larger.pth": (lambda s: s | {"layer.weight": torch.ones(1), "layer.bias": torch.ones(1)},
                   r"larger.pth does not fit resnet18 \(layer.weight is not part of it, and 1 more\)"),
    "part.pth": (lambda s: {k: v for k, v in s.items() if k != "norm.bias"},
                 r"part.pth does not fit resnet18 \(norm.bias is missing\)"),
    "wide.pth": (lambda s: s | {"conv.weight": torch.zeros(2, 2)},
                 r"wide.pth does not fit resnet18 \(conv.weight is 2x2 there and 4x3x1x1 here\)"),
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
    "text.pth": (lambda s: "no weights", r"text.pth holds no weights, or more than weights"),
    "text.safetensors": (lambda s: "no weights", r"text.safetensors cannot be read as weights \("),
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
    message = r"script.pt is a TorchScript archive, .* torch.save\(torch.jit.load\('.*script.pt'"
    with pytest.raises(UserError, match=message):
        weights.read(str(tmp_path / "script.pt"))
    assert not recwarn.list


def head_of(*layers: nn.Module) -> dict[str, torch.Tensor]:
    return nn.Sequential(*layers).state_dict()


HEADS = {  # name of a head, what the file has in its place, and whether that is taken
    "dropout before": ("fc", lambda: head_of(nn.Dropout(), nn.Linear(4, 3)), True),
    "one in a sequence": ("fc", lambda: head_of(nn.Linear(4, 3)), True),
    "two layers": ("fc", lambda: head_of(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), False),
    "another width": ("fc", lambda: head_of(nn.Dropout(), nn.Linear(4, 5)), False),
    "half a head": ("fc", lambda: {"weight": torch.ones(3, 4)}, False),
    "none": ("fc", dict, False),
    "no sequence": ("classifier.1", lambda: nn.Linear(4, 3).state_dict(), True),
    "a longer sequence": (
        "classifier.1",
        lambda: head_of(nn.Dropout(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
        False,
    ),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_in_a_sequence_is_taken_where_it_is_one_layer_and_begins_fresh_otherwise(tmp_path, case):
    head, layers, is_taken = HEADS[case]
    region = head.partition(".")[0]
    given = {name: t for name, t in network(head).items() if not name.startswith(region)}
    given |= {f"{region}.{name}": t for name, t in layers().items()}
    fitted = load(given, tmp_path / "w.pth", head)
    assert fitted.fresh == ([] if is_taken else [f"{head}.weight", f"{head}.bias"])
    if is_taken:
        (layer,) = [t for name, t in given.items() if name.startswith(region) and t.ndim == 2]
        assert torch.equal(fitted.tensors[f"{head}.weight"], layer)


def test_a_fresh_head_is_noted(trained, tmp_path):
    eleven = trained | {"fc.weight": torch.zeros(11, 4), "fc.bias": torch.zeros(11)}
    assert load(eleven, tmp_path / "w.pth").notes == [
        f"model.weights: {tmp_path}/w.pth has 11 outputs, and the data have 3 classes: the last layer begins with "
        "fresh weights."
    ]
    without = {name: tensor for name, tensor in trained.items() if not name.startswith("fc.")}
    assert load(without, tmp_path / "w.pth").notes == [
        f"model.weights: {tmp_path}/w.pth has no head that fits: the last layer begins with fresh weights."
    ]


NAMED = {
    "list": lambda names: {"classes": list(names)},
    "positions": lambda names: {"class_to_idx": {name: position for position, name in enumerate(names)}},
    "names": lambda names: {"idx_to_class": dict(enumerate(names))},
}


@pytest.mark.parametrize("form", NAMED)
def test_rows_of_a_head_come_into_the_order_of_the_data_where_the_file_names_its_classes(trained, tmp_path, form):
    fitted = load({"state_dict": trained} | NAMED[form](("cat", "ant", "bee")), tmp_path / "w.pth")
    assert fitted.tensors["fc.weight"][:, 0].tolist() == fitted.tensors["fc.bias"].tolist() == [2, 3, 1]
    assert fitted.notes == [
        f"model.weights: {tmp_path}/w.pth has the classes in the order cat, ant, bee: the rows of its last layer are "
        "put in that of the data."
    ]
    same = load({"state_dict": trained} | NAMED[form](CLASSES), tmp_path / "w.pth")
    assert same.tensors["fc.bias"].tolist() == [1, 2, 3]
    assert same.notes == []


def test_a_file_beside_the_weights_names_their_classes(trained, tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(trained, file, {"classes": '["bee", "ant", "cat"]'})
    assert fit(file).tensors["fc.bias"].tolist() == [2, 1, 3]
    digest = weights.digest(str(file))
    (tmp_path / "w.json").write_text('{"classes": ["cat", "bee", "ant"], "weights_sha256": "as glassbox writes it"}')
    assert fit(file).tensors["fc.bias"].tolist() == [3, 2, 1]
    assert weights.digest(str(file)) != digest  # it is another training
    (tmp_path / "w.json").write_text("{")
    with pytest.raises(UserError, match=r"w.json, which names the classes of model.weights, cannot be read \("):
        fit(file)


def test_an_unknown_order_of_classes_is_noted(trained, tmp_path):
    assert load(trained, tmp_path / "w.pth").notes == [
        f"model.weights: {tmp_path}/w.pth does not name its classes: its outputs are taken for ant, bee, cat, in this "
        "order. If theirs is another one, name them in model.classes."
    ]
    others = {"state_dict": trained, "classes": ["x", "y", "z"]}
    assert load(others, tmp_path / "w.pth").notes == [
        f"model.weights: the classes of {tmp_path}/w.pth (x, y, z) are not called like those of the data (ant, bee, "
        "cat): its outputs are taken for these, in their order."
    ]


def test_notes_come_before_the_search_and_in_the_model_card(tmp_path):
    data = Description("toy", CLASSES, 32, {"test": 9}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)
    cpu = torch.device("cpu")
    torch.save(models.fresh(model("torchvision/resnet18"), data, 0, cpu).network.state_dict(), tmp_path / "w.pth")
    given = model("torchvision/resnet18", weights=str(tmp_path / "w.pth"))
    (sentence,) = models.check_data(given, data)
    assert sentence.startswith(f"model.weights: {tmp_path}/w.pth does not name its classes")
    assert models.describe(given, models.fresh(given, data, 0, cpu), data, []).contradictions == [sentence]
    assert models.check_data(model("torchvision/resnet18", weights="DEFAULT"), data) == []  # nothing is downloaded
    assert models.check_data(model("cnn"), data) == []


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
