"""The engine of a Ray cluster. The only file that imports ray.

What has to be done at a time is a Ray task: Ray finds a machine for it, brings there what it needs, and does it again
when the machine is lost. Nothing of the project has to be on those machines but the packages of requirements.lock: code
and files of weights travel as the tasks' working directory, data and networks through Ray's object store.
"""

import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from glassbox import compute, config, workers
from glassbox.compute import Place
from glassbox.data.store import Split
from glassbox.errors import UserError
from glassbox.resume import Arrays, Items, Work

EXTRA = "glassbox[cluster]"
AGAIN = 3  # times that Ray does a part once more whose process or machine was lost
SHARD = 0.2  # seconds of work in a task: many small parts at once, so that handing them over costs a hundredth
MOST = 64  # parts in a task
AHEAD = 4  # tasks for each worker that are done or under way while an earlier one is waited for
PATIENCE = 300.0  # seconds in which a cluster that has no machine large enough may get one
BUSY = 30.0  # seconds between two words on that others use it

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell Ray's makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a task without a share of a GPU sees none


@contextmanager
def connect(settings: config.Compute) -> Iterator["Cluster"]:
    """The cluster that the section `compute` names, until the block ends.

    Raises:
        UserError: Ray is not installed, no cluster answers, it has other versions, or no machine for a worker.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"compute.engine is ray, but Ray is not installed: pip install '{EXTRA}'")
    with tempfile.TemporaryDirectory(prefix="glassbox-") as folder:
        _pack(Path(folder))
        try:
            _knock(settings.address or os.environ.get("RAY_ADDRESS"))
            import ray

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(
                    settings.address, runtime_env={"working_dir": folder}, log_to_driver=False, logging_level="error"
                )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            named = settings.address or os.environ.get("RAY_ADDRESS") or "null"
            raise UserError(
                f"compute.address is {named}, but no Ray cluster can be used there ({_short(error)}): see "
                "docs/cluster.md"
            ) from None
        try:
            yield Cluster(settings)
        finally:
            ray.shutdown()


def _knock(address: str | None) -> None:
    """Whether anybody listens there: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        with socket.create_connection((host, int(port)), timeout=10):
            pass


def _pack(folder: Path) -> None:
    """What workers need of this repository: the package, and files of weights."""
    package = Path(__file__).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    given = Path("data/weights")
    if given.is_dir():
        shutil.copytree(given, folder / given, copy_function=os.link if _same_disk(given, folder) else shutil.copy2)


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


