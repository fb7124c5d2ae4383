from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from conftest import model
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config
from torch import nn

from glassbox import models
from glassbox.config.explain import GradCam as Settings
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.explainers.base import Request
from glassbox.explainers.grad_cam import GradCam
from glassbox.models.preprocessing import Preprocessing

CPU = torch.device("cpu")
DATA = Description("toy", ("a", "b", "c"), 64, {}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)
SHALLOW = {"depth": 2}
SWIN = {"embed_dim": 24, "depths": [1, 1, 1], "num_heads": [1, 2, 4]}

# One of each family: arguments, side of the images, last layers, layer of Grad-CAM and places along a side there.
FAMILIES = {
    "resnet10t": ({}, 64, ["fc"], "layer4", 2),
    "convnext_atto": ({}, 64, ["head.fc"], "norm_pre", 2),
    "tf_efficientnet_lite0": ({}, 64, ["classifier"], "bn2", 2),
    "mobilenetv3_small_050": ({}, 64, ["classifier"], "blocks", 2),
    "regnety_002": ({}, 64, ["head.fc"], "final_conv", 2),
    "ghostnet_050": ({}, 64, ["classifier"], "blocks", 2),
    "edgenext_xx_small": ({}, 64, ["head.fc"], "norm_pre", 2),
    "mobilevit_xxs": ({}, 64, ["head.fc"], "final_conv", 2),
    "vit_tiny_patch16_224": (SHALLOW, 64, ["head"], "blocks.0", 4),  # of the last block the class token alone is used
    "deit_tiny_distilled_patch16_224": (SHALLOW, 32, ["head", "head_dist"], "blocks.0", 2),
    "vit_small_patch14_reg4_dinov2": (SHALLOW, 56, ["head"], "blocks.0", 4),  # a class token and four registers
    "beit_base_patch16_224": ({"depth": 1, "embed_dim": 96, "num_heads": 3}, 48, ["head"], "norm", 3),
    "eva02_tiny_patch14_224": ({"depth": 1}, 56, ["head"], "norm", 4),
    "vit_relpos_small_patch16_224": ({"depth": 1}, 48, ["head"], "norm", 3),
    "swin_tiny_patch4_window7_224": (SWIN, 64, ["head.fc"], "norm", 4),  # channels last
    "test_maxvit": ({}, 64, ["head.fc"], "norm", 2),
    "mixer_s32_224": ({}, 64, ["head"], "norm", 2),
    "cait_xxs24_224": (SHALLOW, 64, ["head"], "blocks", 4),
    "xcit_nano_12_p16_224": (SHALLOW, 64, ["head"], "cls_attn_blocks.0", 4),
    "pvt_v2_b0": ({}, 64, ["head"], "stages", 2),
}


def built(name: str, size: int = 64, classes: int = 3, **arguments: object) -> models.Classifier:
    torch.manual_seed(0)
    return models.build(f"timm/{name}", arguments, Preprocessing(), size, classes)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_of_each_family_is_built_and_explained(name):
    arguments, size, heads, where, places = FAMILIES[name]
    net = built(name, size, 5, **arguments).eval()
    assert net.heads == tuple(heads)
    for head in map(net.network.get_submodule, heads):
        assert head.out_features == 5
        nn.init.normal_(head.weight)  # some begin with zeros
    assert net.grad_cam_layer(size) is net.network.get_submodule(where)
    images = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    seen = []
    layer = net.network.get_submodule(where)
    handle = layer.register_forward_hook(lambda _, __, output: seen.append(net.feature_maps(output).shape[2:]))
    assert models.predict(net, images, 2).shape == (2, 5)
    handle.remove()
    assert seen == [(places, places)]
    maps = GradCam(Settings(relu=False), 2)(net, Request(images, torch.tensor([0, 3]), (0, 1))).maps
    assert np.isfinite(maps).all()
    for one in maps:
        assert np.ptp(one) > 1e-3 * np.abs(one).max() > 0
    net.train_head_only(True)
    learning = {name.rpartition(".")[0] for name, p in net.network.named_parameters() if p.requires_grad}
    assert learning == set(heads)


