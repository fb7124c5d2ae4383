import base64
import copy
import math
import re
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
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
        ("tune.storage", 5, "tune.storage is 5, but must be text or null"),
        *[
            (
                "tune.storage",
                given,
                f"tune.storage is '{shown}', but must be postgresql+psycopg://[USER@]HOST[:PORT]/DATABASE (a password "
                "belongs in PGPASSWORD or ~/.pgpass) or null",
            )
            for given, shown in [
                ("sqlite:///search.db", "sqlite:///search.db"),
                ("postgresql://db/x", "postgresql://db/x"),
                ("postgresql+psycopg://db:5432", "postgresql+psycopg://db:5432"),
                ("postgresql+psycopg://db/x?sslmode=require", "postgresql+psycopg://db/x?sslmode=require"),
                ("postgresql+psycopg://me:se:cr/et@db/x", "postgresql+psycopg://me:***@db/x"),
                ("postgresql+psycopg://:secret@db/x", "postgresql+psycopg://:***@db/x"),
                (f"postgresql+psycopg://me:{'secret' * 99}@db/x", "postgresql+psycopg://me:***@db/x"),
            ]
        ],
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
            {"train.class_weights": "balanced", "train.sampling": "balanced"},
            "train.class_weights is balanced: with train.sampling = balanced it must be null, for each of the two "
            "alone makes every class count the same",
        ),
        (
            {"data.groups": "groups.csv"},
            "data.groups is 'groups.csv': with data.source = digits it must be null; only images in files have names",
        ),
        (
            {"train.head_epochs": 9, "train.epochs": 8},
            "train.head_epochs is 9: it must not be above train.epochs, 8",
        ),
        (
            {"explain.occlusion.stride": 9},
            "explain.occlusion: stride is 9: it must not be above window, 8, or pixels would never be covered",
        ),
        (
            {"explain.explainers": "[occlusion]", "explain.occlusion.window": 32},
            "explain.occlusion.window is 32: with data.image_size = 32 it must be below 32, or one square would cover "
            "the whole image",
        ),
        (
            {"score.robustness.shift": "[2, 32]"},
            "score.robustness.shift has 32: with data.image_size = 32 it must be below 32, or nothing of the image "
            "would be left",
        ),
        (
            {"explain.superpixels.segments": 65, "data.image_size": 8, "explain.kernel_shap.coalitions": 200},
            "explain.superpixels.segments is 65: with data.image_size = 8 it must not be above 64, the number of "
            "pixels",
        ),
        (
            {"data.image_size": 10},
            "explain.superpixels.segments is 50, but with data.image_size = 10 SLIC makes 100 regions of it, more than "
            "KernelSHAP has coalitions for: take 44 or 67",
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
    from glassbox.data.sources import planted

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
        ("score.robustness.images=99", "score: robustness.images is 99: it must not be above images, 60"),
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


# What follows asks every key of the schema, for which the JSON schema is read: it says what fits without the code that
# is tested here.
SCHEMA = config.Params.model_json_schema()
few = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
Path_ = tuple[str, ...]


@cache
def complete(study: str) -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / "studies" / f"{study}.yaml").read_text())


def base(path: Path_) -> dict:
    """A right file that has this key."""
    return complete("planted" if path[:2] == ("data", "planted") else "digits")


def alternatives(schema: dict) -> list[dict]:
    """What a value may be, references followed."""
    if "$ref" in schema:
        return [SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]]
    return [one for member in schema["anyOf"] for one in alternatives(member)] if "anyOf" in schema else [schema]


def walk(schema: dict = SCHEMA, path: Path_ = ()) -> dict[Path_, dict]:
    """Every key at every level, with its schema; sections, too."""
    found = {}
    for name, own in schema["properties"].items():
        found[(*path, name)] = own
        for section in alternatives(own):
            if section.get("type") == "object":
                found |= walk(section, (*path, name))
    return found


EVERY = walk()
SECTIONS = {path: own for path, own in EVERY.items() if any(a.get("type") == "object" for a in alternatives(own))}
LEAVES = {path: own for path, own in EVERY.items() if path not in SECTIONS}


