import json
from dataclasses import replace

import pytest
import torch
from conftest import SMALL_CNN, model

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models import class_names
from glassbox.models.class_names import asked, order, plain
from glassbox.models.networks import bare, source_of

DATA = Description("toy", ("ant", "bee"), 8, {"test": 9}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)
OUTPUTS = ("cat", "bee", "dog", "ant")
CPU = torch.device("cpu")


def refusal(call, *arguments) -> str:
    with pytest.raises(UserError) as refused:
        call(*arguments)
    return str(refused.value)


def test_the_classes_of_the_data_come_first_and_in_their_order():
    found = order(plain(OUTPUTS), ["ant", "bee"], "it")
    assert found == class_names.Order((3, 1, 0, 2), ("ant", "bee", "cat", "dog"))


def test_a_name_is_found_without_regard_to_case_and_blanks_but_first_as_it_stands():
    assert order(plain(["Great White", "great_white"]), ["great_white", "Great White"], "it").outputs == (1, 0)
    assert order(plain(["x", "Great White"]), ["great-white"], "it").outputs == (1, 0)


def test_one_of_several_names_is_enough_and_others_keep_names_of_their_own():
    names = (("crane", "n1", "machine"), ("crane", "n2", "bird"), ("tench", "n3"))
    assert order(names, ["bird", "n3"], "it") == class_names.Order((1, 2, 0), ("bird", "n3", "crane"))
    assert order(names, ["n3"], "it").classes == ("n3", "crane (output 0)", "crane (output 1)")
    assert refusal(order, names, ["crane"], "it") == (
        "it: the class 'crane' of the data may be any of crane, crane: rename its folder to one of these"
    )


def test_a_class_that_no_output_stands_for_is_refused():
    assert refusal(order, plain(OUTPUTS), ["ant", "beee"], "model.classes") == (
        "model.classes has no class 'beee' (did you mean 'bee'?), which the data have; the outputs are cat, bee, dog, "
        "ant"
    )
    assert refusal(order, plain(OUTPUTS), ["ant", "ANT"], "it") == (
        "it: the classes 'ant' and 'ANT' of the data are both output 3, 'ant': put their images into one folder"
    )


def test_imagenets_names_are_those_of_torchvision_and_of_wordnet():
    names = class_names.imagenet()
    assert len({same[0] for same in names}) == 1000
    assert names[0] == ("tench", "n01440764", "Tinca tinca")
    of_torchvision = source_of("torchvision/resnet18").class_names("resnet18", "DEFAULT")
    assert order(of_torchvision, ["n02123159", "espresso", "tench"], "it").outputs[:3] == (282, 967, 0)
    timm = source_of("timm/resnet18")
    assert timm.class_names(bare("timm/resnet18"), "DEFAULT") == names
    assert asked("imagenet-1k") == names


def test_names_stand_in_a_list_or_a_file(tmp_path):
    assert asked(None) is None
    assert asked(OUTPUTS) == plain(OUTPUTS)
    (tmp_path / "names.txt").write_text("cat\r\nbee\n\ndog \n", encoding="utf-8")
    assert asked(str(tmp_path / "names.txt")) == plain(["cat", "bee", "dog"])
    for content in (
        ["b", "a"],
        {"classes": ["b", "a"]},
        {"id2label": {"1": "a", "0": "b"}},
        {"names": {"a": 1, "b": 0}},
    ):
        (tmp_path / "names.json").write_text(json.dumps(content))
        assert asked(str(tmp_path / "names.json")) == plain(["b", "a"])
    digits = {"class_to_idx": {"1": 0, "0": 1}}
    assert class_names.in_content(digits) == ("1", "0")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.txt", None, "model.classes names the file {}, which does not exist"),
        ("one.txt", "cat\n", "model.classes: the file {} must hold the names of at least two classes"),
        ("other.json", '{"weights": [1, 2]}', "model.classes: the file {} must hold the names of at least two classes"),
        ("broken.json", "{", "model.classes: the file {} cannot be read (Expecting property name"),
        ("twice.txt", "a\nb\na", "model.classes: the file {} holds 'a' twice: every output needs its own name"),
    ],
)
def test_a_file_without_names_is_refused(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert refusal(asked, str(tmp_path / name)).startswith(sentence.format(tmp_path / name))


@pytest.fixture
def given(tmp_path):
    """A network of four outputs, and the section `model` that names its weights and outputs."""
    torch.manual_seed(1)
    network = source_of("cnn").make("cnn", SMALL_CNN, 8, 4).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    names = {"weights": str(tmp_path / "w.pth"), "classes": OUTPUTS, "normalization": "none"}
    return network, model("cnn", SMALL_CNN, **names)


def test_a_network_that_is_not_trained_keeps_all_outputs_and_gives_those_of_the_data_first(given, tmp_path):
    network, section = given
    (note,) = models.check_data(section, DATA, trained=False)
    assert note.startswith("The network has 4 outputs, of which the data have 2 classes")
    classifier = models.fresh(section, DATA, 0, CPU, trained=False).eval()
    assert classifier.classes == ("ant", "bee", "cat", "dog")
    x = torch.rand(5, 3, 8, 8)
    assert torch.equal(classifier(x), network(x)[:, [3, 1, 0, 2]])
    models.save(tmp_path, classifier, models.describe(section, classifier, DATA, []))
    loaded, card = models.load(tmp_path)
    assert (card.classes, card.outputs) == (classifier.classes, [3, 1, 0, 2])
    assert torch.equal(loaded(x), classifier(x))


def test_the_same_order_needs_no_note_and_no_change(given):
    _, section = given
    data = replace(DATA, classes=OUTPUTS)
    assert models.check_data(section, data, trained=False) == []
    assert models.fresh(section, data, 0, CPU, trained=False).outputs is None


def test_outputs_that_nobody_names_are_refused_if_their_number_is_another(given):
    _, section = given
    unnamed = section.model_copy(update={"classes": None})
    sentence = refusal(lambda: models.check_data(unnamed, DATA, trained=False))
    assert "does not give output.weight, output.bias of cnn for 2 classes" in sentence
    assert sentence.endswith("if its outputs stand for other classes, name them in model.classes")


def test_names_of_another_number_than_the_outputs_are_refused(given):
    _, section = given
    fewer = section.model_copy(update={"classes": ("ant", "bee", "cat")})
    assert "does not give output.weight" in refusal(lambda: models.check_data(fewer, DATA, trained=False))
