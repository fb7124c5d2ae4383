import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from glassbox import config, files, models, sides
from glassbox.data import store
from glassbox.data.base import Images
from glassbox.data.preparation import test_digest as digest_of_test
from glassbox.errors import UserError
from glassbox.models.cnn import Hyperparameters
from glassbox.report import compare as pages

SMALL = Hyperparameters(4, 3, "relu", None, 0.0, 2, 0.1, 4, 3, "relu", None, 0.0, 2, 8, 0.0, "relu", None, 0.1, 0.9)
CLASSES = ("cat", "dog", "ship <s>")
CHANGES = ["explain.explainers=[occlusion,grad_cam]", "explain.occlusion.window=8", "explain.occlusion.stride=8"]


@pytest.fixture
def data(tmp_path):
    """Sixty images of noise, thirty of them for the test."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    splits = np.array(["train"] * 24 + ["validation"] * 6 + ["test"] * 30)
    images = Images(pixels, np.arange(60) % 3, CLASSES, splits)
    return store.write(tmp_path / "data", images, np.arange(60), "toy")


def study(place, data, seed, *changes):
    """A study whose classifier has the fresh weights of a seed."""
    test = store.read(place / "data", "test")
    folder = place / f"study {seed}"
    text = config.edit(ROOT / "params.yaml", [*CHANGES, *changes])
    files.write_text(folder / "params.yaml", text)
    card = {"classes": CLASSES, "image_size": 16, "sizes": data.sizes, "source": "toy",
            "test_digest": digest_of_test(test.images.numpy(), test.labels.numpy())}  # fmt: skip
    files.write_json(folder / "reports/prepare/card.json", card)
    torch.manual_seed(seed)
    classifier = models.build("cnn", SMALL.__dict__, 16, 3, data.mean, data.std)
    spec = models.Spec("cnn", SMALL.__dict__, "data", None)
    models.save(folder / "models", classifier, models.describe(spec, classifier, data, []))
    classifier.temperature = 1.0 + seed
    files.write_json(
        folder / "reports/evaluate/calibration.json", {"temperature": 1.0 + seed, "scaling_used": seed > 0}
    )
    p = models.probabilities(classifier.eval(), test.images, 8).numpy()
    rows = {"image": range(30), "true_class": [CLASSES[k] for k in test.labels]}
    rows |= {f"p({name})": p[:, k] for k, name in enumerate(CLASSES)}
    files.write_csv(folder / "reports/evaluate/predictions.csv", pd.DataFrame(rows))
    return folder


@pytest.fixture
def both(data, tmp_path):
    return [
        sides.read("slow", study(tmp_path, data, 0)),
        sides.read("fast", study(tmp_path, data, 1, "train.epochs=9", "explain.explainers=[grad_cam]")),
    ]


def test_both_are_compared_and_explained_on_the_same_images(both, tmp_path):
    sides.same_images(*both)
    made = sides.compare(*both, tmp_path / "data")
    a, b = (side.answers for side in both)
    assert len(made.found.only_a) == (a.right & ~b.right).sum()
    assert made.parameters.to_dict("records") == [
        {"parameter": "train.epochs", "a": 30, "b": 9},
        {"parameter": "explain.explainers", "a": ["occlusion", "grad_cam"], "b": ["grad_cam"]},
    ]
    test = store.read(tmp_path / "data", "test")
    assert len(made.only_a) == min(sides.FLIPPED, len(made.found.only_a)) > 0
    for flip in made.only_a:
        assert np.array_equal(flip.image, test.images[flip.row].numpy())
        assert flip.guesses[0][0] == flip.truth != flip.guesses[1][0]
        assert flip.guesses[1] == (CLASSES[b.predicted[flip.row]], pytest.approx(b.probabilities[flip.row].max()))
        assert {name: [one.shape for one in maps] for name, maps in flip.maps.items()} == {"grad_cam": [(16, 16)] * 2}
    assert made.agreement["explainer"].tolist() == ["grad_cam"] * sides.SAMPLED
    assert made.agreement["image"].is_unique


def test_a_study_agrees_with_itself(both, tmp_path):
    made = sides.compare(both[0], both[0], tmp_path / "data")
    assert not made.only_a + made.only_b
    assert len(made.parameters) == 0
    assert set(made.agreement["explainer"]) == {"occlusion", "grad_cam"}
    known = made.agreement[made.agreement["explainer"] == "occlusion"]  # Grad-CAM's maps may be zero and rank nothing
    assert known["rank_correlation"].tolist() == pytest.approx([1] * len(known))
    assert "slow and slow recognise the same test images." in pages.page(made)


def test_the_page_and_the_metrics_for_mlflow(both, tmp_path):
    made = sides.compare(*both, tmp_path / "data")
    text = pages.page(made)
    for part in ("slow against fast", "McNemar", "train.epochs", "ship &lt;s&gt;", "Grad-CAM of A, for", "Only slow"):
        assert part in text
    assert "<s>" not in text
    assert ".difference td.bad[style]" in text  # as specific as the rule of the other matrix, which it follows
    assert 'class="bad"' in text
    assert "http" not in text
    assert "A's as trained, B's after temperature scaling (T = 2)." in " ".join(text.split())
    row = pages.summary(made)
    assert row["difference/accuracy"] == pytest.approx(both[1].answers.right.mean() - both[0].answers.right.mean())
    assert row["mcnemar_p"] == made.found.p
    assert row["rank_correlation/grad_cam"] == pytest.approx(made.agreement["rank_correlation"].mean())


def test_a_map_that_must_not_be_shown_is_not(both, tmp_path, monkeypatch):
    monkeypatch.setattr("glassbox.explaining.may_be_shown", lambda attribution, place: place != 0)
    made = sides.compare(*both, tmp_path / "data")
    assert made.only_a[0].maps == {"grad_cam": (None, None)}
    assert all(one is not None for flip in made.only_a[1:] for one in flip.maps["grad_cam"])
    text = pages.page(made)
    assert text.count('<span class="unshown">not shown</span>') == 2


def test_studies_with_other_test_images_are_refused(both, data, tmp_path):
    card = both[1].folder / "reports/prepare/card.json"
    for key, value, what in (("test_digest", "e" * 64, "test images"), ("image_size", 8, "sizes of image"),
                             ("classes", ["cat", "dog", "bird"], "classes")):  # fmt: skip
        other = both[1].__class__(**both[1].__dict__ | {"card": both[1].card | {key: value}})
        with pytest.raises(
            UserError, match=rf"A=slow.* and B=fast.* have different {what}: only studies with the same"
        ):
            sides.same_images(both[0], other)
    about = files.read_json(card)
    files.write_json(card, {key: value for key, value in about.items() if key != "test_digest"})
    with pytest.raises(UserError, match="fast was made by an older version"):
        sides.read("fast", both[1].folder)
    files.write_json(card, about)
    (both[1].folder / "reports/evaluate/calibration.json").unlink()
    with pytest.raises(UserError, match="fast was made by an older version, whose probabilities are others"):
        sides.read("fast", both[1].folder)
    store.write(tmp_path / "data", Images(np.zeros((6, 16, 16, 3), np.uint8), np.arange(6) % 3, CLASSES,
                np.array(["train", "validation", "test"] * 2)), np.arange(6), "toy")  # fmt: skip
    with pytest.raises(UserError, match=r"does not hold the test images of A=slow: prepare them"):
        sides.compare(*both, tmp_path / "data")
