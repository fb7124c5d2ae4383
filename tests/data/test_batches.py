import numpy as np
import pytest
import torch

from glassbox.config.augment import Augment
from glassbox.data.batches import augment, resize, to_float

OFF = {"flip": False, "crop": 0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0,
       "resize_first": False, "validation_and_test": False}  # fmt: skip


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def images():
    """Two hundred copies of a 3x3 image whose pixels are 10, 20, ... 90 in all channels."""
    one = torch.arange(10, 100, 10, dtype=torch.uint8).view(3, 3, 1).expand(3, 3, 3)
    return one.expand(200, 3, 3, 3).contiguous()


def test_to_float():
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)  # (1, 1, 1, 3)
    assert to_float(image).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert to_float(image).shape == (1, 3, 1, 1)


def test_nothing_on_changes_nothing(images):
    assert torch.equal(augment(images, Augment(**OFF), generator()), to_float(images))


def test_flip_mirrors_about_half_of_the_images(images):
    out = augment(images, Augment(**OFF | {"flip": True}), generator())
    plain = to_float(images[:1])[0]
    same = (out == plain).all(dim=(1, 2, 3))
    mirrored = (out == plain.flip(2)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 70 <= int(mirrored.sum()) <= 130


def test_crop_shifts_by_at_most_the_padding_and_fills_with_black(images):
    out = augment(images, Augment(**OFF | {"crop": 1}), generator())
    padded = torch.nn.functional.pad(to_float(images[:1])[0], (1, 1, 1, 1))
    crops = [padded[:, y : y + 3, x : x + 3] for y in range(3) for x in range(3)]
    counts = [int((out == crop).all(dim=(1, 2, 3)).sum()) for crop in crops]
    assert sum(counts) == 200
    assert min(counts) > 8  # nine shifts, each expected 22 times


def test_resized_first_the_padding_is_in_pixels_of_the_input(images):
    how = Augment(**OFF | {"crop": 1, "resize_first": True})
    assert augment(images, how, generator(), None).shape == (200, 3, 3, 3)  # the input has the images' own size
    out = augment(images, how, generator(), 6)
    assert out.shape == (200, 3, 6, 6)
    padded = torch.nn.functional.pad(to_float(resize(images[:1], 6))[0], (1, 1, 1, 1))
    crops = [padded[:, y : y + 6, x : x + 6] for y in range(3) for x in range(3)]
    assert sum(int((out == crop).all(dim=(1, 2, 3)).sum()) for crop in crops) == 200


def test_resize_by_hand():
    row = torch.tensor([0, 100], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 2, 2, 3)
    assert resize(row, 4)[0, 0, :, 0].tolist() == [0, 25, 75, 100]
    stripes = torch.tensor([0, 100] * 8, dtype=torch.uint8).view(1, 1, 16, 1).expand(1, 16, 16, 3)
    assert all(abs(value - 50) <= 12 for value in resize(stripes, 4)[0, 0, :, 0].tolist())
    # As Pillow does it, but for its rounding between rows and columns.
    from PIL import Image

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
    brighter = augment(image, Augment(**OFF | {"brightness": 0.5}), generator())
    torch.testing.assert_close(brighter, (x * factor()).clamp(0, 1))
    contrast = augment(image, Augment(**OFF | {"contrast": 0.5}), generator())
    mean = (grey + 0.6) / 2
    torch.testing.assert_close(contrast, mean + (x - mean) * factor())
    saturated = augment(image, Augment(**OFF | {"saturation": 0.5}), generator())
    luma = torch.tensor([grey, 0.6]).view(1, 1, 1, 2)
    torch.testing.assert_close(saturated, luma + (x - luma) * factor())


def test_values_stay_colours_and_the_input_stays_as_it_was(images):
    before = images.clone()
    out = augment(
        images,
        Augment(
            flip=True,
            crop=1,
            brightness=1.0,
            contrast=1.0,
            saturation=1.0,
            resize_first=False,
            validation_and_test=False,
        ),
        generator(),
    )
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(images, before)
    assert not torch.equal(out[0], out[1])


def test_the_generator_decides(images):
    how = Augment(
        flip=True, crop=1, brightness=0.3, contrast=0.3, saturation=0.3, resize_first=False, validation_and_test=False
    )
    assert torch.equal(augment(images, how, generator()), augment(images, how, generator()))


@pytest.mark.parametrize("own", [slice(2, 5), slice(3, 3), torch.tensor([0, 4, 5])], ids=str)
@pytest.mark.parametrize("resized", [False, True])
def test_rows_come_out_as_among_all(own, resized):
    noise = torch.randint(0, 256, (6, 5, 5, 3), dtype=torch.uint8, generator=generator())
    how = Augment(
        flip=True, crop=2, brightness=0.3, contrast=0.3, saturation=0.3, resize_first=resized, validation_and_test=False
    )
    drawn = [generator(), generator()]
    whole = augment(noise, how, drawn[0], 8)
    torch.testing.assert_close(augment(noise, how, drawn[1], 8, own), whole[own])
    assert torch.equal(*(torch.rand(1, generator=after) for after in drawn))
    assert torch.equal(to_float(noise, own), to_float(noise)[own])
