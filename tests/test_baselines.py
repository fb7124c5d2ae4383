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


def order(**kendall: float) -> dict:
    return {"deletion_auc": {"kendall": {name.replace("_", " / "): tau for name, tau in kendall.items()}}}


def test_the_background_is_named_where_the_order_hangs_on_it():
    shares = {"black": 0.61, "mean": 0.02, "blur": 0.2}
    unstable = order(mean_blur=0.9, mean_black=0.2, blur_black=0.3)
    (said,) = baselines.causes(unstable, shares, 0.5)
    assert said == (
        "Deletion AUC: with black as baseline 61 % of the pixels hardly change when they are deleted, with mean 2 %. "
        "That is the likely cause of the different orders of the explainers with these two (Kendall's tau 0.20)."
    )
    assert baselines.causes(order(mean_blur=0.9, mean_black=0.6, blur_black=0.7), shares, 0.5) == []  # orders agree
    assert baselines.causes(order(mean_blur=0.1, mean_black=0.4, blur_black=0.3), shares, 0.5) == []  # by others less
    assert baselines.causes(unstable, shares | {"black": 0.1}, 0.5) == []
    assert baselines.causes({"deletion_auc": {"kendall": {}}, "road": {"kendall": {"a / b": 0.0}}}, shares, 0.5) == []


def test_integrated_gradients_gives_nothing_to_what_has_the_baselines_colour():
    said = baselines.note("black", {"black": 0.61})
    assert "is black, and 61 % of the pixels" in said
    assert baselines.note("mean", {"black": 0.61, "mean": 0.1}) == ""
    assert "the mean colour of the training images, and 50 %" in baselines.note("mean", {"mean": 0.5})
    assert baselines.note("black", {}) == ""
