"""Planted glyphs in the section `data`."""

import pytest
from conftest import ROOT

from glassbox.config import parameters
from glassbox.core.errors import UserError

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
        parameters.edit(PLANTED, [f"data.planted.{change}" for change in changes])
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
            parameters.read(tmp_path / "p.yaml")
        assert str(refused.value) == f"{tmp_path / 'p.yaml'}: {sentence}"


def test_a_watermark_goes_with_any_class_of_the_linear_variant():
    from glassbox.data.sources import planted

    for name in planted.classes_of("linear"):
        assert f"watermark: {name} " in parameters.edit(PLANTED, [f"data.planted.watermark={name}"])
