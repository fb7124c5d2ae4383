"""A network whose decision is known region by region, and maps that name the right regions or the wrong ones."""

import numpy as np
import pytest
import torch
from torch import nn

from glassbox.config.explain import Analyses, Explain, Faithfulness
from glassbox.explainers.base import Attribution, Request, Setup
from glassbox.explainers.running import Bookkeeping
from glassbox.explaining import analyses
from glassbox.explaining.explanations import Explained, Panels
from glassbox.explaining.selection import Cases, Pick
from glassbox.models import Classifier

CLASSES = ("cat", "dog", "hen")
QUADRANTS = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int))


class Quadrants(nn.Module):
    """Logits of three classes: what is bright in the first, the second and the third quadrant speaks for each."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(6.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[..., :4, :4], x[..., :4, 4:], x[..., 4:, :4]]
        return self.strength * torch.stack([part.mean(dim=(1, 2, 3)) for part in parts], dim=1)


def image(*brightness: float) -> np.ndarray:
    """An image of four plain quadrants."""
    levels = np.array(brightness)[QUADRANTS] * 255
    return np.repeat(levels[..., None], 3, axis=2).astype(np.uint8)


def of(*values: float) -> np.ndarray:
    """A map of four plain quadrants."""
    return np.array(values, np.float32)[QUADRANTS]


@pytest.fixture
def settings(params, monkeypatch) -> Explain:
    monkeypatch.setattr("glassbox.explaining.analyses.segment", lambda image, how: QUADRANTS)
    how = Analyses(hidden=0.25, random_draws=400)
    blur = Faithfulness(steps=4, blur_sigma=50.0)  # a hidden quadrant becomes plain grey
    return params.explain.model_copy(update={"analyses": how, "faithfulness": blur})


def attribution(maps: list[np.ndarray]) -> Attribution:
    n = len(maps)
    return Attribution(np.stack(maps), np.ones(n), np.ones(n), np.zeros(n), {})


def study(settings, bad: tuple[int, ...] = (), wider: bool = True):
    """Image 0 is a dog taken for a cat; image 1 a recognised cat, of the pair cat and dog. The Shapley values in the
    rows `bad` do not add up."""
    images = torch.from_numpy(np.stack([image(1.0, 0.8, 0.0, 0.0), image(1.0, 0.0, 0.6, 0.0)]))
    model = Classifier(Quadrants(), (0.0,) * 3, (1.0,) * 3)
    p = model(images.permute(0, 3, 1, 2) / 255).softmax(dim=1).detach().double().numpy()
    picks = [Pick(0, "mistake", "dog, taken for cat", (0, 1)), Pick(1, "pair", "cat or dog?", (0, 1), (0, 1))]
    cases = Cases(images, np.array([1, 0]), p, CLASSES, picks)
    for_cat, for_dog, for_hen = of(0.6, -0.1, 0, 0), of(-0.3, 0.5, 0, 0), of(-0.2, 0, 0.4, 0)
    right = attribution([for_cat, for_dog, for_cat, for_dog])
    asked = Request(images[[0, 0, 1, 1, 1]], torch.tensor([0, 1, 0, 2, 1]), (7, 7, 8, 8, 8))
    shap = attribution([for_cat, for_dog, for_cat, for_hen, for_dog])
    shap.details["additivity_error"] = np.isin(np.arange(5), bad) * 0.5
    results = [
        Explained("lime", attribution([for_dog, for_cat] * 2), {}),  # the wrong way round
        Explained("kernel_shap", right, {}, Panels(asked, shap) if wider else None),
        Explained("random", right, {}),
    ]
    moved = []
    made = analyses.analyse(setup(model, settings), cases, results, Bookkeeping(progress=moved.append))
    assert sum(moved) == 2
    return made, p


def setup(model: Classifier, settings: Explain) -> Setup:
    return Setup(model, settings, torch.zeros(0), (0.0,) * 3, batch_size=8)


@pytest.fixture
def found(settings):
    return study(settings)


def test_a_mistake_is_corrected_by_hiding_what_spoke_for_it(found):
    made, p = found
    rows = made.mistakes.set_index("explainer")
    assert set(rows.index) == {"lime", "kernel_shap"}  # the control names nothing
    assert (rows["image"] == 0).all()
    assert rows.loc["kernel_shap", ["true_class", "predicted_class"]].tolist() == ["dog", "cat"]
    assert rows.loc["kernel_shap", "corrected"] == 1
    assert rows.loc["lime", "corrected"] == 0  # it names what speaks for the dog
    assert rows.loc["kernel_shap", ["p_predicted", "p_true"]].tolist() == pytest.approx([p[0, 0], p[0, 1]])
    # The hidden quadrant is as bright as the mean of the image, 0.45: logits 6 * (0.45, 0.8, 0).
    logits = 6 * np.array([0.45, 0.8, 0.0])
    after = np.exp(logits) / np.exp(logits).sum()
    assert rows.loc["kernel_shap", "p_predicted_after"] == pytest.approx(after[0], abs=0.02)
    assert rows.loc["kernel_shap", "p_true_after"] == pytest.approx(after[1], abs=0.02)
    assert (made.hidden[0, "kernel_shap"] == (QUADRANTS == 0)).all()
    assert (made.hidden[0, "lime"] == (QUADRANTS == 1)).all()
    # The two classes' maps have ranks (4, 1, 2.5, 2.5) and (1, 4, 2.5, 2.5): opposite.
    assert rows["agreement"].tolist() == pytest.approx([-1, -1])
    # Of four quadrants only hiding the first one turns the mistake right.
    assert rows["corrected_at_random"].tolist() == pytest.approx([0.25, 0.25], abs=0.06)


def test_a_recognised_image_loses_its_class_with_its_own_regions(found):
    made, p = found
    (row,) = made.recognised.to_dict("records")
    assert (row["image"], row["explainer"], row["other_class"]) == (1, "kernel_shap", "hen")  # the next in probability
    assert (row["p_predicted"], row["p_other"]) == pytest.approx((p[1, 0], p[1, 2]))
    logits = 6 * np.array([[0.4, 0.0, 0.6], [1.0, 0.0, 0.4]])
    after = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[:, 0]
    assert row["drop_own"] == pytest.approx(p[1, 0] - after[0], abs=0.03)
    assert row["drop_other"] == pytest.approx(p[1, 0] - after[1], abs=0.03)


@pytest.mark.parametrize(
    ("bad", "recognised", "mistakes", "pairs"),
    [((), 1, 2, 2), ((0,), 1, 1, 2), ((1,), 1, 1, 2), ((2,), 0, 2, 1), ((3,), 0, 2, 2), ((4,), 1, 2, 1)],
)
def test_maps_that_do_not_add_up_are_left_out(settings, bad, recognised, mistakes, pairs):
    made, _ = study(settings, bad)
    assert [len(table) for table in (made.recognised, made.mistakes, made.pairs)] == [recognised, mistakes, pairs]


def test_without_the_next_class_there_is_no_row(settings):
    # The pair's own classes, cat and dog, are explained, but the next in probability is the hen.
    made, _ = study(settings, wider=False)
    assert [len(table) for table in (made.recognised, made.mistakes, made.pairs)] == [0, 2, 2]


def test_every_region_of_an_image_that_is_drawn_is_hidden_alone(found):
    made, p = found
    rows = made.regions
    assert rows["image"].tolist() == [0] * 8 + [1] * 8  # four regions, two explained classes
    assert (np.stack(made.segments) == QUADRANTS).all()
    assert made.arrays()["regions"].dtype == np.uint16
    dog = rows[(rows["image"] == 0) & (rows["explained_class"] == "dog")]
    assert dog["region"].tolist() == [0, 1, 2, 3]
    assert dog["probability"].tolist() == pytest.approx([p[0, 1]] * 4)
    # A hidden quadrant is black, the mean colour of these training images: logits 6 * (1, 0.8, 0) lose one of them.
    logits = 6 * np.array([[0.0, 0.8, 0.0], [1.0, 0.0, 0.0], [1.0, 0.8, 0.0], [1.0, 0.8, 0.0]])
    after = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert dog["probability_without"].tolist() == pytest.approx(after[:, 1].tolist(), abs=1e-5)


def test_a_map_that_ranks_nothing_agrees_with_none():
    ranked, flat = of(1, 2, 3, 4), of(0, 0, 0, 0)
    assert analyses.agreement(ranked, ranked, QUADRANTS) == pytest.approx(1)
    assert np.isnan(analyses.agreement(ranked, flat, QUADRANTS))


def test_pairs_have_a_row_for_each_explainer(found):
    made, p = found
    assert made.pairs["explainer"].tolist() == ["lime", "kernel_shap"]
    assert made.pairs.loc[0, ["image", "a_class", "b_class"]].tolist() == [1, "cat", "dog"]
    assert made.pairs["p_a"].tolist() == pytest.approx([p[1, 0]] * 2)
    assert made.pairs["p_b"].tolist() == pytest.approx([p[1, 1]] * 2)
    assert list(made.tables()) == ["recognised", "mistakes", "pairs", "regions"]


def test_empty_tables_have_their_columns(settings):
    black, picks = torch.zeros(1, 8, 8, 3, dtype=torch.uint8), [Pick(0, "correct", "cat, recognised", (0,))]
    cases = Cases(black, np.array([0]), np.array([[1.0, 0, 0]]), CLASSES, picks)
    model = Classifier(Quadrants(), (0.0,) * 3, (1.0,) * 3)
    results = [Explained("lime", attribution([of(1, 0, 0, 0)]), {})]
    made = analyses.analyse(setup(model, settings), cases, results)
    for table in (made.recognised, made.mistakes, made.pairs):
        assert len(table) == 0
        assert list(table.columns[:4]) == ["image", "group", "true_class", "predicted_class"]
