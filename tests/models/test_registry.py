import copy
import pickle
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from glassbox import models
from glassbox.data.store import Description
from glassbox.errors import UserError
from glassbox.models import registry
from glassbox.models.layers import layers, totals
from glassbox.models.registry import Hyperparameters, TorchvisionNetwork

PLAIN = Hyperparameters(weights=None, stem="imagenet", dropout=0.0, batch_norm_momentum=0.9)
CIFAR = replace(PLAIN, stem="cifar")
DATA = Description("toy", ("a", "b", "c"), 16, {}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)


def resnet(p: Hyperparameters = PLAIN, size: int = 32, classes: int = 3) -> TorchvisionNetwork:
    torch.manual_seed(0)
    return TorchvisionNetwork("resnet18", p, size, classes)


@pytest.fixture(scope="module")
def imagenet() -> dict[str, torch.Tensor]:
    """Weights as torchvision's are: of a thousand classes."""
    torch.manual_seed(1)
    return torchvision.models.resnet18(weights=None).state_dict()


def test_it_is_torchvisions_network_with_our_number_of_classes():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=3)
    ours = resnet()
    assert list(ours.body.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.body.state_dict())
    x = torch.rand(2, 3, 32, 32)
    with models.evaluating(ours), models.evaluating(theirs):
        assert torch.equal(ours(x), theirs(x))
    # The 11,689,512 that torchvision's documentation names less 512 x 1000 + 1000, and 512 x 3 + 3.
    assert totals(ours)["trainable"] == 11_176_512 + 1_539


def test_each_layer_counts_once_though_a_relu_serves_twice():
    rows = layers(resnet(), 32)
    assert len({row.name for row in rows}) == len(rows)
    assert sum(row.parameters for row in rows) == totals(resnet())["total"]


def test_the_cifar_stem_keeps_the_size():
    rows = {row.name: row for row in layers(resnet(CIFAR), 32)}
    assert rows["body.conv1"].shape == "64 x 32 x 32"
    assert rows["body.conv1"].parameters == 64 * 3 * 3 * 3
    assert rows["body.maxpool"].kind == "Identity"
    assert rows["body.layer4.1.conv2"].shape == "512 x 4 x 4"
    assert {row.name: row for row in layers(resnet(), 32)}["body.layer4.1.conv2"].shape == "512 x 1 x 1"


