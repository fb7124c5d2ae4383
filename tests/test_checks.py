"""Checks before hours of work, on which no earlier stage depends."""

import re

import pytest
from conftest import ROOT

from glassbox.checks import check_study
from glassbox.config import parameters
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.provenance import fingerprint

DATA = Description("mine", ("a", "b"), 32, {"train": 8, "validation": 4, "test": 4}, (0.5,) * 3, (0.3,) * 3, False, "")


@pytest.fixture
def with_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks").symlink_to(ROOT / "networks")

    def write(*changes: str) -> None:
        (tmp_path / "params.yaml").write_text(parameters.edit(ROOT / "studies/digits.yaml", changes))

    return write


def test_what_explain_would_refuse_after_training_is_refused_before_the_search(with_changes):
    with_changes("explain.images=[0,3]")
    assert check_study(data=DATA).explain.images == (0, 3)
    with_changes("explain.images=[0,4]")
    with pytest.raises(UserError, match=r"explain.images .* 4"):
        check_study(data=DATA)


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        ("c:contrast", r"repair\.findings has 'c:contrast': 'c' must be one of the classes a and b"),
        ("a:size", r"repair\.findings has 'a:size': after the class it must have LEFT,TOP,WIDTH,HEIGHT in pixels, or"),
    ],
)
def test_what_repair_would_refuse_after_training_is_refused_before_the_search(with_changes, finding, sentence):
    with_changes("repair.findings=['a:contrast','b:0,0,8,8']")
    assert check_study(data=DATA).repair.findings == ("a:contrast", "b:0,0,8,8")
    with_changes(f"repair.findings=['{finding}']")
    with pytest.raises(UserError, match=sentence):
        check_study(data=DATA)


NO_SEARCH = ("tune.n_trials=0", "train.optimizer=adam", "train.learning_rate=0.001")


@pytest.mark.parametrize(
    ("network", "arguments", "sentence"),
    [
        ("timm/resnet19", "null", r"model\.name is .*resnet19"),
        ("timm/resnet18", "{widht: 3}", r"model\.arguments\.widht is not taken by timm/resnet18, which takes .*"),
        ("cnn", "{conv1_filters: 3}", r"model\.arguments\.conv1_kernel_size is missing"),
        ("python:small:build", "{width: wide}", r"python:small:build \(model\.name\) cannot be made for images"),
    ],
)
def test_the_network_is_checked_unless_a_stage_does_without_pytorch(with_changes, network, arguments, sentence):
    with_changes(*NO_SEARCH, f"model.name={network}", f"model.arguments={arguments}")
    assert check_study(network=False).model.name == network
    with pytest.raises(UserError, match=sentence):
        check_study(data=DATA)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("conv1_kernel_size=[3, 4]", "is 4: a kernel size must be odd"),
        ("conv2_filters=[32, 1.5]", r"is 1\.5, but must be a whole number"),
        ("dropout_1.high=1.5", r"is 1\.5, but must be less than 1"),
        ("activation_func2=[relu, gelu]", "is 'gelu', but must be 'relu' or 'leaky_relu'"),
    ],
)
def test_every_value_that_a_trial_of_the_cnn_may_draw_is_checked(with_changes, change, sentence):
    with_changes(f"tune.space.model.arguments.{change}")
    name = re.match("[a-z0-9_]+", change)[0]
    place = rf"\(tune\.space\.model\.arguments\.{name} has it\)$"
    with pytest.raises(UserError, match=rf"^params\.yaml: model\.arguments\.{name} {sentence}.* {place}"):
        check_study(data=DATA)


@pytest.mark.parametrize("stage", ["prepare", "tune", "train"])
def test_the_stages_before_explain_call_it_and_do_not_depend_on_it(stage):
    text = (ROOT / f"stages/{stage}.py").read_text()
    assert re.search(r"^        check_study\(data=description\)$|^    check_study\(network=False\)", text, re.MULTILINE)
    assert "src/glassbox/checks.py" not in fingerprint.dependencies(stage)
