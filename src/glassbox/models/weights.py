"""Weights that training starts from: read from a file without running code in it, and fitted to a network."""

import json
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from glassbox.core import files
from glassbox.core.errors import UserError

FILES = (".pth", ".pt", ".ckpt", ".safetensors")
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads of Inception and GoogLeNet that only their own training used
# Keys under which training scripts save the weights, beside others that do not look like them or are averages of them.
WRAPPED_IN = ("state_dict", "model_state_dict", "model_state", "model")
CLASSES = ("classes", "class_names", "class_to_idx", "idx_to_class", "names")  # keys under which they name the classes
# What torchvision's own files of DenseNet and ViT call tensors whose modules have been renamed since.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp\.)linear_1\."), r"\g<1>0."),
    (re.compile(r"(\.mlp\.)linear_2\."), r"\g<1>3."),
)
DEEPEST = 5  # levels of a checkpoint that are looked into
SHOWN = 10  # names of classes in a sentence


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
        tensors: by name.
        classes: of the outputs, in their order; None where the file does not say.
    """

    tensors: dict[str, torch.Tensor]
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Fitted:
    """What a network takes of weights.

    Attributes:
        tensors: by the network's own names.
        fresh: names of the tensors that the weights do not give.
        notes: what there is to know of the head, in sentences.
    """

    tensors: dict[str, torch.Tensor]
    fresh: list[str]
    notes: list[str]


def read(path: str) -> Weights:
    """What is in a .safetensors file, or in a .pth, .pt or .ckpt file, which is read with `weights_only`: no code in it
    runs. The classes are those that a file of the same name, but ending in .json, has under "classes", as glassbox
    writes it beside its weights, or those that the file itself names.

    Raises:
        UserError: the file is missing or damaged, or holds something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.endswith(".safetensors"):
            with safe_open(path, framework="pt") as opened:
                content: Any = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
                said: Any = {name: _parsed(value) for name, value in (opened.metadata() or {}).items()}
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*TorchScript archive")  # is said below
                content = said = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise no_file(path) from None
    except pickle.UnpicklingError:
        raise UserError(
            f"model.weights: the file {path} holds no weights, or more than weights, which could run code when it is "
            f"opened: save the state_dict alone, where the file was made, with {_save_alone(path)}"
        ) from None
    except (OSError, SafetensorError, RuntimeError, EOFError) as error:
        if "TorchScript" in str(error):
            raise UserError(
                f"model.weights: the file {path} is a TorchScript archive, which holds code: save its weights alone "
                f"with torch.save(torch.jit.load({path!r}).state_dict(), 'weights.pth')"
            ) from None
        raise UserError(f"model.weights: the file {path} cannot be read as weights ({reason(error)})") from None
    return Weights(_unwrapped(content, path), _classes_beside(path) or _classes_in(said))


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
    head: str,
    stem: str | None,
    *,
    which: str,
    network: str,
    classes: Sequence[str],
) -> Fitted:
    """What a network takes of weights. The head keeps its fresh weights where the other one has another number of
    outputs or several layers, and so does the first convolution of the "cifar" stem where the other one is larger.

    Args:
        weights: of a file, or torchvision's.
        own: tensors of the network by name.
        head: name of its last layer.
        stem: name of its first convolution, if another size of it is to be left out.
        which, network: names, for messages.
        classes: of the data, in the order of the outputs.

    Raises:
        UserError: they belong to another network.
    """
    given = _unprefixed({_name_today(name): tensor for name, tensor in weights.tensors.items()}, own, which)
    given = {name: tensor for name, tensor in given.items() if not name.startswith(AUXILIARY)}
    given = _plain_head(given, own, head)
    other = [name for name, tensor in given.items() if name in own and own[name].shape != tensor.shape]
    # A part is wholly taken over or wholly fresh.
    may_differ = [f"{part}." for part in (head, stem) if part]
    parts = [part for part in may_differ if any(n in other or n not in given for n in own if n.startswith(part))]
    fresh = [name for name in own if name.startswith(tuple(parts))]
    faults = [
        *(f"{name} is {_shape(given[name])} there and {_shape(own[name])} here" for name in other if name not in fresh),
        *(f"{name} is missing" for name in own if name not in given and name not in fresh and not _counts(name)),
        *(f"{name} is not part of it" for name in given if name not in own),
    ]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise UserError(f"model.weights: {which} does not fit {network} ({faults[0]}{more})")
    fitted = Fitted({name: given[name] for name in given if name not in fresh}, fresh, [])
    if f"{head}.weight" in fresh:
        return replace(fitted, notes=_other_head(given.get(f"{head}.weight"), which, len(classes)))
    return _in_order(fitted, f"{head}.", weights.classes, which, tuple(classes))


def no_file(path: str) -> UserError:
    """That there is none."""
    return UserError(f"model.weights names the file {path}, which does not exist")


