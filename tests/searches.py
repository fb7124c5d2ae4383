"""Searches for tests: trivial data, trials without training, and workers in this process."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glassbox.config import space
from glassbox.config.hyperparameters import Hyperparameters, together
from glassbox.config.parameters import Params
from glassbox.config.space import Option
from glassbox.config.tune import Tune
from glassbox.data.store import Description, Split
from glassbox.execution import workers
from glassbox.execution.compute import Place
from glassbox.search.outcome import Trial
from glassbox.search.trainer import Trainer
from glassbox.search.tuning import Search
from glassbox.training.records import Epoch

PLACE = Place(torch.device("cpu"), torch.float32, 64)
DATA = Description("toy", ("a", "b"), 8, {}, (0, 0, 0), (1, 1, 1), False, "d" * 64)


def black_and_white(_: str) -> Split:
    """Forty images of two classes that any network learns."""
    labels = torch.arange(40) % 2
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    images[labels == 1] = 255
    return Split(images, labels, None, torch.arange(40), None)


def known(params: Params, **sections: dict[str, Any]) -> Hyperparameters:
    """The hyperparameters of a parameter file, with changes of sections."""
    names = ("model", "train", "augment")
    return together(*(getattr(params, name).model_copy(update=sections.get(name, {})) for name in names))


def space_of(tree: dict[str, Any]) -> dict[str, dict[str, Option]]:
    """`tune.space` as it stands in a file."""
    options = space.parsed(tree)
    return {key: {name: Option(**option) for name, option in named.items()} for key, named in options.items()}


def small(params: Params, **changes: Any) -> Tune:
    """The section `tune` of a search of six trials of four epochs."""
    update = {"n_trials": 6, "startup_trials": 2, "epochs": 4, "pruner_startup_trials": 1, "pruner_warmup_epochs": 0}
    return params.tune.model_copy(update=update | changes)


def score(arguments: dict[str, Any], epoch: int) -> float:
    """An accuracy that depends on the drawn values and grows with the epochs."""
    return min(1.0, arguments["dropout_1"] * epoch / 2)


def epoch_of(number: int, accuracy: float, balanced: float = 0.0, loss: float = 1.0, macro_f1: float = 0.0) -> Epoch:
    """An epoch with these results of validation."""
    return Epoch(
        epoch=number,
        train_loss=1.0,
        train_accuracy=0.5,
        validation_loss=loss,
        validation_accuracy=accuracy,
        weight_penalty=0.0,
        learning_rate=0.1,
        is_best=True,
        seconds=0.0,
        images_per_second=1.0,
        peak_memory=0.5,
        validation_balanced_accuracy=balanced,
        validation_macro_f1=macro_f1,
    )


class Toy(Trainer):
    """Its trials report `score` without training; their loss is its negative."""

    def epochs(self, number, hyperparameters, *_):
        for epoch in range(1, self.settings.epochs + 1):
            reached = score(hyperparameters.model.arguments, epoch)
            yield epoch_of(epoch, reached, loss=-reached, macro_f1=reached)


@dataclass(frozen=True)
class InFolder(Trainer):
    """Real trials that leave marks in a folder."""

    folder: Path | None = None


class KilledInTheSecond(InFolder):
    """The process of the second trial is killed in each attempt at it."""

    times = 3

    def epochs(self, number, *rest):
        for epoch in super().epochs(number, *rest):
            yield epoch
            if number == 1 and len(list(self.folder.glob("*.killed"))) < self.times:
                (self.folder / f"{os.getpid()}.killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)


class KilledOnce(KilledInTheSecond):
    times = 1


def search_of(
    kind: type[Trainer],
    params: Params,
    folder: Path,
    *,
    seed: int = 0,
    place: Place = PLACE,
    threads: int | None = None,
    sections: dict[str, dict[str, Any]] | None = None,
    **changes: Any,
) -> Search:
    """A search by such a trainer, with changes of `sections` and of the section `tune`."""
    extra = {"folder": folder} if issubclass(kind, InFolder) else {}
    trainer = kind(small(params, **changes), known(params, **(sections or {})), seed, DATA, place, **extra)
    return Search(trainer, folder, threads)


def within(*deaths: int, after_end: tuple[int, ...] = ()) -> Callable[..., Iterator[tuple[int, Any]]]:
    """`workers.each` in this process. The worker of a trial dies after its first epoch as often as `deaths` contains
    the trial's number, and after its last record if `after_end` does."""
    left = list(deaths)

    def each(serve, todo: deque, at_once: int, answer):
        records_of = serve()
        while todo:
            number = todo.popleft()
            records, reply = records_of(number), None
            with suppress(StopIteration):
                while True:
                    record = records.send(reply)
                    reply = answer(number, record)
                    yield number, record
                    if number in left and isinstance(record, Epoch):
                        left.remove(number)
                        yield number, workers.Died(-signal.SIGKILL)
                        break
            if number in after_end:
                yield number, workers.Died(-signal.SIGKILL)

    return each


def in_turn(*order: int) -> Callable[..., Iterator[tuple[int, Any]]]:
    """`workers.each` in this process, with a worker for each trial; `order` is that of their records."""

    def each(serve, todo: deque, at_once: int, answer):
        records_of = serve()
        records, replies = {number: records_of(number) for number in todo}, {}
        for number in order:
            record = records[number].send(replies.get(number))
            replies[number] = answer(number, record)
            yield number, record

    return each


def steps(search: Search, *deaths: int, after_end: tuple[int, ...] = ()) -> Iterator[tuple[int, Epoch | Trial]]:
    """The records of a search in this process, see `within`."""
    return search.run(black_and_white, within(*deaths, after_end=after_end))


def run(search: Search) -> list[Trial]:
    """The trials of a search in this process."""
    list(steps(search))
    return search.trials()


def essence(trials: list[Trial]) -> list[tuple]:
    """What is the same in equal searches."""
    return [(t.number, t.state, t.value, t.params, t.by_key, t.curve, t.cost) for t in trials]


def attempts(search: Search, number: int) -> list[dict]:
    """The parameters of each attempt at a trial."""
    return [t.params for t in search.study.get_trials() if t.user_attrs.get("number") == number]
