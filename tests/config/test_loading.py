"""How a stage loads its own sections."""

import pytest
from conftest import ROOT

from glassbox.config import parameters
from glassbox.config.evaluate import Evaluate
from glassbox.config.loading import load
from glassbox.config.score import Score
from glassbox.config.study import Study
from glassbox.core.errors import UserError

FILE = ROOT / "params.yaml"


def test_loaded_sections_are_those_of_the_whole_file_in_the_given_order_and_cannot_be_changed(params):
    fields = type(params).model_fields
    sections = load(*(fields[name].annotation for name in reversed(fields)), file=FILE)
    assert sections == tuple(getattr(params, name) for name in reversed(fields))
    with pytest.raises(ValueError, match="frozen"):
        sections[0].images = 1


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ("evaluate:\n  gallery: 0 #", "evaluate.gallery is 0, but must be greater than or equal to 1"),
        ("evaluate:\n  galery: 16 #", "evaluate.gallery is missing"),
        ("evaluation:\n  gallery: 16 #", "the section evaluate is missing"),
    ],
)
def test_a_wrong_section_is_refused_where_it_is_loaded_and_where_all_are(after, sentence, tmp_path):
    text = FILE.read_text().replace("  gallery: 16 ", "  #", 1).replace("evaluate:", after, 1)
    (tmp_path / "p.yaml").write_text(text)
    for read in (lambda file: load(Study, Evaluate, file=file), parameters.read):
        with pytest.raises(UserError) as refused:
            read(tmp_path / "p.yaml")
        assert str(refused.value) == f"{tmp_path / 'p.yaml'}: {sentence}"
    assert load(Study, Score, file=tmp_path / "p.yaml")[0].name == "digits"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[1, 2]", "must hold the sections of a study"),
        ("", "it holds null"),
        ("a: [1", "is not YAML: line 1"),
        ("study: {name: a, name: b}", "is not YAML"),
        (None, "is missing: copy one of studies"),
    ],
)
def test_a_file_without_sections_is_refused(text, part, tmp_path):
    if text is not None:
        (tmp_path / "p.yaml").write_text(text)
    for read in (lambda file: load(Study, file=file), parameters.read):
        with pytest.raises(UserError, match=part):
            read(tmp_path / "p.yaml")
