"""Figures of the data, the search, the training and the evaluation. Their look is judged by eye; tests hold that they
are drawn from ordinary and from extreme tables, and that their texts are right."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_hex

from glassbox.config.space import Option
from glassbox.evaluation.calibration import reliability
from glassbox.explaining.lime_stability import Stability
from glassbox.explaining.selection import Pick
from glassbox.figures import data, evaluation, lime_stability, maps, search, training
from glassbox.figures.style import BLUE, GREY
from glassbox.search import outcome

from .conftest import has_ink, texts

RNG = np.random.default_rng(0)


def test_samples(tmp_path, drawn, capsys):
    pixels = RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    data.samples(tmp_path / "few.png", pixels, np.arange(30) % 3, ("cat", "dog", "кот"), 4)
    assert {"cat", "dog", "кот"} <= set(texts(*drawn))
    assert has_ink(tmp_path / "few.png")
    data.samples(tmp_path / "many.png", pixels, np.arange(30), tuple(f"class {n}" for n in range(30)), 1)
    assert "the first 20 of 30 classes" in texts(*drawn)
    assert capsys.readouterr().err == ""
    data.samples(tmp_path / "boxes.png", pixels[:5], np.arange(5), ("cat", "猫", "犬", "กลม", "鳥"), 1)
    assert capsys.readouterr().err == (
        "warning: DejaVu Sans, the font of the figures, lacks letters of class names (猫, 犬, กลม …): figures show "
        "boxes instead, tables and the report the names\n"
    )


def trials(params, states: list[str], measure: str = "validation_accuracy") -> pd.DataFrame:
    adam = {"conv1_filters": 16, "dropout_1": 0.3, "adam_lr": 1e-3, "optimizer": "adam"}
    sgd = {"conv1_filters": 32, "dropout_1": 0.2, "sgd_lr": 1e-2, "sgd_momentum": 0.9, "optimizer": "sgd"}
    rows = []
    for n, state in enumerate(states):
        rows.append(
            outcome.Trial(
                number=n,
                state=state,
                value=None if state == "failed" else 0.5 + 0.1 * n,
                params=adam if n % 2 else sgd,
                by_key={},
                curve=[0.4, 0.5],
                cost=100.0 * (n + 1) if state == "complete" else None,
                seconds=1.0,
                reason="",
            )
        )
    return outcome.table(rows, params.tune.options, measure, "parameters")


@pytest.mark.parametrize("measure", ["validation_accuracy", "validation_loss"])
@pytest.mark.parametrize("states", [["complete", "pruned", "failed", "complete"], ["complete"]])
def test_search(params, tmp_path, drawn, states, measure):
    curves = [[0.4, 0.5], [0.3], [], [0.5, 0.7]][: len(states)]
    importances = outcome.Importances({"dropout_1": 0.8, "optimizer": 0.2}, 0.5, 12) if len(states) > 1 else None
    search.draw_all(tmp_path, trials(params, states, measure), curves, importances, params.tune.options, measure)
    names = {"history.png", "parallel_coordinates.png", "trials.png"} | ({"importance.png"} if importances else set())
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(has_ink(path) for path in tmp_path.iterdir())
    words = {f"complete ({states.count('complete')})", "conv1_filters", "dropout_1", "rmsprop"}
    if importances:
        words |= {"Hyperparameter importance, from 12 complete trials"}
    unit = {"validation_accuracy": "validation accuracy (%)", "validation_loss": "validation loss (nats)"}[measure]
    assert words | {unit} <= set(texts(*drawn))
    (best,) = (line for line in drawn[0].axes[0].get_lines() if line.get_label() == "best so far")
    of_trials = {"validation_accuracy": [50, 50, 50, 80], "validation_loss": [0.5] * 4}[measure]
    assert best.get_ydata() == pytest.approx(of_trials[: len(states)])


def test_what_may_be_chance_is_grey(tmp_path, drawn):
    shares = {"dropout_1": 0.6, "optimizer": 0.4, "conv1_filters": 0.0}
    search.importance(tmp_path / "i.png", outcome.Importances(shares, 0.4, 12))
    axis = drawn[0].axes[0]
    bars = {text.get_text(): bar for text, bar in zip(axis.get_yticklabels(), axis.patches, strict=True)}
    colours = {name: to_hex(bar.get_facecolor()).upper() for name, bar in bars.items()}
    assert colours == {"dropout_1": BLUE, "optimizer": GREY.upper(), "conv1_filters": GREY.upper()}


@pytest.mark.parametrize("known", [True, False])
def test_the_axes_that_matter_of_many(params, tmp_path, drawn, known):
    table = trials(params, ["complete"] * 4)
    names = [searched.label for searched in params.tune.options]
    for place, name in enumerate(names):
        option = params.tune.options[place].option
        table[name] = option.choices[0] if option.choices is not None else option.high
    table.loc[0, names[:3]] = np.nan  # these have fewer trials
    shares = {name: place / 100 for place, name in enumerate(names)}
    search.parallel_coordinates(
        tmp_path / "p.png",
        table,
        params.tune.options,
        importances=outcome.Importances(shares, 0.1 if known else 0.9, 12),
    )
    shown = [text.get_text() for text in drawn[0].axes[0].get_xticklabels()]
    assert shown == (names[-search.AXES :] if known else names[3 : 3 + search.AXES])
    why = "with the largest importance" if known else "that most trials have"
    assert f"Trials: the 8 of {len(names)} hyperparameters {why} (dashed: pruned)" in texts(*drawn)


@pytest.mark.parametrize(
    ("measure", "values", "front"),
    [
        ("validation_accuracy", [0.9, 0.7, 0.8, 0.6, 0.8, None, 0.5], [1, 2, 0]),  # 4 is as good as 2, but costs more
        ("validation_loss", [0.1, 0.3, 0.2, 0.4, 0.2, None, 0.5], [1, 2, 0]),
        ("validation_macro_f1", [0.5, 0.6, 0.5, 0.4, 0.3, None, 0.9], [1]),
    ],
)
def test_the_pareto_front_by_hand(tmp_path, drawn, measure, values, front):
    """Trial 3 costs as much as 1 and is worse; trial 6 was pruned, 5 failed."""
    states = ["complete"] * 5 + ["failed", "pruned"]
    table = pd.DataFrame({"trial": range(7), "state": states, measure: values})
    table["parameters"] = [400, 10, 100, 10, 200, None, None]
    search.pareto(tmp_path / "p.png", table, measure, "parameters")
    assert has_ink(tmp_path / "p.png")
    (line,) = drawn[0].axes[0].get_lines()
    scale = 1 if measure.endswith("loss") else 100
    assert line.get_xdata().tolist() == [table["parameters"][n] for n in front]
    assert line.get_ydata() == pytest.approx([scale * values[n] for n in front])
    assert [text.get_text() for text in drawn[0].axes[0].texts] == [str(n) for n in front]
    assert {"complete trials (5)", f"Pareto front ({len(front)})"} <= set(texts(*drawn))


def test_the_pareto_figure_is_drawn_with_a_second_objective(params, tmp_path):
    table = trials(params, ["complete"] * 3)
    curves = [[0.4, 0.5]] * 3
    search.draw_all(tmp_path, table, curves, {}, params.tune.options, second="parameters")
    assert (tmp_path / "pareto.png").exists()


@pytest.mark.parametrize(
    ("name", "value", "height"),
    [
        ("conv1_filters", 16, 0.0),
        ("conv1_filters", 32.0, 1.0),
        ("optimizer", "rmsprop", 1.0),
        ("dropout_1", 0.3, 0.5),
        ("adam_lr", 1e-5, 0.0),
        ("adam_lr", (1e-5 * 1e-2) ** 0.5, 0.5),
        ("adam_lr", float("nan"), float("nan")),
        ("decay", 0.0, 0.0),
        ("decay", 1e-5, 0.5),
        ("decay", 1.0, 1.0),
        ("steps", 2_000_000.0, 1.0),  # as pandas holds it where a column has gaps
        ("flip", True, 1.0),
        ("flip", None, float("nan")),
        ("depth", 3, 0.5),
        ("fixed", 5, 0.5),
    ],
)
def test_a_value_has_its_place_on_its_axis(params, name, value, height):
    own = {
        "decay": Option(choices=[0.0, 1e-5, 1.0]),
        "steps": Option(choices=[1_000_000, 2_000_000]),
        "flip": Option(choices=[False, True]),
        "depth": Option(low=2, high=4),
        "fixed": Option(low=5, high=5),
    }
    options = {searched.label: searched.option for searched in params.tune.options} | own
    assert search._height(value, options[name]) == pytest.approx(height, nan_ok=True)


def test_curves(tmp_path, drawn):
    rows = {"epoch": [1, 2, 3], "learning_rate": [0.1, 0.1, 0.05]}
    for name in ("train_loss", "validation_loss", "weight_penalty", "train_accuracy", "validation_accuracy"):
        rows[name] = [0.3, 0.5, 0.6]
    training.curves(tmp_path / "c.png", pd.DataFrame(rows), best=2)
    assert {"cross-entropy (nats)", "accuracy (%)", "epoch", "validation"} <= set(texts(*drawn))
    training.curves(tmp_path / "one.png", pd.DataFrame(rows).head(1), best=1)
    assert has_ink(tmp_path / "one.png")


@pytest.mark.parametrize("rates", [[0.00122] * 3, [0.1, 0.1, 0.05], [1e-6, 1.5, 0.001]])
def test_the_learning_rate_has_numbers_on_its_axis(tmp_path, drawn, rates):
    rows = {"epoch": [1, 2, 3], "learning_rate": rates}
    for name in ("train_loss", "validation_loss", "weight_penalty", "train_accuracy", "validation_accuracy"):
        rows[name] = [0.3, 0.5, 0.6]
    training.curves(tmp_path / "c.png", pd.DataFrame(rows), best=2)
    axis = drawn[0].axes[2]
    low, high = axis.get_ylim()
    assert low < min(rates) <= max(rates) < high
    places = [float(text.get_text()) for text in axis.get_yticklabels() if text.get_text()]
    assert sum(low <= place <= high for place in places) >= 3


def test_confusion(tmp_path, drawn):
    evaluation.confusion(tmp_path / "c.png", np.array([[90, 0], [7, 3]]), ("cat", "dog"))
    assert {"90", "7", "3", "cat", "true", "predicted", "Confusion matrix (100 test images)"} <= set(texts(*drawn))
    drawn.clear()
    evaluation.confusion(tmp_path / "large.png", np.eye(200, dtype=int), tuple(f"kind {n}" for n in range(200)))
    named = {text for text in texts(*drawn) if text.startswith("kind ")}
    assert named == {f"kind {n}" for n in range(0, 200, 5)}


def test_reliability(tmp_path, drawn):
    p = RNG.dirichlet((1, 1, 1), 200)
    trained = reliability(p, p.argmax(axis=1), 15)
    scaled = trained.assign(accuracy=trained["confidence"])
    tables = {"as trained": trained, "after temperature scaling (T = 1.5)": scaled}
    evaluation.reliability(tmp_path / "r.png", tables, 0.95)
    error = 100 * (1 - p.max(axis=1).mean())  # all of them are right
    words = {f"As trained\nECE {error:.1f} %", "After temperature scaling (T = 1.5)\nECE 0.0 %"}
    assert words | {"200 test images in 15 bins"} <= set(texts(*drawn))
    drawn.clear()
    evaluation.reliability(tmp_path / "one.png", {"as trained": trained}, 0.95)
    assert not [text for text in texts(*drawn) if "scaling" in text]


def test_every_bin_has_its_interval_and_its_count_by_hand(tmp_path, drawn):
    """Of 10 images in a bin 8 are right: Wilson's interval is 49.0 to 94.3 %. One image says next to nothing."""
    rows = [(0.0, 0.5, 1, 0.4, 1.0), (0.5, 0.9, 0, np.nan, np.nan), (0.9, 1.0, 10, 0.95, 0.8)]
    table = pd.DataFrame(rows, columns=["low", "high", "count", "confidence", "accuracy"])
    evaluation.reliability(tmp_path / "r.png", {"as trained": table}, 0.95)
    top, bottom = drawn[0].axes
    ends = [line.get_ydata() for line in top.get_lines() if line.get_label() == "95 % interval"]
    assert np.array(ends) == pytest.approx(np.array([[20.7, 100.0], [49.0, 94.3]]), abs=0.1)
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in top.get_lines() if line.get_marker() == "o"]
    assert points == [(40, 100), (95, 80)]
    assert [text.get_text() for text in bottom.texts] == ["1", "10"]


