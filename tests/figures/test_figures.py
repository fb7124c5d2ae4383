"""Every picture is drawn from ordinary and from extreme tables. What they look like is judged by eye; here: that they
are drawn at all, that nothing is drawn outside, and that what they say in words is right."""

from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.text import Text

from glassbox.explainers.base import Attribution, Request
from glassbox.explainers.catalog import CONTROL, TITLES
from glassbox.explaining.analyses import Analyses
from glassbox.explaining.explanations import Explained, Panels
from glassbox.explaining.lime_stability import Stability
from glassbox.explaining.selection import Cases, Pick
from glassbox.figures import analyses as analysis_figures
from glassbox.figures import data, evaluation, explanations, lime_stability, search, style, training

from .conftest import has_ink

RNG = np.random.default_rng(0)


def test_samples(tmp_path, texts):
    pixels = RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    data.samples(tmp_path / "few.png", pixels, np.arange(30) % 3, ("cat", "dog", "ship"))
    assert {"cat", "dog", "ship"} <= set(texts)
    data.samples(tmp_path / "many.png", pixels, np.arange(30), tuple(f"class {n}" for n in range(30)))
    assert "the first 20 of 30 classes" in texts
    assert has_ink(tmp_path / "few.png")
    assert has_ink(tmp_path / "many.png")


def test_class_names_that_figures_cannot_show_are_told_of_in_one_line(tmp_path, capsys):
    pixels = np.zeros((5, 8, 8, 3), np.uint8)
    data.samples(tmp_path / "a.png", pixels[:1], np.arange(1), ("кот",))
    assert capsys.readouterr().err == ""
    data.samples(tmp_path / "b.png", pixels, np.arange(5), ("cat", "猫", "犬", "กลม", "鳥"))
    assert capsys.readouterr().err == (
        "warning: DejaVu Sans, the font of the figures, lacks letters of class names (猫, 犬, กลม …): figures have "
        "boxes in their place, tables and the report the names\n"
    )


def table(params, states: list[str]) -> pd.DataFrame:
    from glassbox.search import outcome

    trials = [
        outcome.Trial(n, state, None if state == "failed" else 0.5 + 0.1 * n,
                      {"conv1_filters": 16, "dropout_1": 0.3, "adam_lr": 1e-3, "optimizer": "adam"} if n % 2 else
                      {"conv1_filters": 32, "dropout_1": 0.2, "sgd_lr": 1e-2, "sgd_momentum": 0.9, "optimizer": "sgd"},
                      [0.4, 0.5], 1.0, "")
        for n, state in enumerate(states)
    ]  # fmt: skip
    return outcome.table(trials, params.tune.space)


@pytest.mark.parametrize("states", [["complete", "pruned", "failed", "complete"], ["complete"]])
def test_search(params, tmp_path, texts, states):
    curves = [[0.4, 0.5], [0.3], [], [0.5, 0.7]][: len(states)]
    search.draw_all(tmp_path, table(params, states), curves, {"dropout_1": 0.8, "optimizer": 0.2}, params.tune.space)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.png", "importance.png", "parallel_coordinates.png", "trials.png",
    ]  # fmt: skip
    assert all(has_ink(path) for path in tmp_path.iterdir())
    assert f"complete ({states.count('complete')})" in texts
    assert {"conv1_filters", "dropout_1", "validation accuracy (%)", "rmsprop"} <= set(texts)


def test_without_importances_none_is_drawn(params, tmp_path):
    search.draw_all(tmp_path, table(params, ["complete"]), [[0.5]], {}, params.tune.space)
    assert not (tmp_path / "importance.png").exists()


def test_a_value_has_its_place_on_its_axis(params):
    space = params.tune.space
    assert search._height(16, space.conv1_filters) == 0.0
    assert search._height(32.0, space.conv1_filters) == 1.0
    assert search._height("rmsprop", space.optimizer) == 1.0
    assert search._height(0.3, space.dropout_1) == pytest.approx(0.5)
    assert search._height(1e-5, space.adam_lr) == 0.0
    assert search._height((1e-5 * 1e-2) ** 0.5, space.adam_lr) == pytest.approx(0.5)
    assert np.isnan(search._height(float("nan"), space.adam_lr))


def test_curves(tmp_path, texts):
    rows = {"epoch": [1, 2, 3], "learning_rate": [0.1, 0.1, 0.05]}
    for name in ("train_loss", "validation_loss", "weight_penalty", "train_accuracy", "validation_accuracy"):
        rows[name] = [0.3, 0.5, 0.6]
    training.curves(tmp_path / "c.png", pd.DataFrame(rows), best=2)
    assert {"cross-entropy (nats)", "accuracy (%)", "epoch", "validation"} <= set(texts)
    training.curves(tmp_path / "one.png", pd.DataFrame(rows).head(1), best=1)
    assert has_ink(tmp_path / "one.png")