@pytest.mark.parametrize(
    ("name", "head"),
    [("densenet121", "classifier"), ("mobilenet_v2", "classifier.1"), ("squeezenet1_1", "classifier.1")],
)
def test_other_families(name, head):
    net = TorchvisionNetwork(name, replace(CIFAR if name == "densenet121" else PLAIN, dropout=0.4), 32, 5)
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    assert net.head_name == head
    # The dropout is the head's own: it drops when the head alone is in training.
    net.eval()
    net.head().train()
    x = torch.rand(2, 3, 32, 32)
    torch.manual_seed(0)
    one, other = net(x), net(x)
    assert not torch.equal(one, other)
    applied = [m.dropout for m in net.head().modules() if hasattr(m, "dropout")]
    applied += [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
    assert [p for p in applied if p] == [0.4]


def test_dropout_comes_before_the_last_layer_and_only_in_training():
    net = resnet(replace(PLAIN, dropout=0.5))
    nn.init.ones_(net.head().weight)
    nn.init.zeros_(net.head().bias)
    features = torch.ones(4000, 512)
    with torch.no_grad():
        assert torch.equal(net.eval().head()(features), torch.full((4000, 3), 512.0))
        dropped = net.train().head()(features)
    # Kept features count twice: the mean stays 512, with a standard deviation of 2 sqrt(512 / 4) = 22.6.
    assert dropped.mean().item() == pytest.approx(512, abs=2)
    assert dropped[:, 0].std().item() == pytest.approx(22.6, rel=0.05)


def test_running_statistics_keep_the_share_that_params_yaml_names():
    norms = [m for m in resnet(replace(PLAIN, batch_norm_momentum=0.75)).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.25}


def test_grad_cam_looks_at_the_last_stage():
    net = resnet(CIFAR)
    assert net.grad_cam_layer() is net.body.layer4
    assert not any(module._forward_hooks for module in net.modules())
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize(
    ("name", "size", "shape"), [("swin_t", 64, (768, 2, 2)), ("convnext_tiny", 32, (384, 2, 2)),
                                ("convnext_tiny", 64, (768, 2, 2)), ("inception_v3", 107, (2048, 2, 2))]
)  # fmt: skip
def test_grad_cam_is_not_misled_by_other_memory_orders(name, size, shape):
    with torch.device("meta"):
        net = TorchvisionNetwork(name, PLAIN, size, 3)
    seen = []
    net.grad_cam_layer().register_forward_hook(lambda module, _, output: seen.append(tuple(output.shape)))
    with torch.device("meta"):
        net.eval()(torch.zeros(1, 3, size, size))
    assert seen == [(1, *shape)]


def test_a_small_swin_transformer_has_no_layer_for_grad_cam():
    with torch.device("meta"):
        net = TorchvisionNetwork("swin_t", PLAIN, 32, 3)
    with pytest.raises(UserError, match=r"grad_cam needs feature maps, and swin_t \(model.name\) on 32 x 32"):
        net.grad_cam_layer()


def test_a_transformer_has_no_layer_for_grad_cam():
    with torch.device("meta"):  # shapes without numbers: its 87 million weights are of no interest
        net = TorchvisionNetwork("vit_b_32", PLAIN, 32, 3)
    with pytest.raises(UserError, match=r"grad_cam needs feature maps, and vit_b_32 .* take grad_cam out of explain"):
        net.grad_cam_layer()


@pytest.mark.parametrize(
    ("name", "stem", "size", "sentence"),
    [
        ("resnet51", "imagenet", 32, r"model.name is 'resnet51' \(did you mean resnet50\?\), but must be cnn or"),
        ("quicksort", "imagenet", 32, r"model.name is 'quicksort', but must be cnn or a classification network"),
        ("mobilenet_v2", "cifar", 32, r"model.stem is 'cifar', but mobilenet_v2 .* has no strided convolution"),
        ("alexnet", "imagenet", 32, r"alexnet \(model.name\) cannot take images of 32 x 32 pixels \(.*\): ch"),
        ("vit_b_32", "imagenet", 40, r"vit_b_32 .* cannot take images of 40 x 40 pixels \(.*\): change model.in"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(name, stem, size, sentence):
    with torch.device("meta"), pytest.raises(UserError, match=sentence) as refused:
        TorchvisionNetwork(name, replace(PLAIN, stem=stem), size, 3)
    assert "\n" not in str(refused.value)


def taken(net: TorchvisionNetwork, source: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, t in net.body.state_dict().items() if name in source and torch.equal(t, source[name])}


@pytest.mark.parametrize("form", ["pth", "pt", "safetensors", "wrapped", "parallel"])
def test_weights_from_a_file_leave_only_the_head_fresh(imagenet, tmp_path, form):
    file = tmp_path / f"mine.{form if form in ('pt', 'safetensors') else 'pth'}"
    if form == "safetensors":
        save_file(imagenet, file)
    elif form == "wrapped":
        torch.save({"epoch": torch.tensor(3), "state_dict": imagenet}, file)
    elif form == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in imagenet.items()}, file)
    else:
        torch.save(imagenet, file)
    net = resnet()
    head = copy.deepcopy(net.head().state_dict())
    assert registry.load_weights(net, str(file)) == ["fc.weight", "fc.bias"]
    assert set(imagenet) - taken(net, imagenet) == {"fc.weight", "fc.bias"}
    assert torch.equal(net.head().weight, head["weight"])


def test_half_a_head_is_a_fresh_head(imagenet, tmp_path):
    own = resnet()
    given = {name: tensor for name, tensor in imagenet.items() if not name.startswith("fc.")}
    torch.save(given | {"fc.weight": torch.ones_like(own.head().weight)}, tmp_path / "w.pth")
    before = own.head().weight.clone()
    assert registry.load_weights(own, str(tmp_path / "w.pth")) == ["fc.weight", "fc.bias"]
    assert torch.equal(own.head().weight, before)
    card = models.describe(
        models.Spec("resnet18", dict(vars(PLAIN)), "data", None),
        models.Classifier(own, (0.0,) * 3, (1.0,) * 3),
        DATA,
        [],
    )
    assert card.began_fresh == ["fc.weight", "fc.bias"]


def test_the_cifar_stem_cannot_take_a_larger_convolution(imagenet, tmp_path):
    torch.save(imagenet, tmp_path / "w.pth")
    net = resnet(CIFAR)
    assert registry.load_weights(net, str(tmp_path / "w.pth")) == ["conv1.weight", "fc.weight", "fc.bias"]


def test_weights_that_glassbox_saved_are_taken_whole(tmp_path):
    spec = models.Spec("resnet18", dict(vars(CIFAR)), "data", None)
    first = models.fresh(spec, DATA, 1, torch.device("cpu"))
    models.save(tmp_path, first, models.describe(spec, first, DATA, []))
    again = replace(spec, hyperparameters=spec.hyperparameters | {"weights": str(tmp_path / "model.safetensors")})
    second = models.fresh(again, DATA, 2, torch.device("cpu"))
    assert all(torch.equal(t, second.state_dict()[name]) for name, t in first.state_dict().items())
    # The trained model that is made from them says where they came from, and no longer needs the file.
    models.save(tmp_path / "trained", second, models.describe(again, second, DATA, []))
    (tmp_path / "model.safetensors").unlink()
    loaded, card = models.load(tmp_path / "trained")
    assert card.hyperparameters["weights"].endswith("model.safetensors")
    x = torch.rand(2, 3, 16, 16)
    with models.evaluating(second):
        assert torch.equal(loaded(x), second(x))


def test_torchvisions_own_weights_by_name(imagenet, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(imagenet, tmp_path / "hub/checkpoints" / url.rsplit("/", 1)[-1])  # as after the download
    net = resnet()
    registry.load_weights(net, "IMAGENET1K_V1")
    assert set(imagenet) - taken(net, imagenet) == {"fc.weight", "fc.bias"}
    net = resnet()
    registry.load_weights(net, "DEFAULT")
    assert len(taken(net, imagenet)) > 100


def test_without_a_network_one_sentence_says_where_the_file_may_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(UserError) as refused:
        registry.load_weights(resnet(), "IMAGENET1K_V1")
    said = str(refused.value)
    assert said.startswith("model.weights: IMAGENET1K_V1 of resnet18 cannot be had from https://")
    assert f"put that file at {tmp_path}/hub/checkpoints/resnet18-" in said
    assert "no route to host" in said


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("IMAGENET21K", r"model.weights is 'IMAGENET21K', but must be null, a file .*, or for resnet18 IMAGENET1K_V1"),
        ("none.pth", r"model.weights names the file none.pth, which does not exist"),
        ("none.safetensors", r"model.weights names the file none.safetensors, which does not exist"),
        ("{tmp}/text.pth", r"text.pth holds no weights, or more than weights"),
        ("{tmp}/text.safetensors", r"text.safetensors cannot be read as weights \("),
        ("{tmp}/code.pth", r"code.pth holds no weights, or more than weights, which could run code when it is opened"),
        ("{tmp}/list.pth", r"list.pth holds no weights by name \(a state_dict\)"),
        (
            "{tmp}/resnet34.pth",
            r"resnet34.pth does not fit resnet18 \(layer1.2.conv1.weight is not part of it, and \d+",
        ),
        ("{tmp}/part.pth", r"part.pth does not fit resnet18 \(layer4.1.bn2.bias is missing\)"),
        ("{tmp}/wide.pth", r"wide.pth does not fit resnet18 \(layer1.0.conv1.weight is 2x2 there and 64x64x3x3 here\)"),
    ],
)
def test_weights_that_cannot_be_had_or_do_not_fit(imagenet, tmp_path, which, sentence):
    class Harmful:
        def __reduce__(self):
            return (tmp_path / "it-ran").touch, ()

    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"a": Harmful()}, protocol=2))
    others = {
        "list": lambda: [torch.zeros(1)],
        "resnet34": lambda: torchvision.models.resnet34(weights=None).state_dict(),
        "part": lambda: {k: v for k, v in imagenet.items() if k != "layer4.1.bn2.bias"},
        "wide": lambda: imagenet | {"layer1.0.conv1.weight": torch.zeros(2, 2)},
    }
    if (name := which.split("/")[-1].split(".")[0]) in others:
        torch.save(others[name](), tmp_path / f"{name}.pth")
    with pytest.raises(UserError, match=sentence) as refused:
        registry.load_weights(resnet(), which.format(tmp=tmp_path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "it-ran").exists()


def test_the_digest_of_weights_follows_the_file(tmp_path):
    file = tmp_path / "w.pth"
    spec = models.Spec("resnet18", dict(vars(PLAIN)) | {"weights": str(file)}, "data", None)
    with pytest.raises(UserError, match=r"model.weights names the file .*w.pth, which does not exist"):
        models.digest_of_weights(spec)
    file.write_bytes(b"one")
    one = models.digest_of_weights(spec)
    file.write_bytes(b"two")
    assert one != models.digest_of_weights(spec)
    assert models.digest_of_weights(replace(spec, hyperparameters={"weights": "DEFAULT"})) is None
    assert models.digest_of_weights(replace(spec, hyperparameters={"weights": None})) is None
