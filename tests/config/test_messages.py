"""The sentences that refuse wrong values and keys."""

import pytest
from every_key import base, complete, refusal, sentence_for, with_value

NAMES = (
    "cnn, fast_cnn, exported, onnx, torchvision/NAME, timm/NAME, or python:MODULE:FUNCTION of the folder networks/, "
    "like timm/resnet18 or python:small:build"
)
PLAIN = "a number, text, true, false, null, or a list or section of these"
A_SPACE = (
    "a list of values, a range like {low: 0.1, high: 0.5, log: false}, or several of these by name, each with the "
    "condition under which it is drawn (when)"
)
COLOURS = (
    "'data', 'imagenet', 'half', 'none', 'weights', or [mean, deviation], each a number from 0 to 1 or a list of three "
    "of them, the deviation above 0, or 'tuned'"
)
GPUS = "a whole number from 0 to 64, or a share of one GPU, above 0 and below 1"
WRONG_VALUES = [
    ("train.epochs is -1", "greater than or equal to 0 or 'tuned'"),
    ("train.epochs is 'ten'", "a whole number or 'tuned'"),
    ("train.epochs is 2.5", "a whole number or 'tuned'"),
    ("train.epochs is true", "a whole number or 'tuned'"),
    ("train.epochs is null", "a whole number or 'tuned'"),
    ("train.epochs is 2001-01-01", "a whole number or 'tuned'"),
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
    ("train.class_weights is 'even'", "'balanced' or 'tuned' or null"),
    ("train.sampling is 'even'", "'shuffle' or 'balanced' or 'tuned'"),
    ("score.draw is 'classes'", "'random' or 'by_class'"),
    ("data.drop_duplicates is 1", "true or false"),
    ("compute.device is 'gpu'", "auto, cpu, cuda or cuda:N"),
    ("tune.objective is 'f1'", "'accuracy', 'loss' or 'macro_f1'"),
    ("tune.second_objective is 'seconds'", "'forward_ms' or 'parameters' or null"),
    ("train.momentum is 1.0", "less than 1 or 'tuned' or null"),
    ("augment.validation_and_test is 'tuned'", "true or false"),
    ("model.name is 'resnet18'", f"{NAMES} or 'tuned'"),
    ("model.name is 'keras/resnet50'", f"{NAMES} or 'tuned'"),
    ("model.name is 'python:../small:build'", f"{NAMES} or 'tuned'"),
    ("model.name is null", "text or 'tuned'"),
    ("model.normalization is 'mean'", COLOURS),
    ("model.normalization is [0.5, 0]", COLOURS),
    ("model.normalization is [0.5, 0.2, 0.1]", COLOURS),
    ("model.normalization is [[0.5, 0.5], 0.2]", COLOURS),
    ("model.arguments is 3", "a section of keys or null"),
    ("model.arguments.conv1_filters is 2001-01-01", PLAIN),
    ("model.arguments.conv1_filters is .nan", "a finite number"),
    ("tune.space is 3", "a section of keys"),
    ("tune.space.train is 3", "a section of keys"),
    ("tune.space.model.arguments is [1, 2]", "a section of keys"),
    ("tune.space.train.optimizer is []", "a list of at least one value"),
    ("tune.space.train.optimizer is 'adam'", A_SPACE),
    ("tune.space.train.learning_rate is {'high': 0.1, 'lwo': 0.01}", A_SPACE),
    ("tune.space.train.learning_rate.adam_lr.low is 'small'", "a finite number or null"),
    ("tune.space.train.learning_rate.adam_lr.high is .inf", "a finite number or null"),
    ("tune.space.train.learning_rate.adam_lr.log is 1", "true or false"),
    ("tune.space.train.learning_rate.adam_lr.when is 3", "a section of keys"),
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
    "tune.space.train.optimizer=[adam, 2001-01-01]": (
        "tune.space.train.optimizer.1 is 2001-01-01, but must be true or false or a number or text"
    ),
    "model.arguments.conv1_filters=[1, {a: 2001-01-01}]": (
        f"model.arguments.conv1_filters.1.a is 2001-01-01, but must be {PLAIN}"
    ),
    r'model.arguments.conv1_filters="\ud800"': (
        r"model.arguments.conv1_filters is '\ud800', but must be writable as JSON"
    ),
    "model.arguments={a-b: 1}": (
        "model.arguments.a-b is not a parameter: every key must be of letters, digits and _, and at most 64 of these"
    ),
    "model.arguments={5: 1}": "model.arguments.5 is not a parameter: every key must be text",
    "model.arguments={a: {5: 1}}": "model.arguments.a.5 is not a parameter: every key must be text",
    r"data.groups=part\d_": (
        r"data.groups is 'part\\d_': a regular expression must have one group in parentheses, and it has 0"
    ),
    "data.groups=part(": f"data.groups is 'part(': as a regular expression it is wrong {REGEX_ERROR}",
    "data.mask_values=[crack]": (
        "data.mask_values.0 is 'crack': must be CLASS:VALUE, like crack:2, with a whole number of at most 9 digits"
    ),
    "data.masks=_mask.png": (
        "data.masks is '_mask.png': with data.source = digits it must be null; only images in files have masks in files"
    ),
    "data.mask_values=[crack:2]": "data.mask_values is not empty: with data.masks = null it must be []",
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
        (
            ("data", "planted", "watermarks"),
            "watermark",
            "images, cell, variant, background, watermark, mark, mark_share",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(path, nearest, allowed):
    sentence = f"{'.'.join(path)} is not a parameter; did you mean {nearest}? allowed here: {allowed}"
    assert sentence_for(with_value(base(path), path, 3)) == sentence
