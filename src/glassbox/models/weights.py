"""Weights that training starts from: read from a file without running code in it, and fitted to a network."""

import json
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.models.class_names import in_content

FILES = (".pth", ".pt", ".ckpt", ".safetensors")
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads of Inception and GoogLeNet that only their own training used
# Keys under which training scripts save the weights, beside others that do not look like them or are averages of them.
WRAPPED_IN = ("state_dict", "model_state_dict", "model_state", "model")
# What torchvision's own files of DenseNet and ViT call tensors whose modules have been renamed since.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp\.)linear_1\."), r"\g<1>0."),
    (re.compile(r"(\.mlp\.)linear_2\."), r"\g<1>3."),
)
COUNTER = "num_batches_tracked"  # end of the name of a tensor that files of older versions lack
DEEPEST = 5  # levels of a checkpoint that are looked into
SHOWN = 10  # names of classes in a sentence


@dataclass(frozen=True)
class Weights:
    """The content of a file."""

    tensors: dict[str, torch.Tensor]  # by name
    classes: tuple[str, ...] | None = None  # of the outputs, in their order; None if the file does not name them


@dataclass(frozen=True)
class Fitted:
    """What a network takes of weights."""

    tensors: dict[str, torch.Tensor]  # by the network's own names
    fresh: list[str]  # names of the tensors that the weights do not give
    notes: list[str]  # sentences about the head


def read(path: str) -> Weights:
    """The weights in a .safetensors file, or in a .pth, .pt or .ckpt file, which is read with `weights_only`: no code
    in it runs. Their classes are those that a file of the same name, but ending in .json, has under "classes", as
    glassbox writes it beside its weights, or those that the file itself names.

    Raises:
        UserError: the file is missing or damaged, or holds something else.
    """
    from safetensors import SafetensorError

    try:
        content, about = _read_safetensors(path) if path.endswith(".safetensors") else _read_pickle(path)
    except FileNotFoundError:
        raise no_file(path) from None
    except pickle.UnpicklingError:
        # Lightning's files hold hyperparameters in classes of its own.
        is_lightning = path.endswith(".ckpt")
        alone = f"torch.load({path!r}, weights_only=False)['state_dict']" if is_lightning else "model.state_dict()"
        raise UserError(
            f"model.weights: the file {path} holds no weights, or more than weights, which could run code when it is "
            f"opened: save the state_dict alone, where the file was made, with torch.save({alone}, 'weights.pth')"
        ) from None
    except (OSError, SafetensorError, RuntimeError, EOFError) as error:
        if "TorchScript" in str(error):
            raise UserError(
                f"model.weights: the file {path} is a TorchScript archive, which holds code: save its weights alone "
                f"with torch.save(torch.jit.load({path!r}).state_dict(), 'weights.pth')"
            ) from None
        raise UserError(f"model.weights: the file {path} cannot be read as weights ({reason(error)})") from None
    return Weights(_unwrapped(content, path), classes_beside(path) or in_content(about))


def _read_safetensors(path: str) -> tuple[Any, Any]:
    """Tensors, and metadata."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        return tensors, {name: _parsed(value) for name, value in (opened.metadata() or {}).items()}


def _read_pickle(path: str) -> tuple[Any, Any]:
    """The content, which may name the classes as well."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*TorchScript archive")  # becomes an error of ours
        content = torch.load(path, map_location="cpu", weights_only=True)
    return content, content


def digest(path: str) -> str:
    """SHA-256 of a file of weights, and of the file beside it that names its classes, if there is one.

    Raises:
        UserError: it cannot be read.
    """
    try:
        parts = [Path(path).read_bytes()]
        if beside(path).exists():
            parts.append(beside(path).read_bytes())
    except FileNotFoundError:
        raise no_file(path) from None
    except OSError as error:
        raise UserError(f"model.weights: the file {path} cannot be read ({error.strerror})") from None
    return files.digest(*parts)


def beside(path: str) -> Path:
    """The file that may name the classes of weights."""
    return Path(path).with_suffix(".json")


def fit(
    weights: Weights,
    own: dict[str, torch.Tensor],
    heads: Sequence[str],
    stem: str | None,
    *,
    which: str,
    network: str,
    classes: Sequence[str],
) -> Fitted:
    """What a network takes of weights; see `building.fresh`.

    Args:
        own: tensors of the network by name.
        heads: names of its last layers.
        stem: name of its first convolution, if another size of it is to be left out.
        which, network: names, for messages.
        classes: the data's, in the order of the outputs.

    Raises:
        UserError: they belong to another network.
    """
    given = _unprefixed({_name_today(name): tensor for name, tensor in weights.tensors.items()}, own, which)
    given = {name: tensor for name, tensor in given.items() if not name.startswith(AUXILIARY)}
    for head in heads:
        given = _plain_head(given, own, head)
    other = [name for name, tensor in given.items() if name in own and own[name].shape != tensor.shape]
    # A part is wholly taken over or wholly fresh.
    prefixes = [f"{part}." for part in (*heads, stem) if part]
    differing = [part for part in prefixes if any(n in other or n not in given for n in own if n.startswith(part))]
    fresh = [name for name in own if name.startswith(tuple(differing))]
    faults = [
        *(f"{name} is {_shape(given[name])} there and {_shape(own[name])} here" for name in other if name not in fresh),
        *(f"{n} is missing" for n in own if n not in given and n not in fresh and not n.endswith(COUNTER)),
        *(f"{name} is not part of it" for name in given if name not in own),
    ]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise UserError(f"model.weights: {which} does not fit {network} ({faults[0]}{more})")
    tensors = {name: tensor for name, tensor in given.items() if name not in fresh}
    if any(f"{head}.weight" in fresh for head in heads):
        why = "has no head that fits"
        if (weight := given.get(f"{heads[0]}.weight")) is not None:
            why = f"has {weight.shape[0]} outputs, and the data have {len(classes)} classes"
        return Fitted(tensors, fresh, [f"model.weights: {which} {why}: the last layer begins with fresh weights."])
    note, rows = _order_of_classes(weights.classes, tuple(classes), which)
    if rows is not None:
        tensors |= {
            name: tensor[rows] for name, tensor in tensors.items() if name.startswith(tuple(f"{h}." for h in heads))
        }
    return Fitted(tensors, fresh, [note] if note else [])


