"""What a network has made of an image before its last layer."""

import torch

from glassbox.data.batches import to_float
from glassbox.models.classifier import Classifier
from glassbox.models.layers import device_of, evaluating


@torch.inference_mode()
def last_features(classifier: Classifier, images: torch.Tensor, batch_size: int) -> torch.Tensor | None:
    """The input of the last layer, averaged over places if it has any: (N, D) float32 on the CPU. None where that layer
    is not known, as of a network in a file of weights.

    Args:
        classifier: left in the mode it was in.
        images: (N, H, W, 3) uint8.
        batch_size: images in one forward pass.
    """
    if not classifier.heads:
        return None
    seen: list[torch.Tensor] = []
    head = classifier.network.get_submodule(classifier.heads[0])
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].float()))
    device, parts = device_of(classifier), []
    try:
        with evaluating(classifier):
            for batch in images.split(batch_size):
                classifier(to_float(batch.to(device)))
                features = seen.pop()
                parts.append((features.flatten(2).mean(dim=2) if features.dim() > 2 else features).cpu())
    finally:
        hook.remove()
    return torch.cat(parts)
