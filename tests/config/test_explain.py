"""The section `explain`: names and images that it may hold."""

from typing import get_args

import pytest

from glassbox.config.explain import ExplainerName, check_images
from glassbox.core.errors import UserError
from glassbox.explainers.catalog import EXPLAINERS


def test_an_explainer_that_may_be_asked_for_has_a_file_and_a_title():
    assert set(get_args(ExplainerName)) == set(EXPLAINERS)


def test_images_are_test_images():
    check_images((), 0)
    check_images((3, 8), 9)
    with pytest.raises(UserError, match=r"^params.yaml: explain.images names 9, but must name test images, 0 to 8$"):
        check_images((3, 9), 9)
