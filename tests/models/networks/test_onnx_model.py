import copy
import json
import pickle
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import TinyNetwork, model
from network_files import CPU, DATA, IMAGES, PIXELS, taken
from onnx_files import onnx_file

import glassbox
from glassbox import models
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.explainers import factory
from glassbox.explainers.base import Setup
from glassbox.explainers.catalog import BLACK_BOX, EXPLAINERS

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

given = partial(taken, "onnx")


@pytest.fixture(scope="module")
def owned() -> models.Classifier:
    """The network as its owner has it."""
    return models.Classifier(TinyNetwork(), (0.5,) * 3, (0.5,) * 3).eval()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> models.Classifier:
    return given(onnx_file(tmp_path_factory.mktemp("model") / "own.onnx"))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("probabilities", [False, True])
def test_its_answers_are_the_owners(owned, tmp_path, layout, batch, probabilities):
    file = onnx_file(tmp_path / "own.onnx", layout=layout, batch=batch, probabilities=probabilities)
    classifier, expected = given(file), owned(PIXELS).detach()
    for images in (PIXELS, PIXELS[:1]):
        answers = classifier(images)
        torch.testing.assert_close(answers.softmax(dim=1), expected[: len(images)].softmax(dim=1), atol=1e-5, rtol=0)
        if not probabilities:
            torch.testing.assert_close(answers, expected[: len(images)], atol=1e-5, rtol=0)
    assert torch.equal(classifier(PIXELS), classifier(PIXELS))
    assert any("gives probabilities" in note for note in classifier.notes) == probabilities


def test_it_has_no_gradients_and_is_left_as_it_was(classifier):
    assert not classifier.has_gradients
    x = PIXELS.clone().requires_grad_(True)
    assert not classifier(x).requires_grad
    assert models.device_of(classifier) == CPU
    classifier.train()
    answers = classifier(PIXELS)
    assert torch.equal(classifier.eval()(PIXELS), answers)


@pytest.mark.parametrize("explainer", ["kernel_shap", "occlusion", "rise"])
def test_it_is_explained_like_the_owners_network_by_what_needs_only_answers(classifier, owned, explainer):
    about = {"images": IMAGES[:1], "explainer": explainer}
    if explainer == "kernel_shap":
        about |= {
            "background": IMAGES,
            "settings": {"background": 2, "coalitions": 64, "superpixels": {"segments": 16}},
        }
    maps = [glassbox.explain(classifier=one, **about).maps for one in (classifier, owned)]
    assert maps[0] == pytest.approx(maps[1], abs=1e-4)
    assert np.abs(maps[1]).max() > 1e-4


@pytest.mark.parametrize("explainer", sorted({*EXPLAINERS} - {*BLACK_BOX}))
def test_what_needs_gradients_is_refused_in_a_sentence(classifier, explainer):
    with pytest.raises(UserError, match=rf"^{explainer} explains by gradients, and an ONNX model only answers: "):
        glassbox.explain(
            classifier=classifier, images=IMAGES, explainer=explainer, background=IMAGES.repeat(13, 1, 1, 1)
        )


def test_the_black_boxes_are_the_explainers_that_look_at_regions(params, owned):
    every = params.explain.model_copy(update={"explainers": EXPLAINERS})
    explainers = factory.make(Setup(owned, every, IMAGES, (0.5,) * 3, 8))
    assert {name for name, explainer in explainers.items() if explainer.looks_at == "regions"} == {*BLACK_BOX}
    assert {*factory.black_box(every, 320, side=32)} == {*BLACK_BOX}


def test_saved_it_needs_no_other_file(classifier, tmp_path):
    file = onnx_file(tmp_path / "own.onnx")
    card = models.describe(model("onnx", weights=file), classifier, DATA, [])
    assert "not counted" in card.in_words()
    models.save(tmp_path / "saved", classifier, card)
    assert json.loads((tmp_path / "saved/model.json").read_text())["network_sha256"] == files.sha256(file)
    (tmp_path / "own.onnx").unlink()
    loaded, read = models.load(tmp_path / "saved", temperature=2.0)
    assert read == card
    for copied in (loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):  # noqa: S301
        assert torch.equal(copied(PIXELS), classifier(PIXELS) / 2)
    assert models.untrained(loaded, card, 0) is None
    other = onnx_file(tmp_path / "other.onnx", probabilities=True)
    first, second = (files.sha256(tmp_path / "saved/model.safetensors"), models.save(tmp_path, given(other), card))
    assert second is None
    assert files.sha256(tmp_path / "model.safetensors") != first  # the digest that MLflow knows a model by


def test_outputs_in_another_order_are_put_in_that_of_the_classes(classifier, tmp_path):
    file = onnx_file(tmp_path / "own.onnx")
    (tmp_path / "own.json").write_text('{"classes": ["c", "a", "b"]}')
    assert torch.equal(given(file)(PIXELS), classifier(PIXELS)[:, [1, 2, 0]])


def test_what_is_found_can_be_said_instead(classifier, tmp_path):
    file = onnx_file(tmp_path / "own.onnx", layout="nhwc", colours="any")
    with pytest.raises(UserError, match=r"^model\.arguments\.layout is missing: .* images any x any x any x any,"):
        given(file)
    assert torch.allclose(given(file, {"layout": "nhwc"})(PIXELS), classifier(PIXELS), atol=1e-5)
    likely = onnx_file(tmp_path / "own.onnx", probabilities=True)
    raw = given(likely, {"output": "logits"})(PIXELS)
    assert torch.allclose(raw.log(), given(likely)(PIXELS))


@pytest.mark.parametrize(
    ("options", "arguments", "sentence"),
    [
        ({"side": 8}, {}, r"own\.onnx takes images of 8 x 8 pixels, not 16 x 16: set model\.input_size to 8"),
        ({"colours": 1, "side": 16}, {}, r"own\.onnx takes images .*, but must take images of three colours"),
        ({"twice": True}, {}, r"own\.onnx has 1 inputs and 2 outputs, but must have one of each"),
        ({}, {"layout": "hwc"}, r"^model\.arguments\.layout is 'hwc', but must be nchw or nhwc"),
        ({}, {"output": "odds"}, r"^model\.arguments\.output is 'odds', but must be logits or probabilities"),
        ({}, {"width": 3}, r"^model\.arguments\.width is not taken by onnx, which takes layout, output"),
        (None, {}, r"own\.onnx cannot be read as model\.name = onnx says \("),
    ],
)
def test_what_cannot_be_taken_is_refused_in_a_sentence(options, arguments, sentence, tmp_path):
    file = tmp_path / "own.onnx"
    file.write_bytes(b"no model")
    if options is not None:
        onnx_file(file, **options)
    with pytest.raises(UserError, match=sentence):
        given(str(file), arguments)


def test_without_onnxruntime_it_says_what_to_install(tmp_path, monkeypatch):
    file = onnx_file(tmp_path / "own.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"^model\.name is onnx, which needs onnxruntime: pip install"):
        given(file)