class Cluster:
    """An engine whose parts are done by tasks of a Ray cluster, at most `compute.workers` at a time.

    Args:
        settings: the section `compute`.
    """

    device = torch.device("cpu")  # a laptop may have no other

    def __init__(self, settings: config.Compute) -> None:
        import ray

        self._ray, self._settings = ray, settings
        # The number of threads decides the last bits of sums: workers take as many as this process would.
        self.threads = settings.threads or torch.get_num_threads()
        self._needs = {"num_cpus": settings.cpus or self.threads, "num_gpus": settings.gpus}
        self._peak, self._classifiers = 0.0, WeakKeyDictionary()
        self._do = self._task(_do)
        self.place, self._machine = self._first()
        torch.set_num_threads(self.threads)

    def _first(self) -> tuple[Place, dict[str, Any]]:
        """What the workers are."""
        wanted = self._settings.model_copy(update={"threads": self.threads})
        asked, needs = (
            self._task(_look_around).remote(wanted),
            {"CPU": self._needs["num_cpus"], "GPU": self._needs["num_gpus"]},
        )
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(kind, 0) >= n for kind, n in needs.items()) for node in nodes):
            there = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
            asks = f"a worker takes {needs['CPU']} CPUs and {needs['GPU']:g} GPUs (compute.cpus, compute.gpus)"
            print(f"waiting for a machine: {asks}, and the cluster's have {there}", file=sys.stderr)
            if not self._ray.wait([asked], timeout=PATIENCE)[0]:  # one that grows by itself may get one
                raise UserError(f"{asks}, but none of the cluster's machines has as much: they have {there}")
        while not self._ray.wait([asked], timeout=BUSY)[0]:
            print("waiting for a worker: the cluster is busy", file=sys.stderr)
        return self._get(asked)

    def _task(self, function: Any, **options: Any) -> Any:
        spread = {"scheduling_strategy": "SPREAD", "max_retries": AGAIN}
        return self._ray.remote(function).options(**self._needs, **spread, **options)

    def _get(self, reference: Any) -> Any:
        """What a task gave.

        Raises:
            UserError: it raised it; or its process was lost again and again.
            RuntimeError, MemoryError: it raised something else.
        """
        lost = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except lost.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError, lost.ObjectLostError) as error:
            raise UserError(
                f"a part of the work was given up, because the processes or machines that did it were lost "
                f"{AGAIN + 1} times ({_short(error)}): run the same command again, and it goes on where it was"
            ) from None

    def each(self, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        """See `resume.Keep.each`. A task takes several parts where they are small."""
        shared = [self._ray.put(work), self._held(classifier)]
        tasks, running, size = deque(), [], 1

        def shards() -> Iterator[tuple[Any, list[Any]]]:
            """Where what a task's parts have in common is, and what each has of its own."""
            for _, same in groupby(items, lambda item: id(item[0])):
                block = None
                while some := [*islice(same, size)]:
                    block = block or (some[0][0], self._ray.put(some[0][0]))  # once; its id stays taken meanwhile
                    yield block[1], [own for _, own in some]

        rest = shards()
        while True:
            while len(running) < self._settings.workers and len(tasks) < AHEAD * self._settings.workers:
                if (shard := next(rest, None)) is None:
                    break
                tasks.append(self._do.remote(self.place, self.threads, [*shared, shard[0]], shard[1]))
                running.append(tasks[-1])
            if not tasks:
                return
            if tasks[0] in running:
                _, running = self._ray.wait(running, num_returns=1)
                continue  # with a task for the worker that has become free
            found, seconds, peak = self._get(tasks.popleft())
            self._peak, size = max(self._peak, peak), min(MOST, max(1, round(SHARD * len(found) / max(seconds, 1e-6))))
            for arrays in found:
                # A copy: what is read in place holds on to the store's memory.
                yield {name: array.copy() for name, array in arrays.items()}

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
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """`workers.each`, by processes on any machine of the cluster: one that is lost tells so by `Lost`."""
        lost = self._ray.exceptions
        gone = (lost.RayActorError, lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError)
        # libpq's settings, passwords among them: Ray would log those of its own runtime environment.
        secrets = {name: value for name, value in os.environ.items() if name.startswith("PG")}
        hire = self._ray.remote(_Hand).options(**self._needs, scheduling_strategy="SPREAD", max_restarts=0)
        busy: dict[Any, tuple[Any, Any]] = {}  # by what is awaited: the hand, and the item that it has
        idle: list[Any] = []

        def employ() -> None:
            hand = hire.remote(self.place, self.threads, secrets)
            busy[hand.serve.remote(serve)] = hand, None  # no item before it is there: no machine may have room for it

        def told(awaited: Any) -> tuple[Any, Any, Any]:
            """The hand, its item, and what it says; `Lost` where it is."""
            hand, item = busy.pop(awaited)
            try:
                return hand, item, self._ray.get(awaited)
            except gone as error:
                return hand, item, Lost(_short(error))
            except lost.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                raise RuntimeError(f"{item}: {error}") from None

        try:
            for _ in range(min(at_once, len(todo))):
                employ()
            while todo or any(item is not None for _, item in busy.values()):
                while todo and idle:
                    hand, item = idle.pop(), todo.popleft()
                    hand.begin.remote(item)
                    busy[hand.next.remote()] = hand, item
                if not busy:
                    employ()
                found, _ = self._ray.wait([*busy], num_returns=1, timeout=look)
                for awaited in found:
                    hand, item, record = told(awaited)
                    if isinstance(record, Lost):
                        employ()
                        if item is not None:
                            yield item, record
                    elif not record:  # it is there, or at the end of its item
                        idle.append(hand)
                    else:
                        busy[hand.next.remote()] = hand, item
                        yield item, *record
                for item in silent() if silent and not found else ():
                    for hand, of in [*busy.values()]:
                        if of == item:
                            self._ray.kill(hand)  # what is awaited of it comes as its loss
        finally:
            for hand in [*idle, *(hand for hand, _ in busy.values())]:
                self._ray.kill(hand)

    def costs(self, since: float, images: int) -> dict[str, float]:
        """See `compute.costs`; memory is the highest of any worker."""
        return compute.costs(self._peak, since, images)

    def machine(self) -> dict[str, Any]:
        """See `compute.machine`; of the worker that answered first."""
        return self._machine


@dataclass(frozen=True)
class Lost(workers.Died):
    """The process that had an item in hand is gone, with its machine or without.

    Attributes:
        reason: what Ray says of it.
    """

    exit_code: int = field(default=-signal.SIGKILL, init=False)
    reason: str

    def __str__(self) -> str:
        return f"its process or its machine was lost ({self.reason})"

    @property
    def killed(self) -> bool:  # fewer at a time would not keep machines from being lost
        return False


# What follows is done by workers.


class _Hand:
    """A process that works off items, for `Cluster.work_off`; asked for every record, so that none waits for long."""

    def __init__(self, place: Place, threads: int, secrets: dict[str, str]) -> None:
        os.environ.update(secrets)
        place.settle()
        torch.set_num_threads(threads)

    def serve(self, serve: Callable[[], Callable[[Any], Iterator[Any]]]) -> None:
        self._records_of = serve()

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


def _look_around(settings: config.Compute) -> tuple[Place, dict[str, Any]]:
    place = compute.resolve(settings)
    return place, compute.machine(place)


_kept: dict[int, tuple[Any, Any]] = {}  # by place in the list of references: what was read last


def _read(references: list[Any], device: torch.device) -> list[Any]:
    """Work, classifier and block, each read from the store once, as long as tasks ask for the same."""
    import ray

    for number, reference in enumerate(references):
        if number not in _kept or _kept[number][0] != reference:
            _kept.pop(number, None)
            found = ray.get(reference)
            _kept[number] = reference, found.to(device).eval() if isinstance(found, torch.nn.Module) else found
    return [_kept[number][1] for number in range(len(references))]


def _do(place: Place, threads: int, references: list[Any], some: list[Any]) -> tuple[list[Arrays], float, float]:
    """The parts, the seconds that they took, and the most memory that this process had in use (GiB)."""
    if _kept.get("place") != place:
        place.settle()
        torch.set_num_threads(threads)
        _kept["place"] = place
    work, classifier, block = _read(references, place.device)
    start = time.perf_counter()
    found = [work(classifier, block, own) for own in some]
    return found, time.perf_counter() - start, compute.peak_memory(place.device)
