from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.config.explain import Explain, Faithfulness, GradientShap, KernelShap, Superpixels
from glassbox.config.parameters import Params
from glassbox.data.store import Split
from glassbox.explainers.base import Attribution, Setup
from glassbox.explainers.integrated_gradients import IntegratedGradients
from glassbox.explainers.running import Bookkeeping
from glassbox.explaining import explanations, map_tables
from glassbox.explaining.explanations import Explained, Plan
from glassbox.explaining.selection import Cases, Pick
from glassbox.provenance.resume import Parts

PICKS = [Pick(4, "correct", "dog, recognised", (1,)), Pick(2, "mistake", "cat, taken for dog", (1, 0), drawn=False)]


def test_a_row_for_every_explained_class_and_a_seed_for_every_image():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 4, 4, 3)
    request = explanations.request_for(PICKS, images, seed=9)
    assert request.images[:, 0, 0, 0].tolist() == [4, 2, 2]
    assert request.targets.tolist() == [1, 1, 0]
    assert request.seeds[1] == request.seeds[2] != request.seeds[0]
    assert explanations.request_for(PICKS[1:], images, seed=9).seeds == request.seeds[1:]


def results() -> list[Explained]:
    """An explainer and the control on three rows, with scores made up."""
    maps = np.ones((3, 2, 2), np.float32)
    zero = maps.copy()
    zero[2] = 0
    cost, scores = (np.ones(3), np.full(3, 5), np.zeros(3)), {"deletion_auc": np.array([0.1, 0.3, 0.5])}
    return [
        Explained("lime", Attribution(zero, *cost, {"local_r2": np.array([0.9, 0.8, 0.7])}), scores),
        Explained("random", Attribution(maps, *cost), scores),
    ]


def setup(model, settings, images) -> Setup:
    return Setup(model, settings, images, (0.5,) * 3, batch_size=64)


def split(n: int = 6, names: tuple[str, ...] | None = None) -> Split:
    """The positions of n test images in their source."""
    return Split(torch.zeros(n), torch.zeros(n), None, torch.arange(100, 100 + n), names)


def test_the_index_has_a_row_a_map(params):
    names = tuple(f"{row}.png" for row in range(6))
    (index,) = map_tables.tables(cases(), results(), params.explain.superpixels, split(names=names)).values()
    assert map_tables.additivity(results()) == {}  # without Shapley values
    assert map_tables.figure_note(results()[0], 0) == "local R² 0.90"
    assert map_tables.figure_note(results()[0], 2) == "all zero: nothing speaks for it"
    assert index["map"].tolist() == list(range(6))
    assert index["image"].tolist() == [4, 2, 2] * 2
    assert index["source_index"].tolist() == [104, 102, 102] * 2
    assert index["file"].tolist() == ["4.png", "2.png", "2.png"] * 2
    assert index["explained_class"].tolist() == ["dog", "dog", "cat"] * 2
    assert index.loc[1, ["true_class", "predicted_class", "explainer"]].tolist() == ["cat", "dog", "lime"]
    assert index["all_zero"].tolist() == [False, False, True, False, False, False]
    assert index["deletion_auc"].tolist() == [0.1, 0.3, 0.5] * 2
    assert index.loc[0, "local_r2"] == 0.9
    assert np.isnan(index.loc[3, "local_r2"])
    assert index["drawn"].tolist() == [True, False, False] * 2


def test_explaining_in_pieces_gives_the_same_maps(params, linear, monkeypatch):
    settings = params.explain.model_copy(
        update={
            "explainers": ("integrated_gradients", "gradient_shap"),
            "gradient_shap": GradientShap(samples=4, background=5),
            "faithfulness": Faithfulness(steps=3, blur_sigma=1.0),
        }
    )
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8, generator=rng)
    model = linear(torch.linspace(-1, 1, 64).view(8, 8).numpy())
    plan = Plan(explanations.request_for([Pick(row, "correct", "", (1, 0)) for row in range(5)], images, seed=0))
    moved = []
    common = setup(model, settings, images)
    whole = list(explanations.explain(common, plan, Bookkeeping(progress=moved.append)))
    monkeypatch.setattr(IntegratedGradients, "together", 3)
    pieces = list(explanations.explain(common, plan))
    assert [made.name for made in whole] == ["integrated_gradients", "gradient_shap", "random"]
    assert sum(moved) == explanations.steps(plan, settings) == 3 * 3 * 10
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one.attribution.maps, other.attribution.maps, atol=1e-6)
        np.testing.assert_allclose(one.scores["deletion_auc"], other.scores["deletion_auc"], atol=1e-6)


def cases(n_classes: int = 4) -> Cases:
    """Rows 4 and 2 are explained; of row 4 the classes by falling probability are 1, 3, 0, 2."""
    p = np.full((6, n_classes), 0.1)
    p[4, :4] = (0.2, 0.4, 0.1, 0.3)
    p[2, :4] = (0.1, 0.7, 0.1, 0.1)
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 8, 8, 3).contiguous() * 20
    return Cases(images, np.array([0, 0, 0, 0, 1, 1]), p, ("cat", "dog", "hen", "cow"), PICKS)


