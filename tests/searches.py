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
    """Forty images of two classes that any network learns."""
    labels = torch.arange(40) % 2
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    images[labels == 1] = 255
    return Split(images, labels, None, torch.arange(40), None)


def small(params: Params, **changes: Any) -> Tune:
    """The section `tune` of a search of six trials of four epochs."""
    update = {"n_trials": 6, "startup_trials": 2, "epochs": 4, "pruner_startup_trials": 1, "pruner_warmup_epochs": 0}
    return params.tune.model_copy(update=update | changes)


def score(params: dict, epoch: int) -> float:
    """An accuracy that depends on the drawn values and grows with the epochs."""
    return min(1.0, params["dropout_1"] * epoch / 2)


def epoch_of(number: int, accuracy: float, balanced: float = 0.0) -> Epoch:
    """An epoch with this validation accuracy."""
    return Epoch(number, 1.0, 0.5, 1.0, accuracy, 0.0, 0.1, True, 0.0, 1.0, 0.5, balanced)


class Toy(Trainer):
    """Its trials report `score` without training."""

    def epochs(self, number, params, *_):
        for epoch in range(1, self.settings.epochs + 1):
            yield epoch_of(epoch, score(params, epoch))


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
    kind: type[Trainer], params: Params, folder: Path, *, seed=0, place=PLACE, threads=None, **changes: Any
) -> Search:
    """A search by such a trainer, with `changes` of the section `tune`."""
    extra = {"folder": folder} if issubclass(kind, InFolder) else {}
    trainer = kind(small(params, **changes), KNOWN, params.augment, seed, DATA, place, **extra)
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
    return [(t.number, t.state, t.value, t.params, t.curve) for t in trials]


def attempts(search: Search, number: int) -> list[dict]:
    """The parameters of each attempt at a trial."""
    return [t.params for t in search.study.get_trials() if t.user_attrs.get("number") == number]
