import math

import pytest

from glassbox.training.loop import fit
from glassbox.training.optimizers import make_optimizer
from glassbox.training.recipe import Recipe
from glassbox.training.schedules import OneCycle, Plateau, make_schedule
from tests.training.toys import PLACE, PLAIN, SGD, classifier, learning, run, split


@pytest.mark.parametrize(
    ("patience", "minimum", "rates"),
    [(1, 0.15, [1, 1, 0.5, 0.25, 0.15, 0.15, 0.15, 0.15]), (3, 0.0, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25])],
)
def test_the_rate_falls_after_patience_epochs_on_a_plateau(patience, minimum, rates):
    # Every label of the validation split is wrong, so its loss only grows: the first epoch is the best one.
    schedule = Plateau(factor=0.5, patience=patience, minimum=minimum)
    epochs = run(classifier(), split(8), split(8, noise=1.0), SGD, epochs=8, schedule=schedule)
    assert [epoch.learning_rate for epoch in epochs] == rates


def test_the_rate_of_one_cycle_rises_and_falls_step_by_step():
    model, rates = classifier(), []
    optimizer = make_optimizer(model, learning("sgd", 0.5, momentum=0.0))
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    recipe = Recipe(epochs=5, batch_size=8, augment=PLAIN, seed=0, patience=99, schedule=OneCycle(warmup=0.4))
    epochs = list(fit(model, split(16), split(8), optimizer, recipe, place=PLACE))
    # Ten steps, from 0 to 9: up until the third (0.4 x 10 - 1), from 0.5 / 25 to 0.5, then down to 0.02 / 10,000.
    assert len(rates) == 10
    assert (rates[0], rates[3], rates[9]) == pytest.approx((0.02, 0.5, 2e-6))
    assert rates[1] == pytest.approx(0.02 + 0.48 * (1 - math.cos(math.pi / 3)) / 2)
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx(rates[::2])


def test_schedules_by_name(params):
    names = [make_schedule(params.train.model_copy(update={"schedule": name})) for name in ("plateau", "constant")]
    assert names == [Plateau(0.5, 3, 1e-6), None]
    assert make_schedule(params.train.model_copy(update={"schedule": "one_cycle", "warmup": 0.2})) == OneCycle(0.2)
