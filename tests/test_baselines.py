import pytest
import torch

from glassbox import baselines

MEAN = (0.5, 0.5, 0.5)


def image() -> torch.Tensor:
    """(1, 10, 10, 3): 61 pixels are black, or nearly, one of the others has one channel that is not."""
    pixels = torch.full((100, 3), 200, dtype=torch.uint8)
    pixels[:60] = 0
    pixels[60] = 8
    pixels[61] = torch.tensor([0, 0, 9])
    return pixels.view(1, 10, 10, 3)


def test_pixels_that_have_the_baselines_colour_do_not_change():
    assert baselines.unchanged(image(), "black", MEAN, 1.0) == pytest.approx(0.61)
    assert baselines.unchanged(image(), "mean", MEAN, 1.0) == 0
    assert baselines.unchanged(image(), "mean", (200 / 255,) * 3, 1.0) == pytest.approx(0.38)
    grey = torch.full((2, 10, 10, 3), 90, dtype=torch.uint8)
    assert baselines.shares(grey, MEAN, 2.0) == {"black": 0, "mean": 0, "blur": 1}
    both = torch.cat([image(), grey[:1]])
    assert baselines.unchanged(both, "black", MEAN, 1.0) == pytest.approx(0.61 / 2)


def test_the_background_is_named_as_the_likely_cause():
    shares = {"black": 0.61, "mean": 0.02, "blur": 0.2}
    assert baselines.cause("deletion_auc", ("mean", "black"), shares) == (
        " The likely cause: with black 61 % of the pixels hardly change when they are deleted, with mean 2 %."
    )
    assert "inserted, with blur 20 %" in baselines.cause("insertion_auc", ("black", "blur"), shares)
    assert baselines.cause("deletion_auc", ("mean", "blur"), shares) == ""  # neither is the background
    assert baselines.cause("road", ("all shares", "lower half"), shares) == ""
    assert baselines.cause("deletion_auc", ("mean", "black"), {}) == ""


def test_integrated_gradients_gives_nothing_to_what_has_the_baselines_colour():
    said = baselines.note("black", {"black": 0.61})
    assert "is black, and 61 % of the pixels" in said
    assert baselines.note("mean", {"black": 0.61, "mean": 0.1}) == ""
    assert "the mean colour of the training images, and 50 %" in baselines.note("mean", {"mean": 0.5})
    assert baselines.note("black", {}) == ""