def test_mistakes_are_the_most_confident_ones(tmp_path, drawn):
    images = RNG.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    evaluation.mistakes(tmp_path / "m.png", images, np.zeros(4, int), p, ("cat", "dog"), n=2)
    titles = [text for text in texts(*drawn) if "true" in text]
    assert titles == ["dog (80 %)\ntrue: cat", "dog (70 %)\ntrue: cat"]
    assert "The most confident of 3 mistakes" in texts(*drawn)
    evaluation.mistakes(tmp_path / "none.png", images, p.argmax(axis=1), p, ("cat", "dog"), n=2)
    assert "No mistake on the test images" in texts(*drawn)


def test_any_class_name_can_be_drawn(tmp_path, drawn):
    """A dollar sign starts no mathematics, and a long name leaves room for the picture."""
    names = ("100% $", "50% $", "x" * 300)
    images = np.zeros((3, 16, 16, 3), np.uint8)
    p = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    evaluation.confusion(tmp_path / "c.png", np.eye(3, dtype=int), names)
    evaluation.mistakes(tmp_path / "m.png", images, np.array([0, 2, 1]), p, names, 4)
    data.samples(tmp_path / "s.png", images, np.arange(3), names, 2)
    words = texts(*drawn)
    assert any(r"50% \$" in text for text in words)
    assert not any(is_math_text(text) for text in words if "%" in text)
    assert max(map(len, words)) < 100


