"""The search space: how it may be written, what is refused, and in which order it is drawn."""

from unittest import mock

import pytest
from every_key import ANY_TEXT, SCALARS, complete, few, refusal, with_value
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from glassbox.config import parameters, space, yaml_file
from glassbox.config.space import Option, Searched
from glassbox.core.errors import UserError


class Space(BaseModel):
    model_config = ConfigDict(strict=True)
    options: dict[str, dict[str, Option]]


def options_of(tree: dict) -> dict[str, dict[str, Option]]:
    """The options of a space, by parameter and name."""
    return Space(options=space.parsed(tree)).options


def labels_of(tree: dict) -> list[str]:
    return [searched.label for searched in space.labelled(options_of(tree))]


def keys_in_order(tree: dict) -> list[str]:
    return [searched.key for searched in space.in_order(space.labelled(options_of(tree)))]


RATES = {"slow": {"low": 0.1, "high": 0.2}, "fast": {"low": 1, "high": 2, "when": {"train.optimizer": "sgd"}}}


@pytest.mark.parametrize(
    "tree",
    [
        {"train.learning_rate": RATES, "model.arguments.width": [8, 16]},
        {"train": {"learning_rate": RATES}, "model": {"arguments": {"width": [8, 16]}}},
        {"train": {"learning_rate": RATES}, "model": {"arguments.width": [8, 16]}},
        {"train": {"learning_rate": RATES}, "model": None, "model.arguments": {"width": {"choices": [8, 16]}}},
    ],
    ids=["dotted", "nested", "mixed", "section"],
)
def test_dotted_and_nested_keys_are_the_same(tree):
    assert options_of(tree) == {
        "train.learning_rate": {
            "slow": Option(low=0.1, high=0.2),
            "fast": Option(low=1, high=2, when={"train.optimizer": "sgd"}),
        },
        "model.arguments.width": {"": Option(choices=(8, 16))},
    }


@pytest.mark.parametrize("tree", [None, {}, {"train": None}, {"model": {"arguments": {}}}])
def test_a_space_may_be_empty(tree):
    assert options_of(tree) == {}


@pytest.mark.parametrize(
    ("value", "option"),
    [
        ([True, 1, 1.0, "a", None], Option(choices=(True, 1, 1.0, "a", None))),
        ({"choices": [3], "when": {"train.epochs": [3, 4]}}, Option(choices=(3,), when={"train.epochs": (3, 4)})),
        ({"low": 1, "high": 8, "log": True}, Option(low=1, high=8, log=True)),
        ({"low": 0.5, "high": 0.5, "log": False}, Option(low=0.5, high=0.5)),
    ],
)
def test_one_way_to_draw_a_parameter_needs_no_name(value, option):
    (found,) = options_of({"train.watch": value})["train.watch"].values()
    assert found == option
    assert list(map(type, found.values())) == list(map(type, option.values())), "1, 1.0 and true are three values"


def test_a_list_may_have_a_name_as_well():
    assert options_of({"augment.crop": {"none": [0], "some": [2, 4]}}) == {
        "augment.crop": {"none": Option(choices=(0,)), "some": Option(choices=(2, 4))}
    }


@pytest.mark.parametrize(("ends", "whole"), [((1, 8), True), ((1, 8.0), False), ((1.0, 8.0), False)])
def test_a_range_is_of_whole_numbers_if_both_ends_are(ends, whole):
    assert Option(low=ends[0], high=ends[1]).is_whole == whole
    assert not Option(choices=(1, 8)).is_whole


