"""Every example of docs/search.md is valid in the default study, and its network can be built as it says."""

import re

import pytest
import yaml
from conftest import ROOT

from glassbox import models
from glassbox.config import parameters, yaml_file
from glassbox.config.hyperparameters import together
from glassbox.config.types import TUNED

PAGE = (ROOT / "docs/search.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# A value for all that is "tuned" in the default study, for examples without one.
GIVEN = {
    "model": {"name": "timm/resnet18", "arguments": None},
    "train": {"optimizer": "adam", "learning_rate": 0.001, "momentum": None, "rho": None},
}


def study(block: str) -> parameters.Params:
    """The default study with the keys of an example in place of its own."""
    tree = yaml_file.read(ROOT / "params.yaml")
    for changes in (GIVEN, yaml_file.parse(block, "docs/search.md")):
        for section, keys in changes.items():
            tree[section].update(keys)
    return parameters.parse(yaml.safe_dump(tree), "docs/search.md")


def test_the_page_has_examples_of_a_resnet_a_vit_and_several_networks():
    names = [study(block).model.name for block in BLOCKS]
    assert names == [*["timm/resnet18"] * 4, "timm/vit_tiny_patch16_224", TUNED]


@pytest.mark.parametrize("block", BLOCKS, ids=range(1, len(BLOCKS) + 1))
def test_an_example_is_valid_and_its_network_can_be_built_and_explained(block):
    params = study(block)
    options = params.tune.options
    assert options
    known = together(params.model, params.train, params.augment)
    assert set(known.tuned()) <= {searched.key for searched in options}
    models.check(params.model, options, params.data.image_size, params.explain.explainers)


def test_all_that_the_complete_examples_search_is_tuned():
    for block in BLOCKS[3:]:
        params = study(block)
        known = together(params.model, params.train, params.augment)
        assert set(known.tuned()) == {searched.key for searched in params.tune.options}
