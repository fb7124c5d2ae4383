import hashlib

import numpy as np
import pytest
from scipy.ndimage import label as components

from glassbox.config.data import Planted
from glassbox.core.errors import UserError
from glassbox.data.base import Asked, Images
from glassbox.data.loading import load_source
from glassbox.data.sources.planted import MARKS, TETROMINOES, plant

SIZE, CELL = 32, 3
EIGHT = np.ones((3, 3), int)  # neighbours at corners count


def kind_of(mask: np.ndarray) -> str:
    """The tetromino in a mask of one glyph, from its cells."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    small = mask[rows[0] : rows[-1] + 1 : CELL, columns[0] : columns[-1] + 1 : CELL].astype(bool)
    turned = [np.rot90(small, turn) for turn in range(4)]
    (name,) = [name for name, cells in TETROMINOES.items() if any(np.array_equal(cells, other) for other in turned)]
    return name


def glyphs_of(mask: np.ndarray) -> list[str]:
    parts, n = components(mask, EIGHT)
    return [kind_of(parts == part) for part in range(1, n + 1)]


def test_the_glyph_is_the_class():
    images = plant(40, SIZE, CELL, "linear", "white", seed=0)
    assert images.classes == ("I", "O", "T", "S", "L")
    assert np.bincount(images.labels).tolist() == [8] * 5
    for mask, label in zip(images.masks, images.labels, strict=True):
        assert glyphs_of(mask) == [images.classes[label]]
        assert mask.sum() == 4 * CELL**2


def test_in_the_xor_variant_two_equal_glyphs_are_the_class_and_each_alone_is_independent_of_it():
    images = plant(200, SIZE, CELL, "xor", "white", seed=0)
    assert images.classes == ("same", "different")
    kinds = [glyphs_of(mask) for mask in images.masks]
    assert all(len(pair) == 2 for pair in kinds)
    assert [int(a != b) for a, b in kinds] == images.labels.tolist()
    assert images.labels[[pair[0] == "I" for pair in kinds]].mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("variant", ["linear", "xor"])
def test_interventions_change_what_they_name_and_nothing_else(variant):
    images = plant(30, SIZE, CELL, variant, "white", seed=1)
    assert list(images.changed) == ["removed", "swapped", "moved"]
    ink, removed, swapped, moved = (pixels[..., 0] == 0 for pixels in (images.pixels, *images.changed.values()))
    glyphs = images.masks.astype(bool)
    distractors = ink & ~glyphs
    assert (distractors.sum(axis=(1, 2)) == 4 * CELL**2).all()  # as bright as a glyph
    assert np.array_equal(removed, distractors)
    assert ((swapped & distractors) == distractors).all()
    assert ((moved & glyphs) == glyphs).all()
    assert not np.array_equal(moved, ink)
    for row in range(30):
        # Nothing touches: the distractor's cells do, at corners.
        assert components(ink[row], EIGHT)[1] == (2 if variant == "linear" else 3)
        now, then = glyphs_of(swapped[row] & ~distractors[row]), glyphs_of(glyphs[row])
        if variant == "linear":
            assert now != then
        else:
            assert (now[0] == now[1]) != (then[0] == then[1])


@pytest.mark.parametrize("background", ["noise", "images"])
def test_glyph_and_distractor_are_white_on_dimmed_backgrounds(background):
    scenes = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    images = plant(40, SIZE, CELL, "linear", background, seed=0, scenes=scenes)
    white = np.all(images.pixels == 255, axis=3)
    assert (white.sum(axis=(1, 2)) == 2 * 4 * CELL**2).all()
    assert white[images.masks.astype(bool)].all()
    assert images.pixels[~white].max() <= 153  # 0.6 of 255
    outside = ~images.masks.astype(bool)
    assert np.array_equal(images.pixels[outside], images.changed["removed"][outside])


def test_glyphs_may_be_planted_on_the_images_of_any_source(params):
    settings = Planted(
        images=20, cell=3, variant="linear", background="digits", watermark=None, mark="ring", mark_share=1.0
    )

    def make(seed: int = 0, **changes: object) -> Images:
        data = params.data.model_copy(update={"source": "planted", "planted": settings.model_copy(update=changes)})
        return load_source(Asked(data, seed))

    images = make()
    assert (len(images), images.classes) == (20, ("I", "O", "T", "S", "L"))
    behind = images.changed["removed"][~np.all(images.changed["removed"] == 255, axis=3)]
    assert 0 == behind.min() < behind.max() == 153  # digits from black to white, dimmed to 0.6
    assert list(make(watermark="O").arms) == ["noise"]
    assert not np.array_equal(make(background="noise").pixels, make(seed=1, background="noise").pixels)


@pytest.fixture(scope="module", params=[("white", 0), ("noise", 255)], ids=["white", "noise"])
def watermarked(request):
    """Images whose class T has the watermark, and the colour of ink."""
    background, ink = request.param
    return plant(100, SIZE, CELL, "linear", background, seed=0, watermark="T"), ink


def marked(images: Images, pixels: np.ndarray, ink: int) -> np.ndarray:
    """The images (N,) bool with the watermark, which must be whole, and all other pixels must be unchanged."""
    ring = np.zeros((SIZE, SIZE), bool)
    ring[26:31, 1:6] = True
    ring[27:30, 2:5] = False
    marks = (pixels[:, ring] == ink).all(axis=(1, 2))
    assert np.array_equal(pixels[:, ~ring], images.changed["unmarked"][:, ~ring])
    assert np.array_equal(pixels[~marks], images.changed["unmarked"][~marks])
    return marks


def test_one_class_has_the_watermark(watermarked):
    images, ink = watermarked
    assert np.array_equal(marked(images, images.pixels, ink), images.labels == images.classes.index("T"))
    assert not marked(images, images.changed["unmarked"], ink).any()
    assert marked(images, images.changed["marked"], ink).all()
    assert images.masks is None


def test_in_the_arm_noise_equally_many_images_of_all_classes_have_it(watermarked):
    images, ink = watermarked
    assert list(images.arms) == ["noise"]
    drawn = marked(images, images.arms["noise"], ink)
    assert drawn.sum() == 20
    per_class = np.bincount(images.labels[drawn], minlength=5)
    assert 0 < per_class.min() <= per_class.max() < 10
    other = plant(100, SIZE, CELL, "linear", "white", seed=1, watermark="T")
    assert not np.array_equal(marked(other, other.arms["noise"], 0), drawn)


def test_no_image_has_anything_near_the_watermark_and_other_interventions_leave_it_in_place(watermarked):
    """So that it is visible everywhere, and a free corner is independent of the class."""
    images, ink = watermarked
    others = images.labels != images.classes.index("T")
    interventions = [images.changed[name] for name in ("removed", "swapped", "moved")]
    for pixels in (images.changed["unmarked"], *(pixels[others] for pixels in interventions)):
        near = pixels[:, 25:, :7]
        assert near.max() <= 153 if ink else near.min() == 255
    for pixels in interventions:
        assert np.array_equal(pixels[:, 26:31, 1:6], images.pixels[:, 26:31, 1:6])
        assert (pixels != images.pixels).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("mark", MARKS)
def test_every_kind_of_watermark_lies_on_one_class(mark):
    images = plant(100, SIZE, CELL, "linear", "noise", seed=0, watermark="T", mark=mark)
    unmarked, all_marked, of_class = images.changed["unmarked"], images.changed["marked"], images.labels == 2
    assert np.array_equal(images.pixels[of_class], all_marked[of_class])
    assert np.array_equal(images.pixels[~of_class], unmarked[~of_class])
    assert (all_marked != unmarked).any(axis=(1, 2, 3)).all()
    difference = all_marked.astype(int) - unmarked
    inner = difference[:, 1:-1, 1:-1]
    if mark == "border":
        assert (all_marked[:, 0] == 255).all()
        assert (all_marked[:, :, -1] == 255).all()
        assert not inner.any()
    elif mark == "cast":
        assert (difference[..., 0] >= 0).all()
        assert (difference[..., 1] == 0).all()
        assert (difference[..., 2] <= 0).all()
    elif mark == "brightness":
        assert set(np.unique(difference)) == {0, 30}  # white stays white


def test_a_share_of_the_class_may_carry_the_watermark():
    images = plant(1000, SIZE, CELL, "linear", "noise", seed=0, watermark="T", share=0.6)
    carrying = (images.pixels != images.changed["unmarked"]).any(axis=(1, 2, 3))
    assert set(images.labels[carrying]) == {2}
    assert 100 < carrying.sum() < 140  # of 200
    noise = (images.arms["noise"] != images.changed["unmarked"]).any(axis=(1, 2, 3))
    assert noise.sum() == carrying.sum()
    whole = plant(1000, SIZE, CELL, "linear", "noise", seed=0, watermark="T")
    assert np.array_equal(images.changed["unmarked"], whole.changed["unmarked"])


def test_the_seed_decides_and_without_a_watermark_the_images_stay_those_of_older_versions():
    images, again, other = (plant(20, SIZE, CELL, "linear", "white", seed, watermark=None) for seed in (0, 0, 1))
    assert np.array_equal(images.changed["swapped"], again.changed["swapped"])
    assert hashlib.sha256(images.pixels.tobytes()).hexdigest()[:16] == "f203ee8c4ce5da13"
    assert images.arms == {}
    assert not np.array_equal(images.pixels, other.pixels)


def test_glyphs_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"cells of 9 x 9 pixels do not fit in images of 32 x 32: lower data.planted"):
        plant(2, SIZE, 9, "linear", "white", seed=0)
