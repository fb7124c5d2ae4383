"""The search: Optuna's TPE over the CNN paper's space. The only import of optuna."""

import json
import os
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import optuna
import pandas as pd
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from glassbox import compute, config, files, hyperparameters, models, seeds, training, workers
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

ATTEMPTS = 3  # to begin a trial whose process is killed before it has drawn anything


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: from 0; trials that were interrupted and begun again count once.
        state: "complete", "pruned" or "failed".
        value: best validation accuracy of its epochs, 0..1; None for a failed trial.
        params: under the paper's names; only those that were drawn.
        curve: validation accuracy after each epoch.
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


def suggest(trial: optuna.Trial, space: Space, network: str) -> dict[str, Any]:
    """Draw a trial's parameters: slopes only where leaky_relu is chosen, rates only of the chosen optimizer, and for
    another network than the paper's the optimizer's alone."""
    # The choices that others hang on come first.
    order = sorted(Space.model_fields, key=lambda name: name in CONDITIONS)
    params: dict[str, Any] = {}
    for name in order:
        if not is_used(name, network, params):
            continue
        choice = getattr(space, name)
        if isinstance(choice, Range):
            params[name] = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
        else:
            params[name] = trial.suggest_categorical(name, choice)
    return params


class Search:
    """A study on disk that can be killed and taken up again.

    Its file is named by a digest of everything that decides its outcome, parameters, data, precision, threads, code and
    libraries, so that two searches never mix and none is taken for one that was made otherwise. Removing the file
    starts anew. With one worker the history is the same whether it was interrupted or not; with several it depends on
    which of them is quicker.

    Args:
        settings: the section `tune`.
        known: what of the network is not searched.
        how: augmentation.
        seed: of the study.
        description: of the data.
        place: device and precision of the trials.
        folder: where the study's file lies.
        threads: of the CPU, for all trials that run side by side; None = PyTorch's number in this process.
    """

    def __init__(
        self, settings: Tune, known: models.Spec, how: Augment, seed: int, description: Description, place: Place,
        folder: str | Path, threads: int | None = None,
    ) -> None:  # fmt: skip
        self.threads = threads or torch.get_num_threads()
        self._arguments = (settings, known, how, seed, description, place, folder, self.threads)
        self.settings, self.known, self.how, self.seed, self.description = settings, known, how, seed, description
        self.place = replace(place, compiled=False, graphs=False)  # compiling takes longer than many a trial
        # n_trials is left out: a longer search of the same kind goes on from a shorter one. So is the number of
        # workers, to be lowered on the way if need be; but one alone promises a history that timing has no part in.
        identity = {
            "tune": settings.model_dump(mode="json", exclude={"n_trials", "workers"}, exclude_unset=True),
            "alone": settings.workers == 1, "network": asdict(known), "weights": models.digest_of_weights(known),
            "augment": how.model_dump(mode="json"), "seed": seed,
            "data": description.digest, "code": _code(),
            "place": [place.device.type, str(place.dtype), place.tf32, place.deterministic, self.threads],
            "versions": [torch.__version__, optuna.__version__],
        }  # fmt: skip
        name = files.digest(json.dumps(identity, sort_keys=True))[:16]
        self.file = Path(folder) / f"{name}.journal"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # The operating system drops this lock with its process; Optuna's own outlives kill -9 and holds up the next
        # process for half a minute.
        lock = filelock.FileLock(self.file.with_suffix(".lock"))
        with lock:
            _cut_torn_line(self.file)
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=settings.pruner_startup_trials,
            n_warmup_steps=settings.pruner_warmup_epochs + 1,  # Optuna's steps are our epochs, from 1
            interval_steps=1,
            n_min_trials=1,
        )
        try:
            storage = JournalStorage(JournalFileBackend(str(self.file), lock_obj=lock))
            self.study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
            )
        except OSError:
            raise
        except Exception as error:  # Optuna takes the file for granted: what is wrong in it can raise anything
            raise UserError(
                f"{self.file}, the record of this search, is damaged ({type(error).__name__}: {error}): delete it, and "
                "the search begins anew"
            ) from None

    @property
    def at_once(self) -> int:
        """How many trials run side by side: `settings.workers`, on the CPU at most one a core."""
        wanted = self.settings.workers
        return min(wanted, self.threads) if self.place.device.type == "cpu" else wanted

    def trials(self) -> list[Trial]:
        """The finished trials by number, without interrupted ones."""
        names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        return [
            Trial(
                number=t.user_attrs["number"],
                state=names[t.state],
                value=max(t.intermediate_values.values(), default=None) if t.state != TrialState.FAIL else None,
                params=dict(t.params),
                curve=[t.intermediate_values[step] for step in sorted(t.intermediate_values)],
                seconds=t.user_attrs.get("seconds", 0.0),
                reason=t.user_attrs.get("reason", ""),
            )
            for t in self._finished()
        ]

    def _finished(self) -> list[optuna.trial.FrozenTrial]:
        finished = [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished() and not _interrupted(t)]
        # The file may hold a longer search of the same kind.
        mine = [t for t in finished if t.user_attrs["number"] < self.settings.n_trials]
        return sorted(mine, key=lambda t: t.user_attrs["number"])

    def begin(self) -> list[int]:
        """The numbers of the trials that are still to be done; one that a killed process left running is among them."""
        for stale in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(stale.number, state=TrialState.FAIL)
        done = {trial.number for trial in self.trials()}
        return [number for number in range(self.settings.n_trials) if number not in done]

    def run(self, read: Callable[[str], Split]) -> Iterator[tuple[int, Epoch | Trial]]:
        """Run the trials that are still to be done, `at_once` at a time, in processes that share the study's file: each
        draws from, and is pruned by, what all have found. One alone has a process as well: when memory runs out,
        that is the one that the system kills, and its trial is a failed one.

        Args:
            read: gives the split "train" or "validation"; called once in each process, and sent there by pickle.

        Yields:
            (trial number, record): an `Epoch` after each epoch, the finished `Trial` after each trial.

        Raises:
            UserError: the network or its weights cannot be had, the data cannot be read or do not fit in memory, the
                study's file cannot be written, the code was changed meanwhile, or processes are killed again and again
                before they have begun a trial.
            RuntimeError: an error of the program; the message holds its traceback.
        """
        todo, told, killed = deque(self.begin()), set(), Counter()
        if todo and self.known.name != CNN:
            # What is wrong with it is wrong in every trial, and weights are downloaded by one process.
            models.fresh(self.known, self.description, 0, torch.device("cpu"))
        threads = max(1, self.threads // self.at_once)
        serve = partial(_serve, type(self), self._arguments, self.file, read, threads)
        for number, record in workers.each(serve, todo, self.at_once):
            if isinstance(record, workers.Died):
                if number in told:
                    continue  # it had nothing more to say
                record = self._record_death(number, died := record)
                if record is None:
                    killed[number] += 1
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

    def _record_death(self, number: int, died: workers.Died) -> Trial | None:
        """The trial that a process took with it, now a failed one; None if it had not begun.

        Raises:
            RuntimeError: it was not killed, but ended by itself.
        """
        if died.exit_code >= 0:
            raise RuntimeError(f"trial {number}: {died}")
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for lost in (trial for trial in running if trial.user_attrs.get("number") == number):
            if "reason" not in lost.user_attrs:  # else it failed by itself, and was killed before it could end
                # A trial of another process can be ended, but not given a reason: one that has it takes its place.
                took = (datetime.now() - lost.datetime_start).total_seconds()
                failed = optuna.trial.create_trial(
                    state=TrialState.FAIL, params=lost.params, distributions=lost.distributions,
                    user_attrs=lost.user_attrs | {"reason": str(died), "seconds": max(0.0, took)},
                    intermediate_values=lost.intermediate_values,
                )  # fmt: skip
                failed.datetime_start = lost.datetime_start
                self.study.add_trial(failed)
            self.study.tell(lost.number, state=TrialState.FAIL)
        return next((trial for trial in self.trials() if trial.number == number), None)

    def try_out(self, number: int, train: Split, validation: Split) -> Iterator[Epoch | Trial]:
        """One trial, in this process: its epochs, then itself."""
        # A sampler of its own for each trial, seeded by its number: a search that was interrupted draws what the
        # uninterrupted one would have drawn. Optuna 5 changed TPE's defaults: all are given.
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.settings.startup_trials,
            n_ei_candidates=24,
            multivariate=True,
            group=True,
            constant_liar=self.settings.workers > 1,  # keeps workers from trying the same point at the same time
            seed=derive(self.seed, "tune", "sampler", number),
        )
        start = time.perf_counter()  # Optuna's own times are those of a clock that may be set meanwhile
        trial = self.study.ask()
        trial.set_user_attr("number", number)
        params = suggest(trial, self.settings.space, self.known.name)
        seed = derive(self.seed, "tune", "trial", number)
        best = 0.0

        def end(*told: Any, **also: Any) -> None:
            trial.set_user_attr("seconds", time.perf_counter() - start)
            self.study.tell(trial, *told, **also)

        try:
            for epoch in self._fit(params, seed, train, validation):
                best = max(best, epoch.validation_accuracy)
                trial.report(epoch.validation_accuracy, epoch.epoch)
                yield epoch
                if epoch.epoch < self.settings.epochs and trial.should_prune():
                    end(state=TrialState.PRUNED)
                    break
            else:
                end(best)
        except (UserError, MemoryError, RuntimeError) as error:
            # NaN, an image pooled away, memory: this point of the space does not work, the search goes on.
            if not isinstance(error, UserError) and not compute.out_of_memory(error):
                raise
            reason = f"{'' if isinstance(error, UserError) else 'out of memory: '}{' '.join(str(error).split())}"
            trial.set_user_attr("reason", reason[:500])
            end(state=TrialState.FAIL)
        if self.place.device.type == "cuda":
            torch.cuda.empty_cache()  # only here, after the handler, is nothing left that holds its model
        yield next(done for done in self.trials() if done.number == number)

    def _fit(self, params: dict[str, Any], seed: int, train: Split, validation: Split) -> Iterator[Epoch]:
        settings = self.settings
        model = models.fresh(network_of(params, self.known), self.description, seed, self.place.device)
        yield from fit(
            model, train, validation, make_optimizer(model, optimizer_of(params)),
            place=self.place, epochs=settings.epochs, batch_size=settings.batch_size, how=self.how,
            patience=settings.patience, keep="last", seed=seed, section="tune",  # no trial's weights are wanted
        )  # fmt: skip

    def best(self) -> Trial:
        """The trial with the highest validation accuracy; of equals the first.

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
    kind: type[Search], arguments: tuple, file: Path, read: Callable[[str], Split], threads: int
) -> Callable[[int], Iterator[Epoch | Trial]]:
    """The same search in another process."""
    search = kind(*arguments)
    search.place.settle()
    torch.set_num_threads(threads)
    if search.file != file:
        raise UserError("the source files of the search were changed while it ran: run it again")
    try:
        train, validation = (read(split).to(search.place.device) for split in ("train", "validation"))
    except (MemoryError, RuntimeError) as error:
        if not compute.out_of_memory(error):
            raise
        raise UserError(f"the images do not fit in memory {search.at_once} times (tune.workers): {error}") from None

    def records(number: int) -> Iterator[Epoch | Trial]:
        try:
            yield from search.try_out(number, train, validation)
        except OSError as error:
            raise UserError(
                f"{file} cannot be written ({error.strerror}): run the same command again when it can, and the search "
                "goes on where it was"
            ) from None

    return records


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
    paths = (__file__, registry, *(module.__file__ for module in modules))
    return files.digest(*(Path(path).read_bytes() for path in paths))


def _interrupted(trial: optuna.trial.FrozenTrial) -> bool:
    # A trial that failed by itself says why.
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def table(trials: list[Trial], space: Space) -> pd.DataFrame:
    """One row a trial: number, state, value, epochs, then every parameter in the order of the space."""
    rows = [
        {"trial": t.number, "state": t.state, "validation_accuracy": t.value, "epochs": len(t.curve)} | t.params
        for t in trials
    ]
    given = [name for name in Space.model_fields if name in space.model_fields_set]
    columns = ["trial", "state", "validation_accuracy", "epochs", *given]
    return pd.DataFrame(rows, columns=columns)


def summary(best: Trial | None, trials: list[Trial]) -> dict[str, Any]:
    """The outcome for the next stage: trial None and no params without a search."""
    if best is None:
        return {"trial": None, "validation_accuracy": None, "trials": 0, "epochs": 0, "params": {}}
    epochs = sum(len(trial.curve) for trial in trials)
    outcome = {"trial": best.number, "validation_accuracy": best.value, "trials": len(trials), "epochs": epochs}
    return outcome | {"params": best.params}
