import copy
import re
from collections import OrderedDict
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
import torchvision
from conftest import model
from torch import nn

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models import weights
from glassbox.models.layers import layers, totals
from glassbox.models.networks import torchvision_registry as registry
from glassbox.models.preprocessing import IMAGENET, Preprocessing

CIFAR = {"stem": "cifar"}
CPU = torch.device("cpu")
DATA = Description("toy", ("a", "b", "c"), 16, {}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)


def built(name: str = "resnet18", size: int = 32, classes: int = 3, **arguments: object) -> models.Classifier:
    torch.manual_seed(0)
    return models.build(f"torchvision/{name}", arguments, Preprocessing(), size, classes)


def head(net: models.Classifier) -> nn.Module:
    return net.network.get_submodule(net.heads[0])


@pytest.fixture(scope="module")
def imagenet() -> dict[str, torch.Tensor]:
    """Weights as torchvision's are: of a thousand classes."""
    torch.manual_seed(1)
    return torchvision.models.resnet18(weights=None).state_dict()


def test_it_is_torchvisions_network_with_our_number_of_classes():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=3).to(memory_format=torch.channels_last)
    ours = built().network
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 32, 32)
    with models.evaluating(ours), models.evaluating(theirs):
        assert torch.equal(ours(x), theirs(x))
    # The 11,689,512 that torchvision's documentation names less 512 x 1000 + 1000, and 512 x 3 + 3.
    assert totals(ours)["trainable"] == 11_176_512 + 1_539
    rows = layers(ours, 32)  # each one counts once, though a ReLU serves twice
    assert len({row.name for row in rows}) == len(rows)
    assert sum(row.parameters for row in rows) == totals(ours)["total"]


def test_the_cifar_stem_keeps_the_size():
    rows = {row.name: row for row in layers(built(**CIFAR).network, 32)}
    assert rows["conv1"].shape == "64 x 32 x 32"
    assert rows["conv1"].parameters == 64 * 3 * 3 * 3
    assert rows["maxpool"].kind == "Identity"
    assert rows["layer4.1.conv2"].shape == "512 x 4 x 4"
    assert {row.name: row for row in layers(built().network, 32)}["layer4.1.conv2"].shape == "512 x 1 x 1"


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("densenet121", "classifier"), ("mobilenet_v2", "classifier.1"), ("squeezenet1_1", "classifier.1"),
        ("vit_b_32", "heads.head"),
    ],
)  # fmt: skip
def test_other_families(name, last):
    net = built(name, 32, 5, dropout=0.4, **(CIFAR if name == "densenet121" else {}))
    x = torch.rand(2, 3, 32, 32)
    assert net(x).shape == (2, 5)
    assert net.heads == (last,)
    nn.init.normal_(head(net).weight)  # a vision transformer's is zero
    # The dropout is the head's own: it drops when the head alone is in training.
    net.train_head_only(True)
    assert not torch.equal(net(x), net(x))
    applied = [m.dropout for m in net.modules() if isinstance(m, registry.DropoutLinear)]
    applied += [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
    assert [p for p in applied if p] == [0.4]


def test_dropout_comes_before_the_last_layer_and_only_in_training():
    last = head(built(dropout=0.5))
    nn.init.ones_(last.weight)
    nn.init.zeros_(last.bias)
    features = torch.ones(4000, 512)
    with torch.no_grad():
        assert torch.equal(last.eval()(features), torch.full((4000, 3), 512.0))
        dropped = last.train()(features)
    # Kept features count twice: the mean stays 512, with a standard deviation of 2 sqrt(512 / 4) = 22.6.
    assert dropped.mean().item() == pytest.approx(512, abs=2)
    assert dropped[:, 0].std().item() == pytest.approx(22.6, rel=0.05)


def test_running_statistics_keep_the_share_that_params_yaml_names():
    norms = [m for m in built(batch_norm_momentum=0.75).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.25}


def test_torchvisions_own_arguments_are_passed_on():
    assert built("resnet50", width_per_group=8).network.layer1[0].conv2.weight.shape == (8, 8, 3, 3)
    # Names that its builders take, but set themselves, are not among those that are named.
    taken = "dropout, stem, batch_norm_momentum, block"
    for unknown in ("nonsense", "layers"):
        with pytest.raises(UserError) as refused:
            built(**{unknown: 1})
        message = f"model.arguments.{unknown} is not taken by torchvision/resnet18, which takes {taken}, "
        assert str(refused.value).startswith(message)
        assert ("layers," in str(refused.value)) is (unknown == "nonsense")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dropout": 1}, r"model.arguments.dropout is 1, but must be a number from 0 to below 1"),
        ({"dropout": "some"}, r"model.arguments.dropout is 'some', but must be a number from 0 to below 1"),
        ({"batch_norm_momentum": True}, r"model.arguments.batch_norm_momentum is True, but must be a number from 0"),
        ({"stem": "mnist"}, r"model.arguments.stem is 'mnist', but must be imagenet or cifar"),
        ({"norm_layer": "none"}, r"torchvision/resnet18 .* cannot be made .* with model.arguments = .*'norm_layer'"),
    ],
)
def test_an_argument_with_a_wrong_value_is_one_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        built(**arguments)
    assert "\n" not in str(refused.value)


