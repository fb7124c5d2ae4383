import doctest

from glassbox import phrases


def test_the_examples():
    assert doctest.testmod(phrases) == (0, 2)


def test_the_plural():
    assert [phrases.counted(n) for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
