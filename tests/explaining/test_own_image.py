import numpy as np
import pytest
import torch
from conftest import SMALL_CNN, model
from PIL import Image

from glassbox import models
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.data.base import Images
from glassbox.explainers.catalog import BLACK_BOX, EXPLAINERS
from glassbox.explaining import own_image
from glassbox.figures import own_image as figure_of
from glassbox.figures.style import COLUMN, DPI
from glassbox.models.preprocessing import Preprocessing

CLASSES = ("cat", "dog", "ship")


@pytest.fixture
def study(tmp_path, params):
    """Prepared data of 16 pixels, a classifier, and parameters of little work."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    splits = np.array(["train"] * 18 + ["validation"] * 6 + ["test"] * 6)
    data = store.write(tmp_path / "data", Images(pixels, np.arange(30) % 3, CLASSES, splits), np.arange(30), "toy")
    torch.manual_seed(0)
    classifier = models.build("cnn", SMALL_CNN, Preprocessing(data.mean, data.std), 16, 3)
    models.save(tmp_path / "model", classifier, models.describe(model("cnn", SMALL_CNN), classifier, data, []))
    files.write_json(tmp_path / "calibration.json", {"temperature": 0.5})
    e = params.explain
    little = e.model_copy(
        update={
            "superpixels": e.superpixels.model_copy(update={"segments": 16}),
            "lime": e.lime.model_copy(update={"samples": 40}),
            "kernel_shap": e.kernel_shap.model_copy(update={"coalitions": 40, "background": 2}),
            "partition_shap": e.partition_shap.model_copy(update={"evaluations": 40}),
            "rise": e.rise.model_copy(update={"masks": 40}),
            "gradient_shap": e.gradient_shap.model_copy(update={"samples": 4, "background": 4}),
            "integrated_gradients": e.integrated_gradients.model_copy(update={"steps": 4}),
        }
    )
    return tmp_path, params.model_copy(update={"explain": little})


@pytest.fixture
def picture(tmp_path):
    """A photograph that lies on its side, as its EXIF tag says, and is not square."""
    pixels = np.random.default_rng(0).integers(0, 60, (40, 60, 3), dtype=np.uint8)
    pixels[:, :30, 0] += 180
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a photo.png", exif=exif)
    return tmp_path / "a photo.png"


def explain(study, path):
    place, params = study
    return own_image.explain(path, params, place / "data", place / "model", place / "calibration.json")


def test_every_explainer_says_why_for_the_two_likeliest_classes(study, picture, tmp_path):
    explained = explain(study, picture)
    assert [result.name for result in explained.results] == list(EXPLAINERS)
    assert all(result.attribution.maps.shape == (2, 16, 16) for result in explained.results)
    assert explained.image.shape == (16, 16, 3)
    red = explained.image[..., 0].astype(int)
    assert red[:7].min() > red[9:].max()  # upright: red above
    classifier, _ = models.load(tmp_path / "model", temperature=0.5)
    p = models.probabilities(classifier, torch.from_numpy(explained.image.copy())[None], 1).numpy()[0]
    assert explained.probabilities == pytest.approx(p)
    assert list(explained.targets) == np.argsort(-p)[:2].tolist()
    first, second = (f"{CLASSES[k]} ({100 * p[k]:.1f} %)" for k in explained.targets)
    assert explained.told() == f"a photo.png: {first}, then {second}"
    again = explain(study, picture)
    for one, other in zip(explained.results, again.results, strict=True):
        assert np.array_equal(one.attribution.maps, other.attribution.maps), one.name


def test_figure_and_maps_are_written_and_pictures_of_one_name_kept_apart(study, picture, tmp_path):
    explained = explain(study, picture)
    figure = figure_of.write(explained, b"one", 5, tmp_path / "photos")
    other = figure_of.write(explained, b"two", 5, tmp_path / "photos")
    assert figure.name == f"a photo-{files.digest(b'one')[:6]}.png"
    written = {path.name for path in (tmp_path / "photos").iterdir()}
    assert written == {figure.name, other.name, f"{figure.stem}.npz", f"{other.stem}.npz"}
    with Image.open(figure) as drawn:
        assert drawn.width == round(COLUMN * DPI)
    with np.load(figure.with_suffix(".npz")) as arrays:
        assert set(arrays) == {"image", "classes", *EXPLAINERS}
        assert arrays["classes"].tolist() == [CLASSES[k] for k in explained.targets]


def test_bad_input_is_one_sentence(study, tmp_path):
    with pytest.raises(UserError, match=r"IMAGE=.*none.jpg: there is no such file"):
        explain(study, tmp_path / "none.jpg")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"IMAGE=.*cut.png cannot be read as an image \(.*\)$"):
        explain(study, tmp_path / "cut.png")


def test_a_name_that_its_figure_cannot_have_is_refused_before_the_work(study, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(own_image.models, "load", None)  # nothing is loaded
    for length, ending in ((300, ".png"), (240, ".png"), (248, ".jpeg")):
        name = tmp_path / f"{'x' * (length - len(ending))}{ending}"
        if length < 255:
            picture = picture.rename(name)
        fault = r"there is no such file|its name is \d+ bytes too long for the"
        with pytest.raises(UserError, match=f"^IMAGE=.*: ({fault})"):
            explain(study, name)
    for given in ("~nobody-is-called-so/x.png", "~/no such file.png", "x\ny.png", "\udcff.png", "/dev/stdin/x", ""):
        with pytest.raises(UserError, match=r"^IMAGE=.*: there is no such file$") as said:
            explain(study, given)
        assert str(said.value).isprintable()
    longest = picture.rename(tmp_path / f"{'x' * (files.LONGEST - 11)}.png")
    assert own_image.find(longest) == longest


def test_a_classifier_of_other_data_is_refused(study, picture, tmp_path):
    about = files.read_json(tmp_path / "data/data.json")
    files.write_json(tmp_path / "data/data.json", about | {"digest": "e" * 64})
    with pytest.raises(UserError, match="was trained on other data than"):
        explain(study, picture)


@pytest.mark.parametrize("has_places", [True, False])
def test_a_network_without_features_of_places_is_explained_by_all_others_and_that_is_said(
    study, picture, small_transformer, tmp_path, monkeypatch, has_places
):
    place, params = study
    network, classifier = small_transformer
    if not has_places:
        (tmp_path / "networks").mkdir()
        (tmp_path / "networks/placeless.py").write_text(
            "from torch import nn\n\n\ndef build(n_classes):\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, n_classes))\n"
        )
        monkeypatch.syspath_prepend(tmp_path / "networks")
        network = model("python:placeless:build")
        classifier = models.build(network.name, {}, Preprocessing(), 32, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    splits = np.array(["train"] * 18 + ["validation"] * 6 + ["test"] * 6)
    data = store.write(place / "data", Images(pixels, np.arange(30) % 3, CLASSES, splits), np.arange(30), "toy")
    models.save(place / "model", classifier, models.describe(network, classifier, data, []))
    explained = explain((place, params), picture)
    names = [result.name for result in explained.results]
    if has_places:  # the tokens of a transformer are such features
        assert names == list(EXPLAINERS)
        return
    assert names == [name for name in EXPLAINERS if name != "grad_cam"]
    assert explained.told().splitlines()[1:] == ["not by Grad-CAM: the network has no feature maps"]
    figure = figure_of.write(explained, picture.read_bytes(), 3, tmp_path / "photos")
    assert "grad_cam" not in np.load(figure.with_suffix(".npz"))


def test_a_network_that_only_answers_is_explained_by_those_that_need_no_more(study, picture, monkeypatch):
    monkeypatch.setattr(models.Classifier, "has_gradients", False)
    explained = explain(study, picture)
    assert [result.name for result in explained.results] == list(BLACK_BOX)
    assert "not by Grad-CAM: an ONNX model has no gradients" in explained.told().splitlines()
