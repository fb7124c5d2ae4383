import pytest
import torch

from glassbox.xai_metrics import image_background

MEAN = (0.5, 0.5, 0.5)


def image() -> torch.Tensor:
    """(1, 10, 10, 3): 61 pixels are black, or nearly, one of the others has one channel that is not."""
    pixels = torch.full((100, 3), 200, dtype=torch.uint8)
    pixels[:60] = 0
    pixels[60] = 8
    pixels[61] = torch.tensor([0, 0, 9])
    return pixels.view(1, 10, 10, 3)


def test_pixels_that_have_the_baselines_colour_do_not_change():
    assert image_background.unchanged(image(), "black", MEAN, 1.0) == pytest.approx(0.61)
    assert image_background.unchanged(image(), "mean", MEAN, 1.0) == 0
    assert image_background.unchanged(image(), "mean", (200 / 255,) * 3, 1.0) == pytest.approx(0.38)
    grey = torch.full((2, 10, 10, 3), 90, dtype=torch.uint8)
    assert image_background.shares(grey, MEAN, 2.0) == {"black": 0, "mean": 0, "blur": 1}
    both = torch.cat([image(), grey[:1]])
    assert image_background.unchanged(both, "black", MEAN, 1.0) == pytest.approx(0.61 / 2)


def test_the_background_is_named_as_the_likely_cause():
    shares = {"black": 0.61, "mean": 0.02, "blur": 0.2}
    assert image_background.cause("deletion_auc", ("mean", "black"), shares) == (
        " The likely cause: with black 61 % of the pixels hardly change when they are deleted, with mean 2 %."
    )
    assert "inserted, with blur 20 %" in image_background.cause("insertion_auc", ("black", "blur"), shares)
    assert image_background.cause("deletion_auc", ("mean", "blur"), shares) == ""  # neither is the background
    assert image_background.cause("road", ("all shares", "lower half"), shares) == ""
    assert image_background.cause("deletion_auc", ("mean", "black"), {}) == ""


def test_integrated_gradients_gives_nothing_to_what_has_the_baselines_colour():
    said = image_background.note("black", {"black": 0.61})
    assert "is black, and 61 % of the pixels" in said
    assert image_background.note("mean", {"black": 0.61, "mean": 0.1}) == ""
    assert "the mean colour of the training images, and 50 %" in image_background.note("mean", {"mean": 0.5})
    assert image_background.note("black", {}) == ""
