"""The search: Optuna's TPE over the CNN paper's space. The only import of optuna."""

import json
import os
import socket
import sys
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any, Literal

import filelock
import optuna
import pandas as pd
import torch
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from glassbox import compute, config, files, hyperparameters, models, postgres, seeds, training, workers
from glassbox.compute import Place
from glassbox.config import CNN, CONDITIONS, Augment, Range, Space, Tune, is_used
from glassbox.data import batches
from glassbox.data.store import Description, Split
from glassbox.errors import UserError
from glassbox.hyperparameters import network_of, optimizer_of
from glassbox.models import classifier, cnn, layers
from glassbox.seeds import derive
from glassbox.training import Epoch, fit, make_optimizer

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")  # see `_alive`

ATTEMPTS = 3  # at a trial whose process is killed
PATIENCE = 300  # seconds that a database may be away
PAUSE = 1  # seconds before it is tried again
# Each trial in one row. Numbers come back as they were: PostgreSQL gives as many digits as that takes.
TRIALS = (
    "select trial_id, number, state, datetime_start, datetime_complete,"
    " (select json_agg(value order by objective) from trial_values where trial_id = found.trial_id),"
    " (select json_agg(json_build_array(param_name, param_value, distribution_json) order by param_id)"
    " from trial_params where trial_id = found.trial_id and whole),"
    " (select json_object_agg(key, value_json) from trial_user_attributes where trial_id = found.trial_id and whole),"
    " (select json_object_agg(key, value_json) from trial_system_attributes where trial_id = found.trial_id and whole),"
    " (select json_agg(json_build_array(step, intermediate_value))"
    " from trial_intermediate_values where trial_id = found.trial_id and whole)"
    " from (select *, :running or state not in ('RUNNING', 'WAITING') as whole from trials where {}) as found"
    " order by trial_id"
)
CHANGED = TRIALS.format("study_id = :study and (trial_id = any(:known) or trial_id > :after)")
ONE = TRIALS.format("trial_id = :trial")
DRAWN = (
    "insert into trial_params (trial_id, param_name, param_value, distribution_json)"
    " select trial_id, name, value, drawn_from from trials, unnest("
    "cast(:names as text[]), cast(:values as float8[]), cast(:drawn_from as text[])) as drawn(name, value, drawn_from)"
    " where trial_id = :trial and state = 'RUNNING'"
    " on conflict (trial_id, param_name) do update set param_value = excluded.param_value returning trial_id"
)
REPORTED = (
    "insert into trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)"
    " select trial_id, :step, :value, 'FINITE' from trials where trial_id = :trial and state = 'RUNNING'"
    " on conflict (trial_id, step) do update set intermediate_value = excluded.intermediate_value"
    " returning trial_id"
)
TABLES = 20_260_117  # of PostgreSQL's advisory locks, that of those who make Optuna's tables