def with_classes(params: Params, classes: int) -> Explain:
    shap = KernelShap(coalitions=64, tolerance=None, background=2, draw_background=False, classes=classes)
    return params.explain.model_copy(update={"kernel_shap": shap, "explainers": ("kernel_shap",)})


def test_panels_show_the_most_probable_classes_and_those_that_are_explained(params):
    request = explanations.panels_for(cases(), with_classes(params, 2), seed=9)
    assert request.targets.tolist() == [1, 3, 1, 0]  # of the mistake the true class is among its two
    request = explanations.panels_for(cases(), with_classes(params, 1), seed=9)
    assert request.targets.tolist() == [1, 1, 0]
    request = explanations.panels_for(cases(), with_classes(params, 99), seed=9)
    assert request.targets.tolist() == [1, 3, 0, 2, 1, 0, 2, 3]
    assert request.seeds[:4] == explanations.request_for(PICKS, cases().images, seed=9).seeds[:1] * 4
    assert explanations.panels_for(cases(), with_classes(params, 0), seed=9) is None
    lime = with_classes(params, 2).model_copy(update={"explainers": ("lime",)})
    assert explanations.panels_for(cases(), lime, seed=9) is None


class Counting:
    """In place of KernelShap: a map holds image number and class; counts the images."""

    together, images = 3, 0

    def __call__(self, classifier, request):
        self.images += len(set(request.seeds))
        n = len(request)
        numbers = request.images[:, 0, 0, 0].numpy() + request.targets.numpy() / 10
        errors = np.where(request.targets.numpy() == 3, 0.5, 0.0)
        maps = np.broadcast_to(numbers[:, None, None], (n, 8, 8)).astype(np.float32)
        details = {"additivity_error": errors, "base_value": errors, "empty_class": np.full(n, 2)}
        return Attribution(maps, np.ones(n), np.ones(n), np.zeros(n), details)


def test_the_maps_of_further_classes_come_from_the_same_run(params, linear, monkeypatch):
    made = Counting()
    monkeypatch.setattr(explanations.factory, "make", lambda _: {"kernel_shap": made})
    settings = with_classes(params, 4)
    plan = explanations.plan(cases(), settings, seed=9)
    moved, model = [], linear(np.zeros((8, 8)))
    # The model has two classes: the maps' scores are not looked at here.
    result, _ = explanations.explain(setup(model, settings, cases().images), plan, Bookkeeping(progress=moved.append))
    assert made.images == 2
    assert result.attribution.maps[:, 0, 0].tolist() == pytest.approx([80.1, 40.1, 40.0])
    further = result.panels.attribution.maps[:, 0, 0].tolist()
    assert further == pytest.approx([80.1, 80.3, 80.0, 80.2, 40.1, 40.0, 40.2, 40.3])
    assert [list(rows) for rows in result.panels.rows()] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert sum(moved) == explanations.steps(plan, settings)
    table = map_tables.tables(cases(), [result], settings.superpixels, split())["panels"]
    assert table["explained_class"].tolist() == ["dog", "cow", "cat", "hen", "dog", "cat", "hen", "cow"]
    assert table["image"].tolist() == [4] * 4 + [2] * 4
    assert table["probability"].tolist()[:4] == [0.4, 0.3, 0.2, 0.1]
    assert table["empty_class"].tolist() == ["hen"] * 8
    assert table["shown"].tolist() == [True, False, True, True, True, True, True, False]
    assert map_tables.additivity([result]) == {"additivity_error_max": 0.5, "maps_not_additive": 2, "maps_checked": 8}
    arrays = map_tables.arrays([result], plan)
    assert arrays["panels"].shape == (8, 8, 8)
    assert arrays["maps"].shape == (3, 8, 8)


def test_images_whose_regions_are_squares_are_counted_and_named():
    shown = cases()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    images = torch.zeros(len(shown.images), 32, 32, 3, dtype=torch.uint8)
    images[2] = torch.from_numpy(noise)  # falls into splinters, which SLIC merges into one region
    how = Superpixels(segments=50, compactness=10.0, sigma=0.0)
    index = map_tables.tables(replace(shown, images=images), results(), how, split())["index"]
    assert index["squares"].tolist() == [row == 2 for row in index["image"]]
    assert map_tables.summary(index, 1, {}) == (
        "explained 2 images with 1 explainers: 6 maps\nIn 1 image of 2 SLIC finds too few or too many regions "
        "(explain.superpixels), and a grid of squares takes their place: test image 2."
    )
    assert map_tables.summary(index.assign(squares=False), 1, {}) == "explained 2 images with 1 explainers: 6 maps"


