"""The engine of a Ray cluster. The only file that imports ray.

Work is done by Ray's actors: Ray finds machines for them, brings there what they need, and tells when one is lost.
Nothing of the project has to be on those machines but the packages of requirements.lock: code and files of weights
travel as the actors' working directory, data and networks through Ray's object store.
"""

import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import count, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from glassbox import compute, config, reach, resume, workers
from glassbox.compute import Place
from glassbox.data.store import Split
from glassbox.errors import UserError, cut
from glassbox.resume import Arrays, Items, Work

if TYPE_CHECKING:
    from glassbox.models import Classifier
    from glassbox.training import Epoch, Training

AGAIN = 3  # times that a part is done once more whose process or machine was lost
SHARD = 0.2  # seconds of work that are handed over at a time: of small parts many, so that it costs a hundredth
MOST = 64  # parts in a shard
AHEAD = 4  # shards for each worker that are done or under way while an earlier one is waited for
PATIENCE = 300.0  # seconds in which a cluster that has no machine large enough may get one
# Packages whose other versions may give other bytes. That Ray and Python are the same Ray itself looks.
DECIDING = (
    "torch", "torchvision", "numpy", "scipy", "scikit-image", "scikit-learn", "optuna", "shap", "lime", "captum",
)  # fmt: skip
ENDING = 15.0  # seconds in which a training that is not wanted any more ends in order
BUSY = 30.0  # seconds between two words on that others use it

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell Ray's makers
OF_WORKERS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}  # one without a share of a GPU sees none


@contextmanager
def connect(settings: config.Compute) -> Iterator["Cluster"]:
    """The cluster that the section `compute` names, until the block ends.

    Raises:
        UserError: Ray is not installed, no cluster answers, its machines have other versions, or none is large enough
            for a worker.
    """
    reach.check(settings)
    import ray

    with tempfile.TemporaryDirectory(prefix="glassbox-") as folder:
        _pack(Path(folder))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # By itself Ray would join any cluster that was begun on this machine.
                _join(reach.address(settings) or "local", folder)
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise reach.refusal(settings, error) from None
        try:
            yield Cluster(settings)
        except ConnectionError as error:
            if ray.is_initialized():
                raise  # it is another connection's
            where = reach.address(settings)
            raise UserError(
                f"the cluster at {where} went away ({_short(error)}): run the same command again once it is back, and "
                "it goes on where it was"
            ) from None
        finally:
            ray.shutdown()


def _join(address: str, folder: str) -> None:
    import ray

    own = {"include_dashboard": False} if address == "local" else {}
    workers_have = {"working_dir": folder, "env_vars": OF_WORKERS}
    # Ray begins workers by a shell, to which it does not quote the path of Python, and waits for ever where it is cut.
    if (quoted := shlex.quote(sys.executable)) != sys.executable:
        if address == "local":
            workers_have["py_executable"] = quoted
        else:
            print(
                f"note: this environment is in {sys.prefix}; where that of a machine of the cluster is in a folder "
                "whose path a shell does not take as one word, as with a space in it, Ray begins no workers there",
                file=sys.stderr,
            )
    for left in reversed(range(AGAIN + 1)):
        try:
            ray.init(address, runtime_env=workers_have, log_to_driver=False, logging_level="error", **own)
        except ConnectionAbortedError:
            # The process that a head begins for each client may crash as it is forked (Ray's issue 63202).
            ray.shutdown()
            if not left:
                raise
            print("the cluster's head could not begin to serve this stage: asking again", file=sys.stderr)
        else:
            return


def _pack(folder: Path) -> None:
    """What workers need of this repository: the package, and files of weights."""
    package = Path(__file__).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    given = Path("data/weights")
    if given.is_dir():
        # Hidden files are git's, which Ray would follow: by them it leaves out what DVC keeps.
        shutil.copytree(given, folder / given, ignore=shutil.ignore_patterns(".*"))


def _short(error: BaseException) -> str:
    return cut(" ".join(str(error).split()))


def _compact(item: Any) -> Any:
    """The same without what lies around views: a tensor is sent with all of the one that it is a part of."""
    if isinstance(item, torch.Tensor):
        return item.clone() if item.untyped_storage().nbytes() > item.nbytes else item
    return type(item)(map(_compact, item)) if type(item) in (tuple, list) else item


