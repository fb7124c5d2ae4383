"""All sections together: the shipped studies, and every key of them with valid and invalid values."""

import re
from typing import Any
from unittest import mock

import every_key
import pytest
from conftest import ROOT
from every_key import base, complete, few, right, sentence_for, with_value, wrong
from hypothesis import example, given
from hypothesis import strategies as st

from glassbox.config import parameters, yaml_file
from glassbox.config.types import TUNED
from glassbox.core.errors import UserError
from glassbox.data.sources import planted
from glassbox.explainers.catalog import EXPLAINERS

STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


def test_params_yaml_is_the_digits_study():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "studies" / "digits.yaml").read_bytes()


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_complete_and_named_by_its_file_and_every_key_has_a_comment(study):
    params = parameters.read(study)
    assert params.study.name == study.stem
    lines = [line for line in study.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    start = next(number for number, line in enumerate(lines) if line.startswith("  space: "))
    lines = [*lines[: start + 1], *lines[lines.index("model:") :]]  # the space names what it draws by itself
    bare = [line for line in lines if "#" not in line]
    assert bare == [line for line in bare if line.endswith(":")], "only the head of a section may stand alone"
    keys = {path for path in every_key.LEAVES if path[:2] != ("data", "planted")}
    assert len(lines) - len(bare) >= len(keys) + len(every_key.FREE) + len(params.model.arguments)
    flat = {tuple(key.split(".")) for key in yaml_file.flatten(complete(study.stem))}
    flat = {path for path in flat if path[:2] not in every_key.FREE}
    assert keys <= flat <= set(every_key.LEAVES), "each key of the file is tested below"


def test_the_schema_names_what_the_packages_have():
    assert set(every_key.EVERY["explain", "explainers"]["items"]["enum"]) == set(EXPLAINERS)
    letters = every_key.alternatives(every_key.EVERY["data", "planted", "watermark"])[0]["enum"]
    assert set(letters) == set(planted.classes_of("linear"))


@pytest.mark.parametrize("path", every_key.EVERY, ids=".".join)
def test_every_wrong_value_of_every_key_is_named_with_its_key(path):
    @given(wrong(every_key.EVERY[path]))
    @few
    def refuse(value):
        sentence = sentence_for(with_value(base(path), path, value))
        assert sentence.startswith(".".join(path))
        assert "must be" in sentence

    refuse()


# Keys with valid values that can contradict others, which a rule then refuses.
RULED = re.compile(
    r"data\.(source|image_size|planted\.(variant|watermark|background)|convert|groups|shorter_side|masks|mask_values)"
    r"|model\.(name|weights|normalization|classes)"
    r"|augment\.(resize_first|crop|padding)|train\.(epochs|head_epochs|workers|class_weights|sampling|nesterov)|tune\.(n_trials|gpus)|compute\.(engine|gpus)"
    r"|explain\.(images|explainers|superpixels\.segments|kernel_shap\.(coalitions|background|draw_background)|lime\.stability\.samples|occlusion\.(window|stride))"
    r"|score\.(images|matched_evaluations|deletion|insertion|margins|(robustness|randomization)\.images"
    r"|correlation\.shares|road\.shares|robustness\.(noise|brightness|shift|attack)|randomization\.bins)"
    r"|audit\.(images|explainers)|repair\.(findings|ways)"
)


def as_lists(value):
    """A value with lists for tuples."""
    return [as_lists(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("path", every_key.LEAVES, ids=".".join)
def test_a_valid_value_of_every_key_is_read_unchanged(path):
    @given(right(every_key.LEAVES[path]))
    @few
    def take(value):
        refused = ""
        with mock.patch.object(yaml_file, "read", return_value=with_value(base(path), path, value)):
            try:
                read: Any = parameters.read("params.yaml")
            except UserError as error:
                refused = str(error)
        if refused:
            not_searched = f"params.yaml: {'.'.join(path)} is 'tuned': tune.space must then say how it is drawn"
            assert RULED.fullmatch(".".join(path)) or (value == TUNED and refused == not_searched), refused
            assert "but must be" not in refused, "the value alone is valid"
        else:
            for name in path:
                read = getattr(read, name)
            assert as_lists(read) == value

    take()


@pytest.mark.parametrize("path", [(), *every_key.SECTIONS], ids=lambda path: ".".join(path) or "the file")
def test_an_unknown_key_of_every_section_is_named(path):
    known = (
        every_key.alternatives(every_key.SECTIONS[path])[0]["properties"] if path else every_key.SCHEMA["properties"]
    )
    other = st.none() | st.integers() | st.floats(allow_nan=False) | st.dates() | st.tuples(st.integers())

    @given(every_key.ANY_TEXT.filter(lambda key: key not in known) | other, every_key.ANYTHING)
    @example(f"{min(known)}s", 1)
    @few
    def refuse(key, value):
        sentence = sentence_for(with_value(base((*path, min(known))), (*path, key), value))
        assert "is not a parameter" in sentence
        if isinstance(key, str) and key and key.isprintable() and len(key) < 100:
            assert sentence.startswith(".".join([*path, key]))

    refuse()


def test_every_missing_key_is_named():
    for path in every_key.EVERY:
        sentence = sentence_for(with_value(base(path), path, ...))
        assert f"{'the section ' if len(path) == 1 else ''}{'.'.join(path)} is missing" in sentence
