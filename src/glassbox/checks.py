"""Checks of a study as a whole, before hours of work: all parameters, and whether the network can be explained.

They change no result. So a stage imports them by name (`stages.check_study`), and does not depend on them: a new
parameter of a later stage reruns none of the earlier ones.
"""

from collections.abc import Sequence

from glassbox.config import cnn, parameters
from glassbox.config.explain import check_images
from glassbox.config.model import Model, first_drawn
from glassbox.config.parameters import Params
from glassbox.config.space import ARGUMENTS, Searched
from glassbox.config.types import CNN
from glassbox.core.errors import UserError
from glassbox.data.store import Description


def check_study(network: bool = True, data: Description | None = None) -> Params:
    """Check the parameter file, print notes about it, and return its parameters.

    Args:
        network: whether to check the network as well, for which PyTorch is imported unless it is a fresh `cnn`.
        data: the description of the prepared data, if they exist.

    Raises:
        UserError: a value is wrong, the network does not exist or cannot be explained by these explainers, or there are
            no such images to explain.
    """
    params = parameters.read()
    model, space = params.model, params.tune.options
    first = first_drawn(model, space)
    if network and first.name == CNN and first.weights is None:
        _check_cnn(model, space)
    elif network:
        from glassbox import models  # imports PyTorch, which takes longer than all else here
        from glassbox.explainers import factory
        from glassbox.models.networks import source_of

        drawn = first_drawn(model, space)
        if not source_of(drawn.name, drawn.weights).has_gradients:
            factory.check_black_box(params.explain.explainers)
            if params.audit.images:
                factory.check_black_box(params.audit.explainers, "audit.explainers")
        for sentence in models.check(model, space, params.data.image_size, params.explain.explainers):
            print(f"note: {sentence}")
    if data is not None:
        check_images(params.explain.images, data.sizes["test"])
        described = [finding for finding in params.repair.findings if isinstance(finding, str)]
        if described:
            from glassbox.audit import stored

            stored.accepted(described, "", data.classes, data.image_size)
    return params


def _check_cnn(model: Model, space: Sequence[Searched]) -> None:
    """Check the arguments of the CNN, and every choice and end of a range that may take their place."""
    arguments = first_drawn(model, space).arguments
    cnn.hyperparameters(arguments)
    for searched in space:
        name = searched.key.removeprefix(f"{ARGUMENTS}.")
        for value in searched.option.values() if name != searched.key else ():
            try:
                cnn.hyperparameters(arguments | {name: value})
            except UserError as error:
                raise UserError(f"{error} (tune.space.{searched.key} has it)") from None
