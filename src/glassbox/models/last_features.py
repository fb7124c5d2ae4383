"""What a network has made of an image before its last layer."""

import torch

from glassbox.models.classifier import Classifier, predict


def last_features(classifier: Classifier, images: torch.Tensor, batch_size: int) -> torch.Tensor | None:
    """The input of the last layer, averaged over places if it has any: (N, D) float32 on the CPU. None where that layer
    is not known, as of a network in a file of weights.

    Args:
        classifier: left in the mode it was in.
        images: (N, H, W, 3) uint8.
        batch_size: images in one forward pass.

    Raises:
        UserError: the device refuses; see `compute.refusals`.
    """
    if not classifier.heads:
        return None
    seen: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        features = given[0].float()
        seen.append((features.flatten(2).mean(dim=2) if features.dim() > 2 else features).cpu())

    hook = classifier.network.get_submodule(classifier.heads[0]).register_forward_pre_hook(keep)
    try:
        predict(classifier, images, batch_size)
    finally:
        hook.remove()
    return torch.cat(seen)
