import copy
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from glassbox import config
from glassbox.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


@pytest.fixture
def tree() -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())


def refusal(tree: dict, key: str, value: object, tmp_path: Path) -> str:
    """The sentence with which a file with one wrong value is refused."""
    changed = copy.deepcopy(tree)
    *path, last = key.split(".")
    section = changed
    for part in path:
        section = section[part]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    file = tmp_path / "params.yaml"
    YAML(typ="safe").dump(changed, file)
    with pytest.raises(UserError) as error:
        config.read(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("train.epochs", 0, "train.epochs is 0, but must be greater than or equal to 1"),
        ("train.epochs", "ten", "train.epochs is 'ten', but must be a whole number"),
        ("train.epochs", 2.5, "train.epochs is 2.5, but must be a whole number"),
        ("train.epochs", True, "train.epochs is True, but must be a whole number"),
        ("train.epochs", None, "train.epochs is None, but must be a whole number"),
        ("train.epochs", ..., "train.epochs is missing"),
        ("train", ..., "the section train is missing"),
        ("train", 3, "train is 3, but must be a section of keys"),
        ("train.learning_rate", "fast", "train.learning_rate is 'fast', but must be a number or 'tuned'"),
        ("train.learning_rate", float("nan"), "train.learning_rate is nan, but must be a finite number or 'tuned'"),
        ("train.learning_rate", -0.1, "train.learning_rate is -0.1, but must be greater than 0 or 'tuned'"),
        ("data.limit", "few", "data.limit is 'few', but must be a whole number or null"),
        (
            "data.source",
            "mnist",
            "data.source is 'mnist', but must be 'digits', 'cifar10', 'image_folder' or 'planted'",
        ),
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
def test_a_wrong_value_is_one_sentence_with_key_value_and_what_is_allowed(tree, key, value, sentence, tmp_path):
    assert refusal(tree, key, value, tmp_path) == sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"data.source": "image_folder"},
            "data.path is null: with data.source = image_folder it must name the folder of the images",
        ),
        (
            {"data.source": "cifar10", "data.image_size": 64},
            "data.image_size is 64: with data.source = cifar10 it must be 32",
        ),
        (
            {"data.source": "planted"},
            "data.planted is missing: data.source = planted needs it, see studies/planted.yaml",
        ),
        ({"model.stem": "cifar"}, "model.stem is 'cifar': with model.name = cnn it must be imagenet"),
        ({"model.dropout": 0.5}, "model.dropout is 0.5: with model.name = cnn it must be 0.0"),
        ({"model.weights": "a.pth"}, "model.weights is 'a.pth': with model.name = cnn it must be null"),
        (
            {"augment.resize_first": "true"},
            "augment.resize_first is true: model.input_size must then be a number, not null",
        ),
        (
            {"train.head_epochs": 9, "train.epochs": 8},
            "train.head_epochs is 9: it must not be above train.epochs, 8",
        ),
        (
            {"tune.n_trials": 0, "model.activation_func1": "relu", "train.optimizer": "sgd"},
            "model.conv1_filters, model.conv1_kernel_size, model.l2_reg_1, model.pool_size_1, model.dropout_1, "
            "model.conv2_filters, model.conv2_kernel_size, model.activation_func2, model.l2_reg_2, model.pool_size_2, "
            "model.dense_units_1, model.dense_l2_reg_1, model.activation_func_dense, model.dense_dropout_1, "
            "train.learning_rate, train.momentum must be given a value: 'tuned' stands there, but tune.n_trials is 0",
        ),
    ],
)
def test_sections_that_do_not_go_together_are_refused_before_any_work(changes, sentence):
    with pytest.raises(UserError) as refused:
        config.edit(ROOT / "params.yaml", [f"{key}={value}" for key, value in changes.items()])
    assert str(refused.value) == f"{ROOT / 'params.yaml'}: {sentence}"


PLANTED = ROOT / "studies" / "planted.yaml"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["cell=0"], "data.planted.cell is 0, but must be greater than or equal to 1"),
        (["watermark=Z"], "data.planted.watermark is 'Z', but must be 'I', 'O', 'T', 'S' or 'L' or null"),
        (
            ["watermark=T", "variant=xor"],
            "data.planted.watermark is 'T': with data.planted.variant = xor it must be null",
        ),
    ],
)
def test_wrong_values_of_planted_glyphs_are_refused(changes, sentence):
    with pytest.raises(UserError) as refused:
        config.edit(PLANTED, [f"data.planted.{change}" for change in changes])
    assert str(refused.value) == f"{PLANTED}: {sentence}"


def test_a_key_of_planted_glyphs_must_be_known_and_there(tmp_path):
    text = PLANTED.read_text()
    line = next(line for line in text.splitlines() if line.startswith("    watermark:"))
    for changed, sentence in (
        (text.replace(f"{line}\n", ""), "data.planted.watermark is missing"),
        (
            text.replace(line, f"{line}\n    watermarks: I"),
            "data.planted.watermarks is not a parameter; did you mean watermark? allowed here: images, cell, variant, "
            "background, watermark",
        ),
    ):
        (tmp_path / "p.yaml").write_text(changed)
        with pytest.raises(UserError) as refused:
            config.read(tmp_path / "p.yaml")
        assert str(refused.value) == f"{tmp_path / 'p.yaml'}: {sentence}"


def test_a_watermark_goes_with_any_class_of_the_linear_variant():
    from glassbox.data import planted

    for name in planted.classes_of("linear"):
        assert f"watermark: {name} " in config.edit(PLANTED, [f"data.planted.watermark={name}"])