@pytest.mark.parametrize(
    ("when", "chosen", "holds"),
    [
        ({}, {}, True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {}, False),
        ({"a": [1, 2]}, {"a": 2}, True),
        ({"a": [1, 2], "b": "x"}, {"a": 2, "b": "y"}, False),
        ({"a": None}, {"a": None}, True),
    ],
)
def test_an_option_holds_if_all_that_it_depends_on_has_a_wanted_value(when, chosen, holds):
    assert Option(choices=(1,), when=when).holds(chosen) == holds


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("train.learning_rate={low: 0.1}", "train.learning_rate: it must have either choices, or low and high"),
        ("train.learning_rate={log: true}", "train.learning_rate: it must have either choices, or low and high"),
        (
            "train.learning_rate={low: 0.1, high: 0.2, choices: [0.1]}",
            "train.learning_rate: it must have either choices, or low and high",
        ),
        ("train.learning_rate={low: 2.0, high: 1.0}", "train.learning_rate: low (2.0) must not be above high (1.0)"),
        (
            "train.learning_rate.adam_lr={low: 2.0, high: 1.0}",
            "train.learning_rate.adam_lr: low (2.0) must not be above high (1.0)",
        ),
        (
            "train.learning_rate={low: 0, high: 1.0, log: true}",
            "train.learning_rate: low (0) must be above 0 on a log scale",
        ),
        ("train.optimizer=[sgd, sgd]", "train.optimizer: the choices ['sgd', 'sgd'] must not name one twice"),
        (
            "train.optimizer={choices: [sgd], log: true}",
            "train.optimizer: log is true, but with choices it must be false: it is for a range",
        ),
        (
            "train.learning_rate={low: [0.1], other: [0.2]}",
            "train.learning_rate.low is no name of an option: it must be of letters, digits, . _ -, at most 64, and "
            "not choices, low, high, log, when",
        ),
        (
            "train.learning_rate={with sgd: [0.1]}",
            "train.learning_rate.with sgd is no name of an option: it must be of letters, digits, . _ -, at most 64, "
            "and not choices, low, high, log, when",
        ),
        (
            "train.learning_rate.adam_lr.hihg=0.1",
            "train.learning_rate.adam_lr.hihg is not a parameter; did you mean high? allowed here: choices, low, high, "
            "log, when",
        ),
    ],
)
def test_a_way_to_draw_a_parameter_that_is_none_is_refused(change, sentence):
    assert refusal(f"tune.space.{change}") == f"tune.space.{sentence}"


CANNOT = (
    "is not a parameter that can be searched; allowed here: those of model, train, augment, like train.learning_rate "
    "or model.arguments.NAME"
)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ("{conv1_filters: [8]}", f"tune.space.conv1_filters {CANNOT}"),
        ("{data: {limit: [8]}}", f"tune.space.data {CANNOT}"),
        ("{data.limit: [8]}", f"tune.space.data.limit {CANNOT}"),
        ("{train.: [8]}", f"tune.space.train. {CANNOT}"),
        (r'{"a\nb": [8]}', rf"tune.space.'a\nb' {CANNOT}"),
        ("{train: {5: [8]}}", "tune.space.train.5 is not a parameter: every key must be text"),
        ("{train.rho: [0.1], train: {rho: [0.2]}}", "tune.space.train.rho is there twice, dotted and nested"),
        (
            "{train.rho: {a: [0.1]}, train.momentum: {a: [0.2]}}",
            "tune.space: a names two options; give one of them another name",
        ),
        (
            "{train.rho: [0.1], train.momentum: {rho: [0.2]}}",
            "tune.space: rho names two options; give one of them another name",
        ),
        (
            "{train.rho: {choices: [0.1], when: {train.rho: 0.1}}}",
            "tune.space: the conditions (when) of train.rho must not go in a circle",
        ),
        (
            "{train.rho: {choices: [0.1], when: {train.epochs: 1}}, train.epochs: {choices: [1], when: "
            "{train.patience: 1}}, train.patience: {choices: [1], when: {train.epochs: 1}}, train.warmup: [0.1]}",
            "tune.space: the conditions (when) of train.epochs, train.patience must not go in a circle",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(tree, sentence):
    assert refusal(f"tune.space={tree}") == sentence


KEYS = st.sampled_from(["train", "model", "arguments", "train.rho", "learning_rate", "x", "choices", "low", "when", ""])
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | ANY_TEXT, inner, max_size=4)
)


