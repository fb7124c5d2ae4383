"""Classifiers by name: the section `model` is checked, and its classifier made."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from glassbox.config.model import Model, first_drawn
from glassbox.config.space import Searched
from glassbox.config.types import NETWORK_FILES, TUNED
from glassbox.core.errors import UserError, cut
from glassbox.data.store import Description
from glassbox.models import class_names
from glassbox.models.class_names import Names, Order
from glassbox.models.classifier import Classifier
from glassbox.models.layers import load_tensors
from glassbox.models.networks import bare, source_of
from glassbox.models.networks.base import built
from glassbox.models.networks.in_file import FileNetwork
from glassbox.models.preprocessing import FIXED, Colours, Preprocessing, listed
from glassbox.models.weights import (
    FILES,
    Fitted,
    Weights,
    classes_beside,
    digest,
    fit,
    no_file,
    read,
    unnamed,
)


def preprocessing(model: Model, data: Description) -> Preprocessing:
    """What `model.normalization` and `model.input_size` ask for. Names of the normalisation: "data", the training
    images' own statistics per channel; "weights", all that the weights say of themselves; "imagenet"; "half", which
    brings colours to -1..1; "none", which keeps them in 0..1. Else it is mean and deviation, for all channels or each.

    Raises:
        UserError: the weights say nothing of themselves.
    """
    if model.normalization == "data":
        return Preprocessing(data.mean, data.std, model.input_size)
    if model.normalization != "weights":
        return Preprocessing(*_colours(model), model.input_size)
    how = made_for(model.name, model.weights)
    if how is None:
        raise UserError(
            f"model.normalization is weights, but of {model.weights} (model.weights) nothing is known: take data, "
            "imagenet, half or none"
        )
    return replace(how, input_size=model.input_size or how.input_size)


def _colours(model: Model) -> tuple[Colours, Colours] | None:
    """Mean and deviation of each channel, where `model.normalization` gives them by itself."""
    if isinstance(model.normalization, str):
        return FIXED.get(model.normalization)
    mean, std = ((value,) * 3 if isinstance(value, int | float) else tuple(value) for value in model.normalization)
    return mean, std


def made_for(name: str, weights: str | None) -> Preprocessing | None:
    """The preprocessing that weights were trained with, from their registry; None if it is not known.

    Args:
        name, weights: as in the section `model`.

    Raises:
        UserError: there is no such network.
    """
    if weights is None:
        return None
    source = source_of(name, weights)
    source.check_name(bare(name))
    return source.made_for(bare(name), weights)


def contradictions(model: Model, image_size: int) -> list[str]:
    """Sentences about colours and size of the images, if they are not those of the weights' own training. Training can
    start from such weights, so nothing is refused. Only weights of a registry are known."""
    how = made_for(model.name, model.weights)
    if how is None or model.normalization == "weights":
        return []
    sentences: list[str] = []
    size, colours = model.input_size or image_size, (how.mean, how.std)
    if _colours(model) != colours:
        same = next((name for name, values in FIXED.items() if values == colours), "weights")
        sentences.append(
            f"model.normalization is {model.normalization}: the weights {model.weights} of {model.name} were trained "
            f"with mean {listed(how.mean)} and std {listed(how.std)}, which {same} gives."
        )
    if size != how.input_size:
        sentences.append(
            f"The network takes images of {size} x {size} pixels (model.input_size or data.image_size): the weights "
            f"{model.weights} of {model.name} were made for {how.input_size} x {how.input_size}."
        )
    return sentences


def check(model: Model, space: Sequence[Searched], image_size: int, explainers: Collection[str] = ()) -> list[str]:
    """Check, before anything is trained, that network, weights and a file of class names are there, that the network
    takes its arguments, and that the explainers of these names can explain it.

    Args:
        space: what is searched. Of each parameter the first value is tried that goes with the others.

    Returns:
        `contradictions`.

    Raises:
        UserError: one is not there, or cannot.
    """
    model = first_drawn(model, space)
    source = source_of(model.name, model.weights)
    source.check_name(bare(model.name))
    if from_file(model.weights):
        if not Path(model.weights).exists():
            raise no_file(model.weights)
    elif model.weights is not None:
        source.check_weights(bare(model.name), model.weights)
    class_names.asked(model.classes)  # a file of names is there
    how = made_for(model.name, model.weights) if model.normalization == "weights" else None
    size = model.input_size or (how and how.input_size) or image_size
    outputs = source.outputs(model.arguments) or 2
    classifier = build(model.name, model.arguments, Preprocessing(input_size=size), image_size, outputs, model.weights)
    if "grad_cam" in explainers:
        classifier.grad_cam_layer(image_size)
    return contradictions(model, image_size)


def check_data(model: Model, data: Description, *, trained: bool = True) -> list[str]:
    """Check that weights in a file fit the data, and, where nothing is `trained`, that weights give all of the network.

    Returns:
        Sentences about the head and the classes of the data; see `weights.Fitted`.

    Raises:
        UserError: they do not.
    """
    if TUNED in (model.name, model.weights, *model.arguments.values()) or (trained and not from_file(model.weights)):
        return []
    classifier = fresh(model, data, 0, torch.device("cpu"), trained=trained)
    if not trained and classifier.began_fresh:
        n = len(classifier.classes or data.classes)
        raise UserError(
            f"model.weights: {model.weights} does not give {', '.join(classifier.began_fresh)} of {model.name} for "
            f"{n} classes: with train.epochs = 0 nothing is trained, so it must give all of the network"
            f"{'' if model.classes else '; if its outputs stand for other classes, name them in model.classes'}"
        )
    return list(classifier.notes)


def from_file(weights: str | None) -> bool:
    """Whether `model.weights` names a file."""
    return weights is not None and weights.endswith((*FILES, *NETWORK_FILES.values()))


def build(
    name: str,
    arguments: Mapping[str, Any],
    how: Preprocessing,
    image_size: int,
    n_classes: int,
    file: str | None = None,
) -> Classifier:
    """A classifier by `model.name`, with fresh weights from torch's global random state, in channels_last memory order;
    or the network in a file, as it is there.

    Raises:
        UserError: there is no such network, or it does not take these arguments or images of that size.
    """
    source = source_of(name, file)
    network = built(source, name, bare(name), arguments, how.input_size or image_size, n_classes)
    classifier = Classifier(network, **vars(how))
    classifier.name, classifier.heads = name, source.heads(network, n_classes)
    return classifier.to(memory_format=torch.channels_last)


def fresh(model: Model, data: Description, seed: int, device: torch.device, *, trained: bool = True) -> Classifier:
    """A classifier for the data, on the device, before training: with fresh weights from a seed, which also seeds what
    torch draws next, or those that `model.weights` names.

    The head keeps its fresh weights if the given one has another number of classes or several layers; so does the first
    convolution of the "cifar" stem if the given one is larger: `classifier.began_fresh` names these tensors. If it is
    known which classes the outputs stand for, the rows of the head are put in the order of the data. A network that is
    not `trained` keeps all its outputs, and gives those of the data first, see `class_names.order`.

    Raises:
        UserError: there is no such network, or its weights are missing or do not fit.
    """
    how, source, name = preprocessing(model, data), source_of(model.name, model.weights), bare(model.name)
    size = how.input_size or data.image_size
    given = _given(model)
    names = _names_of_outputs(model, given)
    trained = trained and model.name not in NETWORK_FILES
    order = None if trained or names is None else class_names.order(names, data.classes, _named_by(model))

    def made(side: int) -> Classifier:
        torch.manual_seed(seed)
        with device:  # its weights are drawn there
            sized = replace(how, input_size=side)
            n_classes = len(order.outputs if order else data.classes)
            classifier = build(model.name, model.arguments, sized, data.image_size, n_classes, model.weights).to(device)
        classifier.preprocessing = how
        return classifier

    classifier = made(size)
    if given is None:
        return classifier
    theirs = None if names is None else tuple(same[0] for same in names)
    if isinstance(classifier.network, FileNetwork):
        classifier.notes = [*classifier.network.notes, *([] if order else [unnamed(model.weights, data.classes)])]
        return _in_order(classifier, order, data)
    given, classes = replace(given, classes=theirs), theirs if order else data.classes
    try:
        fitted = _load_weights(given, classifier, model, classes)
    except UserError:
        # Position embeddings come in the size that weights were trained with, and change with the network.
        known = made_for(model.name, model.weights)
        if known is None or known.input_size in (None, size) or not source.has_size(name):
            raise
        classifier = made(known.input_size)
        fitted = _load_weights(given, classifier, model, classes)
        source.resize(classifier.network, size)
    source.suit(classifier.network, name, model.weights)
    classifier.began_fresh = fitted.fresh
    classifier.notes = fitted.notes if from_file(model.weights) else []
    return _in_order(classifier, order, data)


def _given(model: Model) -> Weights | None:
    """The weights that `model.weights` names; those of a network in a file stay in it."""
    if model.weights is None:
        return None
    if model.name in NETWORK_FILES:
        return Weights({}, classes_beside(model.weights))
    if from_file(model.weights):
        return read(model.weights)
    return source_of(model.name).weights(bare(model.name), model.weights)


def _in_order(classifier: Classifier, order: Order | None, data: Description) -> Classifier:
    """The classifier with the outputs of the data's classes first, and a note if these are not its own order."""
    if order is None:
        return classifier
    classifier.answer_in(order)
    if more := len(order.outputs) - len(data.classes):
        note = (
            f"The network has {len(order.outputs)} outputs, of which the data have {len(data.classes)} classes: it may "
            f"predict any of the other {more} as well, which is a mistake on these data."
        )
    elif classifier.outputs is not None:
        theirs = [name for _, name in sorted(zip(order.outputs, order.classes, strict=True))]
        note = f"The network has its outputs in the order {cut(', '.join(theirs), 200)}, which is not that of the data."
    else:
        return classifier
    classifier.notes = [*classifier.notes, note]
    return classifier


def _names_of_outputs(model: Model, given: Weights | None) -> Names | None:
    """The names of the outputs that weights have; None if they are not known."""
    if given is None:
        return None
    if model.classes is not None:
        return class_names.asked(model.classes)
    if given.classes is not None:
        return class_names.plain(given.classes)
    return None if from_file(model.weights) else source_of(model.name).class_names(bare(model.name), model.weights)


def _named_by(model: Model) -> str:
    return "model.classes" if model.classes else f"model.weights ({model.weights}; model.classes can name its outputs)"


def _load_weights(given: Weights, classifier: Classifier, model: Model, classes: tuple[str, ...]) -> Fitted:
    network = classifier.network
    fitted = fit(
        given,
        network.state_dict(),
        classifier.heads,
        source_of(model.name).stem(network, model.arguments),
        which=model.weights,
        network=model.name,
        classes=classes,
    )
    load_tensors(network, fitted.tensors, strict=False)
    return fitted


def digest_of_weights(model: Model) -> str | None:
    """SHA-256 of the file of starting weights; None if they are not from a file.

    Raises:
        UserError: the file cannot be read.
    """
    return digest(model.weights) if from_file(model.weights) else None