def test_lime_stability(tmp_path, texts):
    rows = {"image": [1, 1, 0, 0], "samples": [50, 90, 50, 90], "seeds": 2, "rank_agreement": [0.1, 0.9, 0.4, 0.8]}
    table = pd.DataFrame(rows | {"top_overlap": [0.5, 1.0, 0.7, 0.6], "top_overlap_by_chance": 0.2, "local_r2": 0.4})
    maps = np.random.default_rng(0).normal(size=(2, 2, 2, 8, 8)).astype(np.float32)
    picks = [Pick(1, "correct", "$dog, recognised", (1,)), Pick(0, "mistake", "cat, taken for dog", (1, 0))]
    lime_stability.draw(tmp_path / "s.png", Stability(table, maps), picks, np.zeros((2, 8, 8, 3), np.uint8), 5)
    assert {"50\nseed a", "90\nseed b", "image 1", "image 0: cat, taken for dog", "local R²", "by chance"} <= set(texts)
    assert has_ink(tmp_path / "s.png")


def test_no_point_of_lime_stability_falls_off_its_axis(tmp_path, monkeypatch):
    drawn, figure = [], lime_stability.figure

    @contextmanager
    def keep(*arguments):
        with figure(*arguments) as drawing:
            drawn.append(drawing)
            yield drawing

    monkeypatch.setattr(lime_stability, "figure", keep)
    rows = {"image": 0, "samples": [50, 90], "seeds": 2, "rank_agreement": [-0.3, 0.9], "top_overlap": [0.0, 0.1]}
    table = pd.DataFrame(rows | {"top_overlap_by_chance": 0.25, "local_r2": 0.4})
    maps = np.zeros((1, 2, 2, 8, 8), np.float32)
    picks, images = [Pick(0, "correct", "dog", (1,))], np.zeros((1, 8, 8, 3), np.uint8)
    lime_stability.draw(tmp_path / "s.png", Stability(table, maps), picks, images, 5)
    plots = [axis for axis in drawn[0].axes if axis.get_xscale() == "log"]
    assert [axis.get_ylim()[0] for axis in plots] == pytest.approx([-0.35, -0.05, 0.35])


def test_confusion(tmp_path, texts):
    evaluation.confusion(tmp_path / "c.png", np.array([[90, 0], [7, 3]]), ("cat", "dog"))
    assert {"90", "7", "3", "cat", "true", "predicted", "Confusion matrix (100 test images)"} <= set(texts)
    evaluation.confusion(tmp_path / "large.png", np.eye(40, dtype=int), tuple(f"class {n}" for n in range(40)))


def test_reliability(tmp_path, texts):
    from glassbox.evaluation.calibration import reliability

    p = RNG.dirichlet((1, 1, 1), 200)
    one = reliability(p, p.argmax(axis=1), 15)
    two = one.assign(accuracy=one["confidence"])
    evaluation.reliability(tmp_path / "r.png", {"as trained": one, "after temperature scaling (T = 1.5)": two})
    error = 100 * (1 - p.max(axis=1).mean())  # all of them are right
    assert {f"As trained\nECE {error:.1f} %", "After temperature scaling (T = 1.5)\nECE 0.0 %"} <= set(texts)
    assert "200 test images in 15 bins" in texts
    texts.clear()
    evaluation.reliability(tmp_path / "one.png", {"as trained": one})
    assert not [text for text in texts if "scaling" in text]


def test_mistakes_are_the_most_confident_ones(tmp_path, texts):
    images = RNG.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    labels = np.array([0, 0, 0, 0])
    evaluation.mistakes(tmp_path / "m.png", images, labels, p, ("cat", "dog"), n=2)
    shown = [text for text in texts if text.startswith("said")]
    assert shown == ["said dog (80 %)\ntruly cat", "said dog (70 %)\ntruly cat"]
    assert "The most confident of 3 mistakes" in texts
    evaluation.mistakes(tmp_path / "none.png", images, p.argmax(axis=1), p, ("cat", "dog"), n=2)
    assert "No mistake on the test images" in texts


def test_maps_are_normalised_only_here_and_zero_stays_zero():
    values = np.array([[-4.0, 0.0], [1.0, 2.0]])
    assert explanations.normalise(values).tolist() == [[-1.0, 0.0], [0.25, 0.5]]
    assert not explanations.normalise(np.zeros((2, 2))).any()