def test_the_walk_meets_every_key():
    for study in ("digits", "planted"):
        keys = {tuple(key.split(".")) for key in config.flatten(complete(study))}
        assert keys <= set(LEAVES)
        assert set(LEAVES) - keys <= {path for path in LEAVES if path[:2] == ("data", "planted")}


def within(value: float, schema: dict) -> bool:
    return (
        schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    )  # fmt: skip


def fits(value: Any, schema: dict) -> bool:
    """Whether a value of YAML is what the schema asks for."""
    for one in alternatives(schema):
        kind = one.get("type")
        if "enum" in one or "const" in one:
            good = isinstance(value, str) and value in one.get("enum", [one.get("const")])
        elif kind == "integer":
            good = type(value) is int and within(value, one)
        elif kind == "number":
            good = type(value) in (int, float) and abs(value) < math.inf and within(value, one)
        elif kind == "string":
            whole = re.fullmatch(one.get("pattern", r"[^\ud800-\udfff]*"), value) if isinstance(value, str) else None
            good = whole and one.get("minLength", 0) <= len(value) <= one.get("maxLength", math.inf)
        elif kind == "array":
            good = isinstance(value, list) and len(value) >= one.get("minItems", 0)
            good = good and all(fits(item, one["items"]) for item in value)
        else:
            good = {"boolean": bool, "null": type(None), "object": dict}[kind] is type(value)
        if good:
            return True
    return False


ANY_TEXT = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["", " ", "\0", "\ud800", "a\u2028b", "\u202e", "x" * 10_000]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(2**31, 2**70) | st.floats() | ANY_TEXT
    | st.binary(max_size=9) | st.dates() | st.sampled_from([10**400, float("nan"), float("-inf"), 1e308])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=6
)


def near(schema: dict) -> list[Any]:
    """Values just outside of the bounds, and right ones in a wrong wrapping."""
    found: list[Any] = []
    for one in alternatives(schema):
        step = 1 if one.get("type") == "integer" else 1e-9
        found += [one[name] for name in ("exclusiveMinimum", "exclusiveMaximum") if name in one]
        found += [one["minimum"] - step] if "minimum" in one else []
        found += [one["maximum"] + step] if "maximum" in one else []
        found += [name.upper() for name in one.get("enum", [])] + [[name] for name in one.get("enum", [])]
        found += [[], {"nonsense": 1}] + ([[outside] * 3 for outside in near(one["items"])] if "items" in one else [])
    return found


def wrong(schema: dict) -> st.SearchStrategy:
    is_section = any(one.get("type") == "object" for one in alternatives(schema))
    values = (st.sampled_from(near(schema)) | ANYTHING).filter(lambda value: not fits(value, schema))
    return values.filter(lambda value: not isinstance(value, dict)) if is_section else values


def right(schema: dict) -> st.SearchStrategy:
    def of(one: dict) -> st.SearchStrategy:
        low, high = one.get("minimum", one.get("exclusiveMinimum")), one.get("maximum", one.get("exclusiveMaximum"))
        kind = one.get("type")
        if "enum" in one or "const" in one:
            return st.sampled_from(one.get("enum", [one.get("const")]))
        if kind in ("integer", "number"):
            return (st.integers if kind == "integer" else st.floats)(low, high).filter(lambda value: within(value, one))
        if kind == "string":
            made = st.from_regex(one["pattern"], fullmatch=True) if "pattern" in one else st.text()
            return made.filter(lambda value: fits(value, one))
        if kind == "array":
            return st.lists(of(one["items"]), min_size=one.get("minItems", 0), max_size=5)
        return st.booleans() if kind == "boolean" else st.none()

    return st.one_of([of(one) for one in alternatives(schema)])


def with_value(tree: Any, path: Path_, value: Any) -> Any:
    """A copy of the tree with another value at a key; without the key, where the value is `...`."""
    name, *rest = path
    if value is ... and not rest:
        return {key: inner for key, inner in tree.items() if key != name}
    return {**tree, name: with_value(tree[name], tuple(rest), value) if rest else value}


def sentence_for(tree: Any) -> str:
    """That with which a tree is refused."""
    with mock.patch.object(config, "_parse", return_value=tree), pytest.raises(UserError) as refused:
        config.read("params.yaml")
    sentence = str(refused.value)
    assert sentence.startswith("params.yaml")
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence.removeprefix("params.yaml: ")


