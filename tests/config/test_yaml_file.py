"""The parameter file as YAML: what is read of it, what is refused, and how it is changed."""

import base64
import math
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from every_key import ANY_TEXT, EVERY, base, few, with_value, wrong
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from glassbox.config import parameters, yaml_file
from glassbox.core.errors import UserError


@pytest.mark.parametrize("change", ["tune.space.conv1_filters=[8", "data.path=@x"])
def test_a_change_that_is_not_yaml_is_refused(change):
    with pytest.raises(UserError, match=r"is no change of a parameter: .* is not YAML"):
        parameters.edit(ROOT / "params.yaml", [change])


@pytest.mark.parametrize(
    ("text", "part"),
    [("[1, 2]", "must hold the sections"), ("a: [1", "is not YAML"), ("study: {name: a, name: b}", "is not YAML")],
)
def test_a_file_that_holds_no_parameters(text, part, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=part):
        parameters.read(file)
    with pytest.raises(UserError, match="is missing"):
        parameters.read(tmp_path / "none.yaml")


def test_flatten_names_keys_as_dvc_does(params):
    flat = yaml_file.flatten(params)
    assert flat["train.learning_rate"] == "tuned"
    assert flat["tune.space.adam_lr.low"] == 1e-5
    assert flat["explain.explainers"][0] == "lime"
    assert sorted(yaml_file.flatten(params.train, "train.")) == sorted(key for key in flat if key.startswith("train."))


def test_edit_changes_values_and_keeps_comments():
    text = parameters.edit(
        ROOT / "params.yaml", ["train.epochs=7", "data.limit=500", "tune.space.conv1_filters=[8, 16]"]
    )
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
        parameters.edit(ROOT / "params.yaml", [change])


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
        parameters.read(file)
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
            parameters.edit(ROOT / "params.yaml", [f"{key}{text}"])
        except UserError as error:
            sentence = str(error)
        else:
            sentence = ""
        assert sentence == "" or sentence.isprintable()
        assert len(sentence) < 1000

    change()
