"""Figures of the maps: one per image, those of the three analyses, and panels of Shapley values."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text

from glassbox.explainers.base import Attribution, Request
from glassbox.explainers.catalog import CONTROL, TITLES
from glassbox.explaining.analyses import Analyses
from glassbox.explaining.explanations import Explained, Panels
from glassbox.explaining.selection import Cases, Pick
from glassbox.figures import analyses, explanations, style
from glassbox.figures.maps import normalise

from .conftest import has_ink, texts

RNG = np.random.default_rng(0)
PICKS = [
    Pick(3, "correct", "dog, recognised", (1,)),
    Pick(0, "mistake", "cat, taken for dog", (1, 0)),
    Pick(1, "pair", "cat or dog?", (2, 0, 1), (0, 1)),
]
P = np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]])
LABELS = np.array([0, 0, 2, 1])


def explained(name: str, n: int, **details: np.ndarray) -> Explained:
    maps = RNG.normal(size=(n, 16, 16)).astype(np.float32)
    if name == "lime":
        maps = np.kron(maps[:, ::4, ::4], np.ones((4, 4), np.float32))
    if name == "grad_cam":
        maps[:] = 0
    return Explained(name, Attribution(maps, np.ones(n), np.ones(n), np.zeros(n), details), {})


def names(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_one_figure_per_image(tmp_path, drawn):
    results = [explained(name, 6, **{"local_r2": np.full(6, 0.5)} if name == "lime" else {}) for name in TITLES]
    images = RNG.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    explanations.draw_all(tmp_path, PICKS, results, images, P, LABELS, ("cat", "dog", "$hip"), 3)
    assert names(tmp_path) == ["image-00000.png", "image-00001.png", "image-00003.png"]
    words = {" ".join(text.split()) for text in texts(*drawn)}
    assert {TITLES[name] for name in TITLES if name != CONTROL} <= words
    assert TITLES[CONTROL] not in words
    assert {"for dog", "for cat", r"for \$hip", "cat (true)", "dog (predicted)", "local R² 0.50"} <= words
    assert "all zero: nothing in its layer speaks for the class (ReLU)" in words
    assert "cat, taken for dog (test image 0, mistake)" in words


def outlined(drawing) -> list:
    """The panels of a figure with the outline of a mask."""
    green = to_rgba(style.GREEN)
    return [
        axis
        for axis in drawing.axes
        if any(isinstance(part, ContourSet) and tuple(part.get_edgecolor()[0]) == green for part in axis.collections)
    ]


def test_masks_are_outlined_in_the_image_and_in_every_map(tmp_path, drawn):
    masks = np.zeros((4, 16, 16), bool)
    masks[0, 4:8, 4:8] = True
    results = [explained(name, 6) for name in ("lime", "grad_cam")]
    images = RNG.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    explanations.draw_all(tmp_path, PICKS, results, images, P, LABELS, ("cat", "dog", "ship"), 3, masks)
    assert [len(outlined(drawing)) for drawing in drawn] == [0, 1 + 2 * 2, 0]


def test_figures_are_named_by_their_image_and_some_images_are_not_drawn(tmp_path, monkeypatch):
    first_values = {}
    monkeypatch.setattr(
        explanations, "explanation", lambda path, image, *_: first_values.update({path.name: int(image[0, 0, 0])})
    )
    picks = [Pick(0, "mistake", "", (0, 1)), Pick(1, "correct", "", (0,), drawn=False), Pick(2, "correct", "", (1,))]
    images = np.arange(200, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    arguments = ([], images, np.eye(3)[:, :2], np.array([1, 0, 1]), ("a", "b"), 3)
    explanations.draw_all(tmp_path, picks, *arguments)
    assert first_values == {"image-00000.png": 0, "image-00002.png": 3}
    # Picked for another reason and in another place, an image keeps its figure's name, so that DVC compares the two.
    first_values.clear()
    explanations.draw_all(tmp_path, [Pick(2, "mistake", "", (1, 0)), Pick(0, "correct", "", (0,))], *arguments)
    assert first_values == {"image-00002.png": 0, "image-00000.png": 2}


@pytest.mark.parametrize(("truth", "guess"), [(29, 0), (3, 29)])
def test_the_bars_of_many_classes_include_the_true_and_the_predicted_one(tmp_path, drawn, truth, guess):
    p = np.linspace(0.0, 0.3, 30)[None]
    p = p[:, ::-1] if guess == 0 else p
    classes = tuple(f"class {n}" for n in range(30))
    image = np.zeros((1, 16, 16, 3), np.uint8)
    pick, shap = Pick(0, "mistake", "", (guess,)), explained("occlusion", 1)
    explanations.draw_all(tmp_path, [pick], [shap], image, p, np.array([truth]), classes, 3)
    bars = {text for text in texts(*drawn) if text.startswith("class ")}
    assert {f"class {guess} (predicted)", f"class {truth} (true)"} <= bars
    assert len(bars) == 10


def test_a_map_that_may_not_be_shown_is_not_drawn(tmp_path, drawn, blended):
    shap = explained("kernel_shap", 2, base_value=np.full(2, 0.1), additivity_error=np.array([0.2, 1e-5]))
    images = np.zeros((2, 16, 16, 3), np.uint8)
    explanations.draw_all(tmp_path, PICKS[1:2], [shap], images, P[:, :2], LABELS, ("cat", "dog"), 3)
    (values,) = blended
    assert values == pytest.approx(normalise(shap.attribution.maps[1]))
    assert {"not shown: sums to f(x) ± 0.2", "base 0.10, sums to f(x)"} <= set(texts(*drawn))


@pytest.fixture
def cases() -> Cases:
    images = torch.from_numpy(RNG.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    return Cases(images, LABELS, P, ("$cat", "dog", "ship"), PICKS)


def shap(n: int, bad: int | None) -> Explained:
    details = {"base_value": 0.2, "evidence_for": 0.2, "evidence_against": -0.1, "additivity_error": 0.0}
    details |= {"empty_class": 0, "empty_probability": 0.6}
    arrays = {name: np.full(n, value) for name, value in details.items()}
    if bad is not None:
        arrays["additivity_error"][bad] = 0.3
    return explained("kernel_shap", n, **arrays)


def draw(folder, params, cases: Cases, bad: int | None = None) -> None:
    """The figures of the analyses by Shapley values, whose map `bad` does not add up, and the panel of that number."""
    rows = [(place, label) for place, labels in enumerate(([1, 0, 2], [1, 0, 2], [2, 0, 1])) for label in labels]
    places, targets = zip(*rows, strict=True)
    wider = Request(cases.images[[0] * 9], torch.tensor(targets), places)
    results = [replace(shap(6, bad), panels=Panels(wider, shap(9, bad).attribution))]
    mistakes = {"image": [0, 1], "explainer": "kernel_shap", "p_true_after": 0.9, "corrected": 1}
    mask = np.zeros((16, 16), bool)
    mask[4:8, 4:8] = True
    hidden = {(0, "kernel_shap"): mask, (1, "kernel_shap"): mask}
    tables = Analyses(pd.DataFrame(), pd.DataFrame(mistakes), pd.DataFrame(), pd.DataFrame(), [], hidden)
    analyses.draw_all(folder, cases, results, tables, params.explain)


def test_the_three_analyses_and_a_panel_for_every_image(params, tmp_path, drawn, cases):
    masks = np.zeros((4, 16, 16), bool)
    masks[3, :4, :4] = True
    draw(tmp_path, params, replace(cases, masks=masks))
    panels = ["panels/image-00000.png", "panels/image-00001.png", "panels/image-00003.png"]
    assert names(tmp_path) == ["mistakes.png", "pair-0-1.png", *panels, "recognised.png"]
    assert all(has_ink(path) for path in tmp_path.rglob("*.png"))
    words, minus = texts(*drawn), "\N{MINUS SIGN}"
    assert {f"0.20 + 0.20 {minus} 0.10 = 0.30", f"dog {minus} \\$cat", "for dog", "image"} <= set(words)
    titles = [text.replace("\n", " ") for text in words]
    assert sum(text.endswith("With every region hidden: \\$cat (0.60)") for text in titles) == 3
    assert "outlined regions hidden:\n\\$cat 0.20 → 0.90\ncorrected" in words
    assert "true: \\$cat\np(\\$cat) 0.30\np(dog) 0.30" in words
    assert any(text.endswith("of the positive mass in\n6 % of the pixels") for text in words)
    panel = next(drawing for drawing in drawn if "dog, recognised" in drawing.get_suptitle().replace("\n", " "))
    assert len(outlined(panel)) == 1 + 3


def test_analyses_show_the_images_that_are_to_be_drawn(params, tmp_path, drawn, cases):
    few = replace(cases, picks=[replace(pick, drawn=pick.group == "correct") for pick in PICKS])
    draw(tmp_path, params, few)
    assert names(tmp_path) == ["panels/image-00003.png", "recognised.png"]
    assert not any(text.endswith("of the pixels") for text in texts(*drawn))  # there are no masks


def test_analyses_leave_out_images_whose_maps_do_not_add_up(params, tmp_path, drawn, cases):
    draw(tmp_path, params, cases, bad=0)
    assert "recognised.png" not in names(tmp_path)  # its only map is unsound
    assert {"mistakes.png", "pair-0-1.png"} <= set(names(tmp_path))
    notes = [text for text in texts(*drawn) if text.startswith("not shown")]
    assert notes == ["not shown: the values miss\nf(x) by 0.3"]


def test_no_text_of_the_analyses_is_cut_or_covers_another(params, tmp_path, monkeypatch, cases):
    cases = replace(cases, classes=("automobile", "airplane", "n02099601_golden"))  # the last is shortened
    savefig, draw_text, boxes, checked = Figure.savefig, Text.draw, {}, []

    def record(self, renderer):
        draw_text(self, renderer)
        if self.get_text() and self.get_visible():
            boxes[id(self)] = self.get_text(), self.get_window_extent(renderer)

    def measure(self, *arguments, **options):
        boxes.clear()
        savefig(self, *arguments, **options)
        width, height = self.get_size_inches() * style.DPI
        for text, box in boxes.values():
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0, text
        for (text, box), (other, other_box) in combinations(boxes.values(), 2):
            assert not box.overlaps(other_box), (text, other)
        checked.append(self)

    monkeypatch.setattr(Text, "draw", record)
    monkeypatch.setattr(style.Figure, "savefig", measure)
    draw(tmp_path, params, cases)
    assert len(checked) == 6


def test_panels_share_one_scale(tmp_path, drawn, blended):
    maps = [np.full((8, 8), 0.1), None, np.full((8, 8), -0.4)]
    image = np.zeros((8, 8, 3), np.uint8)
    analyses.panels(tmp_path / "p.png", image, "title", ["cat", "dog", "hen"], maps, ["a", "b", "c"])
    assert [float(values[0, 0]) for values in blended] == pytest.approx([0.25, -1.0])
    assert {"0.4", "\N{MINUS SIGN}0.4", "b"} <= set(texts(*drawn))
    analyses.panels(tmp_path / "none.png", image, "title", ["cat"], [None], ["not shown"])
    assert has_ink(tmp_path / "none.png")
