import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from markupsafe import escape

from glassbox import models
from glassbox.comparing import studies
from glassbox.config import parameters
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.data.base import Images
from glassbox.data.preparation import test_digest as digest_of_test
from glassbox.models.cnn import Hyperparameters
from glassbox.provenance import record
from glassbox.report import compare as pages
from glassbox.search import hyperparameters
from glassbox.search.hyperparameters import Choice

SMALL = Hyperparameters(4, 3, "relu", None, 0.0, 2, 0.1, 4, 3, "relu", None, 0.0, 2, 8, 0.0, "relu", None, 0.1, 0.9)
CLASSES = ("cat", "dog", "ship <s>")
CHANGES = ["explain.explainers=[occlusion,grad_cam]", "explain.occlusion.window=8", "explain.occlusion.stride=8"]


@pytest.fixture
def data(tmp_path):
    """Ninety images of noise, sixty of them for the test."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 16, 16, 3), dtype=np.uint8)
    splits = np.array(["train"] * 24 + ["validation"] * 6 + ["test"] * 60)
    images = Images(pixels, np.arange(90) % 3, CLASSES, splits)
    return store.write(tmp_path / "data", images, np.arange(90), "toy")


MACHINE = {"processor": "a chip", "threads": 1, "gpu": None}


def study(place, data, seed, *changes, choices=(), machine=MACHINE, code="x = 1", lock="a==1\nb==2\n"):
    """A study whose classifier has the fresh weights of a seed.

    Args:
        choices: of hyperparameters.
        machine, code, lock: what its record and sources hold.
    """
    test = store.read(place / "data", "test")
    folder = place / f"study {seed}"
    text = parameters.edit(ROOT / "params.yaml", [*CHANGES, *changes])
    files.write_text(folder / "params.yaml", text)
    card = {"classes": CLASSES, "image_size": 16, "sizes": data.sizes, "source": "toy",
            "test_digest": digest_of_test(test.images.numpy(), test.labels.numpy())}  # fmt: skip
    files.write_json(folder / "reports/prepare/card.json", card)
    torch.manual_seed(seed)
    classifier = models.build("cnn", SMALL.__dict__, 16, 3, data.mean, data.std)
    spec = models.Spec("cnn", SMALL.__dict__, "data", None)
    models.save(folder / "models", classifier, models.describe(spec, classifier, data, hyperparameters.table(choices)))
    classifier.temperature = 1.0 + seed
    files.write_json(
        folder / "reports/evaluate/calibration.json", {"temperature": 1.0 + seed, "scaling_used": seed > 0}
    )
    p = models.probabilities(classifier.eval(), test.images, 8).numpy()
    rows = {"image": range(60), "true_class": [CLASSES[k] for k in test.labels]}
    rows |= {f"p({name})": p[:, k] for k, name in enumerate(CLASSES)}
    files.write_csv(folder / "reports/evaluate/predictions.csv", pd.DataFrame(rows))
    names = ("prepare/card.json", "evaluate/calibration.json", "evaluate/predictions.csv")
    digests = {f"reports/{name}": files.sha256(folder / "reports" / name) for name in names}
    digests |= {
        f"models/{name}": files.sha256(folder / "models" / name) for name in ("model.json", "model.safetensors")
    }
    kept = {"study": "toy", "study_digest": "0", "machine": machine, "files": digests}
    files.write_json(folder / record.FOLDER / record.RECORD, kept)
    with zipfile.ZipFile(folder / record.FOLDER / record.SOURCES, "w") as archive:
        for name, kept in (("params.yaml", text), ("dvc.yaml", ""), ("requirements.lock", lock), ("src/a.py", code)):
            archive.writestr(name, kept)
    return folder


@pytest.fixture
def both(data, tmp_path):
    return [
        studies.read("slow", study(tmp_path, data, 0)),
        studies.read("fast", study(tmp_path, data, 1, "train.epochs=9", "explain.explainers=[grad_cam]")),
    ]


def test_both_are_compared_and_explained_on_the_same_images(both, tmp_path):
    studies.same_images(*both)
    made = studies.compare(*both, tmp_path / "data")
    a, b = (side.answers for side in both)
    assert len(made.found.only_a) == (a.right & ~b.right).sum()
    assert made.differences[["kind", "name", "a", "b"]].to_numpy().tolist() == [
        ["parameter", "train.epochs", 15, 9],
        ["parameter", "explain.explainers", ["occlusion", "grad_cam"], ["grad_cam"]],
        ["result", "temperature", 1.0, 2.0],
    ]
    test = store.read(tmp_path / "data", "test")
    assert len(made.only_a) == min(studies.FLIPPED, len(made.found.only_a)) > 0
    for flip in made.only_a:
        assert np.array_equal(flip.image, test.images[flip.row].numpy())
        assert flip.guesses[0][0] == flip.truth != flip.guesses[1][0]
        assert flip.guesses[1] == (CLASSES[b.predicted[flip.row]], pytest.approx(b.probabilities[flip.row].max()))
        assert {name: [one.shape for one in maps] for name, maps in flip.maps.items()} == {"grad_cam": [(16, 16)] * 2}
    assert made.agreement["explainer"].tolist() == ["grad_cam"] * studies.SAMPLED
    assert made.agreement["image"].is_unique


def test_a_study_agrees_with_itself(both, tmp_path):
    made = studies.compare(both[0], both[0], tmp_path / "data")
    assert not made.only_a + made.only_b
    assert len(made.differences) == 0
    assert set(made.agreement["explainer"]) == {"occlusion", "grad_cam"}
    known = made.agreement[made.agreement["explainer"] == "occlusion"]  # Grad-CAM's maps may be zero and rank nothing
    assert known["rank_correlation"].tolist() == pytest.approx([1] * len(known))
    assert pages.sentences(made) == [
        "On the same 60 test images slow and slow give the same probabilities: every metric is the same, and there is "
        "nothing to test.",
        "slow and slow differ in no parameter of the classifier, nor in data, code, machine or libraries.",
    ]
    assert set(pages.outcomes(made).values()) == {"undecided", "not tested"}


def test_values_that_the_search_chose_are_compared_not_the_word_tuned(data, tmp_path):
    def chosen(rate, momentum, trial):
        return [
            Choice("train.learning_rate", rate, f"tune, trial {trial}"),
            Choice("train.momentum", momentum, f"tune, trial {trial}" if momentum else hyperparameters.UNUSED),
            Choice("model.dropout_1", 0.25, f"tune, trial {trial}"),
        ]

    a = studies.read("slow", study(tmp_path, data, 0, choices=chosen(0.003, 0.9, 4)))
    b = studies.read("fast", study(tmp_path, data, 1, "model.dropout_1=0.25", choices=chosen(0.01, None, 7)))
    rows = studies.differences(a, b)
    assert rows[rows["kind"] == "parameter"].drop(columns="kind").to_numpy().tolist() == [
        ["train.learning_rate", 0.003, 0.01, "tune, trial 4", "tune, trial 7"],
        ["train.momentum", 0.9, None, "tune, trial 4", ""],
    ]  # and not dropout_1, which is the same, though one searched for it
    text = pages.page(studies.compare(a, b, tmp_path / "data"))
    assert "<td>0.003<small>tune, trial 4</small></td><td>0.01<small>tune, trial 7</small></td>" in text
    assert "<td>0.9<small>tune, trial 4</small></td><td>\N{EN DASH}</td>" in text


def test_what_differs_by_the_records_is_shown_and_named(data, tmp_path):
    a = studies.read("slow", study(tmp_path, data, 0))
    other = {"machine": MACHINE | {"threads": 4}, "code": "x = 2", "lock": "a==1\nb==3\nc==1\n"}
    b = studies.read("fast", study(tmp_path, data, 1, "train.epochs=9", **other))
    made = studies.compare(a, b, tmp_path / "data")
    rows = made.differences[made.differences["kind"] == "recorded"].set_index("name")
    assert rows.index.tolist() == ["code", "threads", "library b", "library c"]
    assert rows.loc[["threads", "library b", "library c"], ["a", "b"]].to_numpy().tolist() == [
        [1, 4], ["2", "3"], [None, "1"]
    ]  # fmt: skip
    assert len(rows.loc["code", "a"]) == len(rows.loc["code", "b"]) == studies.DIGITS
    assert pages.sentences(made)[-1] == (
        "slow and fast differ in train.epochs, code, threads, library b and library c: a difference between the "
        "classifiers cannot be attributed to one of these alone."
    )


def test_one_cause_is_named_and_what_explains_or_scores_is_none(both, tmp_path):
    assert pages.sentences(studies.compare(*both, tmp_path / "data"))[-1] == (
        "slow and fast differ in train.epochs, and by their records in nothing else that affects the classifier."
    )


def test_a_study_without_its_record_is_refused(both):
    (both[0].folder / record.FOLDER / record.RECORD).unlink()
    with pytest.raises(UserError, match=r"record\.json"):
        studies.read("slow", both[0].folder)


def test_maps_of_too_few_images_have_no_interval(both, tmp_path, monkeypatch):
    made = studies.compare(*both, tmp_path / "data")
    assert "no interval: n =" not in pages.page(made)
    monkeypatch.setattr(pages, "interval", lambda values, seed: (np.nan, np.nan))
    assert pages.page(made).count(f"no interval: n = {studies.SAMPLED}") == 2  # of one explainer, two measures


def test_the_page_and_the_metrics_for_mlflow(both, tmp_path):
    made = studies.compare(*both, tmp_path / "data")
    text = pages.page(made)
    assert [text.count(str(escape(sentence))) for sentence in pages.sentences(made)] == [1] * len(pages.sentences(made))
    for part in (
        "slow against fast",
        "McNemar",
        "train.epochs",
        "not tested",
        "no class and no pair of classes was tested",
        "ship &lt;s&gt;",
        "Grad-CAM of A, for",
        "Only slow",
    ):
        assert part in text
    assert "<s>" not in text
    assert ".difference td.bad[style]" in text  # as specific as the rule of the other matrix, which it follows
    assert 'class="bad"' in text
    assert "http" not in text
    assert "A's as trained, B's after temperature scaling (T = 2)." in " ".join(text.split())
    row = pages.summary(made)
    assert row["difference/accuracy"] == pytest.approx(both[1].answers.right.mean() - both[0].answers.right.mean())
    table = made.found.metrics.set_index("metric")
    assert row["p/accuracy"] == table.loc["accuracy", "p"]
    assert row["p_holm/macro_f1"] == table.loc["macro_f1", "p_holm"]
    assert "p/ece" not in row
    assert not np.isnan(list(row.values())).any()
    assert pages.outcomes(made)["outcome/ece"] == "not tested"
    assert pages.outcomes(made)["outcome/accuracy"] == table.loc["accuracy", "outcome"]
    assert row["rank_correlation/grad_cam"] == pytest.approx(made.agreement["rank_correlation"].mean())


def test_a_map_that_must_not_be_shown_is_not(both, tmp_path, monkeypatch):
    monkeypatch.setattr("glassbox.explaining.map_tables.may_be_shown", lambda attribution, place: place != 0)
    made = studies.compare(*both, tmp_path / "data")
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
            studies.same_images(both[0], other)
    about = files.read_json(card)
    files.write_json(card, {key: value for key, value in about.items() if key != "test_digest"})
    with pytest.raises(
        UserError, match=r"card.json is not what was written \(its SHA-256 is not that in reports/report/"
    ):
        studies.read("fast", both[1].folder)
    path = both[1].folder / record.FOLDER / record.RECORD
    kept = files.read_json(path)
    files.write_json(path, kept | {"files": {}})
    with pytest.raises(UserError, match="fast was made by an older version"):
        studies.read("fast", both[1].folder)
    files.write_json(card, about)
    (both[1].folder / "reports/evaluate/calibration.json").unlink()
    with pytest.raises(UserError, match="fast was made by an older version, whose probabilities are others"):
        studies.read("fast", both[1].folder)
    store.write(tmp_path / "data", Images(np.zeros((6, 16, 16, 3), np.uint8), np.arange(6) % 3, CLASSES,
                np.array(["train", "validation", "test"] * 2)), np.arange(6), "toy")  # fmt: skip
    with pytest.raises(UserError, match=r"does not hold the test images of A=slow: prepare them"):
        studies.compare(*both, tmp_path / "data")