def test_samples_have_the_outlines_of_their_masks(tmp_path, drawn):
    masks = np.zeros((3, 16, 16), np.uint8)
    masks[1, 4:8, 4:8] = 1
    data.samples(tmp_path / "s.png", np.zeros((3, 16, 16, 3), np.uint8), np.arange(3), ("a", "b", "c"), 2, masks)
    assert [len(axis.collections) for axis in drawn[0].axes] == [0, 0, 1, 0, 0, 0]


def test_lime_stability(tmp_path, drawn):
    rows = {"image": [1, 1, 0, 0], "samples": [50, 90, 50, 90], "seeds": 2, "rank_agreement": [-0.3, 0.9, 0.4, 0.8]}
    table = pd.DataFrame(rows | {"top_overlap": [0.0, 1, 0.7, 0.6], "top_overlap_by_chance": 0.25, "local_r2": 0.4})
    values = RNG.normal(size=(2, 2, 2, 8, 8)).astype(np.float32)
    picks = [Pick(1, "correct", "$dog, recognised", (1,)), Pick(0, "mistake", "cat, taken for dog", (1, 0))]
    images, masks = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), bool)
    masks[0, 2:5, 2:5] = True
    lime_stability.draw(tmp_path / "s.png", Stability(table, values), picks, images, 5, masks)
    words = {"50\nseed a", "90\nseed b", "image 1", "image 0: cat, taken for dog", "local R²", "by chance"}
    assert words <= set(texts(*drawn))
    assert has_ink(tmp_path / "s.png")
    assert sum(bool(axis.images and axis.collections) for axis in drawn[0].axes) == 1 + 4  # image 0 and its maps
    plots = [axis for axis in drawn[0].axes if axis.get_xscale() == "log"]
    assert [axis.get_ylim()[0] for axis in plots] == pytest.approx([-0.35, -0.05, 0.35])  # below the lowest points


