"""How a stage reads its own sections."""

import pytest
from conftest import ROOT

from glassbox.config import parameters
from glassbox.config.evaluate import Evaluate
from glassbox.config.loading import load
from glassbox.config.score import Score
from glassbox.config.study import Study
from glassbox.config.train import Train
from glassbox.core.errors import UserError

FILE = ROOT / "params.yaml"


def test_load_gives_the_sections_asked_for_and_they_cannot_be_changed():
    train, study = load(Train, Study, file=FILE)
    assert (study.name, study.seed, train.patience) == ("digits", 0, 8)
    with pytest.raises(ValueError, match="frozen"):
        train.patience = 1


def test_they_are_those_of_the_whole_file(params):
    for name, field in type(params).model_fields.items():
        assert load(field.annotation, file=FILE) == (getattr(params, name),)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("  gallery: 16 ", "  gallery: 0 ", "evaluate.gallery is 0, but must be greater than or equal to 1"),
        ("  gallery: 16 ", "  galery: 16 ", "evaluate.gallery is missing"),
        (
            "  gallery: 16 ",
            "  gallery: 16\n  galery: 16 ",
            "evaluate.galery is not a parameter; did you mean gallery? allowed here: confidence, calibration_bins, "
            "confused_pairs, gallery, target_accuracy",
        ),
        ("evaluate:", "evaluation:", "the section evaluate is missing"),
    ],
)
def test_a_wrong_section_is_refused_where_it_is_loaded_and_where_all_are(before, after, sentence, tmp_path):
    (tmp_path / "p.yaml").write_text(FILE.read_text().replace(before, after, 1))
    for read in (lambda file: load(Study, Evaluate, file=file), parameters.read):
        with pytest.raises(UserError) as refused:
            read(tmp_path / "p.yaml")
        assert str(refused.value) == f"{tmp_path / 'p.yaml'}: {sentence}"
    assert load(Study, Score, file=tmp_path / "p.yaml")[0].name == "digits"


@pytest.mark.parametrize("text", ["[1, 2]", "a: [1", ""])
def test_a_file_without_sections_is_refused(text, tmp_path):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError, match=r"is not YAML|must hold the sections of a study"):
        load(Study, file=tmp_path / "p.yaml")