def test_it_is_timms_network_with_our_number_of_classes():
    arguments = {"drop_path_rate": 0.1, "global_pool": "avg", "depth": 2}
    ours = built("vit_tiny_patch16_224", 32, 5, **arguments).network
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, **arguments)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 32, 32)
    with models.evaluating(ours), models.evaluating(theirs):
        torch.testing.assert_close(ours(x), theirs(x))
    assert ours.blocks[1].drop_path1.drop_prob == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("resnet10t", {"nonsense": 1}, r"^model.arguments.nonsense is not taken by timm/resnet10t, which takes block"),
        ("vit_tiny_patch16_224", {"num_blocks": 1}, r"num_blocks is not taken by .*, which takes img_size, .*depth"),
        ("mixer_s32_224", {"num_blocks": 1}, r"num_blocks is not taken by .*, which takes (?!.*num_blocks)"),
        ("resnet10t", {"num_classes": 7}, r"num_classes is not taken by .*, which takes (?!.*num_classes)"),
        ("vit_tiny_patch16_224", {"depth": "deep"}, r"cannot be made for .* = \{'depth': 'deep'\} \("),
        ("vit_tiny_patch16_224", {"global_pool": "all"}, r"cannot be made for .* with model.arguments = "),
        ("resnet5O", {}, r"^model.name is 'timm/resnet5O' \(did you mean timm/resnet50\w*\?\), but timm "),
        ("zzz", {}, r"^model.name is 'timm/zzz', but timm \S+ has no such network$"),
        ("resnet18.a1_in1k", {}, r"^model.name is 'timm/resnet18.a1_in1k', but must be timm/resnet18: its weights "
                                 r"a1_in1k belong in model.weights$"),
        ("vit_tiny_patch16_224", {"img_size": 48}, r"\(model.name\) cannot take images of 64 x 64"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_one_sentence(name, arguments, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        built(name, **arguments)
    assert "\n" not in str(refused.value)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub has weights of a thousand classes for every network. The list receives what is asked of it."""
    asked: list[tuple[str, str]] = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        torch.manual_seed(1)
        network = timm.create_model(repository.partition("/")[2].partition(".")[0], num_classes=1000)
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / file)
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


@pytest.mark.parametrize("which", ["DEFAULT", "c3_in1k"])
def test_weights_by_name_come_from_the_hub_and_leave_only_the_head_fresh(hub, tmp_path, which):
    net = models.fresh(model("timm/resnet10t", weights=which), DATA, 0, CPU)
    assert hub == [("timm/resnet10t.c3_in1k", "model.safetensors")]
    torch.manual_seed(1)
    theirs = timm.create_model("resnet10t", num_classes=1000).state_dict()
    assert net.began_fresh == ["fc.weight", "fc.bias"]
    assert net.notes == []
    ours = net.network.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items() if not name.startswith("fc."))
    assert ours["fc.weight"].shape == (3, 512)


def test_with_timms_weights_and_its_preprocessing_it_answers_as_timms_network_does(hub, tmp_path):
    network = model("timm/resnet10t", weights="DEFAULT", normalization="weights")
    data = replace(DATA, classes=tuple(map(str, range(1000))))
    ours = models.fresh(network, data, 0, CPU).eval()
    torch.manual_seed(1)
    theirs = timm.create_model("resnet10t", num_classes=1000).eval()
    transform = create_transform(**resolve_data_config(model=theirs), is_training=False)
    y, x = np.mgrid[:80, :80]
    pixels = np.stack([3 * x, 3 * y, x + y], axis=-1).astype(np.uint8)
    with torch.no_grad():
        expected = theirs(transform(Image.fromarray(pixels))[None])
    logits = models.predict(ours, torch.from_numpy(pixels)[None], 1)
    spread = expected.std().item()
    assert spread > 0
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.05 * spread)  # Pillow rounds to bytes
    assert logits.argmax() == expected.argmax()
    # It stays so when it is saved and loaded.
    models.save(tmp_path / "m", ours, models.describe(network, ours, data, []))
    loaded, card = models.load(tmp_path / "m")
    assert (card.preprocessing["interpolation"], card.preprocessing["crop"]) == ("bicubic", 0.875)
    assert torch.equal(models.predict(loaded, torch.from_numpy(pixels)[None], 1), logits)


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no route\nto the hub"), OSError("no route to the hub")])
def test_without_a_network_one_sentence_says_what_to_do(monkeypatch, error):
    def offline(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(UserError) as refused:
        models.fresh(model("timm/resnet10t", weights="DEFAULT"), DATA, 0, CPU)
    assert str(refused.value) == (
        "model.weights: DEFAULT of timm/resnet10t cannot be had from the Hugging Face hub (timm/resnet10t.c3_in1k, no "
        "route to the hub): download its model.safetensors where there is a network, and name that file"
    )


@pytest.mark.parametrize(
    ("name", "which", "sentence"),
    [
        ("resnet10t", "a1_in1k", r"^model.weights is 'a1_in1k', but must be null, a file \(.*\), or for timm/resnet10t "
                                 r"DEFAULT, c3_in1k$"),
        ("mixer_s32_224", "DEFAULT", r"or for timm/mixer_s32_224 none of timm's, which has none for it$"),
        ("resnet10t", "none.safetensors", r"^model.weights names the file none.safetensors, which does not exist$"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_had_are_refused_before_anything_is_downloaded(hub, name, which, sentence):
    with pytest.raises(UserError, match=sentence):
        models.check(model(f"timm/{name}", weights=which), [], 64)
    assert hub == []


def test_weights_of_another_network_do_not_fit(tmp_path):
    save_file(timm.create_model("test_vit", num_classes=3).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        UserError, match=r"w.safetensors does not fit timm/resnet10t \(conv1.0.weight is missing, and \d+ mo"
    ):
        models.fresh(model("timm/resnet10t", weights=str(tmp_path / "w.safetensors")), DATA, 0, CPU)


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("vit_tiny_patch16_224", SHALLOW, 64),
        ("vit_small_patch14_reg4_dinov2", SHALLOW, 56),
        ("deit_tiny_distilled_patch16_224", SHALLOW, 64),
        ("test_maxvit", {}, 64),
        ("swin_tiny_patch4_window7_224", SWIN, 64),
    ],
)
def test_position_embeddings_are_resampled_for_images_of_another_size(name, arguments, size, tmp_path):
    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=3, **arguments).eval()
    save_file({name: t.contiguous() for name, t in theirs.state_dict().items()}, tmp_path / "w.safetensors")
    data = replace(DATA, image_size=size)
    network = model(f"timm/{name}", arguments, weights=str(tmp_path / "w.safetensors"), normalization="none")
    ours = models.fresh(network, data, 0, CPU).eval()
    assert ours.began_fresh == []
    # Swin's windows keep their size, as in a network that is made for the smaller images.
    theirs.set_input_size(img_size=(size, size), **({"window_size": 7} if name.startswith("swin") else {}))
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        assert theirs(x).std() > 0
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    # What is saved then is loaded, and begun with again, in the smaller size.
    models.save(tmp_path / "m", ours, models.describe(network, ours, data, []))
    loaded, _ = models.load(tmp_path / "m")
    more = model(f"timm/{name}", arguments, weights=str(tmp_path / "m/model.safetensors"), normalization="none")
    again = models.fresh(more, data, 1, CPU).eval()
    with torch.no_grad():
        assert torch.equal(loaded(x), ours(x))
        assert torch.equal(again(x), ours(x))


def test_a_network_whose_weights_cannot_take_another_size_says_which_one_they_take(tmp_path):
    save_file(timm.create_model("mixer_s32_224", num_classes=3).state_dict(), tmp_path / "w.safetensors")
    network = model("timm/mixer_s32_224", weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(UserError, match=r"are for images of 224 x 224 .* to 64 x 64 .*: set model.input_size to 224$"):
        models.fresh(network, DATA, 0, CPU)


def test_what_weights_were_made_for_and_do_not_get_is_said():
    network = model("timm/vit_tiny_patch16_224", weights="DEFAULT", normalization="imagenet")
    assert models.contradictions(network, 64) == [
        "model.normalization is imagenet: the weights DEFAULT of timm/vit_tiny_patch16_224 were trained with mean "
        "(0.5, 0.5, 0.5) and std (0.5, 0.5, 0.5), which half gives.",
        "The network takes images of 64 x 64 pixels (model.input_size or data.image_size): the weights DEFAULT of "
        "timm/vit_tiny_patch16_224 were made for 224 x 224.",
    ]
    assert models.contradictions(network.model_copy(update={"normalization": "weights"}), 64) == []
