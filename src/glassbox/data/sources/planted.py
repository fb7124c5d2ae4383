"""A data set with ground truth: glyphs that define the class, planted on backgrounds that are independent of it.

After XAI-TRIS (Clark, Budding & Haufe 2024), with random place and orientation, a distractor of the same brightness,
and interventions that show what a model looks at. With a watermark on one class there is a shortcut too, and an arm of
the same images in which the watermark is independent of the class.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy

from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.base import NOISE, Asked, Images
from glassbox.data.loading import load_source

# Four cells each, different in every orientation; mirrored ones are not used.
TETROMINOES = {
    "I": np.array([[1, 1, 1, 1]], bool),
    "O": np.array([[1, 1], [1, 1]], bool),
    "T": np.array([[1, 1, 1], [0, 1, 0]], bool),
    "S": np.array([[0, 1, 1], [1, 1, 0]], bool),
    "L": np.array([[1, 0], [1, 0], [1, 1]], bool),
}
DISTRACTOR = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], bool)  # four cells that touch at corners: no tetromino
PAIR = ("I", "O")  # kinds of the XOR variant; a small CNN does not learn to compare similar ones
WATERMARK = np.pad(np.zeros((3, 3), bool), 1, constant_values=True)  # a closed ring, which no glyph is
CAST = np.array([1.25, 1.0, 0.75])  # factors of red, green and blue of a colour cast
SHIFT = 30  # of a change of brightness, of 255
MARGIN = 1  # pixels between the watermark and the lower left corner
SMOOTHNESS = 3.0  # of the correlated noise: standard deviation of its Gaussian kernel, pixels
DIMMED = 0.6  # the brightest value of noise and images behind the glyphs, so that white stands out
TRIES = 200


def source(asked: Asked) -> Images:
    """See `loading.load_source`."""
    p, scenes = asked.data.planted, None
    if p.background not in ("white", "noise"):
        behind = replace(asked, data=asked.data.model_copy(update={"source": p.background}))
        scenes = load_source(behind).pixels
    return plant(
        n=p.images,
        size=asked.data.image_size,
        cell=p.cell,
        variant=p.variant,
        background=p.background,
        seed=asked.seed,
        scenes=scenes,
        watermark=p.watermark,
        mark=p.mark,
        share=p.mark_share,
    )


def classes_of(variant: str) -> tuple[str, ...]:
    """Names of the classes: the tetrominoes ("linear"), or whether two of them are alike ("xor")."""
    return tuple(TETROMINOES) if variant == "linear" else ("same", "different")


def plant(
    n: int,
    size: int,
    cell: int,
    variant: str,
    background: str,
    seed: int,
    scenes: np.ndarray | None = None,
    watermark: str | None = None,
    mark: str = "ring",
    share: float = 1.0,
) -> Images:
    """Images with masks of their glyphs, and three interventions on each: "removed" (no glyphs, so no evidence for the
    class), "swapped" (a glyph replaced by one of another kind: another class), "moved" (the distractor elsewhere: the
    same class).

    With a watermark, images of one class have it and no others have: a shortcut, which the interventions above leave in
    place. Then there are also "unmarked" (no image has it), "marked" (all have it) and the arm "noise", in which as
    many images have it, drawn independently of the class. There are no masks, since the glyph is no longer the only
    evidence. The place of a ring or border is kept free in every image.

    Args:
        n: images; classes are equally frequent, as far as `n` allows.
        size, cell: side of the images, and of a glyph's cell, pixels.
        variant: "linear": the kind of one glyph is the class; "xor": whether two glyphs are of the same kind.
        background: "white", "noise" (correlated, grey) or anything else for `scenes`.
        seed: the study's seed.
        scenes: (M, size, size, 3) uint8, drawn with replacement.
        watermark: name of the class with the watermark; None = there is none.
        mark: what it is, see `MARKS`.
        share: of the images of that class, which have it.

    Raises:
        UserError: the glyphs do not fit.
    """
    rng = np.random.default_rng(derive(seed, "planted"))
    classes = classes_of(variant)
    labels = rng.permutation(np.arange(n) % len(classes)).astype(np.int64)
    put, place = MARKS[mark]
    kept_free = place(size) if watermark else np.zeros((size, size), bool)
    pixels, removed, swapped, moved = np.empty((4, n, size, size, 3), np.uint8)
    masks = np.empty((n, size, size), np.uint8)
    ink = 0 if background == "white" else 255
    for row, label in enumerate(labels.tolist()):
        kinds = _kinds(rng, variant, label)
        canvas = _background(rng, background, size, scenes)
        glyphs, other, distractor, elsewhere = _places(rng, kinds, variant, size, cell, kept_free)
        masks[row] = mask = np.any(glyphs, axis=0)
        pixels[row] = _draw(canvas, mask | distractor, ink)
        removed[row] = _draw(canvas, distractor, ink)
        swapped[row] = _draw(canvas, np.any([other, *glyphs[1:], distractor], axis=0), ink)
        moved[row] = _draw(canvas, mask | elsewhere, ink)
    changed = {"removed": removed, "swapped": swapped, "moved": moved}
    if watermark is None:
        return Images(pixels, labels, classes, masks=masks, changed=changed)
    of_class = labels == classes.index(watermark)
    if share < 1:
        of_class &= np.random.default_rng(derive(seed, "planted", "share")).random(n) < share
    drawn = np.random.default_rng(derive(seed, "planted", "watermark")).permutation(of_class)

    def marked(images: np.ndarray, which: np.ndarray) -> np.ndarray:
        copy = images.copy()
        copy[which] = put(images[which], ink)
        return copy

    changed = {name: marked(images, of_class) for name, images in changed.items()}
    changed |= {"unmarked": pixels, "marked": put(pixels, ink)}
    return Images(marked(pixels, of_class), labels, classes, changed=changed, arms={NOISE: marked(pixels, drawn)})


def _kinds(rng: np.random.Generator, variant: str, label: int) -> list[str]:
    if variant == "linear":
        return [list(TETROMINOES)[label]]
    first = int(rng.integers(2))
    return [PAIR[first], PAIR[first ^ label]]


def _background(rng: np.random.Generator, kind: str, size: int, scenes: np.ndarray | None) -> np.ndarray:
    """(H, W, 3) in 0..1."""
    if kind == "white":
        return np.ones((size, size, 3))
    if kind == "noise":
        smooth = scipy.ndimage.gaussian_filter(rng.standard_normal((size, size)), SMOOTHNESS, mode="wrap")
        grey = (smooth - smooth.min()) / np.ptp(smooth)
        return DIMMED * np.repeat(grey[..., None], 3, axis=2)
    return DIMMED * scenes[rng.integers(len(scenes))] / 255


def _places(
    rng: np.random.Generator, kinds: list[str], variant: str, size: int, cell: int, kept_free: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Masks (H, W) of the glyphs, of another kind instead of the first, of the distractor, and of it elsewhere. Masks
    of one image, and the pixels to be kept free, are at least a pixel apart."""
    others = [name for name in (TETROMINOES if variant == "linear" else PAIR) if name != kinds[0]]
    swap = others[int(rng.integers(len(others)))]
    for _ in range(TRIES):
        taken: list[np.ndarray] = []
        for shape in [*(TETROMINOES[kind] for kind in kinds), DISTRACTOR]:
            taken.append(_put(rng, shape, size, cell, [kept_free, *taken]))
        *glyphs, distractor = taken
        other = _put(rng, TETROMINOES[swap], size, cell, [kept_free, *taken[1:]])
        elsewhere = _put(rng, DISTRACTOR, size, cell, [kept_free, *glyphs])
        if all(mask is not None for mask in (*taken, other, elsewhere)):
            return glyphs, other, distractor, elsewhere
    raise UserError(
        f"data.planted: glyphs of cells of {cell} x {cell} pixels do not fit in images of {size} x {size}: "
        "lower data.planted.cell or raise data.image_size"
    )


