import doctest

from glassbox.core import text


def test_the_examples():
    assert doctest.testmod(text) == (0, 2)
