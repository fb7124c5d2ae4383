import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, SMALL_CNN, model
from markupsafe import escape

from glassbox import models
from glassbox.comparing import studies
from glassbox.config import parameters
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.data.base import Images
from glassbox.data.preparation import test_digest as digest_of_test
from glassbox.models.preprocessing import Preprocessing
from glassbox.provenance import record
from glassbox.report import compare as pages
from glassbox.search import hyperparameters
from glassbox.search.hyperparameters import Choice

SMALL = model("cnn", SMALL_CNN)
CLASSES = ("cat", "dog", "ship <s>")
CHANGES = ["explain.explainers=[occlusion,grad_cam]", "explain.occlusion.window=8", "explain.occlusion.stride=8"]
MACHINE = {"processor": "a chip", "threads": 1, "gpu": None}


def stored(place, pixels, splits):
    n = len(pixels)
    return store.write(place / "data", Images(pixels, np.arange(n) % 3, CLASSES, splits), np.arange(n), "toy")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder, and the description, of ninety images of noise, sixty of them for the test."""
    place = tmp_path_factory.mktemp("studies")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 16, 16, 3), dtype=np.uint8)
    return place, stored(place, pixels, np.array(["train"] * 24 + ["validation"] * 6 + ["test"] * 60))


def study(data, name, seed, *changes, choices=(), machine=MACHINE, code="x = 1", lock="a==1\nb==2\n"):
    """Read a study whose classifier has the fresh weights of a seed, with a machine, code and a lock in its record."""
    place, description = data
    test = store.read(place / "data", "test")
    folder = place / f"study {seed} {name}"
    text = parameters.edit(ROOT / "params.yaml", [*CHANGES, *changes])
    files.write_text(folder / "params.yaml", text)
    digest = digest_of_test(test.images.numpy(), test.labels.numpy())
    card = {"classes": CLASSES, "image_size": 16, "sizes": description.sizes, "source": "toy", "test_digest": digest}
    files.write_json(folder / "reports/prepare/card.json", card)
    torch.manual_seed(seed)
    how = Preprocessing(description.mean, description.std)
    classifier = models.build(SMALL.name, SMALL.arguments, how, 16, 3)
    about = models.describe(SMALL, classifier, description, hyperparameters.table(choices))
    models.save(folder / "models", classifier, about)
    classifier.temperature = 1.0 + seed
    calibration = {"temperature": 1.0 + seed, "scaling_used": seed > 0}
    files.write_json(folder / "reports/evaluate/calibration.json", calibration)
    p = models.probabilities(classifier.eval(), test.images, 8).numpy()
    rows = {"image": range(60), "true_class": [CLASSES[k] for k in test.labels]}
    rows |= {f"p({label})": p[:, k] for k, label in enumerate(CLASSES)}
    files.write_csv(folder / "reports/evaluate/predictions.csv", pd.DataFrame(rows))
    recorded = [path for path in folder.rglob("*") if path.is_file() and path.name != "params.yaml"]
    digests = {path.relative_to(folder).as_posix(): files.sha256(path) for path in recorded}
    about = {"study": "toy", "study_digest": "0", "machine": machine, "files": digests}
    files.write_json(folder / record.FOLDER / record.RECORD, about)
    with zipfile.ZipFile(folder / record.FOLDER / record.SOURCES, "w") as archive:
        sources = {"params.yaml": text, "dvc.yaml": "", "requirements.lock": lock, "src/a.py": code}
        for path, content in sources.items():
            archive.writestr(path, content)
    return studies.read(name, folder)


@pytest.fixture(scope="module")
def both(data):
    return study(data, "slow", 0), study(data, "fast", 1, "train.epochs=9", "explain.explainers=[grad_cam]")


@pytest.fixture(scope="module")
def sides(both, data):
    studies.same_images(*both)
    return studies.compare(*both, data[0] / "data")


def test_both_are_compared_and_explained_on_the_same_images(both, sides, data):
    a, b = (side.answers for side in both)
    assert len(sides.found.only_a) == (a.right & ~b.right).sum()
    assert sides.differences[["kind", "name", "a", "b"]].to_numpy().tolist() == [
        ["parameter", "train.epochs", 15, 9],
        ["parameter", "explain.explainers", ["occlusion", "grad_cam"], ["grad_cam"]],
        ["result", "temperature", 1.0, 2.0],
    ]
    # What only explains or scores is no cause of a difference between the classifiers.
    assert pages.sentences(sides)[-1] == (
        "slow and fast differ in train.epochs, and by their records in nothing else that affects the classifier."
    )
    test = store.read(data[0] / "data", "test")
    assert len(sides.only_a) == min(studies.FLIPPED, len(sides.found.only_a)) > 0
    for flip in sides.only_a:
        assert np.array_equal(flip.image, test.images[flip.row].numpy())
        assert flip.guesses[0][0] == flip.truth != flip.guesses[1][0]
        assert flip.guesses[1] == (CLASSES[b.predicted[flip.row]], pytest.approx(b.probabilities[flip.row].max()))
        assert {name: [one.shape for one in maps] for name, maps in flip.maps.items()} == {"grad_cam": [(16, 16)] * 2}
    assert sides.agreement["explainer"].tolist() == ["grad_cam"] * studies.SAMPLED
    assert sides.agreement["image"].is_unique


def test_a_study_agrees_with_itself(both, data):
    sides = studies.compare(both[0], both[0], data[0] / "data")
    assert not sides.only_a + sides.only_b
    assert len(sides.differences) == 0
    assert set(sides.agreement["explainer"]) == {"occlusion", "grad_cam"}
    known = sides.agreement[sides.agreement["explainer"] == "occlusion"]  # Grad-CAM's maps may be zero and rank nothing
    assert known["rank_correlation"].tolist() == pytest.approx([1] * len(known))
    assert pages.sentences(sides) == [
        "On the same 60 test images slow and slow give the same probabilities: every metric is the same, and there is "
        "nothing to test.",
        "slow and slow differ in no parameter of the classifier, nor in data, code, machine or libraries.",
    ]
    assert set(pages.outcomes(sides).values()) == {"undecided", "not tested"}


def chosen(rate, momentum, trial):
    source = f"tune, trial {trial}"
    return [
        Choice("train.learning_rate", rate, source),
        Choice("train.momentum", momentum, source if momentum else hyperparameters.UNUSED),
        Choice("model.arguments.dropout_1", 0.25, source),
    ]


def test_the_chosen_values_are_compared_and_the_records_too(data):
    a = study(data, "slow searched", 0, choices=chosen(0.003, 0.9, 4))
    other = {"machine": MACHINE | {"threads": 4}, "code": "x = 2", "lock": "a==1\nb==3\nc==1\n"}
    b = study(data, "fast searched", 1, "model.arguments.dropout_1=0.25", choices=chosen(0.01, None, 7), **other)
    sides = studies.compare(a, b, data[0] / "data")
    rows = sides.differences.set_index("kind").loc[["parameter"]]
    assert rows.to_numpy().tolist() == [
        ["train.learning_rate", 0.003, 0.01, "tune, trial 4", "tune, trial 7"],
        ["train.momentum", 0.9, None, "tune, trial 4", ""],
    ]  # and not dropout_1, which is the same, though only one study searched for it
    page = pages.page(sides)
    assert "<td>0.003<small>tune, trial 4</small></td><td>0.01<small>tune, trial 7</small></td>" in page
    assert "<td>0.9<small>tune, trial 4</small></td><td>\N{EN DASH}</td>" in page
    rows = sides.differences[sides.differences["kind"] == "recorded"].set_index("name")
    assert rows.index.tolist() == ["code", "threads", "library b", "library c"]
    values = rows.loc[["threads", "library b", "library c"], ["a", "b"]].to_numpy().tolist()
    assert values == [[1, 4], ["2", "3"], [None, "1"]]
    assert len(rows.loc["code", "a"]) == len(rows.loc["code", "b"]) == studies.DIGITS
    assert pages.sentences(sides)[-1] == (
        "slow searched and fast searched differ in train.learning_rate, train.momentum, code, threads, library b and "
        "library c: a difference between the classifiers cannot be attributed to one of these alone."
    )


def test_the_page_and_the_metrics_for_mlflow(both, sides, monkeypatch):
    text = pages.page(sides)
    for sentence in pages.sentences(sides):
        assert text.count(str(escape(sentence))) == 1
    for part in (
        "slow against fast",
        "McNemar",
        "train.epochs",
        "not tested",
        "no class and no pair of classes was tested",
        "ship &lt;s&gt;",
        "Grad-CAM of A, for",
        "Only slow",
        ".difference td.bad[style]",  # as specific as the rule of the other matrix, which it follows
        'class="bad"',
    ):
        assert part in text
    for part in ("<s>", "http", "no interval: n ="):
        assert part not in text
    assert "A's as trained, B's after temperature scaling (T = 2)." in " ".join(text.split())
    row = pages.summary(sides)
    assert row["difference/accuracy"] == pytest.approx(both[1].answers.right.mean() - both[0].answers.right.mean())
    table = sides.found.metrics.set_index("metric")
    assert row["p/accuracy"] == table.loc["accuracy", "p"]
    assert row["p_holm/macro_f1"] == table.loc["macro_f1", "p_holm"]
    assert "p/ece" not in row
    assert not np.isnan(list(row.values())).any()
    assert pages.outcomes(sides)["outcome/ece"] == "not tested"
    assert pages.outcomes(sides)["outcome/accuracy"] == table.loc["accuracy", "outcome"]
    assert row["rank_correlation/grad_cam"] == pytest.approx(sides.agreement["rank_correlation"].mean())
    monkeypatch.setattr(pages, "interval", lambda values, seed: (np.nan, np.nan))  # too few images
    assert pages.page(sides).count(f"no interval: n = {studies.SAMPLED}") == 2  # of one explainer, two measures


def test_a_map_that_must_not_be_shown_is_not(both, data, monkeypatch):
    monkeypatch.setattr("glassbox.explaining.map_tables.may_be_shown", lambda attribution, place: place != 0)
    sides = studies.compare(*both, data[0] / "data")
    assert sides.only_a[0].maps == {"grad_cam": (None, None)}
    assert all(one is not None for flip in sides.only_a[1:] for one in flip.maps["grad_cam"])
    assert pages.page(sides).count('<span class="unshown">not shown</span>') == 2


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("test_digest", "e" * 64, "test images"),
        ("image_size", 8, "sizes of image"),
        ("classes", ["cat", "dog", "bird"], "classes"),
    ],
)
def test_studies_with_other_test_images_are_refused(both, key, value, what):
    other = replace(both[1], card=both[1].card | {key: value})
    with pytest.raises(UserError, match=rf"A=slow.* and B=fast.* have different {what}: only studies with the same"):
        studies.same_images(both[0], other)


def test_other_prepared_data_are_refused(both, tmp_path):
    stored(tmp_path, np.zeros((6, 16, 16, 3), np.uint8), np.array(["train", "validation", "test"] * 2))
    with pytest.raises(UserError, match=r"does not hold the test images of A=slow: prepare them"):
        studies.compare(*both, tmp_path / "data")


def test_damaged_and_older_studies_are_refused(both, tmp_path):
    folder = shutil.copytree(both[1].folder, tmp_path / "study")
    path, card = folder / record.FOLDER / record.RECORD, folder / "reports/prepare/card.json"
    about, recorded = files.read_json(card), files.read_json(path)

    def refused(reason: str) -> None:
        with pytest.raises(UserError, match=reason):
            studies.read("fast", folder)

    files.write_json(card, {key: value for key, value in about.items() if key != "test_digest"})
    refused(r"card.json is not what was written \(its SHA-256 is not that in reports/report/")
    files.write_json(path, recorded | {"files": {}})
    refused("fast was made by an older version, which did not write down its test images")
    files.write_json(card, about)
    (folder / "reports/evaluate/calibration.json").unlink()
    refused("fast was made by an older version, whose probabilities are others")
    path.unlink()
    refused(r"record\.json")
