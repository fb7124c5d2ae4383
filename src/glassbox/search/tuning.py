"""The search by Optuna's TPE. One process samples and prunes the trials, workers only train them."""

import json
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from glassbox import models
from glassbox.config.space import in_order
from glassbox.config.types import TUNED
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.execution import workers
from glassbox.provenance import fingerprint
from glassbox.search import importance, space
from glassbox.search.hyperparameters import to_search
from glassbox.search.journal import open_study
from glassbox.search.outcome import Importances, Trial, is_loss
from glassbox.search.trainer import Ended, Ready, Trainer, serve
from glassbox.training.records import Epoch

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

ATTEMPTS = 3  # for a trial whose process is killed
UNUSED = ("train.patience", "train.keep", "train.workers")  # parameters that no trial depends on


@dataclass
class _Attempt:
    """A trial that runs."""

    trial: optuna.Trial
    start: float  # Optuna uses a clock that may be set meanwhile
    curve: list[float] = field(default_factory=list)
    pruned: bool = False
    cost: float | None = None


class Search:
    """A search on disk that can be killed and resumed.

    Its file is named by a digest of everything that determines the result: parameters, data, precision, threads, code
    and libraries. So it never resumes from another search. With one worker an interruption does not change the history;
    with several the history depends on their speed.

    Args:
        trainer: trainer of the trials.
        folder: folder of the file.
        threads: CPU threads for all trials that run in parallel; None = PyTorch's number in this process.
        apart: whether trials that run in parallel do so on separate machines, with that many threads each.

    Attributes:
        trainer: the same with `tuned` at what is searched, and without compilation, which takes longer than many
            trials.
        measure: the measure by which trials are compared, see `Trainer.measure`.
        best_of: max, or min if lower values are better.
        file: the journal.
        study: Optuna's study.
    """

    def __init__(self, trainer: Trainer, folder: str | Path, threads: int | None = None, apart: bool = False) -> None:
        self.trainer = replace(
            trainer,
            known=to_search(trainer.known, trainer.settings.space),
            place=replace(trainer.place, compiled=False, graphs=False),
        )
        self.settings, self.measure = trainer.settings, self.trainer.measure
        self.options = in_order(self.settings.options)
        self.best_of = min if is_loss(self.measure) else max
        self.threads, self.apart = threads or torch.get_num_threads(), apart
        self.code = fingerprint.digest(__name__)
        self.file = Path(folder) / f"{self._name()}.journal"
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=self.settings.pruner_startup_trials,
            n_warmup_steps=self.settings.pruner_warmup_epochs + 1,  # its steps are epochs, from 1
            interval_steps=1,
            n_min_trials=1,
        )
        directions = ["minimize" if self.best_of is min else "maximize"]
        self.study = open_study(self.file, pruner, [*directions, "minimize"] if self.second else directions)

    def _name(self) -> str:
        trainer, place = self.trainer, self.trainer.place
        # Without n_trials, so that a longer search resumes from a shorter one, and without the number of workers, which
        # may be lowered meanwhile; but with a single one the history does not depend on timing.
        left_out = {"n_trials", "workers"}
        known = trainer.known.by_key()
        settled = {key: value for key, value in known.items() if key not in UNUSED}
        identity = {
            "tune": self.settings.model_dump(mode="json", exclude=left_out),
            "order": [searched.label for searched in self.options],
            "alone": self.settings.workers == 1,
            "known": settled | {"train.epochs": min(known["train.epochs"], self.settings.epochs, key=_number)},
            "weights": self._digests_of_weights(),
            "seed": trainer.seed,
            "data": trainer.description.digest,
            "code": self.code,
            "place": [place.device.type, str(place.dtype), place.tf32, place.deterministic, self.threads],
            # PyTorch's builds for other machines differ in what follows "+".
            "versions": [
                torch.__version__.partition("+")[0] if self.apart else torch.__version__,
                optuna.__version__,
            ],
        }
        return files.digest(json.dumps(identity, sort_keys=True))[:16]

    def _digests_of_weights(self) -> list[str | None]:
        model, searched = self.trainer.known.model, self.settings.space.get("model.weights", {})
        names = [model.weights, *(value for option in searched.values() for value in option.values())]
        return [models.digest_of_weights(model.model_copy(update={"weights": n})) for n in names if n != TUNED]

    @property
    def second(self) -> str | None:
        """The second objective, if there is one: lower is better."""
        return self.settings.second_objective

    @property
    def at_once(self) -> int:
        """Number of trials that run in parallel: `settings.workers`, on the CPU at most one for each core."""
        wanted = self.settings.workers
        return wanted if self.apart or self.trainer.place.device.type != "cpu" else min(wanted, self.threads)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process does this search. Experiments of DVC's queue share its file."""
        lock = filelock.FileLock(self.file.with_suffix(".search.lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            print("another process does the same search: this one waits for it", flush=True)
            lock.acquire(poll_interval=0.5)
        try:
            yield
        finally:
            lock.release()

    def trials(self) -> list[Trial]:
        """The finished trials by number, without interrupted ones."""
        return [self._result(trial) for trial in self._finished()]

    def _finished(self) -> list[FrozenTrial]:
        trials = [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished() and not _interrupted(t)]
        finished = {trial.user_attrs["number"]: trial for trial in trials}
        # The file may hold a longer search of the same kind.
        return [finished[number] for number in sorted(finished) if number < self.settings.n_trials]

    def begin(self) -> list[int]:
        """The numbers of the trials to be done, with those that a killed process left unfinished."""
        for stale in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(stale.number, state=TrialState.FAIL)
        done = {trial.number for trial in self.trials()}
        return [number for number in range(self.settings.n_trials) if number not in done]

    def run(
        self, read: Callable[[str], Split], work_off: Callable[..., Iterator[tuple[int, Any]]] = workers.each
    ) -> Iterator[tuple[int, Epoch | Trial]]:
        """Run the trials to be done, `at_once` at a time, in processes that only train. A single trial has a process as
        well: it is what the system kills when memory runs out. A killed trial is repeated with the same parameters,
        `ATTEMPTS` times in all; then it is a failed one.

        Args:
            read: returns the split "train" or "validation"; called once in each process, and sent there by pickle.
            work_off: starts these processes, see `execution.base.Engine.work_off`.

        Yields:
            (trial number, record): an `Epoch` after each epoch, the finished `Trial` after each trial.

        Raises:
            UserError: the network or its weights are not available, the data cannot be read or do not fit in memory,
                the file cannot be written, the code was changed meanwhile, or processes are repeatedly killed before
                they have begun a trial.
            RuntimeError: an error of the program; the message holds its traceback.
        """
        trainer, todo = self.trainer, deque(self.begin())
        if todo and not any(key.startswith("model.") for key in trainer.known.tuned()):
            # Its errors would recur in every trial; one process downloads its weights.
            models.fresh(trainer.known.model, trainer.description, 0, torch.device("cpu"))
        threads = self.threads if self.apart else max(1, self.threads // self.at_once)
        work = partial(serve, trainer, read, threads=threads, module=__name__, code=self.code)
        running: dict[int, _Attempt] = {}
        finished, deaths = set(), Counter()

        def answer(number: int, record: Any) -> Any:
            if isinstance(record, Ready):
                running[number], params = self._ask(number)
                return params
            return isinstance(record, Epoch) and self._prunes(running[number], record)

        for number, record in work_off(work, todo, self.at_once, answer):
            if isinstance(record, Epoch):
                yield number, record
                continue
            if isinstance(record, workers.Died) and number not in finished:
                deaths[number] += 1
                record = self._after_death(number, record, running.pop(number, None), deaths[number])
                if record is None:
                    todo.appendleft(number)
            elif isinstance(record, Ended):
                attempt = running.pop(number)
                attempt.cost = record.cost
                record = self._end(attempt, record.reason)
            if isinstance(record, Trial):
                finished.add(number)
                yield number, record

    def _ask(self, number: int) -> tuple[_Attempt, dict[str, Any]]:
        """Begin a trial; also returns its parameters."""
        start = time.perf_counter()
        self.study.sampler = self._sampler(number)
        trial = self.study.ask()
        params = space.draw(trial, self.options, self.trainer.known.by_key())
        trial.set_user_attr("number", number)  # after the draw, so that a number means a complete draw
        return _Attempt(trial, start), params

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = derive(self.trainer.seed, "tune", "sampler", number)
        for before in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            if before.user_attrs.get("number") == number:  # an attempt that was interrupted
                return optuna.samplers.PartialFixedSampler(before.params, optuna.samplers.RandomSampler(seed))
        # One sampler for each trial, seeded by its number, so that a resumed search draws the same. Optuna 5 changed
        # TPE's defaults: all are given.
        return optuna.samplers.TPESampler(
            n_startup_trials=self.settings.startup_trials,
            n_ei_candidates=24,
            multivariate=True,
            group=True,
            constant_liar=self.settings.workers > 1,  # parallel trials try different points
            seed=seed,
        )

    def _prunes(self, attempt: _Attempt, epoch: Epoch) -> bool:
        """Report an epoch; returns whether the trial is pruned after it."""
        value = getattr(epoch, self.measure)
        attempt.curve.append(value)
        if self.second:  # Optuna prunes by one objective alone
            return False
        attempt.trial.report(value, epoch.epoch)
        may = self.settings.pruner_warmup_epochs < epoch.epoch < self.settings.epochs
        attempt.pruned = may and attempt.trial.should_prune()
        return attempt.pruned

    def _end(self, attempt: _Attempt, reason: str) -> Trial:
        """Report the end of a trial; with a reason it has failed."""
        if reason:
            attempt.trial.set_user_attr("reason", reason)
        attempt.trial.set_user_attr("seconds", time.perf_counter() - attempt.start)
        if self.second:  # else Optuna has the curve
            attempt.trial.set_user_attr("curve", attempt.curve)
        if reason or attempt.pruned:
            state = TrialState.FAIL if reason else TrialState.PRUNED
            return self._result(self.study.tell(attempt.trial, state=state))
        value = self.best_of(attempt.curve)
        if self.second:
            return self._result(self.study.tell(attempt.trial, [value, attempt.cost]))
        return self._result(self.study.tell(attempt.trial, value))

    def _after_death(self, number: int, died: workers.Died, attempt: _Attempt | None, times: int) -> Trial | None:
        """The failed trial, if its process was killed `times` times; None if it is to be repeated.

        Raises:
            UserError: no process could begin it.
            RuntimeError: the process was not killed, but exited.
        """
        if died.by_itself:
            raise RuntimeError(f"trial {number}: {died}")
        if attempt and times == ATTEMPTS:
            return self._end(attempt, str(died))
        if attempt:
            self.study.tell(attempt.trial, state=TrialState.FAIL)
        elif times == ATTEMPTS:
            hint = f"; fewer than {self.at_once} tune.workers need less memory"
            hint = hint if died.killed and self.at_once > 1 else ""
            raise UserError(f"trial {number} cannot begin: {ATTEMPTS} times {died}{hint}")
        return None

    def _result(self, trial: FrozenTrial) -> Trial:
        names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        reported = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        curve = trial.user_attrs.get("curve", reported)
        return Trial(
            number=trial.user_attrs["number"],
            state=names[trial.state],
            value=self.best_of(curve, default=None) if trial.state != TrialState.FAIL else None,
            params=dict(trial.params),
            by_key=space.by_key(trial.params, self.options),
            curve=curve,
            cost=trial.values[1] if self.second and trial.state == TrialState.COMPLETE else None,
            seconds=trial.user_attrs.get("seconds", 0.0),
            reason=trial.user_attrs.get("reason", ""),
        )

    def best(self) -> Trial:
        """The trial with the best measure; the first of equal ones.

        Raises:
            UserError: every trial failed or was pruned.
        """
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        if not complete:
            reasons = "; ".join(dict.fromkeys(trial.reason for trial in self.trials() if trial.reason))
            raise UserError(
                f"none of the {len(self.trials())} trials of the search completed ({reasons}): change tune.space"
            )
        best = self.best_of(trial.value for trial in complete)
        return next(trial for trial in complete if trial.value == best)

    def importances(self) -> Importances | None:
        """How much each hyperparameter matters; None where too few trials are complete."""
        complete = [trial for trial in self._finished() if trial.state == TrialState.COMPLETE]
        direction = "minimize" if self.best_of is min else "maximize"
        return importance.of_trials(complete, direction, derive(self.trainer.seed, "tune", "importance"))


def _interrupted(trial: FrozenTrial) -> bool:
    # A trial that failed by itself says why.
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def _number(value: Any) -> float:
    return float("inf") if value == TUNED else value