def test_red_speaks_for_and_blue_against():
    image = np.full((1, 3, 3), 128, np.uint8)
    against, nothing, for_it = explanations.blend(image, np.array([[-1.0, 0.0, 1.0]]))[0]
    assert for_it[0] > 2 * for_it[2]
    assert against[2] > 2 * against[0]
    assert nothing[0] == nothing[1] == nothing[2]


def results(n: int) -> list[Explained]:
    made = []
    for name in TITLES:
        maps = RNG.normal(size=(n, 16, 16)).astype(np.float32)
        if name == "lime":
            maps = np.kron(RNG.normal(size=(n, 4, 4)), np.ones((1, 4, 4))).astype(np.float32)
        if name == "grad_cam":
            maps[:] = 0
        details = {"local_r2": np.full(n, 0.5)} if name == "lime" else {}
        made.append(Explained(name, Attribution(maps, np.ones(n), np.ones(n), np.zeros(n), details), {}))
    return made


def test_explanations_one_figure_an_image(tmp_path, texts):
    picks = [
        Pick(3, "correct", "dog, recognised", (1,)),
        Pick(0, "mistake", "cat, taken for dog", (1, 0)),
        Pick(1, "pair", "cat or dog?", (2, 0, 1)),
    ]
    images = RNG.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    p = np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]])
    explanations.draw_all(tmp_path, picks, results(6), images, p, np.array([0, 0, 2, 1]), ("cat", "dog", "ship"), 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00-correct-3.png",
        "01-mistake-0.png",
        "02-pair-1.png",
    ]
    assert {TITLES[name].replace(" (", "\n(") for name in TITLES if name != CONTROL} <= set(texts)
    assert TITLES[CONTROL] not in texts
    assert {"for dog", "for cat", "for ship", "cat (true)", "dog (predicted)", "local R² 0.50"} <= set(texts)
    assert "all zero: nothing in its layer\nspeaks for the class (ReLU)" in texts


def test_images_that_are_not_to_be_drawn_have_no_figure(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        explanations, "explanation", lambda path, image, *_: seen.update({path.name: int(image[0, 0, 0])})
    )
    picks = [Pick(0, "mistake", "", (0, 1)), Pick(1, "correct", "", (0,), drawn=False), Pick(2, "correct", "", (1,))]
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 8, 8, 3), np.uint8)
    explanations.draw_all(tmp_path, picks, results(4), images, np.eye(3)[:, :2], np.array([1, 0, 1]), ("a", "b"), 3)
    assert seen == {"00-mistake-0.png": 0, "02-correct-2.png": 3}


def test_many_classes_leave_the_true_one_among_the_bars(tmp_path, texts):
    p = np.linspace(0.3, 0.0, 30)[None]
    names = tuple(f"class {n}" for n in range(30))
    image = np.zeros((1, 16, 16, 3), np.uint8)
    explanations.draw_all(tmp_path, [Pick(0, "mistake", "", (0,))], results(1), image, p, np.array([29]), names, 3)
    assert "class 29 (true)" in texts
    assert len({text for text in texts if text.startswith("class ")}) == 10


def test_many_classes_leave_the_predicted_one_among_the_bars(tmp_path, texts):
    p = np.linspace(0.0, 0.3, 30)[None]
    names = tuple(f"class {n}" for n in range(30))
    image = np.zeros((1, 16, 16, 3), np.uint8)
    explanations.draw_all(tmp_path, [Pick(0, "mistake", "", (29,))], results(1), image, p, np.array([3]), names, 3)
    assert {"class 29 (predicted)", "class 3 (true)"} <= set(texts)


def test_a_hundred_figures_sort_as_their_picks_do(tmp_path, monkeypatch):
    monkeypatch.setattr(explanations, "explanation", lambda path, *_: path.touch())
    n = 101
    picks = [Pick(0, "correct", "", (0,)) for _ in range(n)]
    image, p = np.zeros((n, 16, 16, 3), np.uint8), np.ones((1, 1))
    explanations.draw_all(tmp_path, picks, results(n), image, p, np.array([0]), ("a",), 3)
    assert [int(path.name[:3]) for path in sorted(tmp_path.iterdir())] == list(range(n))