ORDER = sorted(Space.model_fields, key=lambda name: name in CONDITIONS)  # first the choices that others hang on


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: from 0; trials that were interrupted and begun again count once.
        state: "complete", "pruned" or "failed".
        value: best of its epochs by the search's measure, 0..1; None for a failed trial.
        params: under the paper's names; only those that were drawn.
        curve: the measure after each epoch.
        seconds: wall time; 0 where it was not recorded.
        reason: why it failed, or "".
    """

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    curve: list[float]
    seconds: float
    reason: str


@dataclass(frozen=True)
class Replaced:
    """An attempt at a trial was given up from outside while it went on: what it finds counts no more."""


def suggest(trial: optuna.Trial, space: Space, network: str) -> dict[str, Any]:
    """Draw a trial's parameters: slopes only where leaky_relu is chosen, rates only of the chosen optimizer, and for
    another network than the paper's the optimizer's alone."""
    params: dict[str, Any] = {}
    for name in ORDER:
        if not is_used(name, network, params):
            continue
        choice = getattr(space, name)
        if isinstance(choice, Range):
            params[name] = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
        else:
            params[name] = trial.suggest_categorical(name, choice)
    return params


class Search:
    """A study on disk, or in the database `tune.storage`, that can be killed and taken up again.

    It is named by a digest of everything that decides its outcome, parameters, data, precision, threads, code and
    libraries, so that two searches never mix and none is taken for one that was made otherwise. Removing its file
    starts anew. With one worker the history is the same whether it was interrupted or not; with several it depends on
    which of them is quicker.

    Args:
        settings: the section `tune`.
        known: what of the network is not searched.
        how: augmentation.
        seed: of the study.
        description: of the data.
        place: device and precision of the trials.
        folder: where the study's file lies, if it is no database.
        threads: of the CPU, for all trials that run side by side; None = PyTorch's number in this process.
        apart: whether trials that run side by side do so on machines of their own, and have the threads each.
        class_weights, sampling, watch: of the section `train`, so that a trial is trained, and judged, as the network
            will be.

    Attributes:
        measure: by which trials are compared, see `config.judged_by`.
        name: of the study.
        file: where it is; None in a database.
    """

    # With a database, seconds: between two signs of life of a trial, until it is late, and between two looks for those
    # that are. One is given up when two looks find it late: when the database has been away, all are at first.
    heartbeat, grace, look = 15, 60, 30

    def __init__(
        self, settings: Tune, known: models.Spec, how: Augment, seed: int, description: Description, place: Place,
        folder: str | Path, threads: int | None = None, apart: bool = False, class_weights: str | None = None,
        sampling: str = "shuffle", watch: str = "loss",
    ) -> None:  # fmt: skip
        self.threads, self.apart = threads or torch.get_num_threads(), apart
        as_trained = class_weights, sampling, watch
        self._arguments = (settings, known, how, seed, description, place, folder, self.threads, apart, *as_trained)
        self.class_weights, self.sampling, self.watch = as_trained
        self.measure = config.judged_by(class_weights, sampling)
        self.settings, self.known, self.how, self.seed, self.description = settings, known, how, seed, description
        self.place = replace(place, compiled=False, graphs=False)  # compiling takes longer than many a trial
        # n_trials is left out: a longer search of the same kind goes on from a shorter one. So is the number of
        # workers, to be lowered on the way if need be; but one alone promises a history that timing has no part in.
        left_out = {"n_trials", "workers", "storage"}
        identity = {
            "tune": settings.model_dump(mode="json", exclude=left_out, exclude_unset=True),
            "alone": settings.workers == 1, "network": asdict(known), "weights": models.digest_of_weights(known),
            "augment": how.model_dump(mode="json"), "seed": seed, "as_trained": as_trained,
            "data": description.digest, "code": _code(),
            "place": [place.device.type, str(place.dtype), place.tf32, place.deterministic, self.threads],
            # Of PyTorch's builds for other machines the number is the same, and what follows "+" is not.
            "versions": [torch.__version__.partition("+")[0] if apart else torch.__version__, optuna.__version__],
        }  # fmt: skip
        self.name = files.digest(json.dumps(identity, sort_keys=True))[:16]
        self.file: Path | None = None
        self._database: _Database | None = None
        self._late: set[int] = set()
        self._silenced: set[int] = set()
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=settings.pruner_startup_trials,
            n_warmup_steps=settings.pruner_warmup_epochs + 1,  # Optuna's steps are our epochs, from 1
            interval_steps=1,
            n_min_trials=1,
        )
        create = partial(
            optuna.create_study, study_name=self.name, direction="maximize", load_if_exists=True, pruner=pruner
        )
        if settings.storage:
            self._database = _patiently(settings.storage, partial(_open, settings.storage, self.heartbeat, self.grace))
            self.study = create(storage=self._database)
            self._study_id = self._database.get_study_id_from_name(self.name)
            return
        self.file = Path(folder) / f"{self.name}.journal"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # The operating system drops this lock with its process; Optuna's own outlives kill -9 and holds up the next
        # process for half a minute.
        lock = filelock.FileLock(self.file.with_suffix(".lock"))
        if self.file.is_dir():
            raise UserError(_damaged(self.file, "it is a folder"))
        with lock:
            _cut_torn_line(self.file)
        try:
            self.study = create(storage=JournalStorage(_Journal(self.file, lock)))
        except (OSError, UserError):
            raise
        except Exception as error:  # Optuna takes the file for granted: what is wrong in it can raise anything
            raise UserError(_damaged(self.file, f"{type(error).__name__}: {error}")) from None

    @property
    def at_once(self) -> int:
        """How many trials run side by side: `settings.workers`, on the CPU at most one a core."""
        wanted = self.settings.workers
        return wanted if self.apart or self.place.device.type != "cpu" else min(wanted, self.threads)

    def trials(self) -> list[Trial]:
        """The finished trials by number, without interrupted ones."""
        return [_told(trial) for trial in self._finished()]

    def _finished(self) -> list[FrozenTrial]:
        finished = [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished() and not _interrupted(t)]
        # The file may hold a longer search of the same kind; a database may have been told something twice, when its
        # answer was lost: the first time counts.
        mine = {t.user_attrs["number"]: t for t in reversed(finished)}
        return [mine[number] for number in sorted(mine) if number < self.settings.n_trials]

    def _attempts(self, number: int, state: TrialState) -> list[FrozenTrial]:
        """Those at one trial that run, or that failed."""
        found = self.study.get_trials(deepcopy=False, states=(state,))
        return [trial for trial in found if trial.user_attrs.get("number") == number]

    def begin(self) -> list[int]:
        """The numbers of the trials that are still to be done; one that a killed process left running is among them."""
        for stale in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._give_up(stale)
        done = {trial.number for trial in self.trials()}
        return [number for number in range(self.settings.n_trials) if number not in done]

    def _give_up(self, trial: FrozenTrial) -> None:
        """Fail a trial of another process, which can then add nothing to it; one that has ended stays as it is."""
        with suppress(UpdateFinishedTrialError):
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def run(
        self, read: Callable[[str], Split], work_off: Callable[..., Iterator[tuple[int, Any]]] | None = None
    ) -> Iterator[tuple[int, Epoch | Trial]]:
        """Run the trials that are still to be done, `at_once` at a time, in processes that share the study: each
        draws from, and is pruned by, what all have found. One alone has a process as well: when memory runs out,
        that is the one that the system kills. Its trial is begun again with the same parameters, `ATTEMPTS` times in
        all, and then a failed one; with a database so is one of which there was no sign of life.

        Args:
            read: gives the split "train" or "validation"; called once in each process, and sent there by pickle.
            work_off: starts these processes; None is `workers.each`, on this machine.

        Yields:
            (trial number, record): an `Epoch` after each epoch, the finished `Trial` after each trial.

        Raises:
            UserError: the network or its weights cannot be had, the data cannot be read or do not fit in memory, the
                study's file cannot be written or its database is away for long, the code was changed meanwhile, another
                run makes the same search, or processes are killed again and again before they have begun a trial.
            RuntimeError: an error of the program; the message holds its traceback.
        """
        todo, told, killed = deque(self.begin()), set(), Counter()
        if todo and self.known.name != CNN:
            # What is wrong with it is wrong in every trial, and weights are downloaded by one process.
            models.fresh(self.known, self.description, 0, torch.device("cpu"))
        threads = self.threads if self.apart else max(1, self.threads // self.at_once)
        serve = partial(_serve, type(self), self._arguments, self.name, read, threads)
        watched = (self._silent, self.look) if self._database else ()
        for number, record in (work_off or workers.each)(serve, todo, self.at_once, *watched):
            if number in told:
                continue  # its process had nothing more to say, or was thought dead
            if isinstance(record, Replaced):
                if not killed[number]:
                    raise UserError(
                        f"trial {number} was taken over by another run of the same search on {self.settings.storage}: "
                        "one at a time, and this one has ended"
                    )
                continue
            if isinstance(record, workers.Died):
                killed[number] += 1
                record = self._record_death(number, died := record, killed[number])
                if record is None:
                    if killed[number] == ATTEMPTS:
                        fewer = f"; fewer than {self.at_once} tune.workers need less memory"
                        raise UserError(
                            f"trial {number} cannot begin: {ATTEMPTS} times {died}"
                            f"{fewer if died.killed and self.at_once > 1 else ''}"
                        )
                    todo.appendleft(number)
                    continue
            if isinstance(record, Trial):
                told.add(number)
            yield number, record

    def _silent(self) -> set[int]:
        """The numbers of the trials of which two looks in turn found no sign of life."""
        late = set(self._database.late(self._study_id))
        again, self._late = late & self._late, late
        found = {trial.user_attrs.get("number") for trial in map(self._database.get_trial, again)}
        self._silenced |= found
        return found

    def _record_death(self, number: int, died: workers.Died, times: int) -> Trial | None:
        """The trial that a process took with it, now a failed one; None if it had not begun, or is to be made again:
        processes die of more than of their trials.

        Raises:
            RuntimeError: it was not killed, but ended by itself.
        """
        if died.by_itself:
            raise RuntimeError(f"trial {number}: {died}")
        begun = self._attempts(number, TrialState.RUNNING)
        for lost in begun:
            self._give_up(lost)
        ended = next((trial for trial in self.trials() if trial.number == number), None)
        if ended or not begun or times < ATTEMPTS:
            return ended
        # A trial of another process can be ended, but not given a reason: one that has it takes its place.
        lost, silent = begun[-1], number in self._silenced
        reason = f"there was no sign of life of it for {self.grace} seconds" if silent else str(died)
        took = (datetime.now() - lost.datetime_start).total_seconds()
        failed = optuna.trial.create_trial(
            state=TrialState.FAIL, params=lost.params, distributions=lost.distributions,
            user_attrs=lost.user_attrs | {"reason": reason, "seconds": max(0.0, took)},
            intermediate_values=lost.intermediate_values,
        )  # fmt: skip
        failed.datetime_start = lost.datetime_start
        self.study.add_trial(failed)
        return _told(failed)

    def try_out(self, number: int, train: Split, validation: Split) -> Iterator[Epoch | Trial | Replaced]:
        """One trial, in this process: its epochs, then itself, or that it was replaced by another attempt at it."""
        start = time.perf_counter()  # Optuna's own times are those of a clock that may be set meanwhile
        try:
            with self._database.drawing() if self._database else nullcontext():
                self.study.sampler = self._sampler(number)
                trial = self.study.ask()
                trial.set_user_attr("number", number)
                params = suggest(trial, self.settings.space, self.known.name)
            with self._alive(trial) if self._database else nullcontext():
                yield from self._attempt(trial, number, params, start, train, validation)
        except UpdateFinishedTrialError:
            yield Replaced()

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = derive(self.seed, "tune", "sampler", number)
        for before in reversed(self._attempts(number, TrialState.FAIL)):
            if self._is_drawn(before.params):  # else it ended as it was drawn
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

    def _is_drawn(self, params: dict[str, Any]) -> bool:
        """Whether these are all that a trial has."""
        conditions = {parent for parent, _ in CONDITIONS.values()}
        chosen = dict.fromkeys(conditions) | params
        return all(name in params for name in ORDER if is_used(name, self.known.name, chosen))

    @contextmanager
    def _alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Give signs of life of a trial as long as this block runs; Optuna's own thread ends with the first that the
        database does not take."""
        key = self._database.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
        ended = threading.Event()

        def beat() -> None:
            while not ended.is_set():
                ended.wait(self.heartbeat if self._database.beat(key) else PAUSE)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _attempt(
        self, trial: optuna.Trial, number: int, params: dict[str, Any], start: float, train: Split, validation: Split
    ) -> Iterator[Epoch | Trial | Replaced]:
        seed = derive(self.seed, "tune", "trial", number)
        best = 0.0

        def end(*told: Any, **also: Any) -> FrozenTrial:
            trial.set_user_attr("seconds", time.perf_counter() - start)
            return self.study.tell(trial, *told, **also, skip_if_finished=True)

        try:
            for epoch in self._fit(params, seed, train, validation):
                value = getattr(epoch, self.measure)
                best = max(best, value)
                trial.report(value, epoch.epoch)
                yield epoch
                if self.settings.pruner_warmup_epochs < epoch.epoch < self.settings.epochs and self._prunes(trial):
                    made = end(state=TrialState.PRUNED)
                    break
            else:
                made = end(best)
        except (UserError, MemoryError, RuntimeError) as error:
            # NaN, an image pooled away, memory: this point of the space does not work, the search goes on.
            if not isinstance(error, UserError) and not compute.out_of_memory(error):
                raise
            reason = f"{'' if isinstance(error, UserError) else 'out of memory: '}{' '.join(str(error).split())}"
            trial.set_user_attr("reason", reason[:500])
            made = end(state=TrialState.FAIL)
        if self.place.device.type == "cuda":
            torch.cuda.empty_cache()  # only here, after the handler, is nothing left that holds its model
        yield Replaced() if _interrupted(made) else _told(made)

    def _prunes(self, trial: optuna.Trial) -> bool:
        with self._database.reading("ended") if self._database else nullcontext():
            return trial.should_prune()

    def _fit(self, params: dict[str, Any], seed: int, train: Split, validation: Split) -> Iterator[Epoch]:
        settings = self.settings
        model = models.fresh(network_of(params, self.known), self.description, seed, self.place.device)
        yield from fit(
            model, train, validation, make_optimizer(model, optimizer_of(params)),
            place=self.place, epochs=settings.epochs, batch_size=settings.batch_size, how=self.how,
            patience=settings.patience, class_weights=self.class_weights, sampling=self.sampling,
            watch=self.watch, keep="last", seed=seed, section="tune",  # no trial's weights are wanted
        )  # fmt: skip

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


