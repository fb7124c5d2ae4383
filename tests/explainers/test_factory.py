import numpy as np
import pytest
import torch

from glassbox.config.explain import GradientShap, KernelShap, Occlusion, PartitionShap
from glassbox.explainers import factory
from glassbox.explainers.base import Request
from glassbox.explainers.catalog import CONTROL, TITLES
from glassbox.xai_metrics.sparseness import gini
from tests.conftest import clone, shell


@pytest.fixture(scope="module")
def classifier(small_cnn):
    return small_cnn(32)


@pytest.fixture(scope="module")
def made(params):
    quick = params.explain.model_copy(
        update={
            "lime": params.explain.lime.model_copy(update={"samples": 60}),
            "kernel_shap": KernelShap(coalitions=80, tolerance=None, background=2, classes=0),
            "gradient_shap": GradientShap(samples=6, background=4),
            "partition_shap": PartitionShap(evaluations=20),
            "explainers": tuple(name for name in TITLES if name != CONTROL),
        }
    )
    background = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    return factory.make(quick, background, (0.5, 0.5, 0.5), batch_size=64)


def request() -> Request:
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Request(images[[0, 0, 1]], torch.tensor([0, 1, 2]), (5, 5, 6))


def test_all_are_made_in_their_order_with_the_control_last(made, params):
    assert list(made) == list(TITLES)
    only = params.explain.model_copy(update={"explainers": ("grad_cam",)})
    assert list(factory.make(only, torch.zeros(1, 8, 8, 3), (0, 0, 0), 8)) == ["grad_cam", CONTROL]


def plain(kind: str) -> np.ndarray:
    """An image with next to nothing on it."""
    image = np.full((32, 32, 3), {"grey": 128, "white": 255}.get(kind, 0), np.uint8)
    if kind == "halves":
        image[:, 16:] = 255
    if kind == "one pixel":
        image[16, 16] = 255
    return image


@pytest.mark.parametrize("kind", ["black", "grey", "white", "halves", "one pixel"])
def test_maps_of_plain_images_are_finite_and_what_cannot_be_measured_is_nan(made, classifier, kind):
    asked = Request(torch.from_numpy(plain(kind))[None], torch.tensor([1]), (3,))
    for name, explainer in made.items():
        found = explainer(classifier, asked)
        assert np.isfinite(found.maps).all(), name
        unknown = {detail for detail, values in found.details.items() if not np.isfinite(values).all()}
        # Hidden regions take their mean colour: of one colour they look as before.
        nothing = name == "lime" and kind in ("black", "grey", "white")
        assert unknown == ({"local_r2"} if nothing else set()), name
        assert not nothing or not found.maps.any()
        assert np.isnan(gini(found.maps)).tolist() == [not found.maps.any()]


@pytest.mark.parametrize("name", TITLES)
def test_the_contract_holds_on_a_real_network(made, classifier, name):
    classifier.train()
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    asked = request()
    before = asked.images.clone()
    first = made[name](classifier, asked)
    assert first.maps.shape == (3, 32, 32)
    assert first.maps.dtype == np.float32
    assert np.isfinite(first.maps).all()
    assert first.seconds.shape == first.forward_passes.shape == first.backward_passes.shape == (3,)
    assert all(values.shape == (3,) for values in first.details.values())
    assert np.array_equal(first.maps, made[name](classifier, asked).maps), "the same seeds must give the same maps"
    assert torch.equal(asked.images, before)
    assert all(part.training for part in classifier.modules())
    assert all(p.requires_grad and p.grad is None for p in classifier.parameters())
    assert not any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in classifier.modules()
    )
    assert all(torch.equal(value, state[key]) for key, value in classifier.state_dict().items())


@pytest.mark.parametrize("name", TITLES)
def test_the_stated_budget_is_kept_and_is_no_empty_word(made, classifier, name):
    asked, budget = request(), made[name].budget(32)
    first = made[name](classifier, asked.part(1, 2))  # alone, so that nothing is shared
    spent = (first.forward_passes[0], first.backward_passes[0])
    for used, most in zip(spent, (budget.forward_passes, budget.backward_passes), strict=True):
        assert 0.9 * most <= used <= most, (used, most)


def test_the_background_is_drawn_once_for_all():
    images = torch.arange(50)
    drawn = factory.draw_background(images, 10, seed=1)
    assert torch.equal(drawn, factory.draw_background(images, 10, seed=1))
    assert torch.equal(drawn[:4], factory.draw_background(images, 4, seed=1))
    assert not torch.equal(drawn, factory.draw_background(images, 10, seed=2))
    assert len(factory.draw_background(images, 99, seed=1).unique()) == 50


