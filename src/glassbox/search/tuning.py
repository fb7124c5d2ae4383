"""The search: Optuna's TPE over the CNN paper's space, asked and told by one process. Workers only train."""

import json
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from glassbox import models
from glassbox.config.types import CNN
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.execution import workers
from glassbox.provenance import fingerprint
from glassbox.search import space
from glassbox.search.journal import open_study
from glassbox.search.outcome import Trial
from glassbox.search.trainer import Ended, Ready, Trainer, serve
from glassbox.training.records import Epoch

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

ATTEMPTS = 3  # at a trial whose process is killed


@dataclass
class _Attempt:
    """A trial that a worker has in hand."""

    trial: optuna.Trial
    start: float  # Optuna's own times are those of a clock that may be set meanwhile
    curve: list[float] = field(default_factory=list)
    pruned: bool = False


class Search:
    """A study on disk that can be killed and taken up again.

    It is named by a digest of everything that decides its outcome, parameters, data, precision, threads, code and
    libraries, so that two searches never mix and none is taken for one that was made otherwise. Removing its file
    starts anew. With one worker the history is the same whether it was interrupted or not; with several it depends on
    which of them is quicker.

    Args:
        trainer: of the trials.
        folder: where the study's file lies.
        threads: of the CPU, for all trials that run side by side; None = PyTorch's number in this process.
        apart: whether trials that run side by side do so on machines of their own, and have the threads each.

    Attributes:
        trainer: the same, without compiling, which takes longer than many a trial.
        measure: by which trials are compared, see `config.judged_by`.
        file: the study's journal.
        study: Optuna's.
    """

    def __init__(self, trainer: Trainer, folder: str | Path, threads: int | None = None, apart: bool = False) -> None:
        self.trainer = replace(trainer, place=replace(trainer.place, compiled=False, graphs=False))
        self.settings, self.measure = trainer.settings, trainer.measure
        self.threads, self.apart = threads or torch.get_num_threads(), apart
        self.code = fingerprint.digest(__name__)
        self.file = Path(folder) / f"{self._name()}.journal"
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=self.settings.pruner_startup_trials,
            n_warmup_steps=self.settings.pruner_warmup_epochs + 1,  # Optuna's steps are our epochs, from 1
            interval_steps=1,
            n_min_trials=1,
        )
        self.study = open_study(self.file, pruner)

    def _name(self) -> str:
        trainer, place = self.trainer, self.trainer.place
        # n_trials is left out: a longer search of the same kind goes on from a shorter one. So is the number of
        # workers, to be lowered on the way if need be; but one alone promises a history that timing has no part in.
        left_out = {"n_trials", "workers"}
        identity = {
            "tune": self.settings.model_dump(mode="json", exclude=left_out, exclude_unset=True),
            "alone": self.settings.workers == 1,
            "network": asdict(trainer.known),
            "weights": models.digest_of_weights(trainer.known),
            "augment": trainer.how.model_dump(mode="json"),
            "seed": trainer.seed,
            "as_trained": [trainer.class_weights, trainer.sampling, trainer.watch],
            "data": trainer.description.digest,
            "code": self.code,
            "place": [place.device.type, str(place.dtype), place.tf32, place.deterministic, self.threads],
            # Of PyTorch's builds for other machines the number is the same, and what follows "+" is not.
            "versions": [
                torch.__version__.partition("+")[0] if self.apart else torch.__version__,
                optuna.__version__,
            ],
        }
        return files.digest(json.dumps(identity, sort_keys=True))[:16]

    @property
    def at_once(self) -> int:
        """How many trials run side by side: `settings.workers`, on the CPU at most one a core."""
        wanted = self.settings.workers
        return wanted if self.apart or self.trainer.place.device.type != "cpu" else min(wanted, self.threads)

    def trials(self) -> list[Trial]:
        """The finished trials by number, without interrupted ones."""
        return [_told(trial) for trial in self._finished()]

    def _finished(self) -> list[FrozenTrial]:
        finished = [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished() and not _interrupted(t)]
        # The file may hold a longer search of the same kind.
        mine = {t.user_attrs["number"]: t for t in finished}
        return [mine[number] for number in sorted(mine) if number < self.settings.n_trials]

    def begin(self) -> list[int]:
        """The numbers of the trials that are still to be done; one that a killed process left running is among them."""
        for stale in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(stale.number, state=TrialState.FAIL)
        done = {trial.number for trial in self.trials()}
        return [number for number in range(self.settings.n_trials) if number not in done]

    def run(
        self, read: Callable[[str], Split], work_off: Callable[..., Iterator[tuple[int, Any]]] = workers.each
    ) -> Iterator[tuple[int, Epoch | Trial]]:
        """Run the trials that are still to be done, `at_once` at a time, in processes that only train. This one asks
        Optuna for the parameters of each, reports its epochs, and prunes it by what all have found. A trial alone has
        a process as well: when memory runs out, that is the one that the system kills. It is begun again with the same
        parameters, `ATTEMPTS` times in all, and then a failed one.

        Args:
            read: gives the split "train" or "validation"; called once in each process, and sent there by pickle.
            work_off: starts these processes, see `protocols.Engine.work_off`.

        Yields:
            (trial number, record): an `Epoch` after each epoch, the finished `Trial` after each trial.

        Raises:
            UserError: the network or its weights cannot be had, the data cannot be read or do not fit in memory, the
                study's file cannot be written, the code was changed meanwhile, or processes are killed again and again
                before they have begun a trial.
            RuntimeError: an error of the program; the message holds its traceback.
        """
        trainer, todo = self.trainer, deque(self.begin())
        if todo and trainer.known.name != CNN:
            # What is wrong with it is wrong in every trial, and weights are downloaded by one process.
            models.fresh(trainer.known, trainer.description, 0, torch.device("cpu"))
        threads = self.threads if self.apart else max(1, self.threads // self.at_once)
        work = partial(serve, trainer, read, threads=threads, module=__name__, code=self.code)
        running: dict[int, _Attempt] = {}
        told, deaths = set(), Counter()

        def answer(number: int, record: Any) -> Any:
            if isinstance(record, Ready):
                running[number], params = self._ask(number)
                return params
            return isinstance(record, Epoch) and self._prunes(running[number], record)

        for number, record in work_off(work, todo, self.at_once, answer):
            if isinstance(record, Epoch):
                yield number, record
                continue
            if isinstance(record, workers.Died) and number not in told:  # else its process had nothing more to say
                deaths[number] += 1
                record = self._after_death(number, record, running.pop(number, None), deaths[number])
                if record is None:
                    todo.appendleft(number)
            elif isinstance(record, Ended):
                record = self._end(running.pop(number), record.reason)
            if isinstance(record, Trial):
                told.add(number)
                yield number, record

    def _ask(self, number: int) -> tuple[_Attempt, dict[str, Any]]:
        """Begin a trial: what it is reported to, and its parameters."""
        start = time.perf_counter()
        self.study.sampler = self._sampler(number)
        trial = self.study.ask()
        params = space.draw(trial, self.settings.space, self.trainer.known.name)
        trial.set_user_attr("number", number)  # after the draw: one that bears a number has drawn everything
        return _Attempt(trial, start), params

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = derive(self.trainer.seed, "tune", "sampler", number)
        for before in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            if before.user_attrs.get("number") == number:  # an attempt that was interrupted
                return optuna.samplers.PartialFixedSampler(before.params, optuna.samplers.RandomSampler(seed))
        # A sampler of its own for each trial, seeded by its number: a search that was interrupted draws what the
        # uninterrupted one would have drawn. Optuna 5 changed TPE's defaults: all are given.
        return optuna.samplers.TPESampler(
            n_startup_trials=self.settings.startup_trials,
            n_ei_candidates=24,
            multivariate=True,
            group=True,
            constant_liar=self.settings.workers > 1,  # keeps workers from trying the same point at the same time
            seed=seed,
        )

    def _prunes(self, attempt: _Attempt, epoch: Epoch) -> bool:
        """Report an epoch; whether it is the trial's last because others were better."""
        value = getattr(epoch, self.measure)
        attempt.curve.append(value)
        attempt.trial.report(value, epoch.epoch)
        may = self.settings.pruner_warmup_epochs < epoch.epoch < self.settings.epochs
        attempt.pruned = may and attempt.trial.should_prune()
        return attempt.pruned

    def _end(self, attempt: _Attempt, reason: str) -> Trial:
        """Tell Optuna how a trial ended; it failed where there is a reason."""
        if reason:
            attempt.trial.set_user_attr("reason", reason)
        attempt.trial.set_user_attr("seconds", time.perf_counter() - attempt.start)
        if reason:
            return _told(self.study.tell(attempt.trial, state=TrialState.FAIL))
        if attempt.pruned:
            return _told(self.study.tell(attempt.trial, state=TrialState.PRUNED))
        return _told(self.study.tell(attempt.trial, max(attempt.curve)))

    def _after_death(self, number: int, died: workers.Died, attempt: _Attempt | None, times: int) -> Trial | None:
        """What becomes of a trial whose process was killed, so many times by now: None if it is to be begun again, for
        processes die of more than of their trials; else a failed one.

        Raises:
            UserError: the process never came to begin it.
            RuntimeError: it was not killed, but ended by itself.
        """
        if died.by_itself:
            raise RuntimeError(f"trial {number}: {died}")
        if attempt and times == ATTEMPTS:
            return self._end(attempt, str(died))
        if attempt:
            self.study.tell(attempt.trial, state=TrialState.FAIL)
        elif times == ATTEMPTS:
            fewer = f"; fewer than {self.at_once} tune.workers need less memory"
            raise UserError(
                f"trial {number} cannot begin: {ATTEMPTS} times {died}"
                f"{fewer if died.killed and self.at_once > 1 else ''}"
            )
        return None

    def best(self) -> Trial:
        """The trial that is highest by the measure; of equals the first.

        Raises:
            UserError: every trial failed or was pruned.
        """
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        if not complete:
            reasons = "; ".join(dict.fromkeys(trial.reason for trial in self.trials() if trial.reason))
            raise UserError(
                f"none of the {len(self.trials())} trials of the search completed ({reasons}): change tune.space"
            )
        return max(complete, key=lambda trial: (trial.value, -trial.number))

    def importances(self) -> dict[str, float]:
        """Share of each hyperparameter in the variation of the accuracy, by PED-ANOVA (Watanabe et al. 2023), which
        handles conditional parameters. Of those drawn with different values in complete trials; empty when fewer than
        two trials differ."""
        complete = [trial for trial in self._finished() if trial.state == TrialState.COMPLETE]
        if len({trial.value for trial in complete}) < 2:
            return {}
        shared = sorted(set.intersection(*(set(trial.params) for trial in complete)))
        varied = [name for name in shared if len({trial.params[name] for trial in complete}) > 1]
        counted = optuna.create_study(direction="maximize")
        counted.add_trials(complete)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(counted, evaluator=evaluator, params=varied)


def _interrupted(trial: FrozenTrial) -> bool:
    # A trial that failed by itself says why.
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def _told(trial: FrozenTrial) -> Trial:
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return Trial(
        number=trial.user_attrs["number"],
        state=names[trial.state],
        value=max(trial.intermediate_values.values(), default=None) if trial.state != TrialState.FAIL else None,
        params=dict(trial.params),
        curve=[trial.intermediate_values[step] for step in sorted(trial.intermediate_values)],
        seconds=trial.user_attrs.get("seconds", 0.0),
        reason=trial.user_attrs.get("reason", ""),
    )
