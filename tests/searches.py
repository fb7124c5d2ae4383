"""Searches for tests: data learned in no time, trials that learn nothing, and workers of this process."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from glassbox.config.parameters import Params
from glassbox.config.tune import Tune
from glassbox.data.store import Description, Split
from glassbox.execution import workers
from glassbox.execution.compute import Place
from glassbox.models import Spec
from glassbox.search.outcome import Trial
from glassbox.search.trainer import Trainer
from glassbox.search.tuning import Search
from glassbox.training.records import Epoch

PLACE = Place(torch.device("cpu"), torch.float32, 64)
KNOWN = Spec("cnn", {"batch_norm_momentum": 0.9}, "data", None)
DATA = Description("toy", ("a", "b"), 8, {}, (0, 0, 0), (1, 1, 1), False, "d" * 64)


def black_and_white(_: str) -> Split:
    """Forty images, learned in no time."""
    labels = torch.arange(40) % 2
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    images[labels == 1] = 255
    return Split(images, labels, None, torch.arange(40), None)


def small(params: Params, **changes: Any) -> Tune:
    """The section `tune` of a search of six trials of four epochs."""
    update = {"n_trials": 6, "startup_trials": 2, "epochs": 4, "pruner_startup_trials": 1, "pruner_warmup_epochs": 0}
    return params.tune.model_copy(update=update | changes)


def score(params: dict, epoch: int) -> float:
    """A made-up accuracy that depends on the drawn values and grows with the epochs."""
    return min(1.0, params["dropout_1"] * epoch / 2)


def epoch_of(number: int, accuracy: float, balanced: float = 0.0) -> Epoch:
    """An epoch with this validation accuracy."""
    return Epoch(number, 1.0, 0.5, 1.0, accuracy, 0.0, 0.1, True, 0.0, 1.0, 0.5, balanced)


class Toy(Trainer):
    """Its trials train nothing but report `score`."""

    def epochs(self, number, params, *_):
        for epoch in range(1, self.settings.epochs + 1):
            yield epoch_of(epoch, score(params, epoch))


@dataclass(frozen=True)
class InFolder(Trainer):
    """Real trials that leave word in a folder."""

    folder: Path | None = None


class KilledInTheSecond(InFolder):
    """The process of the second trial is killed in each attempt at it."""

    times, server = 3, False

    def epochs(self, number, *rest):
        for epoch in super().epochs(number, *rest):
            yield epoch
            if number == 1 and len(list(self.folder.glob("*.killed"))) < self.times:
                (self.folder / f"{os.getpid()}.killed").touch()
                if self.server:
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)


class KilledOnce(KilledInTheSecond):
    times = 1


class KilledWithItsServer(KilledOnce):
    """And so is the process that it is a fork of."""

    server = True


def search_of(
    kind: type[Trainer], params: Params, folder: Path, seed: int = 0, place: Place = PLACE, **changes: Any
) -> Search:
    """A search by such a trainer, with `changes` of the section `tune`."""
    own = {"folder": folder} if "folder" in {field.name for field in fields(kind)} else {}
    return Search(kind(small(params, **changes), KNOWN, params.augment, seed, DATA, place, **own), folder)


def within(*deaths: int) -> Callable[..., Iterator[tuple[int, Any]]]:
    """`workers.each` in this process. The worker of a trial dies after its first epoch as many times as `deaths` name
    it."""
    left = list(deaths)

    def each(serve, todo: deque, at_once: int, answer):
        records_of = serve()
        while todo:
            number = todo.popleft()
            records, answered = records_of(number), None
            with suppress(StopIteration):
                while True:
                    record = records.send(answered)
                    answered = answer(number, record)
                    yield number, record
                    if number in left and isinstance(record, Epoch):
                        left.remove(number)
                        yield number, workers.Died(-signal.SIGKILL)
                        break

    return each


def in_turn(*order: int) -> Callable[..., Iterator[tuple[int, Any]]]:
    """`workers.each` in this process, by a worker for each trial; `order` tells whose turn it is to give a record."""

    def each(serve, todo: deque, at_once: int, answer):
        records_of = serve()
        records, answered = {number: records_of(number) for number in todo}, {}
        for number in order:
            record = records[number].send(answered.get(number))
            answered[number] = answer(number, record)
            yield number, record

    return each


def steps(search: Search, *deaths: int) -> Iterator[tuple[int, Epoch | Trial]]:
    """The records of a search in this process."""
    return search.run(black_and_white, within(*deaths))


def run(search: Search, *deaths: int) -> list[Trial]:
    """The trials of a search in this process."""
    for _ in steps(search, *deaths):
        pass
    return search.trials()


def essence(trials: list[Trial]) -> list[tuple]:
    """What must be the same in searches that are."""
    return [(t.number, t.state, t.value, t.params, t.curve) for t in trials]


def attempts(search: Search, number: int) -> list[dict]:
    """What each attempt at a trial drew."""
    return [t.params for t in search.study.get_trials() if t.user_attrs.get("number") == number]