# One of each family, at sizes at which its last stage keeps several places or has one place left.
LAYERS = [
    ("alexnet", 64, "features.11", 3),
    ("convnext_tiny", 32, "features.6.0", 2),
    ("densenet121", 32, "features.transition3.conv", 2),
    ("efficientnet_b0", 32, "features.6.0.block.0", 2),
    ("googlenet", 32, "inception4e", 2),
    ("inception_v3", 75, "Mixed_6e", 3),  # Mixed_7c has one place; parts of Mixed_7a lie in parallel branches
    ("mnasnet0_5", 32, "layers.12.0.layers.2", 2),
    ("mobilenet_v2", 64, "features", 2),
    ("regnet_y_400mf", 32, "trunk_output.block3", 2),  # of block4 only what its shortcut bypasses has several places
    ("resnet50", 32, "layer3", 2),  # layer4.0.relu runs three times, the last time on one place
    ("shufflenet_v2_x1_0", 32, "stage3", 2),
    ("squeezenet1_1", 64, "classifier.2", 3),  # of the last layer, which has places itself
    ("swin_t", 64, "permute", 2),
    ("vgg11", 32, "features.19", 2),  # and not its pooling, which makes 7 x 7 places of one
    ("swin_t", 32, "features.5", 2),
    ("vit_b_16", 32, "encoder.layers.encoder_layer_10", 2),  # of the last layer the class token alone is used
    ("vit_b_32", 32, None, 0),
]


@pytest.mark.parametrize(("name", "size", "where", "places"), LAYERS)
def test_the_layer_of_grad_cam_runs_once_is_passed_by_all_and_tells_places_apart(name, size, where, places):
    net = built(name, size).eval().requires_grad_(False)
    if where is None:
        with pytest.raises(
            UserError, match=rf"^Grad-CAM .* and torchvision/{name} on {size} x {size} .* take grad_cam"
        ):
            net.grad_cam_layer(size)
        return
    layer, calls = net.grad_cam_layer(size), []
    assert layer is net.network.get_submodule(where)

    def detach(_: nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(net.feature_maps(output).shape[2:]))
        return output.detach()

    handle = layer.register_forward_hook(detach)
    x = torch.zeros(1, 3, size, size, requires_grad=True)
    logits = net(x)
    assert calls == [(places, places)]
    assert not logits.requires_grad  # nothing of the image gets around the layer
    handle.remove()
    assert net(x).requires_grad
    assert net.grad_cam_layer(size) is layer  # which is looked for once
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("name", "stem", "size", "sentence"),
    [
        (
            "resnet51",
            "imagenet",
            32,
            r"model.name is 'torchvision/resnet51' \(did you mean torchvision/resnet50\?\), but",
        ),
        ("quicksort", "imagenet", 32, r"model.name is 'torchvision/quicksort', but torchvision has no such class"),
        (
            "mobilenet_v2",
            "cifar",
            32,
            r"model.arguments.stem is 'cifar', but torchvision/mobilenet_v2 .* has no strided",
        ),
        ("alexnet", "imagenet", 32, r"alexnet \(model.name\) cannot take images of 32 x 32 pixels \(.*\): ch"),
        ("vit_b_32", "imagenet", 40, r"vit_b_32 .* cannot be made for images of 40 x 40 pixels .*: change model.ar"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(name, stem, size, sentence):
    with torch.device("meta"), pytest.raises(UserError, match=sentence) as refused:
        built(name, size, stem=stem)
    assert "\n" not in str(refused.value)


def test_the_cifar_stem_cannot_take_a_larger_convolution(imagenet, tmp_path):
    torch.save(imagenet, tmp_path / "w.pth")
    network = model("torchvision/resnet18", CIFAR, weights=str(tmp_path / "w.pth"))
    card = models.describe(network, models.fresh(network, DATA, 0, CPU), DATA, [])
    assert card.began_fresh == ["conv1.weight", "fc.weight", "fc.bias"]


def test_weights_that_glassbox_saved_are_taken_whole(tmp_path):
    network = model("torchvision/resnet18", CIFAR)
    first = models.fresh(network, DATA, 1, CPU)
    models.save(tmp_path, first, models.describe(network, first, DATA, []))
    again = model("torchvision/resnet18", CIFAR, weights=str(tmp_path / "model.safetensors"))
    second = models.fresh(again, DATA, 2, CPU)
    assert all(torch.equal(t, second.state_dict()[name]) for name, t in first.state_dict().items())
    # The trained model that is made from them says where they came from, and no longer needs the file.
    models.save(tmp_path / "trained", second, models.describe(again, second, DATA, []))
    (tmp_path / "model.safetensors").unlink()
    loaded, card = models.load(tmp_path / "trained")
    assert card.weights.endswith("model.safetensors")
    x = torch.rand(2, 3, 16, 16)
    with models.evaluating(second):
        assert torch.equal(loaded(x), second(x))


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT"])
def test_torchvisions_own_weights_by_name_leave_only_the_head_fresh(imagenet, tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(imagenet, tmp_path / "hub/checkpoints" / url.rsplit("/", 1)[-1])  # as after the download
    untouched = models.fresh(model("torchvision/resnet18"), DATA, 0, CPU)
    net = models.fresh(model("torchvision/resnet18", weights=name), DATA, 0, CPU)
    assert net.began_fresh == ["fc.weight", "fc.bias"]
    assert net.notes == []
    state = net.network.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in imagenet.items() if not key.startswith("fc."))
    assert torch.equal(head(net).weight, head(untouched).weight)


def test_without_a_network_one_sentence_says_where_the_file_may_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(UserError) as refused:
        models.fresh(model("torchvision/resnet18", weights="IMAGENET1K_V1"), DATA, 0, CPU)
    message = str(refused.value)
    assert message.startswith("model.weights: IMAGENET1K_V1 of resnet18 cannot be had from https://")
    assert f"put that file at {tmp_path}/hub/checkpoints/resnet18-" in message
    assert "no route to host" in message


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("IMAGENET21K", r"model.weights is 'IMAGENET21K', but must be null, a file .*, or for resnet18 IMAGENET1K_V1"),
        ("none.pth", r"model.weights names the file none.pth, which does not exist"),
        ("none.safetensors", r"model.weights names the file none.safetensors, which does not exist"),
    ],
)
def test_weights_that_cannot_be_had(which, sentence):
    network = model("torchvision/resnet18", weights=which)
    for attempt in (lambda: models.fresh(network, DATA, 0, CPU), lambda: models.check(network, [], 16)):
        with pytest.raises(UserError, match=sentence) as refused:
            attempt()
        assert "\n" not in str(refused.value)