def _put(
    rng: np.random.Generator, shape: np.ndarray, size: int, cell: int, taken: list[np.ndarray | None]
) -> np.ndarray | None:
    """Mask of the shape, turned and placed at random where it touches no other; None if there is no room."""
    if any(mask is None for mask in taken):
        return None
    figure = np.rot90(shape, int(rng.integers(4))).repeat(cell, axis=0).repeat(cell, axis=1)
    h, w = figure.shape
    if h > size or w > size:
        return None
    near = scipy.ndimage.binary_dilation(np.any(taken, axis=0), np.ones((3, 3)))
    for _ in range(20):
        y, x = int(rng.integers(size - h + 1)), int(rng.integers(size - w + 1))
        if not (near[y : y + h, x : x + w] & figure).any():
            mask = np.zeros((size, size), bool)
            mask[y : y + h, x : x + w] = figure
            return mask
    return None


def _corner(size: int) -> np.ndarray:
    """Mask (H, W) of the watermark."""
    mask, side = np.zeros((size, size), bool), len(WATERMARK)
    mask[size - MARGIN - side : size - MARGIN, MARGIN : MARGIN + side] = WATERMARK
    return mask


def _border(size: int) -> np.ndarray:
    """Mask (H, W) of the outermost pixels."""
    return np.pad(np.zeros((size - 2, size - 2), bool), 1, constant_values=True)


def _nowhere(size: int) -> np.ndarray:
    return np.zeros((size, size), bool)


def _inked(place: Callable[[int], np.ndarray]) -> Callable[[np.ndarray, int], np.ndarray]:
    def put(pixels: np.ndarray, ink: int) -> np.ndarray:
        return np.where(place(pixels.shape[1])[..., None], np.uint8(ink), pixels)

    return put


def _tinted(pixels: np.ndarray, _: int) -> np.ndarray:
    return np.clip(np.rint(pixels * CAST), 0, 255).astype(np.uint8)


def _shifted(pixels: np.ndarray, ink: int) -> np.ndarray:
    """Towards the ink."""
    return np.clip(pixels.astype(np.int16) + (SHIFT if ink else -SHIFT), 0, 255).astype(np.uint8)


# Watermarks: what they do to images (N, H, W, 3) uint8 with ink of a brightness, and their place (H, W) in an image of
# a size, where no glyph may be.
MARKS: dict[str, tuple[Callable[[np.ndarray, int], np.ndarray], Callable[[int], np.ndarray]]] = {
    "ring": (_inked(_corner), _corner),
    "border": (_inked(_border), _border),
    "cast": (_tinted, _nowhere),
    "brightness": (_shifted, _nowhere),
}


def _draw(canvas: np.ndarray, mask: np.ndarray, ink: int) -> np.ndarray:
    return np.where(mask[..., None], ink, np.round(255 * canvas)).astype(np.uint8)