class Cluster:
    """An engine whose parts are done by processes of a Ray cluster, at most `compute.workers` at a time.

    Args:
        settings: the section `compute`.
    """

    device = torch.device("cpu")  # a laptop may have no other
    apart = True

    def __init__(self, settings: config.Compute) -> None:
        import ray

        self._ray, self._settings = ray, settings
        # The number of threads decides the last bits of sums: workers take as many as this process would.
        self.threads = settings.threads or torch.get_num_threads()
        self._needs = {"num_cpus": settings.cpus or self.threads, "num_gpus": settings.gpus}
        self._peak, self._classifiers = 0.0, WeakKeyDictionary()
        self._at_work = False
        self._share = self._needs["num_gpus"]  # of GPUs, that those two hold
        self._idle: list[Any] = []  # workers who wait
        self._coming: dict[Any, Any] = {}  # those who have not answered yet, by the answer
        versions = _versions()
        self.place, self._machine = self._first(versions)
        self._setting = _Setting(self.place, self.threads, versions)
        torch.set_num_threads(self.threads)

    def _first(self, versions: dict[str, str]) -> tuple[Place, dict[str, Any]]:
        """What the workers are."""
        wanted = self._settings.model_copy(
            update={"threads": self.threads} | ({} if self._settings.gpus else {"device": "cpu"})
        )
        for _ in range(AGAIN + 1):
            hand = self._hire(self._needs)
            asked = hand.look_around.remote(wanted, versions)
            self._make_room(f"compute.workers is {self._settings.workers}", 1)
            while not self._ray.wait([asked], timeout=BUSY)[0]:
                print("waiting for a worker: the cluster is busy", file=sys.stderr)
            try:
                found = self._told(asked)
            except self._ray.exceptions.RayError as error:
                found = error
            if isinstance(found, Lost) and found.unable:
                found = ImportError(found.reason)
            if not isinstance(found, Lost):
                break
            self._ray.kill(hand)
        if isinstance(found, Lost):
            raise UserError(f"the first worker of the cluster was lost ({found.reason}): run the same command again")
        if isinstance(found, UserError):
            raise found
        if isinstance(found, Exception):
            raise UserError(
                f"a worker of the cluster could not begin ({_short(found)}): install requirements.lock on all machines"
            )
        self._idle = [hand]
        return found

    def each(self, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        """See `resume.Keep.each`. Workers take several parts at a time where they are small."""
        shared, at_once = [self._ray.put(work), self._held(classifier)], self._settings.workers
        todo, numbers, order, done, losses, size = deque(), count(), deque(), {}, Counter(), 1

        def shards() -> Iterator[tuple[int, Any, list[Any]]]:
            """A number, where what some parts have in common is, and what each has of its own."""
            for _, same in groupby(items, lambda item: id(item[0])):
                block = None
                while some := [*islice(same, size)]:
                    # Once; its id stays taken meanwhile.
                    block = block or (some[0][0], self._ray.put(_compact(some[0][0])))
                    yield next(numbers), block[1], [_compact(own) for _, own in some]

        def draw() -> None:
            while len(order) < AHEAD * at_once and (shard := next(rest, None)):
                order.append(shard[0])
                todo.append(shard)

        rest = shards()
        draw()
        for shard, made in self._worked(partial(_shards, shared, self.place.device), todo, at_once, one_each=True):
            if isinstance(made, Lost):
                losses[shard[0]] += 1
                if losses[shard[0]] > AGAIN:
                    raise UserError(
                        "a part of the work was given up, because the processes or machines that did it were lost "
                        f"{AGAIN + 1} times ({made.reason}): run the same command again, and it goes on where it was"
                    )
                todo.appendleft(shard)
                continue
            if isinstance(made, Exception):
                raise made
            found, seconds, peak = made
            self._peak, size = max(self._peak, peak), min(MOST, max(1, round(SHARD * len(found) / max(seconds, 1e-6))))
            # Copies: what is read in place holds on to the store's memory.
            done[shard[0]] = [{name: array.copy() for name, array in arrays.items()} for arrays in found]
            while order and order[0] in done:
                yield from done.pop(order.popleft())
            draw()

    def _hire(self, needs: dict[str, float]) -> Any:
        """One more worker, whose process Ray begins as soon as a machine has room for it."""
        return self._ray.remote(_Hand).options(**needs, scheduling_strategy="SPREAD", max_restarts=0).remote()

    def _held(self, classifier: Any) -> Any:
        if classifier not in self._classifiers:
            self._classifiers[classifier] = self._ray.put(classifier)
        return self._classifiers[classifier]

    def lend(self, read: Callable[[str], Split], *splits: str) -> Callable[[str], Split]:
        """See `engine.Engine.lend`; they are put into the store."""
        return _Lent({name: self._ray.put(_as_arrays(read(name))) for name in splits})

    def work_off(
        self, serve: Callable[[], Callable[[Any], Iterator[Any]]], todo: deque, at_once: int,
        silent: Callable[[], Collection[Any]] | None = None, look: float | None = None,
        *, gpus: float | None = None, variables: Callable[[], dict[str, str]] = dict,
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """`workers.each`, by processes on any machine of the cluster: one that is lost tells so by `Lost`."""
        for item, record in self._worked(serve, todo, at_once, silent, look, gpus, variables()):
            if isinstance(record, Exception):
                raise record if isinstance(record, UserError) else RuntimeError(f"{item}: {record}")
            yield item, record

    def _worked(
        self, serve: Callable[[], Callable[[Any], Iterator[Any]]], todo: deque, at_once: int,
        silent: Callable[[], Collection[Any]] | None = None, look: float | None = None, gpus: float | None = None,
        variables: dict[str, str] | None = None, one_each: bool = False,
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """What `work_off` yields; and (item, error) where an item raised one. The caller may go on adding to `todo`.
        Workers stay for the next call, and know nothing of this one then. Where there is `one_each`, one record of an
        item, the worker is not asked for a second.

        Ray's actors: of a process, or a machine, that is gone their owner is told by the cluster's head, while for a
        task's answer it would wait as long as a connection lasts of which nothing more is heard, which is minutes.
        """
        if self._at_work:
            raise RuntimeError("one work at a time: another one is not at its end, and may have all workers")
        own = gpus is not None and gpus != self._needs["num_gpus"]
        gpus = self._needs["num_gpus"] if gpus is None else gpus
        needs = self._needs | {"num_gpus": gpus}
        # Passwords may be among them, and Ray would log those of its own runtime environment.
        secrets = variables or {}
        busy: dict[Any, tuple[Any, Any]] = {}  # by what is awaited: the hand, and the item that it has
        idle: list[Any] = []
        if gpus != self._share:
            self._dismiss()  # they hold what is needed
        waiting, coming, stillborn = self._idle, self._coming, 0  # the last in a row
        self._share, self._idle, self._coming = gpus, [], {}
        hired = {*coming.values()}  # and not known to have begun
        # However few are wanted now, one of them may have the room that the others wait for.
        busy |= {answer: (hand, None) for answer, hand in coming.items()}
        looked, pause = time.monotonic(), BUSY if look is None else look

        def hand_out() -> None:
            while todo and idle:
                hand, item = idle.pop(), todo.popleft()
                if not one_each:
                    hand.begin.remote(item)
                busy[hand.only.remote(item) if one_each else hand.next.remote()] = hand, item

        def staff() -> None:
            wanted = min(at_once, len(todo) + sum(item is not None for _, item in busy.values()))
            while waiting and len(busy) - len(coming) + len(idle) < wanted:
                ask(waiting.pop())
            while len(busy) + len(idle) < wanted:
                hired.add(hand := self._hire(needs))
                ask(hand)

        def ask(hand: Any) -> None:
            # No item before it is there: no machine may have room for it.
            busy[hand.serve.remote(self._setting, secrets, serve)] = hand, None

        try:
            self._at_work = True
            while todo or any(item is not None for _, item in busy.values()):
                hand_out()
                staff()
                found, _ = self._ray.wait([*busy], num_returns=1, timeout=pause)
                if not found and all(item is None for _, item in busy.values()):
                    self._make_room("work is waiting", 1, needs, "tune.gpus" if own else "compute.gpus")
                for awaited in found:
                    hand, item = busy.pop(awaited)
                    record, of_earlier = self._told(awaited), coming.pop(awaited, None)
                    if isinstance(record, Lost):
                        stillborn += item is None and hand in hired
                        # It may only be out of reach, and would keep the room of the one that takes its place.
                        self._ray.kill(hand)
                        hired.discard(hand)
                        if stillborn > max(AGAIN, at_once):  # those of a machine are lost together
                            raise UserError(
                                f"{stillborn} workers were lost one after another before they could begin "
                                f"({record.reason}): see what their machines have to say of it, memory above all"
                            )
                        if item is not None:
                            yield item, record
                        continue
                    stillborn = 0
                    hired.discard(hand)
                    if of_earlier:  # what it was asked for then, and what it says of it, is over
                        waiting.append(hand)
                    elif isinstance(record, Exception):
                        if item is None:
                            raise record
                        idle.append(hand)
                        yield item, record
                    elif not record:  # it is there, or at the end of its item
                        idle.append(hand)
                    else:
                        if one_each:
                            idle.append(hand)
                            hand_out()  # before what the caller does with the record
                        else:
                            busy[hand.next.remote()] = hand, item
                        yield item, *record
                if silent and time.monotonic() - looked >= pause:
                    gone, looked = silent(), time.monotonic()
                    for hand, item in busy.values():
                        if item in gone:
                            self._ray.kill(hand)  # what is awaited of it comes as its loss
        finally:
            self._at_work = False
            self._idle = waiting + idle
            # Where works are short each would hire those anew who have not begun.
            self._coming = {answer: hand for answer, (hand, item) in busy.items() if item is None}
            for hand, item in busy.values():
                if item is not None:
                    self._ray.kill(hand)

    def _told(self, awaited: Any) -> Any:
        """What a worker says; an error that it raised; or `Lost`."""
        lost = self._ray.exceptions
        try:
            return self._ray.get(awaited)
        except (
            lost.RayActorError, lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError,
            lost.ObjectLostError,  # what it had made was with it
        ) as error:  # fmt: skip
            return Lost(_short(error), getattr(error, "actor_init_failed", False))
        except lost.RayTaskError as error:
            return error.cause if isinstance(error.cause, UserError) else error

    def _dismiss(self) -> None:
        """Workers who wait make room."""
        for hand in (*self._idle, *self._coming.values()):
            self._ray.kill(hand)
        self._idle, self._coming = [], {}

    def train(
        self, training: "Training", train: Split, validation: Split
    ) -> "tuple[Classifier, Iterator[Epoch], resume.Checkpoint]":
        """See `engine.Engine.train`; by Ray Train, on `train.workers` processes."""
        classifier, checkpoint = training.fresh(self.device), training.checkpoint(self.place)
        return classifier, self._epochs(training, classifier, (train, validation), checkpoint), checkpoint

    def _epochs(
        self, training: "Training", classifier: "Classifier", splits: tuple[Split, Split], checkpoint: resume.Checkpoint
    ) -> "Iterator[Epoch]":
        from ray.util.queue import Empty, Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        lent = self.lend(dict(zip(("train", "validation"), splits, strict=True)).__getitem__, "train", "validation")
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        box = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        together = self._ray.remote(_together).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
        told, going, workers = 0, None, training.settings.workers
        self._dismiss()
        try:
            for _ in range(AGAIN + 1):
                state = checkpoint.load()
                content = None if state is None else self._ray.put(resume.packed(state))
                asked = [training, lent, self._setting, box, content]
                going, ended = together.remote(asked, workers, self._needs), False
                self._make_room(f"train.workers is {workers}", workers)
                while not ended or not box.empty():
                    ended = bool(self._ray.wait([going], timeout=0)[0])  # what it said last is in the box by now
                    try:
                        kind, value = box.get(timeout=1)
                    except Empty:
                        continue
                    if kind == "refused":
                        raise value
                    if kind == "failed":
                        raise RuntimeError(value)
                    if kind == "state":
                        checkpoint.write(value)
                    if kind == "told":
                        checkpoint.tell(value)
                    if kind == "epoch" and value["epoch"] > told:
                        epoch = training.record(value)
                        told = epoch.epoch
                        self._peak = max(self._peak, epoch.peak_memory)
                        yield epoch
                    if kind == "weights":
                        classifier.load_state_dict(resume.unpacked(value))
                        self._ray.wait([going], timeout=60)  # its processes make room for what follows
                        return
                try:
                    self._ray.get(going)
                    lost = "it ended without a word"
                except self._ray.exceptions.RayError as error:
                    lost = _short(error)
                print(f"a process of the training was lost ({lost}): going on after epoch {told}", file=sys.stderr)
            raise UserError(
                f"the training was given up, because its processes or machines were lost {AGAIN + 1} times ({lost}): "
                "run the same command again, and it goes on where it was"
            )
        finally:
            if going is not None:
                self._end(going)
            box.shutdown(force=True)

    def _end(self, together: Any) -> None:
        """End a training. Ray Train gives its processes' room back only if it is asked; by itself, if it is killed, it
        does so with the help of Ray's dashboard, which need not be there."""
        for force in (False, True):
            if self._ray.wait([together], timeout=0)[0]:
                return
            self._ray.cancel(together, force=force)
            self._ray.wait([together], timeout=ENDING)

    def _make_room(
        self, asked: str, workers: int, needs: dict[str, float] | None = None, of_gpus: str = "compute.gpus"
    ) -> None:
        """Wait until the cluster's machines are large enough for so many workers at a time, which have been asked for:
        a cluster that grows by itself does so when work is waiting.

        Args:
            asked: and by what.
            workers: how many.
            needs: what each takes, if not what the section `compute` says.
            of_gpus: the parameter that says its share of GPUs.

        Raises:
            UserError: they are not within `PATIENCE` seconds.
        """
        since, said, needs = time.monotonic(), False, needs or self._needs
        takes = f"a worker takes {needs['num_cpus']} CPUs and {needs['num_gpus']:g} GPUs (compute.cpus, {of_gpus})"
        while True:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            kinds = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
            room = sum(min(int(node.get(kind, 0) / n) for kind, n in kinds.items() if n) for node in nodes)
            if room >= workers:
                return
            there = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
            what = f"{asked}, and {takes}, but the machines of the cluster have {there}: room for {room}"
            if time.monotonic() - since >= PATIENCE:
                raise UserError(what)
            if not said:
                print(f"{what}; waiting for more", file=sys.stderr)
                said = True
            time.sleep(min(5.0, PATIENCE))

    def costs(self, since: float, images: int) -> dict[str, float]:
        """See `compute.costs`; memory is the highest of any worker. The work is over: others may have the room."""
        self._dismiss()
        return compute.costs(self._peak, since, images)

    def machine(self) -> dict[str, Any]:
        """See `compute.machine`; of the worker that answered first."""
        return self._machine


@dataclass(frozen=True)
class Lost(workers.Died):
    """The process that had an item in hand is gone, with its machine or without.

    Attributes:
        reason: what Ray says of it.
        unable: whether it could not import what it needs.
    """

    exit_code: int = field(default=-signal.SIGKILL, init=False)
    reason: str
    unable: bool = False

    def __str__(self) -> str:
        return f"its process or its machine was lost ({self.reason})"

    @property
    def killed(self) -> bool:  # fewer at a time would not keep machines from being lost
        return False


# What follows is done by workers.


@dataclass(frozen=True)
class _Setting:
    """What holds for a whole process of a worker.

    Attributes:
        place: device and precision.
        threads: of PyTorch.
        versions: of the packages that decide results, as the stage has them.
    """

    place: Place
    threads: int
    versions: dict[str, str]

    def settle(self) -> None:
        """See `Place.settle`.

        Raises:
            UserError: this machine has other versions.
        """
        _compare(self.versions)
        self.place.settle()
        torch.set_num_threads(self.threads)


def _versions() -> dict[str, str]:
    return {name: _version(name) for name in DECIDING}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _compare(versions: dict[str, str]) -> None:
    here = _versions()
    other = [f"{name} {here[name]} instead of {versions[name]}" for name in here if here[name] != versions[name]]
    if other:
        raise UserError(
            f"{socket.gethostname()}, a machine of the cluster, has {', '.join(other)}: install requirements.lock on "
            "all machines"
        )


def _together(asked: list[Any], workers: int, needs: dict[str, float]) -> None:
    """Ray Train around the processes of a training."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    on_gpus = needs["num_gpus"] > 0
    with tempfile.TemporaryDirectory() as folder:  # Ray Train wants one; checkpoints go to the stage
        TorchTrainer(
            _rank,
            train_loop_config={"asked": asked},
            torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=on_gpus,
                resources_per_worker={"CPU": needs["num_cpus"]} | ({"GPU": needs["num_gpus"]} if on_gpus else {}),
            ),
            run_config=RunConfig(storage_path=folder, failure_config=FailureConfig(max_failures=0)),
        ).fit()


def _rank(config: dict[str, Any]) -> None:
    """One process of a training; the first one tells the stage of it."""
    import ray.train.torch

    training, lent, setting, box, content = config["asked"]
    place = setting.place
    if place.device.type == "cuda":
        place = replace(place, device=ray.train.torch.get_device())
    replace(setting, place=place).settle()
    ranks = training.ranks()
    first = ranks is None or ranks.rank == 0
    saved = _Relay(box, content)
    try:
        classifier = training.fresh(place.device)
        for epoch in training.epochs(classifier, lent("train"), lent("validation"), place, saved, ranks):
            if first:
                saved.say("epoch", asdict(epoch))
        if first:
            weights = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
            saved.say("weights", resume.packed(weights))
    except UserError as error:
        saved.say("refused", error)
    except Exception as error:
        if not _of_the_group(error):  # else another process was lost, and this one only missed it
            saved.say("failed", traceback.format_exc())
        raise


def _of_the_group(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or "gloo" in said or "nccl" in said


@dataclass
class _Relay:
    """What a training has to say to the stage; its checkpoint, whose file is the stage's, see `resume.Saved`."""

    box: Any
    content: Any  # where its bytes are in the store; None: there is none yet

    def say(self, kind: str, value: Any) -> None:
        """Of plain types, errors apart: the process that keeps the box need not import PyTorch."""
        self.box.put((kind, value))

    def save(self, state: dict[str, Any]) -> None:
        self.say("state", resume.packed(state))

    def load(self) -> dict[str, Any] | None:
        import ray

        return None if self.content is None else resume.unpacked(ray.get(self.content))

    def tell(self, what: str) -> None:
        self.say("told", what)


class _Hand:
    """A process that works off items, for `Cluster.work_off`; asked for every record, so that none waits for long."""

    def look_around(self, settings: config.Compute, versions: dict[str, str]) -> tuple[Place, dict[str, Any]]:
        _compare(versions)
        place = compute.resolve(settings)
        return place, compute.machine(place)

    def serve(
        self, setting: _Setting, secrets: dict[str, str], serve: Callable[[], Callable[[Any], Iterator[Any]]]
    ) -> None:
        os.environ.update(secrets)
        setting.settle()
        self._records_of = serve()

    def only(self, item: Any) -> tuple[Any]:
        (record,) = self._records_of(item)
        return (record,)

    def begin(self, item: Any) -> None:
        self._records = iter(self._records_of(item))

    def next(self) -> tuple[Any] | None:
        for record in self._records:
            return (record,)
        return None


@dataclass(frozen=True)
class _Lent:
    """Splits of the data, by name, where a worker finds them."""

    references: dict[str, Any]

    def __call__(self, name: str) -> Split:
        import ray

        arrays = ray.get(self.references[name])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nobody writes to it
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Split(tensors["images"], tensors["labels"], None, tensors["index"], None)


def _as_arrays(split: Split) -> dict[str, np.ndarray]:
    """What is learnt from, in a form that all processes of a machine can read in one place."""
    return {"images": split.images.numpy(), "labels": split.labels.numpy(), "index": split.index.numpy()}


_kept: dict[int, tuple[Any, Any]] = {}  # by place in the list of references: what was read last


def _read(references: list[Any], device: torch.device) -> list[Any]:
    """Work, classifier and block, each read from the store once, as long as the same are asked for."""
    import ray

    for number, reference in enumerate(references):
        if number not in _kept or _kept[number][0] != reference:
            _kept.pop(number, None)
            found = ray.get(reference)
            _kept[number] = reference, found.to(device).eval() if isinstance(found, torch.nn.Module) else found
    return [_kept[number][1] for number in range(len(references))]


def _shards(
    shared: list[Any], device: torch.device
) -> Callable[[tuple[int, Any, list[Any]]], Iterator[tuple[list[Arrays], float, float]]]:
    """For `Cluster.each`: the parts of a shard, the seconds that they took, and the most memory that this process had
    in use (GiB)."""

    def records(shard: tuple[int, Any, list[Any]]) -> Iterator[tuple[list[Arrays], float, float]]:
        _, block, some = shard
        work, classifier, common = _read([*shared, block], device)
        start = time.perf_counter()
        found = [work(classifier, common, own) for own in some]
        yield found, time.perf_counter() - start, compute.peak_memory(device)

    return records