def test_the_digest_of_weights_follows_the_file(tmp_path):
    file = tmp_path / "w.pth"
    network = model("torchvision/resnet18", weights=str(file))
    with pytest.raises(UserError, match=r"model.weights names the file .*w.pth, which does not exist"):
        models.digest_of_weights(network)
    file.write_bytes(b"one")
    digest = models.digest_of_weights(network)
    file.write_bytes(b"two")
    assert digest != models.digest_of_weights(network)
    assert models.digest_of_weights(model("torchvision/resnet18", weights="DEFAULT")) is None
    assert models.digest_of_weights(model("torchvision/resnet18")) is None


def old_names(name: str) -> str:
    """What torchvision's own files of DenseNet and ViT call a tensor."""
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name)
    return name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [("googlenet", 64, {"init_weights": False}), ("inception_v3", 75, {"init_weights": False}), ("resnet18", 32, {}),
     ("densenet121", 32, {}), ("mnasnet0_5", 32, {})],
)  # fmt: skip
def test_with_torchvisions_weights_it_answers_as_torchvisions_network_does(name, size, options, monkeypatch, tmp_path):
    torch.manual_seed(0)
    state = torchvision.models.get_model(name, weights=None, **options).state_dict()
    if name == "densenet121":  # torchvision's file is so old that it has no counters of batches either
        state = OrderedDict((old_names(key), t) for key, t in state.items() if not key.endswith("batches_tracked"))
    known = torchvision.models.get_model_weights(name)
    monkeypatch.setattr(known, "get_state_dict", lambda *_, **__: copy.copy(state))  # instead of a download
    theirs = torchvision.models.get_model(name, weights="DEFAULT").eval()
    network = model(f"torchvision/{name}", weights="DEFAULT", normalization="imagenet")
    data = replace(DATA, image_size=size, classes=tuple(map(str, range(1000))))
    ours = models.fresh(network, data, 1, CPU).eval()
    x = torch.rand(2, 3, size, size)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    with torch.no_grad():
        expected, logits = theirs((x - mean) / std), ours(x)
    spread = expected.std().item()  # small, as no statistics were learnt
    assert spread > 0
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3 * spread)
    if name not in ("googlenet", "mnasnet0_5"):
        return
    # It stays so when it is saved and loaded, without the weights that it began with.
    models.save(tmp_path, ours, models.describe(network, ours, data, []))
    loaded, _ = models.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(x), logits)


