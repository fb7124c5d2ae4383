"""The sentences with which wrong values and keys are refused."""

import pytest
from conftest import ROOT
from every_key import refusal

from glassbox.config import parameters
from glassbox.core.errors import UserError


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("train.epochs", 0, "train.epochs is 0, but must be greater than or equal to 1"),
        ("train.epochs", "ten", "train.epochs is 'ten', but must be a whole number"),
        ("train.epochs", 2.5, "train.epochs is 2.5, but must be a whole number"),
        ("train.epochs", True, "train.epochs is true, but must be a whole number"),
        ("train.epochs", None, "train.epochs is null, but must be a whole number"),
        ("train.epochs", ..., "train.epochs is missing"),
        ("train", ..., "the section train is missing"),
        ("train", 3, "train is 3, but must be a section of keys"),
        ("train.learning_rate", "fast", "train.learning_rate is 'fast', but must be a number or 'tuned'"),
        ("train.learning_rate", float("nan"), "train.learning_rate is .nan, but must be a finite number or 'tuned'"),
        ("train.learning_rate", -0.1, "train.learning_rate is -0.1, but must be greater than 0 or 'tuned'"),
        *[
            (
                key,
                given,
                f"{key} is {given}, but must be a whole number from 0 to 64, or a share of one GPU, above 0 and "
                f"below 1{also}",
            )
            for key, also in (("compute.gpus", ""), ("tune.gpus", " or null"))
            for given in (-1, 65, 1.5, -0.5)
        ],
        ("data.limit", "few", "data.limit is 'few', but must be a whole number or null"),
        (
            "data.source",
            "mnist",
            "data.source is 'mnist', but must be 'cifar10', 'digits', 'image_folder' or 'planted'",
        ),
        ("data.groups", 3, "data.groups is 3, but must be text or null"),
        (
            "data.groups",
            r"part\d+_",
            "data.groups is 'part\\\\d+_': a regular expression must have one group in parentheses, and it has 0",
        ),
        (
            "data.groups",
            "part(",
            "data.groups is 'part(': as a regular expression it is wrong (missing ), unterminated subpattern at "
            "position 4), and a table's name ends in .csv",
        ),
        ("train.class_weights", "even", "train.class_weights is 'even', but must be 'balanced' or null"),
        ("train.sampling", "even", "train.sampling is 'even', but must be 'shuffle' or 'balanced'"),
        ("score.draw", "classes", "score.draw is 'classes', but must be 'random' or 'by_class'"),
        ("data.drop_duplicates", 1, "data.drop_duplicates is 1, but must be true or false"),
        ("compute.device", "gpu", "compute.device is 'gpu', but must be auto, cpu, cuda or cuda:N"),
        ("tune.space.conv1_filters", [], "tune.space.conv1_filters is [], but must be a list of at least one value"),
        ("tune.space.conv1_filters", 32, "tune.space.conv1_filters is 32, but must be a list"),
        ("tune.space.conv1_filters", [8, 1.5], "tune.space.conv1_filters.1 is 1.5, but must be a whole number"),
        (
            "model.conv1_kernel_size",
            4,
            "model.conv1_kernel_size is 4: a kernel size must be odd, so that 'same' padding is symmetric",
        ),
        (
            "tune.space.adam_lr",
            {"low": 0.1, "high": 0.01, "log": True},
            "tune.space.adam_lr: low (0.1) must not be above high (0.01)",
        ),
        (
            "tune.space.dropout_1",
            {"low": 0.1, "high": 1.5, "log": False},
            "tune.space.dropout_1: high (1.5) must be below 1",
        ),
        (
            "tune.space.adam_lr",
            {"low": 0.0, "high": 0.1, "log": True},
            "tune.space.adam_lr: low (0.0) must be above 0 on a log scale",
        ),
        (
            "explain.kernel_shap.coalitions",
            149,
            "explain: kernel_shap.coalitions is 149: it must be at least three times superpixels.segments, 150",
        ),
        (
            "explain.kernel_shap.coalitions",
            8193,
            "explain.kernel_shap.coalitions is 8193, but must be less than or equal to 8192",
        ),
        (
            "explain.kernel_shap.tolerance",
            0.0,
            "explain.kernel_shap.tolerance is 0.0, but must be greater than 0 or null",
        ),
        ("explain.explainers", ["lime", "lime"], "explain: explainers must not name one twice"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_key_value_and_what_is_allowed(key, value, sentence, tmp_path):
    assert refusal(key, value, tmp_path) == sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("score.road.shares=[0.5,0.3,0.7]", "score.road.shares is [0.5, 0.3, 0.7]: the shares must rise"),
        ("score.robustness.noise=[0.1,0.1,0.2]", "score.robustness.noise is [0.1, 0.1, 0.2]: must not name one twice"),
        ("score.margins=[0,1]", "score.margins is [0, 1], but must be a list of at least 3 values"),
        ("score.deletion=[mean,blur,grey]", "score.deletion.2 is 'grey', but must be 'mean', 'blur' or 'black'"),
        ("score.robustness.images=99", "score: robustness.images is 99: it must not be above images, 60"),
        (
            "score.matched_evaluations=100",
            "score.matched_evaluations is 100: with kernel_shap it must be at least 1 more",
        ),
    ],
)
def test_wrong_settings_of_the_scorecard_are_refused(change, sentence):
    with pytest.raises(UserError) as error:
        parameters.edit(ROOT / "params.yaml", [change])
    assert sentence in str(error.value)


@pytest.mark.parametrize(("before", "key"), [("study:", "5"), ("  seed: 0", "study.5")])
def test_a_key_that_is_no_text_is_refused(before, key, tmp_path):
    text = (ROOT / "params.yaml").read_text()
    indent = before[: len(before) - len(before.lstrip())]
    (tmp_path / "p.yaml").write_text(text.replace(before, f"{indent}5: 1\n{before}", 1))
    with pytest.raises(UserError, match=rf"p.yaml: {key} is not a parameter: every key must be text"):
        parameters.read(tmp_path / "p.yaml")


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    sentence = refusal("explain.lime.sample", 3, tmp_path)
    assert (
        sentence
        == "explain.lime.sample is not a parameter; did you mean samples? allowed here: samples, regions, stability"
    )