@pytest.mark.parametrize("change", ["tune.space.conv1_filters=[8", "data.path=@x"])
def test_a_change_that_is_not_yaml_is_refused(change):
    with pytest.raises(UserError, match=r"is no change of a parameter: .* is not YAML"):
        config.edit(ROOT / "params.yaml", [change])


@pytest.mark.parametrize(("before", "key"), [("study:", "5"), ("  seed: 0", "study.5")])
def test_a_key_that_is_no_text_is_refused(before, key, tmp_path):
    text = (ROOT / "params.yaml").read_text()
    indent = before[: len(before) - len(before.lstrip())]
    (tmp_path / "p.yaml").write_text(text.replace(before, f"{indent}5: 1\n{before}", 1))
    with pytest.raises(UserError, match=rf"p.yaml: {key} is not a parameter: every key must be text"):
        config.read(tmp_path / "p.yaml")


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tree, tmp_path):
    sentence = refusal(tree, "explain.lime.sample", 3, tmp_path)
    assert (
        sentence
        == "explain.lime.sample is not a parameter; did you mean samples? allowed here: samples, regions, stability"
    )


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        keys += leaves(field.annotation, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return keys


@pytest.mark.parametrize("key", leaves(config.Params))
def test_no_key_takes_a_mapping_of_nonsense(tree, key, tmp_path):
    assert refusal(tree, key, {"nonsense": 1}, tmp_path).startswith(f"{key}")


@pytest.mark.parametrize(
    ("text", "part"),
    [("[1, 2]", "must hold the sections"), ("a: [1", "is not YAML"), ("study: {name: a, name: b}", "is not YAML")],
)
def test_a_file_that_holds_no_parameters(text, part, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=part):
        config.read(file)
    with pytest.raises(UserError, match="is missing"):
        config.read(tmp_path / "none.yaml")


def test_load_gives_the_values_asked_for_and_they_cannot_be_changed():
    seed, train = config.load("study.seed", "train", file=ROOT / "params.yaml")
    assert (seed, train.patience) == (0, 8)
    assert config.load("study.name", file=ROOT / "params.yaml") == "digits"
    with pytest.raises(ValueError, match="frozen"):
        train.patience = 1


def test_flatten_names_keys_as_dvc_does(params):
    flat = config.flatten(params)
    assert flat["train.learning_rate"] == "tuned"
    assert flat["tune.space.adam_lr.low"] == 1e-5
    assert flat["explain.explainers"][0] == "lime"
    assert sorted(config.flatten(params.train, "train.")) == sorted(key for key in flat if key.startswith("train."))


def test_edit_changes_values_and_keeps_comments():
    text = config.edit(ROOT / "params.yaml", ["train.epochs=7", "data.limit=500", "tune.space.conv1_filters=[8, 16]"])
    tree = YAML(typ="safe", pure=True).load(text)
    assert (tree["train"]["epochs"], tree["data"]["limit"]) == (7, 500)
    assert tree["tune"]["space"]["conv1_filters"] == [8, 16]
    assert "# images in all, stratified by split and class; null = all" in text


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("train.epochs", "no change of a parameter"),
        ("train.epoch=3", "not a parameter"),
        ("train.epochs=x", "whole number"),
    ],
)
def test_edit_refuses(change, part):
    with pytest.raises(UserError, match=part):
        config.edit(ROOT / "params.yaml", [change])


@pytest.mark.parametrize("section", ["model", "tune.space"])
def test_what_belongs_to_the_cnn_may_be_missing_only_for_another_network(tree, section, tmp_path):
    sentence = refusal(tree, f"{section}.conv1_filters", ..., tmp_path)
    assert sentence == f"{section}.conv1_filters is missing: the network cnn needs it"
    tree["model"]["name"] = "resnet18"
    changed = tree["model"] if section == "model" else tree["tune"]["space"]
    del changed["conv1_filters"]
    file = tmp_path / "other.yaml"
    YAML(typ="safe").dump(tree, file)
    assert f"{section}.conv1_filters" not in config.flatten(config.read(file))


def test_params_yaml_is_the_digits_study():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "studies" / "digits.yaml").read_bytes()


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_complete_and_named_by_its_file(study):
    assert config.read(study).study.name == study.stem


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_key_has_a_comment(study):
    lines = [line for line in study.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    bare = [line for line in lines if "#" not in line]
    assert bare == [line for line in bare if line.endswith(":")], "only the head of a section may stand alone"
    expected = leaves(config.Params)
    if config.read(study).model.name != "cnn":  # what belongs to that network may be left out
        expected = [leaf for leaf in expected if not set(leaf.split(".")) & set(config.CNN_KEYS)]
    assert len(lines) - len(bare) >= len(expected) - 2 * sum(".high" in leaf for leaf in expected)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("score.road.shares=[0.5,0.3,0.7]", "score.road.shares is [0.5, 0.3, 0.7]: the shares must rise"),
        ("score.robustness.noise=[0.1,0.1,0.2]", "score.robustness.noise is [0.1, 0.1, 0.2]: must not name one twice"),
        ("score.margins=[0,1]", "score.margins is [0, 1], but must be a list of at least 3 values"),
        ("score.deletion=[mean,blur,grey]", "score.deletion.2 is 'grey', but must be 'mean', 'blur' or 'black'"),
        ("score.robustness.images=99", "score: robustness.images is 99: it must not be above images, 12"),
        (
            "score.matched_evaluations=100",
            "score.matched_evaluations is 100: with kernel_shap it must be at least 1 more",
        ),
    ],
)
def test_wrong_settings_of_the_scorecard_are_refused(change, sentence):
    with pytest.raises(UserError) as error:
        config.edit(ROOT / "params.yaml", [change])
    assert sentence in str(error.value)
