import math

import pytest
import torch

from glassbox.training.optimizers import make_optimizer
from glassbox.training.schedules import make_schedule
from tests.training.toys import SGD, classifier, images_of, learning, run, split


def test_one_step_of_each_optimizer_by_hand():
    # Keras: Adam's first step is rate * g / (|g| + epsilon / sqrt(1 - 0.999)), RMSprop's is
    # rate * g / sqrt((1 - rho) * g^2 + epsilon); tests/models/networks/test_against_keras.py has more of them.
    g = 1e-5
    for settings, expected in (
        (learning("adam", 0.1), -0.1 * g / (g + 1e-7 / math.sqrt(0.001))),
        (learning("rmsprop", 0.1, rho=0.8), -0.1 * g / math.sqrt(0.2 * g**2 + 1e-7)),
        (learning("sgd", 0.1, momentum=0.9), -0.1 * g),
    ):
        model = classifier()
        optimizer = make_optimizer(model, settings)
        model.network.weight.grad = torch.full((2, 3), g)
        optimizer.step()
        torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), expected), rtol=1e-4, atol=0)
        assert not model.network.bias.any()  # without a gradient it stays


def test_penalty_and_weight_decay_by_hand():
    # Keras's gradient of lambda * sum(w^2) is 2 * lambda * w; on white images with both labels the loss has none.
    model = classifier(penalty=0.1)
    model.network.weight.data.fill_(1.0)
    model.network.bias.data.fill_(1.0)
    white = images_of(torch.full((2, 4, 4, 3), 255, dtype=torch.uint8), torch.tensor([0, 1]))
    settings = learning("sgd", 0.5, momentum=0.0, weight_decay=0.05)
    (epoch,) = run(model, white, white, settings, epochs=1, batch_size=2)
    weight = 1 - 0.5 * (2 * 0.1 + 0.05)
    torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), weight))
    torch.testing.assert_close(model.network.bias.data, torch.full((2,), 1 - 0.5 * 0.05))  # without a penalty
    assert epoch.weight_penalty == pytest.approx(0.1 * 6 * weight**2)
    assert epoch.validation_loss == pytest.approx(math.log(2))


def test_adamw_shrinks_weights_without_their_gradients_by_hand():
    # Adam's first step is rate * g / |g| whatever is added to g; AdamW takes 0.1 * 0.05 of the weight off, too.
    model = classifier()
    model.network.weight.data.fill_(2.0)
    optimizer = make_optimizer(model, learning("adamw", 0.1, weight_decay=0.05))
    model.network.weight.grad = torch.full((2, 3), 3.0)
    optimizer.step()
    torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), 2 * (1 - 0.1 * 0.05) - 0.1))


def test_nesterov_steps_along_the_gradient_and_the_momentum_by_hand():
    # Of a constant gradient g the first step is rate * (g + momentum * g), the second adds momentum^2 * g.
    model = classifier()
    optimizer = make_optimizer(model, learning("sgd", 0.1, momentum=0.5, nesterov=True))
    for expected in (-0.1 * 2 * 1.5, -0.1 * 2 * (1.5 + 1.75)):
        model.network.weight.grad = torch.full((2, 3), 2.0)
        optimizer.step()
        torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), expected))


def test_the_learning_rate_grows_with_the_batch():
    rates = {"batch_size": 64, "base_batch_size": 16}
    assert make_optimizer(classifier(), learning("adam", 0.1, **rates)).param_groups[0]["lr"] == pytest.approx(0.4)
    assert make_optimizer(classifier(), learning("adam", 0.1, batch_size=64)).param_groups[0]["lr"] == 0.1


def test_biases_are_decayed_unless_they_are_left_out():
    for decay_biases, expected in ((True, 0.5), (False, 1.0)):
        model = classifier()
        model.network.weight.data.fill_(1.0)
        model.network.bias.data.fill_(1.0)
        settings = learning("sgd", 1.0, momentum=0.0, weight_decay=0.5, decay_biases=decay_biases)
        optimizer = make_optimizer(model, settings)
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
        assert model.network.weight.data.unique().tolist() == [0.5]
        assert model.network.bias.data.unique().tolist() == [expected]


def test_one_step_with_smoothed_labels_by_hand():
    model = classifier()
    (epoch,) = run(model, split(8), split(4), SGD, epochs=1, label_smoothing=0.2)
    # The label 1 becomes 0.9: a red image adds 0.5 - 0.9 = -0.4 to the gradient of weight[0, red], half the time.
    assert model.network.weight.data[:, 0].tolist() == pytest.approx([0.2, -0.2])
    assert epoch.train_loss == pytest.approx(math.log(2))  # without smoothing


def test_biases_learn_faster_and_decay_at_the_same_pace_by_hand():
    model = classifier()
    settings = learning("sgd", 0.1, momentum=0.0, weight_decay=0.5, bias_rate=4.0, schedule="one_cycle", warmup=0.5)
    model.network.weight.data.fill_(1.0)
    model.network.bias.data.fill_(1.0)
    optimizer = make_optimizer(model, settings)
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 2.0)
    optimizer.step()
    torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), 1 - 0.1 * (2.0 + 0.5 * 1.0)))
    torch.testing.assert_close(model.network.bias.data, torch.full((2,), 1 - 0.4 * (2.0 + 0.125 * 1.0)))
    # Over a cycle every rate rises to its own highest.
    rates = []
    cycle = make_schedule(settings).scheduler(optimizer, 6)
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        cycle.step()
    assert [fast / slow for slow, fast in rates] == pytest.approx([4.0] * 5)
    assert max(rates) == pytest.approx([0.1, 0.4])
