import pytest
import torch
from conftest import SMALL_CNN, model
from torch import nn

from glassbox import models
from glassbox.config.cnn import Hyperparameters
from glassbox.core.errors import UserError
from glassbox.models.feature_maps import single_path
from glassbox.models.layers import layers, totals
from glassbox.models.networks.cnn import TwoBlockCNN
from glassbox.models.preprocessing import Preprocessing

# Figure 11 of the CNN paper, without the values of choices that were not taken.
PAPER = Hyperparameters(
    conv1_filters=32, conv1_kernel_size=3, activation_func1="relu", leaky_relu_alpha_1=None,
    l2_reg_1=4.732752932786752e-05, pool_size_1=3, dropout_1=0.3483260393937059,
    conv2_filters=256, conv2_kernel_size=3, activation_func2="relu", leaky_relu_alpha_2=None,
    l2_reg_2=0.003343648880295255, pool_size_2=2, dense_units_1=64, dense_l2_reg_1=0.00013916755655764762,
    activation_func_dense="leaky_relu", leaky_relu_alpha_3=0.15102871289677247, dense_dropout_1=0.25226452604864213,
    batch_norm_momentum=0.99,
)  # fmt: skip


def test_the_papers_own_numbers_of_parameters():
    network = TwoBlockCNN(PAPER, 32, 10)
    rows = layers(network, 32)
    assert totals(network) == {"total": 486_346, "trainable": 485_770, "non_trainable": 576}
    # Figure 1, layer by layer; Keras writes channels last.
    assert [(row.kind, row.shape, row.parameters) for row in rows] == [
        ("Conv2d", "32 x 32 x 32", 896),
        ("ReLU", "32 x 32 x 32", 0),
        ("BatchNorm2d", "32 x 32 x 32", 128),
        ("MaxPool2d", "32 x 10 x 10", 0),
        ("Dropout", "32 x 10 x 10", 0),
        ("Conv2d", "256 x 10 x 10", 73_984),
        ("ReLU", "256 x 10 x 10", 0),
        ("BatchNorm2d", "256 x 10 x 10", 1_024),
        ("MaxPool2d", "256 x 5 x 5", 0),
        ("Flatten", "6400", 0),
        ("Linear", "64", 409_664),
        ("LeakyReLU", "64", 0),
        ("Dropout", "64", 0),
        ("Linear", "10", 650),
    ]


def test_the_papers_study_has_the_papers_values_and_keeps_them_when_it_is_written_anew(tmp_path):
    from glassbox.config import parameters, yaml_file

    study = "studies/cifar10-cnn-paper.yaml"
    params = parameters.read(study)
    assert params.model.name == "cnn"
    assert Hyperparameters(**params.model.arguments) == PAPER
    assert (params.model.weights, params.model.normalization, params.model.input_size) == (None, "none", None)
    assert (params.train.optimizer, params.train.learning_rate) == ("adam", 8.038320164239253e-05)
    assert (params.train.batch_size, params.train.epochs, params.tune.n_trials) == (32, 50, 0)
    (tmp_path / "again.yaml").write_text(parameters.edit(study, ["study.seed=1"]))
    before, after = (yaml_file.flatten(p) for p in (params, parameters.read(tmp_path / "again.yaml")))
    assert {key for key in before if before[key] != after[key]} == {"study.seed"}


def test_kerass_semantics():
    network = TwoBlockCNN(PAPER.model_copy(update={"pool_size_2": 3}), 32, 10)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [(n.eps, n.momentum) for n in norms] == [(1e-3, pytest.approx(0.01))] * 2
    assert all(m.stride == m.kernel_size for m in network.modules() if isinstance(m, nn.MaxPool2d))
    assert not any(getattr(m, "inplace", False) for m in network.modules())
    conv = network.block2.conv.weight  # Glorot: uniform within sqrt(6 / (fan in + fan out)), fans of 9 * channels
    bound = (6 / (9 * 32 + 9 * 256)) ** 0.5
    assert conv.abs().max() <= bound
    assert conv.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert all(not m.bias.any() for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert network.activation.negative_slope == PAPER.leaky_relu_alpha_3


def test_penalties_are_on_the_three_kernels_only():
    network = TwoBlockCNN(PAPER, 32, 10)
    kernels = [network.block1.conv.weight, network.block2.conv.weight, network.dense.weight]
    assert [penalty for _, penalty in network.penalties()] == [PAPER.l2_reg_1, PAPER.l2_reg_2, PAPER.dense_l2_reg_1]
    assert all(found is kernel for (found, _), kernel in zip(network.penalties(), kernels, strict=True))


@pytest.mark.parametrize(("pool", "block", "places"), [(3, "block2", 2), (8, "block1", 8)])
def test_the_layer_of_grad_cam_is_on_the_only_path_and_has_several_places(pool, block, places):
    network = TwoBlockCNN(PAPER.model_copy(update={"pool_size_1": pool, "pool_size_2": 1}), 8, 10)
    layer = network.grad_cam_layer()
    assert layer is network.get_submodule(block).activation
    shapes = dict(single_path(network, torch.randn(1, 3, 8, 8)))
    assert shapes[layer][2:] == (places, places)


def test_an_image_that_is_pooled_away_is_refused():
    with pytest.raises(
        UserError, match=r"model.arguments.pool_size_1 = 3 and pool_size_2 = 3 leave nothing of an image of 8"
    ):
        TwoBlockCNN(PAPER.model_copy(update={"pool_size_2": 3}), 8, 10)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"conv1_filter": 4}, r"model.arguments.conv1_filter is not a parameter; did you mean conv1_filters\? allowed"),
        ({"conv1_filters": 0}, r"model.arguments.conv1_filters is 0, but must be "),
        ({"conv1_kernel_size": 4}, r"model.arguments.conv1_kernel_size is 4: a kernel size must be odd"),
        (
            {"activation_func1": "tanh"},
            r"model.arguments.activation_func1 is 'tanh', but must be 'relu' or 'leaky_relu'",
        ),
        ({"activation_func1": "leaky_relu"}, r"model.arguments has leaky_relu without its slope, leaky_relu_alpha_1"),
    ],
)
def test_what_its_hyperparameters_cannot_be_is_one_sentence(changes, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        models.build("cnn", SMALL_CNN | changes, Preprocessing(), 16, 3)
    assert "\n" not in str(refused.value)


def test_a_missing_hyperparameter_is_named():
    given = {key: value for key, value in SMALL_CNN.items() if key != "dense_units_1"}
    with pytest.raises(UserError, match=r"model.arguments.dense_units_1 is missing"):
        models.build("cnn", given, Preprocessing(), 16, 3)
    assert models.check(model("cnn", SMALL_CNN), [], 16, ("grad_cam",)) == []