def _serve(
    kind: type[Search], arguments: tuple, name: str, read: Callable[[str], Split], threads: int
) -> Callable[[int], Iterator[Epoch | Trial | Replaced]]:
    """The same search in another process."""
    search = kind(*arguments)
    search.place.settle()
    torch.set_num_threads(threads)
    if search.name != name:
        raise UserError("the source files of the search were changed while it ran: run it again")
    try:
        train, validation = (read(split).to(search.place.device) for split in ("train", "validation"))
    except (MemoryError, RuntimeError) as error:
        if not compute.out_of_memory(error):
            raise
        raise UserError(f"the images do not fit in memory {search.at_once} times (tune.workers): {error}") from None

    def records(number: int) -> Iterator[Epoch | Trial | Replaced]:
        try:
            yield from search.try_out(number, train, validation)
        except OSError as error:
            if search.file is None:
                raise
            raise UserError(
                f"{search.file} cannot be written ({error.strerror}): run the same command again when it can, and the "
                "search goes on where it was"
            ) from None

    return records


class _Journal(JournalFileBackend):
    """Optuna's journal, each record of which carries a digest of what else is in it: JSON with one digit changed is
    JSON after all, and another trial may be the best by it."""

    def __init__(self, file: Path, lock: filelock.FileLock) -> None:
        super().__init__(str(file), lock_obj=lock)
        self.file = file

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with files.naming(self.file):
            super().append_logs([log | {files.CHECKSUM: files.checksum(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        for number, log in enumerate(super().read_logs(log_number_from), log_number_from + 1):
            if not isinstance(log, dict) or log.pop(files.CHECKSUM, None) != files.checksum(log):
                raise UserError(_damaged(self.file, f"the {files.CHECKSUM} of its line {number} is another"))
            yield log


def _damaged(file: str | Path, why: str) -> str:
    return f"{file}, the record of this search, is damaged ({why}): delete it, and the search begins anew"


class _Database(RDBStorage):
    """Optuna's tables in PostgreSQL, for a search that waits while the server is away and then does again what may have
    failed. What had been done after all, and only the answer was lost, is harmless twice: a value is written once more,
    a trial that has begun twice bears no number, and of two that have ended one counts (`Search._finished`).
    """

    _reading = "all"

    def late(self, study_id: int) -> list[int]:
        """The keys of the running trials without a sign of life for `grace_period` seconds."""
        return self._get_stale_trial_ids(study_id)

    @contextmanager
    def reading(self, what: Literal["once", "ended"]) -> Iterator[None]:
        """Read less of the trials as long as this block runs. Optuna reads all that others have begun or ended, and all
        that runs anew, a dozen times a trial, which with 32 workers took three quarters of its time.

        Args:
            what: all, but once; or those that have ended, and of the others only that there are such.
        """
        self._reading = what
        try:
            yield
        finally:
            self._reading = "all"

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """While this block draws a trial's parameters read what others have drawn once, and write nothing: the
        parameters are written at its end, all or none. Optuna takes a transaction of four statements for each."""
        self._drawn: list[tuple[int, str, float, str]] = []
        with self.reading("once"):
            yield
        if self._drawn:
            keys, *columns = map(list, zip(*self._drawn, strict=True))
            self._write(DRAWN, keys[0], **dict(zip(("names", "values", "drawn_from"), columns, strict=True)))

    def _set_trial_param(
        self, trial_id: int, name: str, value: float, drawn_from: BaseDistribution, _: BaseDistribution | None
    ) -> None:  # fmt: skip
        self._drawn.append((trial_id, name, float(value), distribution_to_json(drawn_from)))

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        self._write(REPORTED, trial_id, step=step, value=value)

    def _write(self, statement: str, trial_id: int, **values: Any) -> None:
        """Write something of a running trial, in one statement: Optuna reads first whether it runs."""
        if not _patiently(self.url, partial(self._execute, statement, trial=trial_id, **values)):
            raise UpdateFinishedTrialError(f"trial {trial_id} of the database has ended")

    def _execute(self, statement: str, **values: Any) -> Sequence[Any]:
        """The rows that a statement gives, which is a transaction of its own."""
        from sqlalchemy import text

        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return connection.execute(text(statement), values).all()

    def _get_trials(
        self,
        study_id: int,
        states: None,  # noqa: ARG002 (all; Optuna gives it by name)
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if self._reading == "nothing":
            return []
        running = self._reading != "ended"
        if self._reading == "once":
            self._reading = "nothing"
        known = [key for key in included_trial_ids if key <= trial_id_greater_than]
        asked = {"study": study_id, "known": known, "after": trial_id_greater_than, "running": running}
        return [_trial(*row) for row in _patiently(self.url, partial(self._execute, CHANGED, **asked))]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        ((*row,),) = _patiently(self.url, partial(self._execute, ONE, trial=trial_id, running=True))
        return _trial(*row)

    def beat(self, trial_id: int) -> bool:
        """Give a sign of life of a trial; whether the database took it. That one waits is said elsewhere."""
        try:
            self.record_heartbeat(trial_id)
        except Exception as error:
            if not postgres.away(error):
                raise
            return False
        return True

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:  # fmt: skip
        tell = partial(super().set_trial_state_values, trial_id, state, values)

        def again() -> bool:
            try:
                return tell()
            except UpdateFinishedTrialError:
                found = self.get_trial(trial_id)
                if (found.state, found.values) != (state, None if values is None else list(values)):
                    raise  # it was not this that ended it
                return True

        return _patiently(self.url, tell, again)


def _trial(
    key: int, number: int, state: str, start: datetime, complete: datetime | None, values: list[float] | None,
    drawn: list[tuple[str, float, str]] | None, user: dict[str, str] | None, system: dict[str, str] | None,
    reports: list[tuple[int, float]] | None,
) -> FrozenTrial:  # fmt: skip
    """From a row of `TRIALS`."""
    # JSON's 1 is a float as well.
    choices = {name: (_distribution(drawn_from), float(value)) for name, value, drawn_from in drawn or ()}
    return FrozenTrial(
        number=number, state=TrialState[state], value=None, values=values and [float(value) for value in values],
        datetime_start=start, datetime_complete=complete,
        params={name: choice.to_external_repr(value) for name, (choice, value) in choices.items()},
        distributions={name: choice for name, (choice, _) in choices.items()},
        user_attrs={name: json.loads(value) for name, value in (user or {}).items()},
        system_attrs={name: json.loads(value) for name, value in (system or {}).items()},
        intermediate_values={step: float(value) for step, value in reports or ()}, trial_id=key,
    )  # fmt: skip


_distribution = lru_cache(json_to_distribution)


def _patient(name: str) -> Callable[..., Any]:
    operation = getattr(RDBStorage, name)

    @wraps(operation)
    def call(self: _Database, *args: Any, **kwargs: Any) -> Any:
        return _patiently(self.url, partial(operation, self, *args, **kwargs))

    return call


# Those that Optuna's cache over such a storage calls.
for _name in (
    "create_new_study", "get_study_id_from_name", "get_study_name_from_id", "get_study_directions",
    "get_study_user_attrs", "get_study_system_attrs", "set_study_user_attr", "set_study_system_attr",
    "_create_new_trial", "set_trial_user_attr", "set_trial_system_attr", "get_trial_id_from_study_id_trial_number",
    "_get_stale_trial_ids",
):  # fmt: skip
    setattr(_Database, _name, _patient(_name))


def _patiently(url: str, call: Callable[[], Any], again: Callable[[], Any] | None = None) -> Any:
    """What `call` returns, once the database can be worked with.

    Args:
        url: as in `tune.storage`.
        again: called instead from the second time on.

    Raises:
        UserError: it was away for `PATIENCE` seconds.
    """
    since = None
    while True:
        try:
            done = call()
        except Exception as error:
            if not postgres.away(error):
                raise
            if postgres.refused(error):
                raise UserError(
                    f"tune.storage is {url}, which does not let {socket.gethostname()} in ({postgres.reason(error)})"
                ) from None
            said = f"tune.storage, {url}, is away ({postgres.reason(error)})"
        else:
            if since is not None:
                print("tune.storage is there again", file=sys.stderr)
            return done
        if since is None:
            print(f"{said}: waiting for it, at most {PATIENCE} s", file=sys.stderr)
            since, call = time.monotonic(), again or call
        if time.monotonic() - since >= PATIENCE:
            raise UserError(
                f"{said} for {PATIENCE} seconds: see that the server runs, then run the same command again, and the "
                "search goes on where it was"
            )
        time.sleep(PAUSE)


def _open(url: str, heartbeat: int, grace: int) -> _Database:
    with postgres.connect(url) as making:
        # Of processes that make the tables of a fresh database at the same time all but one would fail.
        making.execute("select pg_advisory_lock(%s)", (TABLES,))
        return _Database(
            url,
            engine_kwargs={
                "pool_size": 2, "max_overflow": 0,  # for a trial and for its signs of life
                "pool_timeout": 60, "pool_recycle": -1, "pool_pre_ping": False, "connect_args": postgres.SETTINGS,
            },
            skip_compatibility_check=False, heartbeat_interval=heartbeat, grace_period=grace,
            heartbeat_stale_trial_callback=None, skip_table_creation=False,
        )  # fmt: skip


def _cut_torn_line(file: Path) -> None:
    """Drop a line that a machine going down left unfinished: the next one would be joined to it."""
    if file.exists():
        whole = file.read_bytes().rfind(b"\n") + 1
        if whole < file.stat().st_size:
            os.truncate(file, whole)


def _code() -> str:
    """Digest of the files that decide how a trial goes."""
    modules = (training, hyperparameters, config, compute, classifier, cnn, layers, batches, seeds)
    registry = Path(classifier.__file__).with_name("registry.py")  # not imported here: torchvision takes its time
    paths = (__file__, registry, registry.with_name("weights.py"), *(module.__file__ for module in modules))
    return files.digest(*(Path(path).read_bytes() for path in paths))


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


def table(trials: list[Trial], space: Space, measure: str = "validation_accuracy") -> pd.DataFrame:
    """One row a trial: number, state, value under the name of the measure, epochs, then every parameter in the order of
    the space."""
    rows = [{"trial": t.number, "state": t.state, measure: t.value, "epochs": len(t.curve)} | t.params for t in trials]
    given = [name for name in Space.model_fields if name in space.model_fields_set]
    columns = ["trial", "state", measure, "epochs", *given]
    return pd.DataFrame(rows, columns=columns)


def summary(best: Trial | None, trials: list[Trial], measure: str = "validation_accuracy") -> dict[str, Any]:
    """The outcome for the next stage: trial None and no params without a search."""
    if best is None:
        return {"trial": None, measure: None, "trials": 0, "epochs": 0, "params": {}}
    epochs = sum(len(trial.curve) for trial in trials)
    outcome = {"trial": best.number, measure: best.value, "trials": len(trials), "epochs": epochs}
    return outcome | {"params": best.params}
