"""All sections together: the shipped studies, and every key of them with right and wrong values."""

import re
from typing import Any
from unittest import mock

import pytest
from conftest import ROOT
from every_key import (
    ANY_TEXT,
    ANYTHING,
    EVERY,
    LEAVES,
    SCHEMA,
    SECTIONS,
    alternatives,
    base,
    complete,
    few,
    refusal,
    right,
    sentence_for,
    with_value,
    wrong,
)
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from glassbox.config import parameters, yaml_file
from glassbox.config.model import CNN_KEYS
from glassbox.config.parameters import Params
from glassbox.core.errors import UserError

STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        keys += leaves(field.annotation, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return keys


@pytest.mark.parametrize("section", ["model", "tune.space"])
def test_what_belongs_to_the_cnn_may_be_missing_only_for_another_network(section, tmp_path):
    key = f"{section}.conv1_filters"
    assert refusal(key, ..., tmp_path) == f"{key} is missing: the network cnn needs it"
    tree = with_value(complete("digits"), tuple(key.split(".")), ...)
    with mock.patch.object(yaml_file, "read", return_value=with_value(tree, ("model", "name"), "resnet18")):
        assert key not in yaml_file.flatten(parameters.read())


def test_params_yaml_is_the_digits_study():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "studies" / "digits.yaml").read_bytes()


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_complete_and_named_by_its_file(study):
    assert parameters.read(study).study.name == study.stem


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_key_has_a_comment(study):
    lines = [line for line in study.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    bare = [line for line in lines if "#" not in line]
    assert bare == [line for line in bare if line.endswith(":")], "only the head of a section may stand alone"
    expected = leaves(Params)
    if parameters.read(study).model.name != "cnn":  # what belongs to that network may be left out
        expected = [leaf for leaf in expected if not set(leaf.split(".")) & set(CNN_KEYS)]
    assert len(lines) - len(bare) >= len(expected) - 2 * sum(".high" in leaf for leaf in expected)


def test_the_walk_meets_every_key():
    for study in ("digits", "planted"):
        keys = {tuple(key.split(".")) for key in yaml_file.flatten(complete(study))}
        assert keys <= set(LEAVES)
        assert set(LEAVES) - keys <= {path for path in LEAVES if path[:2] == ("data", "planted")}


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


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_right_values_of_every_key_stay_right(path):
    @given(right(LEAVES[path]))
    @few
    def take(value):
        tree = with_value(base(path), path, value)
        with mock.patch.object(yaml_file, "read", return_value=tree):
            try:
                taken: Any = parameters.read("params.yaml")
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