def no_file(path: str) -> UserError:
    """The error that a file is missing."""
    return UserError(f"model.weights names the file {path}, which does not exist")


def reason(error: Exception) -> str:
    """An error's message on one line of at most 160 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:160].rsplit(' ', 1)[0]} …"


def _unwrapped(content: Any, path: str) -> dict[str, torch.Tensor]:
    """The tensors by name, at whatever level of a checkpoint.

    Raises:
        UserError: there are none, or several sets of them.
    """
    for _ in range(DEEPEST):
        if _are_weights(content):
            return content
        if not isinstance(content, dict):
            break
        sets = [key for key, value in content.items() if _are_weights(value)]
        keys = [key for key in WRAPPED_IN if isinstance(content.get(key), dict)] or sets
        if len(keys) > 1 and keys is sets:
            raise UserError(
                f"model.weights: the file {path} holds several sets of weights ({', '.join(map(str, sets))}): save one "
                f"of them alone, as with torch.save(torch.load({path!r})[{sets[0]!r}], 'weights.pth')"
            )
        if not keys:
            break
        content = content[keys[0]]
    raise UserError(f"model.weights: the file {path} holds no weights by name (a state_dict)")


def _are_weights(content: Any) -> bool:
    return (
        bool(content)
        and isinstance(content, dict)
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())
    )


def classes_beside(path: str) -> tuple[str, ...] | None:
    """The classes that the file `beside` weights names, in the order of the outputs; None if it names none.

    Raises:
        UserError: it cannot be read.
    """
    file = beside(path)
    if not file.exists():
        return None
    try:
        return in_content(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}, which names the classes of model.weights, cannot be read ({reason(error)})") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _name_today(name: str) -> str:
    for pattern, today in RENAMED:
        name = pattern.sub(today, name)
    return name


def _unprefixed(given: dict[str, torch.Tensor], own: dict[str, torch.Tensor], which: str) -> dict[str, torch.Tensor]:
    """The tensors of this network, if it was a part of another module, without that module's prefix: "module." of
    DataParallel, "model." of Lightning, "network.body." of glassbox.

    Raises:
        UserError: the module had two such networks.
    """
    if any(name in own for name in given):
        return given
    prefixes: Counter[str] = Counter()
    for name in given:
        parts = name.split(".")
        prefixes.update(".".join(parts[:n]) + "." for n in range(1, len(parts)) if ".".join(parts[n:]) in own)
    if not prefixes:
        return given
    (prefix, most), *others = prefixes.most_common()
    if rivals := [other for other, n in others if n == most]:
        raise UserError(
            f"model.weights: {which} holds the weights of several networks ({', '.join([prefix, *rivals])}): save "
            "those of one alone"
        )
    return {name.removeprefix(prefix): tensor for name, tensor in given.items() if name.startswith(prefix)}


def _plain_head(given: dict[str, torch.Tensor], own: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    """The weights with the head under this network's name, where either has it inside a sequence of layers; without the
    head if it has several layers with weights."""
    region = f"{head}."  # of names that can only be the head's
    while (wider := region[:-1].rpartition(".")[0]) and all(
        n.startswith(f"{head}.") for n in own if n.startswith(f"{wider}.")
    ):
        region = f"{wider}."
    theirs = {name: tensor for name, tensor in given.items() if name.startswith(region)}
    if set(theirs) <= set(own):
        return given
    rest = {name: tensor for name, tensor in given.items() if name not in theirs}
    layers = [name for name, tensor in theirs.items() if name.endswith("weight") and tensor.ndim >= 2]
    if len(layers) != 1:
        return rest
    before = layers[0].removesuffix("weight")
    return rest | {f"{head}.{name.removeprefix(before)}": t for name, t in theirs.items() if name.startswith(before)}


def unnamed(which: str, classes: tuple[str, ...]) -> str:
    """The sentence that the classes of the outputs are not known; `classes` are those of the data."""
    return (
        f"model.weights: {which} does not name its classes: its outputs are taken for {_listed(classes)}, in this "
        "order. If theirs is another one, name them in model.classes."
    )


def _order_of_classes(
    theirs: tuple[str, ...] | None, classes: tuple[str, ...], which: str
) -> tuple[str | None, list[int] | None]:
    """What there is to know of the order of the weights' classes; and for each class of the data the row of the head
    that is its own, None to leave the rows as they are."""
    if theirs == classes:
        return None, None
    if theirs is None or len(theirs) != len(classes):
        return unnamed(which, classes), None
    if set(theirs) != set(classes):
        return (
            f"model.weights: the classes of {which} ({_listed(theirs)}) are not called like those of the data "
            f"({_listed(classes)}): its outputs are taken for these, in their order."
        ), None
    return (
        f"model.weights: {which} has the classes in the order {_listed(theirs)}: the rows of its last layer are put in "
        "that of the data."
    ), [theirs.index(name) for name in classes]


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