@pytest.mark.parametrize("path", EVERY, ids=".".join)
def test_every_wrong_value_of_every_key_is_named_with_its_key(path):
    @given(wrong(EVERY[path]))
    @few
    def refuse(value):
        sentence = sentence_for(with_value(base(path), path, value))
        assert sentence.startswith(".".join(path))
        assert "must be" in sentence

    refuse()


# Keys whose right values can still contradict others: a rule between keys refuses them.
RULED = re.compile(
    r"data\.(source|image_size|planted\.(variant|watermark|background)|convert|groups)|model\.(name|weights|stem|dropout|.*kernel_size)"
    r"|augment\.resize_first|train\.(epochs|head_epochs|workers|class_weights|sampling)|tune\.(n_trials|gpus)|compute\.(engine|gpus)|tune\.space\..*(kernel_size|low|high|log)"
    r"|explain\.(images|explainers|superpixels\.segments|kernel_shap\.coalitions|lime\.stability\.samples|occlusion\.(window|stride))"
    r"|score\.(images|matched_evaluations|deletion|insertion|margins|(robustness|randomization)\.images"
    r"|correlation\.shares|road\.shares|robustness\.(noise|brightness|shift|attack)|randomization\.bins)"
)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"device": "cuda"},
            "compute.device is cuda: with compute.engine = ray and compute.gpus = 0 it must be auto or cpu",
        ),
        (
            {"device": "cpu", "gpus": 1},
            "compute.device is cpu: with compute.engine = ray and compute.gpus = 1 it must be auto or cuda",
        ),
        (
            {"gpus": 0.25},
            "compute.gpus is 0.25: with train.workers = 2 it must be 0 or a whole number, for those who train together "
            "cannot share a GPU",
        ),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(changes, sentence):
    tree = with_value(base(("compute", "engine")), ("compute", "engine"), "ray")
    for path, value in {("tune", "storage"): "postgresql+psycopg://db/search", ("train", "workers"): 2}.items():
        tree = with_value(tree, path, value)
    for key, value in changes.items():
        tree = with_value(tree, ("compute", key), value)
    assert sentence_for(tree) == sentence


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_right_values_of_every_key_stay_right(path):
    @given(right(LEAVES[path]))
    @few
    def take(value):
        tree = with_value(base(path), path, value)
        with mock.patch.object(config, "_parse", return_value=tree):
            try:
                taken: Any = config.read("params.yaml")
            except UserError as error:
                refused = str(error)
            else:
                refused = ""
                for name in path:
                    taken = getattr(taken, name)
                assert (list(taken) if isinstance(taken, tuple) else taken) == value
        assert not refused or RULED.fullmatch(".".join(path)), refused
        assert "but must be" not in refused  # which is said of a value that is wrong by itself

    take()


@pytest.mark.parametrize("path", [(), *SECTIONS], ids=lambda path: ".".join(path) or "the file")
def test_an_unknown_key_of_every_section_is_named(path):
    known = alternatives(SECTIONS[path])[0]["properties"] if path else SCHEMA["properties"]
    other = st.none() | st.integers() | st.floats(allow_nan=False) | st.dates() | st.tuples(st.integers())

    @given(ANY_TEXT.filter(lambda key: key not in known) | other, ANYTHING)
    @example(f"{min(known)}s", 1)
    @few
    def refuse(key, value):
        sentence = sentence_for(with_value(base((*path, min(known))), (*path, key), value))
        assert "is not a parameter" in sentence
        if isinstance(key, str) and key and key.isprintable() and len(key) < 100:
            assert sentence.startswith(".".join([*path, key]))

    refuse()


@pytest.mark.parametrize("path", EVERY, ids=".".join)
def test_every_missing_key_is_named(path):
    if path == ("data", "planted"):
        sentence = sentence_for(with_value(complete("planted"), path, ...))
        assert sentence == "data.planted is missing: data.source = planted needs it, see studies/planted.yaml"
        return
    sentence = sentence_for(with_value(base(path), path, ...))
    assert f"{'the section ' if len(path) == 1 else ''}{'.'.join(path)} is missing" in sentence