@pytest.mark.parametrize(
    "path", ["tune.space", "tune.space.train.rho", "tune.space.train.optimizer", "model.arguments"]
)
def test_any_content_of_a_free_section_is_valid_or_refused_in_one_sentence(path):
    @given(TREES)
    @settings(few, max_examples=200)
    def take(value):
        tree = with_value(complete("planted"), ("tune", "space"), complete("digits")["tune"]["space"])
        tree = with_value(tree, tuple(path.split(".")), value)
        with mock.patch.object(yaml_file, "read", return_value=tree):
            try:
                parameters.read("params.yaml")
            except UserError as error:
                sentence = str(error)
                assert sentence.startswith((f"params.yaml: {path}", "params.yaml: tune.space: ")), sentence
                assert sentence.isprintable()
                assert len(sentence) < 1000

    take()


def test_a_label_is_the_options_name_or_the_shortest_end_of_the_key_that_no_other_has():
    assert labels_of({"train": {"epochs": [1], "rho": {"small": [0.1]}}}) == ["epochs", "small"]
    assert labels_of({"train.patience": [1], "model.arguments.patience": [2]}) == [
        "train.patience",
        "arguments.patience",
    ]


def test_an_option_is_drawn_after_those_that_it_depends_on_and_otherwise_as_in_the_file():
    def option(*parents: str) -> dict:
        return {"choices": [1], "when": dict.fromkeys(parents, 1)}

    tree = {
        "train.rho": option("train.epochs", "data.limit"),
        "train.warmup": [1],
        "train.epochs": option("train.patience"),
        "train.patience": {"a": option(), "b": option("train.warmup")},
        "augment.crop": [1],
    }
    assert keys_in_order(tree) == [
        "train.warmup", "train.patience", "augment.crop", "train.patience", "train.epochs", "train.rho",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "given", "case"),
    [
        ([1], {}, ""),
        ({"a": {"choices": [1], "when": {"train.optimizer": "adam"}}}, {}, "train.optimizer = sgd"),
        ({"a": {"choices": [1], "when": {"train.optimizer": ["adam", "sgd"]}}}, {}, ""),
        ({"a": {"choices": [1], "when": {"train.keep": "best"}}}, {"train.keep": "best"}, ""),
        ({"a": {"choices": [1], "when": {"train.keep": "best"}}}, {"train.keep": "last"}, "train.keep = last"),
        ({"a": {"choices": [1], "when": {"train.warmup": 0.1}}}, {}, ""),  # a range
        (
            {
                "a": {"choices": [1], "when": {"train.keep": "best"}},
                "b": {"choices": [1], "when": {"train.optimizer": "sgd"}},
            },
            {"train.keep": "last"},
            "train.keep = last, train.optimizer = adam",
        ),
    ],
)
def test_what_no_option_covers_is_told(options, given, case):
    tree = {"train.rho": options, "train.optimizer": ["adam", "sgd"], "train.warmup": {"low": 0.1, "high": 0.2}}
    assert space.not_covered("train.rho", options_of(tree), given) == case


def test_a_space_as_it_stands_in_the_file_is_parsed_to_the_same(params):
    tree = params.tune.model_dump(exclude_unset=True)["space"]
    assert tree["model.arguments.conv1_filters"] == (16, 32)
    assert tree["train.learning_rate"]["adam_lr"] == {
        "low": 1e-5, "high": 1e-2, "log": True, "when": {"train.optimizer": "adam"},
    }  # fmt: skip
    assert options_of(tree) == params.tune.space


def test_the_shipped_space_has_the_papers_names(params):
    options = params.tune.options
    assert options[0] == Searched("model.arguments.conv1_filters", "conv1_filters", Option(choices=(16, 32)))
    names = {searched.label for searched in options}
    assert {
        "adam_lr",
        "sgd_lr",
        "rmsprop_lr",
        "sgd_momentum",
        "rmsprop_rho",
        "optimizer",
        "leaky_relu_alpha_3",
    } <= names
    assert len(options) == len(names) == 24
