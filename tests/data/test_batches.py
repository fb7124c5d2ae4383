import numpy as np
import pytest
import torch
from PIL import Image

from glassbox.config.augment import Augment
from glassbox.data.batches import augment, resize, to_float

FLAGS = {"flip": False, "cutout": 0, "resize_first": False, "validation_and_test": False}
OFF = Augment(**FLAGS, crop=0, padding="black", brightness=0.0, contrast=0.0, saturation=0.0)
ALL = Augment(**FLAGS | {"flip": True}, crop=1, padding="black", brightness=0.3, contrast=0.3, saturation=0.3)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def images():
    """Two hundred copies of a 3x3 image whose pixels are 10, 20, ... 90 in all channels."""
    one = torch.arange(10, 100, 10, dtype=torch.uint8).view(3, 3, 1).expand(3, 3, 3)
    return one.expand(200, 3, 3, 3).contiguous()


def test_bytes_become_floats_and_nothing_else_changes_them(images):
    assert torch.equal(augment(images, OFF, generator()), to_float(images))
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)  # (1, 1, 1, 3)
    assert to_float(image).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert to_float(image).shape == (1, 3, 1, 1)


def test_flip_mirrors_about_half_of_the_images(images):
    out = augment(images, OFF.model_copy(update={"flip": True}), generator())
    plain = to_float(images[:1])[0]
    same = (out == plain).all(dim=(1, 2, 3))
    mirrored = (out == plain.flip(2)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 70 <= int(mirrored.sum()) <= 130


def test_images_are_mirrored_as_they_are_told(images):
    flipped = torch.arange(200) % 3 == 0
    out = augment(images, OFF.model_copy(update={"flip": "alternating"}), generator(), flipped=flipped)
    plain = to_float(images[:1])[0]
    assert torch.equal((out == plain.flip(2)).all(dim=(1, 2, 3)), flipped)


def test_a_crop_may_be_filled_with_the_reflected_image(images):
    out = augment(images, OFF.model_copy(update={"crop": 2, "padding": "reflect"}), generator())
    padded = torch.nn.functional.pad(to_float(images[:1]), (2, 2, 2, 2), mode="reflect")[0]
    crops = [padded[:, y : y + 3, x : x + 3] for y in range(5) for x in range(5)]
    found = torch.stack([(out == crop).all(dim=(1, 2, 3)) for crop in crops])
    assert found.any(dim=0).all()
    assert found.any(dim=1).sum() > 9  # more shifts than a padding of one pixel has


def test_cutout_covers_a_square_about_a_pixel_by_hand(images):
    """Of side 2 its centre is the pixel at the lower right; what would lie outside of the image is cut off."""
    out = augment(images, OFF.model_copy(update={"cutout": 2}), generator())
    plain = to_float(images[:1])[0]
    expected = []
    for y in range(3):
        for x in range(3):
            covered = plain.clone()
            covered[:, max(y - 1, 0) : y + 1, max(x - 1, 0) : x + 1] = 0.5
            expected.append(covered)
    counts = [int((out == image).all(dim=(1, 2, 3)).sum()) for image in expected]
    assert sum(counts) == 200
    assert min(counts) > 8  # nine centres, each expected 22 times


def test_cutout_is_the_last_change_and_draws_after_the_others(images):
    """What it leaves is as without it; with `resize_first` its side is in pixels of the network's input."""
    how = ALL.model_copy(update={"cutout": 4, "resize_first": True})
    changed, without = (augment(images, h, generator(), 6) for h in (how, how.model_copy(update={"cutout": 0})))
    covered = (changed != without).any(dim=1)
    assert (changed.permute(0, 2, 3, 1)[covered] == 0.5).all()
    assert int(covered.sum(dim=(1, 2)).max()) == 16


@pytest.mark.parametrize("input_size", [None, 6])
def test_crop_shifts_by_at_most_the_padding_and_fills_with_black(input_size, images):
    """With `resize_first`, the padding is in pixels of the network's input."""
    out = augment(images, OFF.model_copy(update={"crop": 1, "resize_first": True}), generator(), input_size)
    size = input_size or 3
    assert out.shape == (200, 3, size, size)
    padded = torch.nn.functional.pad(to_float(resize(images[:1], size))[0], (1, 1, 1, 1))
    crops = [padded[:, y : y + size, x : x + size] for y in range(3) for x in range(3)]
    counts = [int((out == crop).all(dim=(1, 2, 3)).sum()) for crop in crops]
    assert sum(counts) == 200
    assert min(counts) > 8  # nine shifts, each expected 22 times


def test_resize_by_hand():
    row = torch.tensor([0, 100], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 2, 2, 3)
    assert resize(row, 4)[0, 0, :, 0].tolist() == [0, 25, 75, 100]
    stripes = torch.tensor([0, 100] * 8, dtype=torch.uint8).view(1, 1, 16, 1).expand(1, 16, 16, 3)
    assert all(abs(value - 50) <= 12 for value in resize(stripes, 4)[0, 0, :, 0].tolist())
    # Pillow's result, except for its rounding between rows and columns.
    noise = torch.randint(0, 256, (9, 9, 3), dtype=torch.uint8, generator=generator())
    for size in (5, 20):
        theirs = np.asarray(Image.fromarray(noise.numpy()).resize((size, size), Image.Resampling.BILINEAR), int)
        assert np.abs(resize(noise[None], size)[0].numpy().astype(int) - theirs).max() <= 1


def test_colour_jitter_by_hand():
    # One pixel 0.2, 0.4, 0.6 and one of 0.6 everywhere: luma 0.299, 0.587, 0.114 -> 0.3630 and 0.6, mean 0.4815.
    image = torch.tensor([[[[51, 102, 153], [153, 153, 153]]]], dtype=torch.uint8)
    x = to_float(image)
    factor = lambda: 1 + 0.5 * (2 * torch.rand(1, 1, 1, 1, generator=generator()) - 1)  # noqa: E731
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    brighter = augment(image, OFF.model_copy(update={"brightness": 0.5}), generator())
    torch.testing.assert_close(brighter, (x * factor()).clamp(0, 1))
    contrast = augment(image, OFF.model_copy(update={"contrast": 0.5}), generator())
    mean = (grey + 0.6) / 2
    torch.testing.assert_close(contrast, mean + (x - mean) * factor())
    saturated = augment(image, OFF.model_copy(update={"saturation": 0.5}), generator())
    luma = torch.tensor([grey, 0.6]).view(1, 1, 1, 2)
    torch.testing.assert_close(saturated, luma + (x - luma) * factor())


def test_values_stay_colours_the_input_is_unchanged_and_the_generator_decides(images):
    before, strong = images.clone(), ALL.model_copy(update={"brightness": 1.0, "contrast": 1.0, "saturation": 1.0})
    out = augment(images, strong, generator())
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(images, before)
    assert not torch.equal(out[0], out[1])
    assert torch.equal(augment(images, strong, generator()), out)


@pytest.mark.parametrize("own", [slice(2, 5), slice(3, 3), torch.tensor([0, 4, 5])], ids=str)
@pytest.mark.parametrize("resize_first", [False, True])
def test_some_rows_come_out_as_among_all(own, resize_first):
    noise = torch.randint(0, 256, (6, 5, 5, 3), dtype=torch.uint8, generator=generator())
    augmentation, generators = ALL.model_copy(update={"resize_first": resize_first}), (generator(), generator())
    everything = augment(noise, augmentation, generators[0], 8)
    torch.testing.assert_close(augment(noise, augmentation, generators[1], 8, own), everything[own])
    assert torch.equal(*(torch.rand(1, generator=after) for after in generators))
    assert torch.equal(to_float(noise, own), to_float(noise)[own])