def reason(error: Exception) -> str:
    """What an error says, on one line of some length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:160].rsplit(' ', 1)[0]} …"


def _save_alone(path: str) -> str:
    if path.endswith(".ckpt"):  # Lightning's, with hyperparameters in classes of its own
        return f"torch.save(torch.load({path!r}, weights_only=False)['state_dict'], 'weights.pth')"
    return "torch.save(model.state_dict(), 'weights.pth')"


def _unwrapped(content: Any, path: str) -> dict[str, torch.Tensor]:
    """The tensors by name, wherever in a checkpoint they lie.

    Raises:
        UserError: there are none, or of several nothing tells which.
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


def _classes_beside(path: str) -> tuple[str, ...] | None:
    file = beside(path)
    if not file.exists():
        return None
    try:
        return _classes_in(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}, which names the classes of model.weights, cannot be read ({reason(error)})") from None


def _classes_in(content: Any) -> tuple[str, ...] | None:
    if not isinstance(content, dict):
        return None
    return next((found for key in CLASSES if (found := _names(content.get(key)))), None)


def _names(value: Any) -> tuple[str, ...] | None:
    """Of a list, or of a mapping between names and places, in either direction."""
    if isinstance(value, dict):
        pairs = {(place, name) if isinstance(place, int) else (name, place) for place, name in value.items()}
        if not all(isinstance(place, int) for place, _ in pairs) or {p for p, _ in pairs} != set(range(len(value))):
            return None
        value = [name for _, name in sorted(pairs)]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        return None
    return tuple(value)


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
    """Names without what stands before them where the network was a part of another module: "module." of DataParallel,
    "model." of Lightning, "network.body." of glassbox. What else that module had is left out.

    Raises:
        UserError: it had two such networks.
    """
    if any(name in own for name in given):
        return given
    found: Counter[str] = Counter()
    for name in given:
        parts = name.split(".")
        found.update(".".join(parts[:n]) + "." for n in range(1, len(parts)) if ".".join(parts[n:]) in own)
    if not found:
        return given
    (prefix, most), *others = found.most_common()
    if rivals := [other for other, n in others if n == most]:
        raise UserError(
            f"model.weights: {which} holds the weights of several networks ({', '.join([prefix, *rivals])}): save "
            "those of one alone"
        )
    return {name.removeprefix(prefix): tensor for name, tensor in given.items() if name.startswith(prefix)}


def _plain_head(given: dict[str, torch.Tensor], own: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    """The weights with the head under its own name, where they have it in a sequence of layers, or as the only one of
    what is a sequence here; without it where it has several layers with weights."""
    region = f"{head}."  # of names that can only be the head's
    while (wider := region[:-1].rpartition(".")[0]) and all(
        n.startswith(f"{head}.") for n in own if n.startswith(f"{wider}.")
    ):
        region = f"{wider}."
    mine = {name: tensor for name, tensor in given.items() if name.startswith(region)}
    if set(mine) <= set(own):
        return given
    rest = {name: tensor for name, tensor in given.items() if name not in mine}
    layers = [name for name, tensor in mine.items() if name.endswith("weight") and tensor.ndim >= 2]
    if len(layers) != 1:
        return rest
    before = layers[0].removesuffix("weight")
    return rest | {f"{head}.{name.removeprefix(before)}": t for name, t in mine.items() if name.startswith(before)}


def _other_head(found: torch.Tensor | None, which: str, n_classes: int) -> list[str]:
    if found is None:
        return [f"model.weights: {which} has no head that fits: the last layer begins with fresh weights."]
    return [
        f"model.weights: {which} has {found.shape[0]} outputs, and the data have {n_classes} classes: the last layer "
        "begins with fresh weights."
    ]


def _in_order(
    fitted: Fitted, head: str, theirs: tuple[str, ...] | None, which: str, classes: tuple[str, ...]
) -> Fitted:
    """With the head's rows in the order of the data's classes, where the weights name theirs."""
    if theirs == classes:
        return fitted
    if theirs is None or len(theirs) != len(classes):
        said = (
            f"model.weights: {which} does not name its classes: its outputs are taken for {_listed(classes)}, in this "
            f'order. If theirs is another one, write it to {beside(which)} as {{"classes": [...]}}.'
        )
    elif set(theirs) != set(classes):
        said = (
            f"model.weights: the classes of {which} ({_listed(theirs)}) are not called like those of the data "
            f"({_listed(classes)}): its outputs are taken for these, in their order."
        )
    else:
        rows = torch.tensor([theirs.index(name) for name in classes])
        tensors = {n: t[rows] if n.startswith(head) else t for n, t in fitted.tensors.items()}
        said = (
            f"model.weights: {which} has the classes in the order {_listed(theirs)}: the rows of its last layer are "
            "put in that of the data."
        )
        return replace(fitted, tensors=tensors, notes=[said])
    return replace(fitted, notes=[said])


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")  # files of older versions lack it


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
