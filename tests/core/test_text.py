import doctest

from glassbox.core import text


def test_the_examples():
    assert doctest.testmod(text) == (0, 2)


def test_the_plural():
    assert [text.counted(n) for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
