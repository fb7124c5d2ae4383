"""What is wrong with a study as a whole, found before hours of work: all parameters, and whether the network can be
explained as they say.

It decides no result. So a stage imports it by name (`stages.check_study`), and does not depend on it: a new parameter
of a later stage reruns none of the earlier ones.
"""

from glassbox.config import parameters
from glassbox.config.explain import check_images
from glassbox.config.model import network_keys
from glassbox.config.parameters import Params
from glassbox.config.types import CNN
from glassbox.data.store import Description


def check_study(network: bool = True, data: Description | None = None) -> Params:
    """Check the parameter file, and print what is worth a note.

    Args:
        network: whether the network is looked at, too, for which torchvision is imported.
        data: prepared, where they are.

    Returns:
        All parameters.

    Raises:
        UserError: a value is wrong, the network does not exist or cannot be explained by the explainers that are named,
            or there are no such images to explain.
    """
    params = parameters.read()
    model = params.model
    if network and model.name != CNN:
        from glassbox import models  # torchvision takes its time, and the CNN has no need of it

        hyperparameters = {key: getattr(model, key) for key in network_keys(model.name)}
        spec = models.Spec(model.name, hyperparameters, model.normalization, model.input_size)
        for sentence in models.check(spec, params.data.image_size, params.explain.explainers):
            print(f"note: {sentence}")
    if data is not None:
        check_images(params.explain.images, data.sizes["test"])
    return params
