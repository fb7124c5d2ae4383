from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.config.explain import GradientShap, KernelShap, Occlusion, PartitionShap, Rise
from glassbox.explainers import factory
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.catalog import CONTROL, EXPLAINERS, TITLES
from glassbox.explainers.controls import Control, noise
from glassbox.xai_metrics.sparseness import gini


@pytest.fixture(scope="module")
def classifier(small_cnn):
    return small_cnn(32)


@pytest.fixture(scope="module")
def setup(params, classifier) -> Setup:
    quick = params.explain.model_copy(
        update={
            "lime": params.explain.lime.model_copy(update={"samples": 60}),
            "kernel_shap": KernelShap(coalitions=80, tolerance=None, background=2, draw_background=False, classes=0),
            "gradient_shap": GradientShap(samples=6, background=4),
            "partition_shap": PartitionShap(evaluations=20),
            "rise": Rise(masks=60, cells=7, probability=0.5),
            "explainers": EXPLAINERS,
        }
    )
    background = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    return Setup(classifier, quick, background, (0.5, 0.5, 0.5), batch_size=64)


@pytest.fixture(scope="module")
def explainers(setup):
    return factory.make(setup) | {CONTROL: Control(noise)}


def request() -> Request:
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Request(images[[0, 0, 1]], torch.tensor([0, 1, 2]), (5, 5, 6))


def test_all_are_made_in_their_order(explainers, setup):
    assert list(explainers) == list(TITLES)
    two = setup.settings.model_copy(update={"explainers": ("occlusion", "grad_cam")})
    assert list(factory.make(replace(setup, settings=two))) == ["occlusion", "grad_cam"]


def plain(kind: str) -> np.ndarray:
    """An image with next to nothing on it."""
    image = np.full((32, 32, 3), {"grey": 128, "white": 255}.get(kind, 0), np.uint8)
    if kind == "halves":
        image[:, 16:] = 255
    if kind == "one pixel":
        image[16, 16] = 255
    return image


@pytest.mark.parametrize("kind", ["black", "grey", "white", "halves", "one pixel"])
def test_maps_of_plain_images_are_finite_and_what_cannot_be_measured_is_nan(explainers, classifier, kind):
    image = Request(torch.from_numpy(plain(kind))[None], torch.tensor([1]), (3,))
    for name, explainer in explainers.items():
        attribution = explainer(classifier, image)
        assert np.isfinite(attribution.maps).all(), name
        unknown = {detail for detail, values in attribution.details.items() if not np.isfinite(values).all()}
        # Hidden regions take their mean colour: of one colour they look as before.
        nothing = name == "lime" and kind in ("black", "grey", "white")
        assert unknown == ({"local_r2"} if nothing else set()), name
        assert not nothing or not attribution.maps.any()
        assert np.isnan(gini(attribution.maps)).tolist() == [not attribution.maps.any()]


@pytest.mark.parametrize("name", TITLES)
def test_the_contract_holds_on_a_real_network(explainers, classifier, name):
    classifier.train()
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    rows = request()
    before, numpys_state = rows.images.clone(), np.random.get_state()[1].copy()
    first = explainers[name](classifier, rows)
    assert first.maps.shape == (3, 32, 32)
    assert first.maps.dtype == np.float32
    assert np.isfinite(first.maps).all()
    assert first.seconds.shape == first.forward_passes.shape == first.backward_passes.shape == (3,)
    assert all(values.shape == (3,) for values in first.details.values())
    assert np.array_equal(first.maps, explainers[name](classifier, rows).maps), "the same seeds must give the same maps"
    assert torch.equal(rows.images, before)
    assert name == "partition_shap" or np.array_equal(np.random.get_state()[1], numpys_state)  # shap draws from it
    assert all(part.training for part in classifier.modules())
    assert all(p.requires_grad and p.grad is None for p in classifier.parameters())
    assert not any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in classifier.modules()
    )
    assert all(torch.equal(value, state[key]) for key, value in classifier.state_dict().items())
    # The stated budget is kept, and is not much too large.
    budget, alone = explainers[name].budget(32), explainers[name](classifier, rows.part(1, 2))  # nothing is shared
    spent = (alone.forward_passes[0], alone.backward_passes[0])
    for used, most in zip(spent, (budget.forward_passes, budget.backward_passes), strict=True):
        assert 0.9 * most <= used <= most, (used, most)


def test_the_background_is_drawn_once_for_as_many_as_any_explainer_takes(params):
    def background(n: int, seed: int, images: int = 50) -> list[int]:
        settings = params.explain.model_copy(update={"gradient_shap": GradientShap(samples=5, background=n)})
        about = {"classifier": None, "mean": (0, 0, 0), "batch_size": 1}
        return factory.setup(settings=settings, train=torch.arange(images), seed=seed, **about).background.tolist()

    assert params.explain.kernel_shap.background <= 10
    drawn = background(10, seed=1)
    assert len(set(drawn)) == 10
    assert drawn == background(10, seed=1) == background(20, seed=1)[:10] != background(10, seed=2)
    assert sorted(background(99, seed=1)) == list(range(50))


@pytest.mark.parametrize("passes", [200, 1000, 2000])
def test_the_same_forward_passes_for_all_that_need_only_the_models_output(setup, classifier, params, passes):
    settings = params.explain.model_copy(update={"explainers": EXPLAINERS, "rise": setup.settings.rise})
    alike = factory.matched(settings, passes, side=32)
    assert alike.explainers == ("lime", "kernel_shap", "partition_shap", "occlusion", "rise")
    for name, explainer in factory.make(replace(setup, settings=alike)).items():
        least = 0.9 * passes if name != "occlusion" else 0.25 * passes  # strides are whole pixels
        assert least <= explainer.budget(32).forward_passes <= passes, name
        assert passes > 200 or explainer(classifier, request().part(2, 3)).forward_passes[0] <= passes, name


def test_maps_of_about_as_many_passes_or_that_cannot_come_nearer_are_not_made_again(params, setup):
    own = {"lime": 500, "kernel_shap": 641, "occlusion": 50}  # of the digits study
    settings = params.explain.model_copy(update={"explainers": (*own, "grad_cam")})
    same_at = {320: (), 500: ("lime",), 549: ("lime",), 555: ("lime",), 556: (), 640: ("kernel_shap",)}
    for passes, same in (same_at | {55: ("occlusion",), 50: ("occlusion",)}).items():
        assert factory.matched_as_set(settings, passes, side=32) == same, passes
        assert set(factory.matched(settings, passes, side=32).explainers) == own.keys() - set(same)
    coarse = settings.model_copy(update={"occlusion": Occlusion(window=30, stride=1)})
    assert factory.matched_as_set(coarse, 320, side=32) == ("occlusion",)  # ten, and there are no more
    every = settings.model_copy(update={"explainers": ("lime", "kernel_shap", "partition_shap", "occlusion", "rise")})
    explainers = factory.make(replace(setup, settings=every, background=setup.background[[0] * 10]))
    for name, (passes, _) in factory.black_box(every, 320, side=32).items():
        assert passes == explainers[name].budget(32).forward_passes, name


@pytest.mark.parametrize("names", [("grad_cam", "integrated_gradients"), ("lime", "grad_cam")])
def test_fewer_than_two_that_need_only_the_models_output_are_not_compared(params, names):
    only = params.explain.model_copy(update={"explainers": names})
    assert factory.matched(only, 640, side=32).explainers == factory.matched_as_set(only, 640, side=32) == ()
