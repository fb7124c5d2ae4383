"""The sections whose keys can be searched, taken together: all that decides a training but images, seed and place."""

from collections.abc import Mapping
from typing import Any

from glassbox.config.augment import Augment
from glassbox.config.messages import checked
from glassbox.config.model import Model
from glassbox.config.section import Sections
from glassbox.config.space import ARGUMENTS
from glassbox.config.train import Train
from glassbox.config.types import TUNED


class Hyperparameters(Sections):
    """Network, recipe and augmentation."""

    model: Model
    train: Train
    augment: Augment

    def by_key(self) -> dict[str, Any]:
        """The value of every key; those of `model.arguments` one by one."""
        values: dict[str, Any] = {}
        for section, keys in self:
            for key, value in keys:
                if f"{section}.{key}" == ARGUMENTS:
                    values |= {f"{ARGUMENTS}.{name}": argument for name, argument in value.items()}
                else:
                    values[f"{section}.{key}"] = value
        return values

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
        return checked(Hyperparameters, tree, "params.yaml")


def together(model: Model, train: Train, augment: Augment) -> Hyperparameters:
    """Sections that were checked before."""
    return Hyperparameters.model_construct(model=model, train=train, augment=augment)