def test_any_class_name_can_be_drawn(tmp_path, texts):
    """Dollar signs are no mathematics, and a long name leaves room for the picture."""
    names = ("100% $", "50% $", "x" * 300)
    images = RNG.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    p = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    note = f"{names[0]}, taken for {names[1]}"
    picks = [Pick(0, "mistake", note, (1, 0))]
    explanations.draw_all(tmp_path / "e", picks, results(2), images, p, np.array([0]), names, 3)
    evaluation.confusion(tmp_path / "c.png", np.eye(3, dtype=int), names)
    evaluation.mistakes(tmp_path / "m.png", images, np.array([0, 2, 1]), p, names, 4)
    data.samples(tmp_path / "s.png", images, np.arange(3), names, 2)
    assert any(r"100% \$, taken for 50% \$" in text for text in texts)
    assert not any(is_math_text(text) for text in texts if "%" in text)
    assert max(len(text) for text in texts) < 100


def test_of_two_hundred_classes_every_fifth_is_named(tmp_path, texts):
    evaluation.confusion(tmp_path / "c.png", np.eye(200, dtype=int), tuple(f"kind {n}" for n in range(200)))
    assert {text for text in texts if text.startswith("kind ")} == {f"kind {n}" for n in range(0, 200, 5)}


def test_a_constant_image_can_be_shown():
    assert np.isfinite(explanations.blend(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4)))).all()
    nearly_nothing = np.full((1, 1), 1e-13, np.float32)  # 1 less this is 1 in float32
    assert explanations.blend(np.full((1, 1, 3), 255, np.uint8), nearly_nothing).max() <= 1


def test_a_map_that_may_not_be_shown_is_not_drawn(tmp_path, texts, monkeypatch):
    drawn = []
    blend = explanations.blend
    monkeypatch.setattr(explanations, "blend", lambda image, values: drawn.append(values) or blend(image, values))
    details = {"base_value": np.array([0.1, 0.1]), "additivity_error": np.array([0.2, 1e-5])}
    maps = RNG.normal(size=(2, 16, 16)).astype(np.float32)
    shap = Explained("kernel_shap", Attribution(maps, np.ones(2), np.ones(2), np.zeros(2), details), {})
    picks, images = [Pick(0, "mistake", "cat, taken for dog", (1, 0))], np.zeros((2, 16, 16, 3), np.uint8)
    labels, p = np.array([0]), np.array([[0.2, 0.8]])
    explanations.draw_all(tmp_path, picks, [shap], images, p, labels, ("cat", "dog"), 3)
    assert len(drawn) == 1
    assert drawn[0] == pytest.approx(explanations.normalise(maps[1]))
    assert "not shown: sums to f(x) ± 0.2" in texts
    assert "base 0.10, sums to f(x)" in texts


@pytest.fixture
def analysed():
    """A recognised image, a mistake and an image of a pair, of three classes, explained by Shapley values."""
    picks = [
        Pick(3, "correct", "dog, recognised", (1,)),
        Pick(0, "mistake", "cat, taken for dog", (1, 0)),
        Pick(1, "pair", "cat or dog?", (2, 0, 1), (0, 1)),
    ]
    p = np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]])
    images = torch.from_numpy(RNG.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    cases = Cases(images, np.array([0, 0, 2, 1]), p, ("$cat", "dog", "ship"), picks)
    rows = [(0, 1), (0, 0), (0, 2), (1, 1), (1, 0), (1, 2), (2, 2), (2, 0), (2, 1)]
    wider = Request(images[[0] * 9], torch.tensor([label for _, label in rows]), tuple(place for place, _ in rows))

    def shap(n: int, bad: int | None = None) -> Attribution:
        details = {name: np.full(n, 0.2) for name in ("base_value", "evidence_for")}
        details |= {"evidence_against": np.full(n, -0.1), "additivity_error": np.zeros(n)}
        details |= {"empty_class": np.full(n, 0), "empty_probability": np.full(n, 0.6)}
        if bad is not None:
            details["additivity_error"][bad] = 0.3
        return Attribution(
            RNG.normal(size=(n, 16, 16)).astype(np.float32), np.ones(n), np.ones(n), np.zeros(n), details
        )

    def mistakes(*rows: int) -> pd.DataFrame:
        return pd.DataFrame(
            {"image": rows, "explainer": "kernel_shap", "p_true_after": 0.9, "corrected": 1}
        )  # fmt: skip

    def results(bad: int | None = None, bad_panel: int | None = None) -> list[Explained]:
        return [Explained("kernel_shap", shap(6, bad), {}, Panels(wider, shap(9, bad_panel)))]

    mask = np.zeros((16, 16), bool)
    mask[4:8, 4:8] = True
    hidden = {(0, "kernel_shap"): mask, (1, "kernel_shap"): mask}
    return cases, results, Analyses(pd.DataFrame(), mistakes(0, 1), pd.DataFrame(), hidden)


def test_the_three_analyses_and_a_panel_for_every_image(params, tmp_path, texts, analysed):
    cases, results, found = analysed
    analysis_figures.draw_all(tmp_path, cases, results(), found, params.explain)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        "mistakes.png", "pair-01.png", "panels/00-correct-3.png", "panels/01-mistake-0.png", "panels/02-pair-1.png",
        "recognised.png",
    ]  # fmt: skip
    assert all(has_ink(path) for path in tmp_path.rglob("*.png"))
    minus = "\N{MINUS SIGN}"
    assert {f"0.20 + 0.20 {minus} 0.10 = 0.30", f"dog {minus} \\$cat", "for dog", "image"} <= set(texts)
    said = [text.replace("\n", " ") for text in texts]
    assert sum(text.endswith("With every region hidden: \\$cat (0.60)") for text in said) == 3
    assert "outlined regions hidden:\n\\$cat 0.20 → 0.90, corrected" in texts
    assert "true: \\$cat\np(\\$cat) 0.30\np(dog) 0.30" in texts
    assert not any(text.endswith("of the pixels") for text in texts)
    texts.clear()
    masks = np.zeros((4, 16, 16), bool)
    masks[3, :4, :4] = True
    analysis_figures.draw_all(tmp_path, replace(cases, masks=masks), results(), found, params.explain)
    assert any(text.endswith("of the positive mass in\n6 % of the pixels") for text in texts)