def written(value: Any) -> str:
    """YAML of any value that YAML can say, on one line."""
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    if isinstance(value, bytes):
        return f'!!binary "{base64.b64encode(value).decode()}"'
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'? {written(key)} : {written(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    return hex(value) if isinstance(value, int) and value > 2**63 else str(value)


def read_text(text: str | bytes, folder: Path) -> str | None:
    """The sentence with which a file of this content is refused; None where it is right."""
    file = folder / "p.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        config.read(file)
    except UserError as error:
        sentence = str(error).removeprefix(f"{file}: ")
    else:
        return None
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("params")


@given(st.sampled_from(sorted(EVERY)).flatmap(lambda path: st.tuples(st.just(path), wrong(EVERY[path]))))
@settings(few, max_examples=30)
def test_a_wrong_value_in_a_real_file(folder, drawn):
    path, value = drawn
    assert read_text(written(with_value(base(path), path, value)), folder).startswith(".".join(path))


FRAGMENTS = [
    "study", "data", ": ", "\n", "  ", "\t", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "? ", "| ", "> ", "'", '"',
    "\\", "#", "%YAML 1.1\n---\n", "---\n", "...\n", "<<: ", "=", "!!int ", "!!float ", "!!bool ", "!!set ", "!!omap ",
    "!!binary ", "!!timestamp ", "!!python/object/apply:os.system ", "!!merge ", "!x ", "1e3", "0x", "2001-99-99",
    "2001-01-01", "\ufeff", "\0", "\ud800", '"\\U00110000"', "1" * 5000, "a" * 500,
]  # fmt: skip


@given(st.binary(max_size=60) | st.text(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
@settings(few, max_examples=300)
def test_any_content_of_the_file_is_refused_in_one_sentence(folder, content):
    assert read_text(content, folder)


@given(st.data())
@settings(few, max_examples=20)
def test_a_damaged_file_is_right_or_refused_in_one_sentence(folder, data):
    text = (ROOT / "params.yaml").read_text()
    place = data.draw(st.integers(0, len(text)))
    read_text(
        text[:place] + data.draw(st.sampled_from(["", *FRAGMENTS])) + text[place + data.draw(st.integers(0, 9)) :],
        folder,
    )
    read_text(text[:place], folder)


def laughs(of: str, form: str) -> str:
    """Nine times nine times ... nine times the same, in a few hundred letters."""
    parts = (f"&a{n} " + form.format(", ".join([f"*a{n - 1}" if n else of] * 9)) for n in range(10))
    return f"[{', '.join(parts)}]"


WORDS, MERGES = laughs("lol", "[{}]"), laughs("{a: b}", "{{<<: [{}]}}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("convert", WORDS), ("path", WORDS), ("limit", WORDS), ("convert", MERGES), ("convert", "&me [*me]"),
        ("path", "&me {path: *me}"), ("path", "[" * 1000 + "]" * 1000), ("limit", "!!int many"),
        ("limit", "0x" + "f" * 100_000), ("limit", "9" * 100_000), ("path", "2001-99-99"), ("path", '"\\U00110000"'),
        ("path", "!!python/object/apply:os.system [touch MARK]"), ("path", "!!python/name:os.system"),
        ("path", "!!python/object/new:os.system [touch MARK]"),
    ],
)  # fmt: skip
def test_yaml_that_means_harm_is_refused_and_not_run(key, value, tmp_path):
    text, mark = (ROOT / "params.yaml").read_text(), tmp_path / "mark"
    line = f"  {key}: {value.replace('MARK', str(mark))}"
    sentence = read_text(re.sub(rf"^  {key}: .*", lambda _: line, text, flags=re.MULTILINE), tmp_path)
    assert re.match(rf"data\.{key}(\.0)? is |{re.escape(str(tmp_path))}/p.yaml is not YAML: ", sentence)
    assert not mark.exists()


@pytest.mark.parametrize("key", ["", "data.path=", "study.seed=", "explain.images=", "data="])
def test_a_change_is_right_or_refused_in_one_sentence(key):
    @given(ANY_TEXT)
    @settings(few, max_examples=5)
    def change(text):
        try:
            config.edit(ROOT / "params.yaml", [f"{key}{text}"])
        except UserError as error:
            sentence = str(error)
        else:
            sentence = ""
        assert sentence == "" or sentence.isprintable()
        assert len(sentence) < 1000

    change()