def test_vits_old_names_are_read_as_torchvision_reads_them():
    with torch.device("meta"):
        theirs = torchvision.models.vit_b_32(weights=None)
    today = theirs.state_dict()
    old = {old_names(key): tensor for key, tensor in today.items()}
    assert sum(key not in today for key in old) == 12 * 4  # two layers of each of twelve blocks
    assert {weights._name_today(key) for key in old} == set(today)
    theirs.load_state_dict(old)  # without versions, as old files are: it finds all of them


def test_fresh_weights_and_files_of_others_take_colours_as_they_come(tmp_path):
    data = replace(DATA, image_size=64)
    assert not models.fresh(
        model("torchvision/googlenet", {"init_weights": False}), data, 0, CPU
    ).network.transform_input
    url = torchvision.models.GoogLeNet_Weights.DEFAULT.url
    for file, scaled in (("mine.pth", False), (url.rpartition("/")[2], True)):
        theirs = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False)
        torch.save(theirs.state_dict(), tmp_path / file)
        ours = model("torchvision/googlenet", {"init_weights": False}, weights=str(tmp_path / file))
        assert models.fresh(ours, data, 0, CPU).network.transform_input is scaled


def test_of_all_that_torchvision_builds_only_these_are_set_up_by_their_weights():
    """What its builders change because of weights, by their source: a new one has to be looked at."""
    import inspect

    found = {}
    for name in registry.names():
        source = inspect.getsource(inspect.getmodule(torchvision.models.get_model_builder(name)))
        by_weights = set(re.findall(r'_ovewrite_named_param\(kwargs, "(\w+)"', source))
        for option in by_weights - {"num_classes", "groups", "width_per_group"}:  # the last two are a builder's own
            found.setdefault(option, set()).add(name.partition("_")[0])
    assert found == {
        "transform_input": {"googlenet", "inception"}, "aux_logits": {"googlenet", "inception"},
        "init_weights": {"googlenet", "inception"}, "image_size": {"vit"}, "input_size": {"maxvit"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "weights", "normalization", "size", "sentences"),
    [
        ("resnet50", "DEFAULT", "imagenet", 224, []),
        ("resnet50", None, "data", 32, []),
        ("resnet50", "data/weights/mine.pth", "data", 32, []),
        ("resnet50", "DEFAULT", "data", 224, [
            "model.normalization is data: the weights DEFAULT of torchvision/resnet50 were trained with mean "
            "(0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225), which imagenet gives."]),
        ("efficientnet_v2_l", "DEFAULT", "imagenet", 480, [
            "model.normalization is imagenet: the weights DEFAULT of torchvision/efficientnet_v2_l were trained with "
            "mean (0.5, 0.5, 0.5) and std (0.5, 0.5, 0.5), which half gives."]),
        ("vgg16", "IMAGENET1K_FEATURES", "none", 224, [
            "model.normalization is none: the weights IMAGENET1K_FEATURES of torchvision/vgg16 were trained with "
            "mean (0.482, 0.459, 0.408) and std (0.00392, 0.00392, 0.00392), which weights gives."]),
        ("resnet50", "DEFAULT", "imagenet", 32, [
            "The network takes images of 32 x 32 pixels (model.input_size or data.image_size): the weights "
            "DEFAULT of torchvision/resnet50 were made for 224 x 224."]),
    ],
)  # fmt: skip
def test_what_weights_were_made_for_and_do_not_get_is_said(name, weights, normalization, size, sentences):
    asked = {"weights": weights, "normalization": normalization}
    assert models.contradictions(model(f"torchvision/{name}", **asked), size) == sentences
    assert models.contradictions(model(f"torchvision/{name}", **asked, input_size=size), 20) == sentences
    assert models.contradictions(model("cnn"), size) == []
    if weights == "DEFAULT":  # what the weights say of themselves contradicts nothing
        assert models.contradictions(model(f"torchvision/{name}", weights=weights, normalization="weights"), 20) == []


def test_grad_cam_is_refused_before_anything_is_trained():
    """An image is one patch for this network."""
    network = model("torchvision/vit_b_32")
    with pytest.raises(UserError, match=r"^Grad-CAM .* and torchvision/vit_b_32 on 32 x 32 .* has none: t") as refused:
        models.check(network, [], 32, ("lime", "grad_cam"))
    assert "\n" not in str(refused.value)
    assert models.check(network, [], 32, ("lime",)) == []
    pretrained = model("torchvision/vit_b_32", weights="DEFAULT")
    assert [sentence.split(":")[0] for sentence in models.check(pretrained, [], 32)] == [
        "model.normalization is data",
        "The network takes images of 32 x 32 pixels (model.input_size or data.image_size)",
    ]