def test_analyses_show_the_images_that_are_to_be_drawn(params, tmp_path, analysed):
    cases, results, found = analysed
    few = replace(cases, picks=[replace(pick, drawn=pick.group == "correct") for pick in cases.picks])
    analysis_figures.draw_all(tmp_path, few, results(), found, params.explain)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        "panels/00-correct-3.png", "recognised.png",
    ]  # fmt: skip


def test_no_words_of_the_analyses_are_cut_or_cover_each_other(params, tmp_path, monkeypatch, analysed):
    cases, results, found = analysed
    cases = replace(cases, classes=("automobile", "airplane", "n02099601_golden"))  # the last is shortened
    savefig, draw, drawn, checked = Figure.savefig, Text.draw, {}, 0

    def drawing(self, renderer):
        draw(self, renderer)
        if self.get_text() and self.get_visible():
            drawn[id(self)] = self.get_text(), self.get_window_extent(renderer)

    def measuring(self, *arguments, **options):
        nonlocal checked
        drawn.clear()
        savefig(self, *arguments, **options)
        width, height = self.get_size_inches() * style.DPI
        for text, box in drawn.values():
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0, text
        for (one, a), (other, b) in combinations(drawn.values(), 2):
            assert not a.overlaps(b), (one, other)
        checked += 1

    monkeypatch.setattr(Text, "draw", drawing)
    monkeypatch.setattr(style.Figure, "savefig", measuring)
    analysis_figures.draw_all(tmp_path, cases, results(), found, params.explain)
    assert checked == 6


def test_panels_share_one_scale_and_leave_out_what_does_not_add_up(tmp_path, texts, monkeypatch):
    drawn = []
    blend = analysis_figures.blend
    monkeypatch.setattr(analysis_figures, "blend", lambda image, values: drawn.append(values) or blend(image, values))
    maps = [np.full((8, 8), 0.1), None, np.full((8, 8), -0.4)]
    image = np.zeros((8, 8, 3), np.uint8)
    analysis_figures.panels(tmp_path / "p.png", image, "title", ["cat", "dog", "hen"], maps, ["a", "b", "c"])
    assert [float(values[0, 0]) for values in drawn] == pytest.approx([0.25, -1.0])
    assert {"0.4", "\N{MINUS SIGN}0.4", "b"} <= set(texts)
    analysis_figures.panels(tmp_path / "none.png", image, "title", ["cat"], [None], ["not shown"])
    assert has_ink(tmp_path / "none.png")


def test_analyses_leave_out_images_whose_maps_do_not_add_up(params, tmp_path, texts, analysed):
    cases, results, found = analysed
    analysis_figures.draw_all(tmp_path, cases, results(bad=0, bad_panel=0), found, params.explain)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert "recognised.png" not in names  # its only map is unsound
    assert {"mistakes.png", "pair-01.png"} <= names
    assert [text for text in texts if text.startswith("not shown")] == ["not shown: the values miss\nf(x) by 0.3"]
