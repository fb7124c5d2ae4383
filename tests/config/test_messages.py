"""The sentences that refuse wrong values and keys."""

import pytest
from every_key import base, complete, refusal, sentence_for, with_value

GPUS = "a whole number from 0 to 64, or a share of one GPU, above 0 and below 1"
WRONG_VALUES = [
    ("train.epochs is 0", "greater than or equal to 1"),
    ("train.epochs is 'ten'", "a whole number"),
    ("train.epochs is 2.5", "a whole number"),
    ("train.epochs is true", "a whole number"),
    ("train.epochs is null", "a whole number"),
    ("train.epochs is 2001-01-01", "a whole number"),
    ("train is 3", "a section of keys"),
    ("train.learning_rate is 'fast'", "a number or 'tuned'"),
    ("train.learning_rate is .nan", "a finite number or 'tuned'"),
    ("train.learning_rate is -0.1", "greater than 0 or 'tuned'"),
    *((f"compute.gpus is {number}", GPUS) for number in (-1, 65, 1.5, -0.5)),
    *((f"tune.gpus is {number}", f"{GPUS} or null") for number in (-1, 65, 1.5, -0.5)),
    ("data.limit is 'few'", "a whole number or null"),
    ("data.limit is [null, true, -.inf]", "a whole number or null"),
    ("data.source is 'mnist'", "'cifar10', 'digits', 'image_folder' or 'planted'"),
    ("data.groups is 3", "text or null"),
    ("train.class_weights is 'even'", "'balanced' or null"),
    ("train.sampling is 'even'", "'shuffle' or 'balanced'"),
    ("score.draw is 'classes'", "'random' or 'by_class'"),
    ("data.drop_duplicates is 1", "true or false"),
    ("compute.device is 'gpu'", "auto, cpu, cuda or cuda:N"),
    ("tune.space.conv1_filters is []", "a list of at least one value"),
    ("tune.space.conv1_filters is 32", "a list"),
    ("explain.kernel_shap.coalitions is 8193", "less than or equal to 8192"),
    ("explain.kernel_shap.tolerance is 0.0", "greater than 0 or null"),
    ("score.margins is [0, 1]", "a list of at least 3 values"),
]


@pytest.mark.parametrize(("value", "allowed"), WRONG_VALUES)
def test_a_wrong_value_is_one_sentence_with_key_value_and_what_is_allowed(value, allowed):
    assert refusal(value.replace(" is ", "=", 1)) == f"{value}, but must be {allowed}"


REGEX_ERROR = "(missing ), unterminated subpattern at position 4), and a table's name ends in .csv"
SENTENCES = {
    "score.deletion=[mean, blur, grey]": "score.deletion.2 is 'grey', but must be 'mean', 'blur' or 'black'",
    "tune.space.conv1_filters=[8, 1.5]": "tune.space.conv1_filters.1 is 1.5, but must be a whole number",
    r"data.groups=part\d_": (
        r"data.groups is 'part\\d_': a regular expression must have one group in parentheses, and it has 0"
    ),
    "data.groups=part(": f"data.groups is 'part(': as a regular expression it is wrong {REGEX_ERROR}",
    "model.conv1_kernel_size=4": (
        "model.conv1_kernel_size is 4: a kernel size must be odd, so that 'same' padding is symmetric"
    ),
    "tune.space.sgd_lr={low: 2.0, high: 1.0, log: true}": "tune.space.sgd_lr: low (2.0) must not be above high (1.0)",
    "tune.space.sgd_lr={low: 0.0, high: 1.0, log: true}": "tune.space.sgd_lr: low (0.0) must be above 0 on a log scale",
    "tune.space.dropout_1={low: 0.1, high: 1.5, log: false}": "tune.space.dropout_1: high (1.5) must be below 1",
    "explain.kernel_shap.coalitions=149": (
        "explain: kernel_shap.coalitions is 149: it must be at least three times superpixels.segments, 150"
    ),
    "explain.occlusion.stride=9": (
        "explain.occlusion: stride is 9: it must not be above window, 8, or pixels would never be covered"
    ),
    "explain.explainers=[lime, lime]": "explain.explainers is ['lime', 'lime']: must not name one twice",
    "score.robustness.noise=[0.1, 0.1]": "score.robustness.noise is [0.1, 0.1]: must not name one twice",
    "score.road.shares=[0.5, 0.3, 0.7]": "score.road.shares is [0.5, 0.3, 0.7]: the numbers must rise",
    "explain.lime.stability.samples=[60, 60]": "explain.lime.stability.samples is [60, 60]: the numbers must rise",
    "score.robustness.images=99": "score: robustness.images is 99: it must not be above images, 60",
}


@pytest.mark.parametrize(("change", "sentence"), SENTENCES.items())
def test_values_that_a_validator_refuses(change, sentence):
    assert refusal(change) == sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("cell=0", "cell is 0, but must be greater than or equal to 1"),
        ("watermark=Z", "watermark is 'Z', but must be 'I', 'O', 'T', 'S' or 'L' or null"),
        ("variant=xor", "watermark is 'T': with data.planted.variant = xor it must be null"),
    ],
)
def test_wrong_values_of_planted_glyphs(change, sentence):
    changes = ["data.planted.watermark=T", f"data.planted.{change}"]
    assert refusal(*changes, study="planted") == f"data.planted.{sentence}"


@pytest.mark.parametrize("path", [("5",), ("study", "5")], ids=".".join)
def test_a_key_that_is_no_text_is_refused(path):
    tree = with_value(complete("digits"), (*path[:-1], 5), 1)
    assert sentence_for(tree) == f"{'.'.join(path)} is not a parameter: every key must be text"


@pytest.mark.parametrize(
    ("path", "nearest", "allowed"),
    [
        (("explain", "lime", "sample"), "samples", "samples, regions, stability"),
        (("data", "planted", "watermarks"), "watermark", "images, cell, variant, background, watermark"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(path, nearest, allowed):
    sentence = f"{'.'.join(path)} is not a parameter; did you mean {nearest}? allowed here: {allowed}"
    assert sentence_for(with_value(base(path), path, 3)) == sentence
