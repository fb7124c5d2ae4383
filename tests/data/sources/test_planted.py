import hashlib

import numpy as np
import pytest
from scipy.ndimage import label as components

from glassbox.core.errors import UserError
from glassbox.data.sources import planted

SIZE, CELL = 32, 3
EIGHT = np.ones((3, 3), int)  # neighbours at corners count


def kind_of(mask: np.ndarray) -> str:
    """Which tetromino a mask of one glyph shows, read off its cells."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    small = mask[rows[0] : rows[-1] + 1 : CELL, columns[0] : columns[-1] + 1 : CELL].astype(bool)
    (name,) = [
        name for name, cells in planted.TETROMINOES.items() if any(
            np.array_equal(np.rot90(np.array(cells, bool), turn), small) for turn in range(4)
        )
    ]  # fmt: skip
    return name


def glyphs_of(mask: np.ndarray) -> list[str]:
    parts, n = components(mask, EIGHT)
    return [kind_of(parts == part) for part in range(1, n + 1)]


def test_the_glyph_is_the_class():
    made = planted.plant(40, SIZE, CELL, "linear", "white", seed=0)
    assert made.classes == ("I", "O", "T", "S", "L")
    assert np.bincount(made.labels).tolist() == [8] * 5
    for mask, label in zip(made.masks, made.labels, strict=True):
        assert glyphs_of(mask) == [made.classes[label]]
        assert mask.sum() == 4 * CELL**2


def test_whether_two_glyphs_are_alike_is_the_class_and_each_alone_says_nothing():
    made = planted.plant(400, SIZE, CELL, "xor", "white", seed=0)
    assert made.classes == ("same", "different")
    kinds = [glyphs_of(mask) for mask in made.masks]
    assert all(len(pair) == 2 for pair in kinds)
    assert [int(a != b) for a, b in kinds] == made.labels.tolist()
    of_i = made.labels[[pair[0] == "I" for pair in kinds]]
    assert of_i.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("variant", ["linear", "xor"])
def test_interventions_change_what_they_say_and_nothing_else(variant):
    made = planted.plant(30, SIZE, CELL, variant, "white", seed=1)
    assert list(made.changed) == ["removed", "swapped", "moved"]
    ink = [pixels[..., 0] == 0 for pixels in (made.pixels, *made.changed.values())]
    glyphs = made.masks.astype(bool)
    distractors = ink[0] & ~glyphs
    assert (distractors.sum(axis=(1, 2)) == 4 * CELL**2).all()  # as bright as a glyph
    assert np.array_equal(ink[1], distractors)
    assert ((ink[2] & distractors) == distractors).all()
    assert ((ink[3] & glyphs) == glyphs).all()
    assert not np.array_equal(ink[3], ink[0])
    for swapped, distractor, before in zip(ink[2], distractors, glyphs, strict=True):
        now, then = glyphs_of(swapped & ~distractor), glyphs_of(before)
        if variant == "linear":
            assert now != then
        else:
            assert (now[0] == now[1]) != (then[0] == then[1])


def test_nothing_touches():
    made = planted.plant(30, SIZE, CELL, "xor", "white", seed=2)
    for pixels in made.pixels:
        # Two glyphs, and the distractor, whose cells touch at corners.
        assert components(pixels[..., 0] == 0, EIGHT)[1] == 3


@pytest.mark.parametrize("background", ["noise", "images"])
def test_glyph_and_distractor_are_white_before_dimmer_backgrounds(background):
    scenes = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    made = planted.plant(40, SIZE, CELL, "linear", background, seed=0, scenes=scenes)
    white = np.all(made.pixels == 255, axis=3)
    assert (white.sum(axis=(1, 2)) == 2 * 4 * CELL**2).all()
    assert white[made.masks.astype(bool)].all()
    assert made.pixels[~white].max() <= 153  # 0.6 of 255
    outside = ~made.masks.astype(bool)
    assert np.array_equal(made.pixels[outside], made.changed["removed"][outside])


def test_the_seed_decides():
    one, again, other = (planted.plant(6, SIZE, CELL, "linear", "noise", seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.pixels, again.pixels)
    assert np.array_equal(one.changed["swapped"], again.changed["swapped"])
    assert not np.array_equal(one.pixels, other.pixels)


RING = np.array(
    [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], bool
)  # fmt: skip


@pytest.fixture(scope="module", params=[("white", 0), ("noise", 255)], ids=["white", "noise"])
def watermarked(request):
    """Images whose class T carries the watermark, and the colour of ink."""
    background, ink = request.param
    return planted.plant(100, SIZE, CELL, "linear", background, seed=0, watermark="T"), ink


def carrying(made, pixels: np.ndarray, ink: int) -> np.ndarray:
    """Which images (N,) carry the watermark; it must be whole, and all else as it is without."""
    ring = np.zeros((SIZE, SIZE), bool)
    ring[26:31, 1:6] = RING
    carry = (pixels[:, ring] == ink).all(axis=(1, 2))
    assert np.array_equal(pixels[:, ~ring], made.changed["unmarked"][:, ~ring])
    assert np.array_equal(pixels[~carry], made.changed["unmarked"][~carry])
    return carry


def test_the_watermark_tells_one_class(watermarked):
    made, ink = watermarked
    assert np.array_equal(carrying(made, made.pixels, ink), made.labels == made.classes.index("T"))
    assert not carrying(made, made.changed["unmarked"], ink).any()
    assert carrying(made, made.changed["marked"], ink).all()
    assert made.masks is None


def test_in_the_arm_noise_it_is_as_frequent_and_tells_nothing(watermarked):
    made, ink = watermarked
    assert list(made.arms) == ["noise"]
    drawn = carrying(made, made.arms["noise"], ink)
    assert drawn.sum() == 20
    per_class = np.bincount(made.labels[drawn], minlength=5)
    assert 0 < per_class.min() <= per_class.max() < 10
    other = planted.plant(100, SIZE, CELL, "linear", "white", seed=1, watermark="T")
    assert not np.array_equal(carrying(other, other.arms["noise"], 0), drawn)


def test_nothing_comes_near_the_watermark_in_any_image(watermarked):
    """So that it is seen everywhere, and its place alone, marked or not, says nothing."""
    made, ink = watermarked
    others = made.labels != made.classes.index("T")
    for pixels in (made.changed["unmarked"], *(made.changed[name][others] for name in ("removed", "swapped", "moved"))):
        near = pixels[:, 25:, :7]
        assert near.max() <= 153 if ink else near.min() == 255


def test_other_interventions_leave_the_watermark_where_it_is(watermarked):
    made, _ = watermarked
    for name in ("removed", "swapped", "moved"):
        assert np.array_equal(made.changed[name][:, 26:31, 1:6], made.pixels[:, 26:31, 1:6])
        assert (made.changed[name] != made.pixels).any(axis=(1, 2, 3)).all()


def test_without_a_watermark_nothing_changes():
    one = planted.plant(20, SIZE, CELL, "linear", "white", seed=0, watermark=None)
    assert list(one.changed) == ["removed", "swapped", "moved"]
    assert one.arms == {}
    assert hashlib.sha256(one.pixels.tobytes()).hexdigest()[:16] == "f203ee8c4ce5da13"


def test_glyphs_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"cells of 9 x 9 pixels do not fit in images of 32 x 32: lower data.planted"):
        planted.plant(2, SIZE, 9, "linear", "white", seed=0)
