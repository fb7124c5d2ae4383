from collections.abc import Callable

import pytest

from glassbox.search.outcome import Trial
from glassbox.search.tuning import Search
from tests.searches import Toy, run, search_of


@pytest.fixture
def search(params, tmp_path) -> Callable[..., Search]:
    """Makes searches in folders of a test; by default always the same one."""

    def make(folder="search", kind=Toy, **changes):
        return search_of(kind, params, tmp_path / folder, **changes)

    return make


@pytest.fixture(scope="package")
def uninterrupted(params, tmp_path_factory) -> list[Trial]:
    """The trials of that search."""
    return run(search_of(Toy, params, tmp_path_factory.mktemp("uninterrupted")))