def test_maps_are_normalised_and_zero_stays_zero():
    values = np.array([[-4.0, 0.0], [1.0, 2.0]])
    assert maps.normalise(values).tolist() == [[-1.0, 0.0], [0.25, 0.5]]
    assert not maps.normalise(np.zeros((2, 2))).any()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_red_speaks_for_blue_against_and_zero_is_the_image_itself(level):
    image = np.full((1, 5, 3), level, np.uint8)
    against, weakly, nothing, a_little, for_it = maps.blend(image, np.array([[-1.0, -0.1, 0.0, 0.1, 1.0]]))[0]
    assert nothing == pytest.approx([level / 255] * 3)
    assert (to_hex(for_it), to_hex(against)) == (maps.FOR, maps.AGAINST)
    cover = 0.1**0.6
    assert a_little == pytest.approx((1 - cover) * nothing + cover * for_it)
    assert a_little[0] > a_little[2] + 0.1  # seen on black, grey and white
    assert weakly[2] > weakly[0] + 0.1


def test_a_coloured_image_stays_in_its_grey():
    image = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)
    assert maps.blend(image, np.zeros((1, 2)))[0, :, 0] == pytest.approx([0.299, 0.587])


def test_a_constant_image_can_be_shown():
    assert np.isfinite(maps.blend(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4)))).all()
    nearly_nothing = np.full((1, 1), 1e-13, np.float32)  # 1 minus this is 1 in float32
    assert maps.blend(np.full((1, 1, 3), 255, np.uint8), nearly_nothing).max() <= 1
