"""The sections whose keys can be searched, taken together: all that decides a training but images, seed and place."""

from collections.abc import Mapping
from typing import Any

from glassbox.config.augment import Augment
from glassbox.config.messages import checked, must_be
from glassbox.config.model import Model
from glassbox.config.section import Section, Sections
from glassbox.config.space import ARGUMENTS
from glassbox.config.train import Train
from glassbox.config.types import TUNED
from glassbox.config.yaml_file import PARAMS_FILE

SECTIONS: dict[str, type[Section]] = {"model": Model, "train": Train, "augment": Augment}


class Hyperparameters(Sections):
    """Network, recipe and augmentation."""

    model: Model
    train: Train
    augment: Augment

    def by_key(self) -> dict[str, Any]:
        """The value of every key; those of `model.arguments` one by one."""
        train = {f"train.{key}": value for key, value in self.train}
        return self.model.by_key() | train | {f"augment.{key}": value for key, value in self.augment}

    def tuned(self) -> list[str]:
        """The keys at which `tuned` stands."""
        return [key for key, value in self.by_key().items() if value == TUNED]

    def replaced(self, values: Mapping[str, Any], unused: set[str]) -> "Hyperparameters":
        """The same with other values.

        Args:
            values: by key, for some of them.
            unused: keys that have no value: an argument is left out, another key becomes null.

        Raises:
            UserError: the values are not allowed, or not together.
        """
        tree: dict[str, Any] = {section: {} for section in type(self).model_fields}
        tree["model"]["arguments"] = {}
        for key, value in (self.by_key() | dict(values)).items():
            inside = key.startswith(f"{ARGUMENTS}.")
            if inside and key in unused:
                continue
            section, _, name = key.partition(".")
            place = tree["model"]["arguments"] if inside else tree[section]
            place[key.removeprefix(f"{ARGUMENTS}.") if inside else name] = None if key in unused else value
        return checked(Hyperparameters, tree, PARAMS_FILE)


def together(model: Model, train: Train, augment: Augment) -> Hyperparameters:
    """Sections that were checked before."""
    return Hyperparameters.model_construct(model=model, train=train, augment=augment)


def not_taken(key: str, value: Any) -> str | None:
    """What a parameter must be, if it can never have this value; None if it can."""
    if key.startswith(f"{ARGUMENTS}."):
        return None  # checked when the network is made
    section, _, name = key.partition(".")
    return must_be(SECTIONS[section], name, () if value == TUNED else value, besides=TUNED)
