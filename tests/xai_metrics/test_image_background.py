import pytest
import torch

from glassbox.xai_metrics import image_background

MEAN = (0.5, 0.5, 0.5)


def image() -> torch.Tensor:
    """(1, 10, 10, 3): 61 pixels are black, or nearly; another one is except for one channel."""
    pixels = torch.full((100, 3), 200, dtype=torch.uint8)
    pixels[:60] = 0
    pixels[60] = 8
    pixels[61] = torch.tensor([0, 0, 9])
    return pixels.view(1, 10, 10, 3)


def test_pixels_of_the_baselines_colour_do_not_change():
    shares = image_background.shares(image(), MEAN, 1.0)
    assert (shares["black"], shares["mean"]) == (pytest.approx(0.61), 0)
    assert image_background.shares(image(), (200 / 255,) * 3, 1.0)["mean"] == pytest.approx(0.38)
    grey = torch.full((2, 10, 10, 3), 90, dtype=torch.uint8)
    assert image_background.shares(grey, MEAN, 2.0) == {"black": 0, "mean": 0, "blur": 1}
    assert image_background.shares(torch.cat([image(), grey[:1]]), MEAN, 1.0)["black"] == pytest.approx(0.61 / 2)


def test_the_background_is_named_as_the_likely_cause():
    shares = {"black": 0.61, "mean": 0.02, "blur": 0.2}
    assert image_background.cause("deletion_auc", ("mean", "black"), shares) == (
        " The likely cause: with black 61 % of the pixels hardly change when they are deleted, with mean 2 %."
    )
    assert "inserted, with blur 20 %" in image_background.cause("insertion_auc", ("black", "blur"), shares)
    assert image_background.cause("deletion_auc", ("mean", "blur"), shares) == ""  # neither is the background
    assert image_background.cause("road", ("all shares", "lower half"), shares) == ""
    assert image_background.cause("deletion_auc", ("mean", "black"), {}) == ""


def test_integrated_gradients_attributes_nothing_to_pixels_of_the_baselines_colour():
    assert "is black, and 61 % of the pixels" in image_background.note("black", {"black": 0.61})
    assert image_background.note("mean", {"black": 0.61, "mean": 0.1}) == ""
    assert "the mean colour of the training images, and 50 %" in image_background.note("mean", {"mean": 0.5})
    assert image_background.note("black", {}) == ""