def test_as_many_as_the_hungriest_explainer_takes(params):
    assert factory.n_background(params.explain) == 50  # GradientSHAP's


@pytest.mark.parametrize("passes", [200, 1000, 2000])
def test_the_same_forward_passes_for_all_that_only_ask_the_model(params, classifier, passes):
    names = tuple(name for name in TITLES if name != CONTROL)
    settings = params.explain.model_copy(update={"explainers": names})
    alike = factory.matched(settings, passes, side=32)
    assert alike.explainers == ("lime", "kernel_shap", "partition_shap", "occlusion")
    background = torch.zeros(10, 32, 32, 3, dtype=torch.uint8)
    one = request().part(2, 3)
    for name, explainer in factory.make(alike, background, (0.5, 0.5, 0.5), 64).items():
        if name != CONTROL:
            least = 0.9 * passes if name != "occlusion" else 0.25 * passes  # strides are whole pixels
            assert least <= explainer.budget(32).forward_passes <= passes, name
            assert explainer(classifier, one).forward_passes[0] <= passes, name


def test_what_takes_as_many_by_itself_or_cannot_come_nearer_is_not_made_anew(params):
    own = {"lime": 500, "kernel_shap": 641, "occlusion": 50}  # of the digits study
    settings = params.explain.model_copy(update={"explainers": (*own, "grad_cam")})
    for passes, same in ((320, ()), (500, ("lime",)), (549, ("lime",)), (555, ("lime",)), (556, ()),
                         (640, ("kernel_shap",)), (55, ("occlusion",)), (50, ("occlusion",))):  # fmt: skip
        assert factory.matched_as_set(settings, passes, side=32) == same, passes
        again = factory.matched(settings, passes, side=32).explainers
        assert set(again) == own.keys() - set(same)
    coarse = settings.model_copy(update={"occlusion": Occlusion(window=30, stride=1)})
    assert factory.matched_as_set(coarse, 320, side=32) == ("occlusion",)  # ten, and there are no more
    background = torch.zeros(10, 32, 32, 3, dtype=torch.uint8)
    every = settings.model_copy(update={"explainers": ("lime", "kernel_shap", "partition_shap", "occlusion")})
    made = factory.make(every, background, (0.5, 0.5, 0.5), 64)
    for name, (passes, _) in factory.asking(every, 320, side=32).items():
        assert passes == made[name].budget(32).forward_passes, name


@pytest.mark.parametrize("names", [("grad_cam", "integrated_gradients"), ("lime", "grad_cam")])
def test_fewer_than_two_that_only_ask_the_model_are_not_compared(params, names):
    only = params.explain.model_copy(update={"explainers": names})
    assert factory.matched(only, 640, side=32).explainers == factory.matched_as_set(only, 640, side=32) == ()


OWN = """
from glassbox.explainers.base import Budget, Common, in_batches


def make(common: Common):
    return Darkness()


class Darkness:
    looks_at = "gradient"
    together = 16

    def budget(self, _):
        return Budget(0)

    def __call__(self, classifier, request):
        def dark(_, images, __):
            return 255.0 - images.float().mean(dim=3).numpy(), {}

        return in_batches(dark, classifier, request, 8)
"""
USE = """
import sys
sys.path.insert(0, "src")
import torch
from glassbox.config import parameters
from glassbox.explainers import base, factory
from glassbox.figures import scorecard
from glassbox.models import Classifier

explain = parameters.read().explain
image = torch.full((1, 4, 4, 3), 55, dtype=torch.uint8)
made = factory.make(explain, image, (0.5,) * 3, 8)["darkness"]
model = Classifier(torch.nn.Linear(1, 1), (0, 0, 0), (1, 1, 1))
maps = made(model, base.Request(image, torch.tensor([0]), (0,))).maps
print(scorecard.title_of("darkness"), maps.mean())
"""


def test_an_explainer_of_ones_own_is_one_file_and_one_line(tmp_path):
    project = clone(tmp_path / "glassbox")
    (project / "src/glassbox/explainers/darkness.py").write_text(OWN)
    titles = project / "src/glassbox/explainers/catalog.py"
    titles.write_text(titles.read_text().replace('    "lime":', '    "darkness": "Darkness",\n    "lime":', 1))
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("explainers: [lime,", "explainers: [darkness, lime,"))
    said = shell("python", "-c", USE, cwd=project).stdout
    assert said.split() == ["Darkness", "200.0"]
