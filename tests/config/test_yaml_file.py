"""The parameter file as YAML: what is refused, and how it is changed."""

import re
from pathlib import Path

import pytest
from conftest import ROOT
from every_key import ANY_TEXT, few
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from glassbox.config import parameters, yaml_file
from glassbox.core.errors import UserError


def test_flatten_names_keys_as_dvc_does(params):
    flat = yaml_file.flatten(params)
    assert flat["train.learning_rate"] == "tuned"
    assert flat["tune.space.train.learning_rate.adam_lr.low"] == 1e-5
    assert flat["tune.space.train.learning_rate.adam_lr.when.train.optimizer"] == "adam"
    assert flat["tune.space.model.arguments.conv1_filters"] == [16, 32]
    assert flat["model.arguments.conv1_filters"] == "tuned"
    assert flat["explain.explainers"][0] == "lime"
    assert flat == yaml_file.flatten(yaml_file.read(ROOT / "params.yaml")), "as it stands in the file"
    assert sorted(yaml_file.flatten(params.train, "train.")) == sorted(key for key in flat if key.startswith("train."))


def test_edit_changes_values_and_keeps_comments():
    text = parameters.edit(ROOT / "params.yaml", ["data.limit=500", "tune.space.model.arguments.conv1_filters=[8, 16]"])
    tree = YAML(typ="safe", pure=True).load(text)
    assert tree["data"]["limit"] == 500
    assert tree["tune"]["space"]["model"]["arguments"]["conv1_filters"] == [8, 16]
    assert "# images in all, stratified by split and class; null = all" in text
    assert "\n  groups: null              # image_folder, what must be in one split" in text


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("train.epochs", "is no change of a parameter: it must be like train.epochs=3"),
        ("train.epoch=3", "train.epoch is not a parameter"),
        ("train.epochs=x", "train.epochs is 'x', but must be a whole number"),
        ("tune.space.train.optimizer=[8", "is no change of a parameter: '[8' is not YAML"),
        ("data.path=@x", "is no change of a parameter: '@x' is not YAML"),
    ],
)
def test_edit_refuses(change, part):
    with pytest.raises(UserError, match=re.escape(part)):
        parameters.edit(ROOT / "params.yaml", [change])


def read_text(text: str | bytes, folder: Path) -> str | None:
    """The sentence that refuses a file with this content; None if it is valid."""
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


FRAGMENTS = [
    *(
        "study",
        "data",
        ": ",
        "\n",
        "  ",
        "\t",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "? ",
        "| ",
        "> ",
        "'",
        '"',
        "\\",
        "#",
        "=",
    ),
    *("&a ", "*a", "<<: ", "%YAML 1.1\n---\n", "---\n", "...\n", "!!int ", "!!float ", "!!bool ", "!!set ", "!!omap "),
    *("!!binary ", "!!timestamp ", "!!python/object/apply:os.system ", "!!merge ", "!x ", "1e3", "0x", "2001-99-99"),
    *("2001-01-01", "\ufeff", "\0", "\ud800", '"\\U00110000"', "1" * 5000, "a" * 500),
]


@given(st.binary(max_size=60) | st.text(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
@settings(few, max_examples=300)
def test_any_content_of_the_file_is_refused_in_one_sentence(folder, content):
    assert read_text(content, folder)


@given(st.data())
@settings(few, max_examples=20)
def test_a_damaged_file_is_valid_or_refused_in_one_sentence(folder, data):
    text = (ROOT / "params.yaml").read_text()
    place, removed = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 9))
    inserted = data.draw(st.sampled_from(["", *FRAGMENTS]))
    read_text(text[:place] + inserted + text[place + removed :], folder)
    read_text(text[:place], folder)


def laughs(value: str, form: str) -> str:
    """9 ** 10 times the same value, in a few hundred letters."""
    parts = (f"&a{n} " + form.format(", ".join([f"*a{n - 1}" if n else value] * 9)) for n in range(10))
    return f"[{', '.join(parts)}]"


WORDS, MERGES = laughs("lol", "[{}]"), laughs("{a: b}", "{{<<: [{}]}}")


HARMFUL = {
    "convert": [WORDS, MERGES, "&me [*me]"],
    "limit": [WORDS, "!!int many", "0x" + "f" * 100_000, "9" * 100_000, "!!binary AAA=", "!!set {a, b}"],
    "path": [
        *(WORDS, "&me {path: *me}", "[" * 1000 + "]" * 1000, "2001-99-99", '"\\U00110000"'),
        *(f"!!python/object/{tag}:os.system [touch MARK]" for tag in ("apply", "new")),
        "!!python/name:os.system",
    ],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in HARMFUL.items() for value in values])
def test_harmful_yaml_is_refused_and_not_run(key, value, tmp_path):
    text, mark = (ROOT / "params.yaml").read_text(), tmp_path / "mark"
    line = f"  {key}: {value.replace('MARK', str(mark))}"
    sentence = read_text(re.sub(rf"^  {key}: .*", lambda _: line, text, flags=re.MULTILINE), tmp_path)
    assert re.match(rf"data\.{key}(\.0)? is |{re.escape(str(tmp_path))}/p.yaml is not YAML: ", sentence)
    assert not mark.exists()


@given(st.sampled_from(["", "data.path=", "study.seed=", "explain.images=", "data="]), ANY_TEXT)
@settings(few, max_examples=15)
def test_a_change_is_valid_or_refused_in_one_sentence(key, text):
    try:
        parameters.edit(ROOT / "params.yaml", [f"{key}{text}"])
    except UserError as error:
        sentence = str(error)
    else:
        sentence = "valid"
    assert sentence.isprintable()
    assert len(sentence) < 1000
