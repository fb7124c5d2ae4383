import numpy as np
import pytest
import timm
import torch
import torchvision
from conftest import model
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn

from glassbox import models
from glassbox.data.store import Description
from glassbox.models import Classifier
from glassbox.models.preprocessing import FIXED, IMAGENET, Preprocessing

DATA = Description("toy", ("a", "b", "c"), 40, {}, (0.2, 0.4, 0.6), (0.5, 0.5, 0.25), False, "d" * 64)
ONE_BYTE = 1 / 255


def picture(side: int) -> Image.Image:
    """Smooth colours with an edge."""
    y, x = np.mgrid[:side, :side] / side
    colours = np.stack([x, y, np.where(x + y > 1, 0.8, 0.2)], axis=-1)
    return Image.fromarray(np.uint8(200 * colours + 20))


def made_by(how: Preprocessing, image: Image.Image) -> torch.Tensor:
    """What the network of a classifier sees of an image: (3, H, W)."""
    seen: list[torch.Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x[0])
            return x.mean(dim=(2, 3))

    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    models.Classifier(Spy(), **vars(how))(x)
    return seen[0]


def agree(ours: torch.Tensor, theirs: torch.Tensor, how: Preprocessing, bytes_: float) -> None:
    assert ours.shape == theirs.shape
    allowed = bytes_ * ONE_BYTE / torch.tensor(how.std).view(3, 1, 1) + 1e-5
    assert ((ours - theirs).abs() <= allowed).all()


def test_normalization_by_name():
    by_name = {name: models.preprocessing(model("cnn", normalization=name), DATA) for name in ("data", *FIXED)}
    assert {name: (how.mean, how.std) for name, how in by_name.items()} == {
        "data": (DATA.mean, DATA.std),
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "imagenet": IMAGENET,
    }
    # What torchvision's own transforms for its weights do.
    theirs = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    assert (tuple(theirs.mean), tuple(theirs.std)) == IMAGENET
    assert by_name["none"].resized(x := torch.rand(1, 3, 5, 5)) is x


@pytest.mark.parametrize("given", [(0.5, (0.1, 0.2, 0.3)), ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))])
def test_normalization_by_numbers(given):
    how = models.preprocessing(model("cnn", normalization=given), DATA)
    assert (how.mean, how.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    pixels = Classifier(torch.nn.Flatten(), **vars(how))(torch.ones(1, 3, 1, 1))
    assert pixels[0].tolist() == pytest.approx([0.5 / 0.1, 0.5 / 0.2, 0.5 / 0.3])


def test_stripes_become_grey_where_they_are_shrunk():
    """Every pixel counts, where plain bilinear sampling would pick some."""
    stripes = torch.tensor([0.0, 1.0] * 8).expand(1, 3, 16, 16)
    for kind in ("bilinear", "bicubic"):
        shrunk = Preprocessing(input_size=4, interpolation=kind).resized(stripes)
        assert shrunk[0, 0, 0].tolist() == pytest.approx([0.5] * 4, abs=0.1)
        assert Preprocessing(input_size=16, interpolation=kind).resized(stripes) is stripes


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("resnet10t", "DEFAULT"), ("resnet18", "tv_in1k"), ("convnext_atto", "DEFAULT"),
        ("beit_base_patch16_224", "DEFAULT"), ("vit_tiny_patch16_224", "DEFAULT"),
        ("tf_efficientnet_lite0", "DEFAULT"), ("tf_efficientnet_lite1", "DEFAULT"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", [40, 300])
def test_weights_of_timm_see_what_timms_own_transform_gives(name, tag, side):
    how = models.preprocessing(model(f"timm/{name}", weights=tag, normalization="weights"), DATA)
    config = timm.get_pretrained_cfg(name if tag == "DEFAULT" else f"{name}.{tag}").to_dict()
    theirs = create_transform(**resolve_data_config(pretrained_cfg=config), is_training=False)
    image = picture(side)
    agree(made_by(how, image), theirs(image), how, 1.0 if side > 100 else 1.5)  # Pillow rounds to bytes, twice


@pytest.mark.parametrize(
    ("name", "weights"),
    [("resnet50", "IMAGENET1K_V1"), ("resnet50", "IMAGENET1K_V2"), ("efficientnet_b1", "IMAGENET1K_V1"),
     ("swin_t", "DEFAULT"), ("vit_b_16", "IMAGENET1K_SWAG_LINEAR_V1"), ("vgg16", "IMAGENET1K_FEATURES")],
)  # fmt: skip
@pytest.mark.parametrize("side", [40, 300])
def test_weights_of_torchvision_see_what_their_own_transforms_give(name, weights, side):
    how = models.preprocessing(model(f"torchvision/{name}", weights=weights, normalization="weights"), DATA)
    theirs = torchvision.models.get_model_weights(name)[weights].transforms()
    image = picture(side)
    agree(made_by(how, image), theirs(image), how, 1.0 if side > 100 else 1.5)


@pytest.mark.parametrize(("size", "crop"), [(8, 0.8), (7, 0.7), (9, 0.9), (8, 0.5), (7, 0.875)])
def test_the_centre_is_cut_out_exactly_where_torchvision_cuts(size, crop):
    """An image that has the larger size already is not changed otherwise."""
    side = int(size / crop + 1e-6)
    x = torch.rand(2, 3, side, side)
    cut = Preprocessing(input_size=size, crop=crop).resized(x)
    assert torch.equal(cut, torchvision.transforms.functional.center_crop(x, [size, size]))


def test_of_all_weights_of_the_registries_the_sizes_are_whole_and_interpolation_is_one_of_ours():
    for full in timm.list_pretrained():
        config = timm.get_pretrained_cfg(full)
        assert config.interpolation in ("bilinear", "bicubic"), full
        assert int(config.input_size[1] / config.crop_pct + 1e-6) == int(config.input_size[1] / config.crop_pct), full
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            network = model(f"torchvision/{name}", weights=weights.name, normalization="weights")
            how, theirs = models.preprocessing(network, DATA), weights.transforms()
            assert [how.input_size] == theirs.crop_size
            assert [int(how.input_size / how.crop + 1e-6)] == theirs.resize_size
            assert how.interpolation in ("bilinear", "bicubic")


def test_it_is_said_in_words():
    how = Preprocessing((0.485, 0.5, 0.5), (0.229, 0.25, 1.0), 224, "bicubic", 0.875)
    assert how.in_words() == (
        "224 x 224 pixels, bicubic, the central 87.5 %, mean (0.485, 0.5, 0.5) and std (0.229, 0.25, 1)"
    )
    assert Preprocessing().in_words() == "mean (0, 0, 0) and std (1, 1, 1)"