def test_what_lies_inside_the_true_mask_is_measured_where_there_is_one(params, linear):
    # The weights, and so the map, are inside of the mask: all of its mass is there.
    images = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    images[0, 5:11, 5:11] = 255
    weights = np.zeros((16, 16))
    weights[5:11, 5:11] = 1
    settings = params.explain.model_copy(update={"explainers": ("integrated_gradients",)})
    picks = [Pick(0, "correct", "", (1, 0))]
    case = Cases(images, np.array([1]), np.array([[0.1, 0.9]]), ("cat", "dog"), picks, (weights == 1)[None])
    plan, common = explanations.plan(case, settings, seed=0), setup(linear(weights), settings, images)
    made, control = explanations.explain(common, plan)
    assert made.scores["object_area"].tolist() == [36 / 256] * 2
    assert made.scores["relevance_mass"][0] == pytest.approx(1)
    assert control.scores["relevance_mass"][0] == pytest.approx(36 / 256, abs=0.15)
    made, _ = explanations.explain(common, explanations.plan(replace(case, masks=None), settings, seed=0))
    assert list(made.scores) == ["deletion_auc", "insertion_auc"]


def test_what_lies_on_disk_is_the_same(params, linear, tmp_path, monkeypatch):
    settings = with_classes(params, 2).model_copy(
        update={
            "explainers": ("kernel_shap", "integrated_gradients"),
            "faithfulness": Faithfulness(steps=3, blur_sigma=1.0),
        }
    )
    model = linear(np.linspace(-1, 1, 64).reshape(8, 8))
    images = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picked = Cases(images, np.zeros(6, int), np.tile([0.4, 0.6], (6, 1)), ("cat", "dog"), PICKS)

    monkeypatch.setattr("glassbox.explainers.kernel_shap.segment", lambda *_: np.arange(64).reshape(8, 8) // 6)

    def run(folder) -> dict[str, np.ndarray]:
        plan = explanations.plan(picked, settings, 9, folder)
        results = list(explanations.explain(setup(model, settings, images), plan, Bookkeeping(folder=folder)))
        scores = {f"{r.name} {name}": values for r in results for name, values in r.scores.items()}
        return map_tables.arrays(results, plan, folder) | scores

    kept = run(None)
    monkeypatch.setattr(explanations, "MEASURED", 2)  # and measured in parts
    on_disk = run(tmp_path)
    assert kept["maps"].shape == (9, 8, 8)
    assert kept["maps"].any(axis=(1, 2)).sum() == 8  # class 0 never changes: its gradients are none
    assert kept["panels"].shape == (4, 8, 8)
    assert {type(on_disk[name]) for name in ("maps", "panels")} == {np.memmap}
    for name, values in kept.items():
        np.testing.assert_allclose(on_disk[name], values, atol=1e-6, err_msg=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [1, 9])
def test_explanations_go_on_after_a_kill_and_come_out_the_same(params, linear, tmp_path, after):
    settings = params.explain.model_copy(
        update={
            "explainers": ("integrated_gradients", "lime", "kernel_shap"),
            "superpixels": Superpixels(segments=16, compactness=10.0, sigma=0.0),
            "lime": params.explain.lime.model_copy(update={"samples": 50}),
            "kernel_shap": params.explain.kernel_shap.model_copy(update={"coalitions": 64, "background": 2}),
        }
    )
    slopes = torch.arange(32)[:, None] * 3 + torch.arange(32) * 5 + 10 * torch.arange(6)[:, None, None]
    images = slopes.to(torch.uint8)[..., None].expand(6, 32, 32, 3)
    model = linear(torch.linspace(-1, 1, 1024).view(32, 32).numpy())
    plan = Plan(explanations.request_for([Pick(row, "correct", "", (1, 0)) for row in range(4)], images, seed=0))
    common = setup(model, settings, images)
    whole = list(explanations.explain(common, plan))

    class Killed(Exception):
        pass

    made = []

    def until(limit: int | None):
        def each(work, classifier, items):
            for item in items:
                if len(made) == limit:
                    raise Killed
                made.append(item)
                yield work(classifier, *item)

        return Bookkeeping(Parts("explain", "key", tmp_path, each))

    with pytest.raises(Killed):
        list(explanations.explain(common, plan, until(after)))
    again = until(None)
    assert again.keep.found == after
    resumed = list(explanations.explain(common, plan, again))
    # An image is a part of LIME and the Shapley values, 16 are one of the rest and of the scores of each of the four.
    assert len(made) == 1 + 4 + 4 + 4 + 4, "each part once"
    for one, other in zip(whole, resumed, strict=True):
        assert np.array_equal(one.attribution.maps, other.attribution.maps)
        assert list(one.attribution.details) == list(other.attribution.details)
        assert list(one.scores) == list(other.scores)
        for name, values in (one.attribution.details | one.scores).items():
            assert values.tobytes() == (other.attribution.details | other.scores)[name].tobytes()
