"""Planted images written as a folder with masks are the same data: the same pixels, splits, masks and scores."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

import glassbox
from docs import export_planted
from glassbox.config import parameters
from glassbox.core.errors import UserError
from glassbox.data import preparation, store

METRICS = ["excess_relevance_mass", "excess_rank_accuracy", "excess_pointing_game", "earth_movers_distance"]
SIDE = 16


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The planted images as they are prepared, and the same from the folder, in its own order."""
    folder = tmp_path_factory.mktemp("planted")
    data = parameters.read(ROOT / "studies/planted.yaml").data
    data = data.model_copy(
        update={"image_size": SIDE, "planted": data.planted.model_copy(update={"images": 100, "cell": 2})}
    )
    made = preparation.prepare(data, seed=0)
    store.write(folder / "prepared", made.images, made.index, "planted")
    assert export_planted.export(folder / "prepared", folder / "out") == 100
    changes = {"source": "image_folder", "path": str(folder / "out/images"), "masks": str(folder / "out/masks")}
    own = preparation.prepare(data.model_copy(update=changes | {"planted": None}), seed=0)
    return folder, made, own


def test_the_same_pixels_splits_and_masks(prepared):
    _, made, own = prepared
    assert made.images.classes == ("I", "O", "T", "S", "L")
    assert own.images.classes == ("I", "L", "O", "S", "T")
    place = {int(index): row for row, index in enumerate(made.index)}
    rows = [place[int(name[-10:-4])] for name in own.images.names]
    assert sorted(rows) == list(range(100))
    same = made.images.take(np.array(rows))
    assert np.array_equal(own.images.pixels, same.pixels)
    assert np.array_equal(own.images.masks, same.masks)
    assert own.images.splits.tolist() == same.splits.tolist()
    assert set(own.images.mask_states) == {"marked"}
    classes = (own.images.classes, same.classes)
    of_own, of_made = (np.take(names, images.labels) for names, images in zip(classes, (own.images, same), strict=True))
    assert of_own.tolist() == of_made.tolist()


class Network(nn.Module):
    """A network with random weights, whose outputs are in a given order."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(8 * SIDE**2, 5)
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))[:, self.order]


@pytest.mark.parametrize("explainer", ["grad_cam", "integrated_gradients", "occlusion"])
def test_the_same_localization_scores(prepared, explainer):
    """The classifier is the same but for the order of its classes, which in the folder is that of their names."""
    _, made, own = prepared
    scores = []
    for images, index in (
        (made.images, made.index),
        (own.images, [int(name[-10:-4]) for name in own.images.names]),
    ):
        test = images.splits == "test"
        first = np.argsort(np.array(index)[test])  # in the order of the planted images
        part = preparation.only(images, "test").take(first)
        order = [made.images.classes.index(name) for name in images.classes]
        classifier = glassbox.Classifier(Network(order), grad_cam_layer="features")
        how = {"classifier": classifier, "images": part.pixels, "targets": part.labels.tolist()}
        maps = glassbox.explain(explainer=explainer, **how).maps
        scores.append(glassbox.score(maps=maps, masks=part.masks.astype(bool), metrics=METRICS, **how))
    planted, folder = scores
    assert planted.columns.tolist() == folder.columns.tolist()
    assert len(planted) == 20
    assert planted.notna().all(axis=None)
    np.testing.assert_allclose(folder, planted, rtol=0, atol=1e-6)


def test_what_cannot_be_exported_is_refused(prepared, tmp_path, monkeypatch):
    folder, made, _ = prepared
    with pytest.raises(UserError, match="is there already: name a folder that is not"):
        export_planted.export(folder / "prepared", folder / "out")
    bare = made.images.take(np.arange(100))
    object.__setattr__(bare, "masks", None)
    store.write(tmp_path / "bare", bare, made.index, "mine")
    with pytest.raises(UserError, match="holds images of mine, which have no masks"):
        export_planted.export(tmp_path / "bare", tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["export_planted"])
    with pytest.raises(UserError, match=r"usage: python -m docs\.export_planted FOLDER"):
        export_planted.main()


def test_the_command_says_what_to_set(prepared, tmp_path, monkeypatch, capsys):
    folder, _, _ = prepared
    monkeypatch.setattr(export_planted, "DATA", folder / "prepared")
    monkeypatch.setattr("sys.argv", ["export_planted", f"{tmp_path}/out"])
    export_planted.main()
    told = f"wrote 100 images and masks: data.path={tmp_path}/out/images data.masks={tmp_path}/out/masks\n"
    assert capsys.readouterr().out == told
