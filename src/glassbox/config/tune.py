"""The section `tune`: the search and its space."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, field_serializer, model_validator

from glassbox.config import space
from glassbox.config.augment import Augment
from glassbox.config.hyperparameters import SECTIONS, not_taken, together
from glassbox.config.messages import dotted, must_be, nearest, shown
from glassbox.config.model import Model
from glassbox.config.section import Section, rule
from glassbox.config.space import ARGUMENTS, Option, Searched
from glassbox.config.train import Train
from glassbox.config.types import SHARE_OR_GPUS, TUNED, Count, Gpus, Positive

if TYPE_CHECKING:
    from glassbox.config.compute import Compute


class Tune(Section):
    n_trials: Count
    workers: Positive
    gpus: Annotated[Gpus | None, Field(description=SHARE_OR_GPUS)]
    startup_trials: Positive
    epochs: Positive
    patience: Positive
    pruner_startup_trials: Count
    pruner_warmup_epochs: Count
    objective: Literal["accuracy", "loss", "macro_f1"]
    second_objective: Literal["forward_ms", "parameters"] | None
    space: Annotated[dict[str, dict[str, Option]], BeforeValidator(space.parsed)]

    @field_serializer("space", mode="wrap")
    def _as_in_the_file(self, value: Any, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return space.as_in_the_file(dump(value))

    @property
    def options(self) -> list[Searched]:
        """All options of the space, in the file's order."""
        return space.labelled(self.space)

    @model_validator(mode="after")
    def _has_an_order(self) -> "Tune":
        space.in_order(self.options)
        return self

    @rule
    def _nothing_is_searched_without_a_training(self, train: Train) -> None:
        if self.n_trials and train.epochs == 0:
            raise ValueError(f"tune.n_trials is {self.n_trials}: with train.epochs = 0 it must be 0")

    @rule
    def _the_space_fits_its_parameters(self, model: Model, train: Train, augment: Augment) -> None:
        given = together(model, train, augment).by_key()
        for key in self.space:
            _check_can_be_searched(key)
        for place, searched in zip(self._places(), self.options, strict=True):
            for key, wanted in searched.option.when.items():
                if key not in self.space and key not in given:
                    hint = nearest(key, [*self.space, *given])
                    raise ValueError(
                        f"{place}.when: {dotted([key])} is not a parameter; {hint}allowed here: dotted keys"
                    )
                for value in wanted if isinstance(wanted, tuple) else [wanted]:
                    if allowed := not_taken(key, value):
                        raise ValueError(f"{place}.when: {key} is {shown(value)}, but must be {allowed}")
            for value in searched.option.values():
                if allowed := not_taken(searched.key, value):
                    raise ValueError(f"{place} has {shown(value)}, but must be {allowed}")

    def _places(self) -> list[str]:
        """Where each of the options stands in the file."""
        return [".".join(filter(None, ["tune.space", key, name])) for key in self.space for name in self.space[key]]

    @rule
    def _every_tuned_value_is_searched(self, model: Model, train: Train, augment: Augment) -> None:
        """An option is needed only if its condition holds."""
        given = together(model, train, augment)
        values = given.by_key()
        if not self.n_trials:
            missing = [
                key
                for key in given.tuned()
                if key not in self.space or any(option.holds(values) for option in self.space[key].values())
            ]
            if missing:
                raise ValueError(
                    f"{', '.join(missing)} must be given a value: 'tuned' stands there, but tune.n_trials is 0"
                )
            return
        for key in given.tuned():
            if key not in self.space:
                raise ValueError(f"{key} is 'tuned': tune.space must then say how it is drawn")
        for key in given.tuned():
            if not_taken(key, None) and (case := space.not_covered(key, self.space, values)):
                raise ValueError(f"tune.space.{key} must have an option for {case}: {key} needs a value then, too")

    @rule
    def _trials_can_run_there(self, compute: "Compute") -> None:
        if self.gpus is not None and bool(self.gpus) != bool(compute.gpus):
            raise ValueError(
                f"tune.gpus is {self.gpus:g}: with compute.gpus = {compute.gpus:g} it must be "
                f"{'above 0' if compute.gpus else '0 or null'}"
            )


def _check_can_be_searched(key: str) -> None:
    section, _, name = key.partition(".")
    kind = SECTIONS[section]
    place = dotted(["tune.space", key])
    if key.startswith(f"{ARGUMENTS}."):
        if must_be(Model, "arguments", {key.removeprefix(f"{ARGUMENTS}."): 0}):
            raise ValueError(f"{place} is not a parameter: the name of an argument must be of letters, digits and _")
        return
    known = [other for other in kind.model_fields if other != "arguments" and not must_be(kind, other, TUNED)]
    if name not in known:
        raise ValueError(
            f"{place} is not a parameter that can be searched; {nearest(name, known)}allowed here: {', '.join(known)}"
        )
