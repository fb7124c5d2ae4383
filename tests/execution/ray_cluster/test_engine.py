"""The engine of a Ray cluster, on two nodes of one machine."""

import os
import re
import signal
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import clusters
import numpy as np
import pytest
import ray
import torch
from conftest import nightly
from ray._private.internal_api import memory_summary

from glassbox.core.errors import UserError
from glassbox.execution import compute
from glassbox.execution.engine import start
from glassbox.execution.ray_cluster import actors, limits, ranks, shards
from glassbox.execution.ray_cluster.engine import RayEngine
from glassbox.provenance.resume import Parts
from glassbox.search.trainer import Trainer
from glassbox.training.loop import Training
from glassbox.training.records import Diverged
from tests import queues, searches
from tests.searches import KilledOnce, attempts, black_and_white, essence, search_of


@pytest.fixture(scope="module")
def settings(params):
    """The section `compute` for a cluster of two nodes with one CPU each."""
    with clusters.nodes(sys.modules[__name__], queues, searches, clusters) as cluster:
        clusters.add(cluster)
        changes = {"engine": "ray", "address": cluster.address, "workers": 2, "threads": 1, "precision": "float32"}
        yield params.compute.model_copy(update=changes)


@pytest.fixture(scope="module")
def engine(settings, tmp_path_factory):
    """The engine, connected in a folder with a file of weights that git ignores, as DVC's are."""
    weights = tmp_path_factory.mktemp("project") / "data/weights"
    weights.mkdir(parents=True)
    (weights / "own.safetensors").write_bytes(b"weights")
    (weights / ".gitignore").write_text("/own.safetensors\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(weights.parents[1])
        with start(settings) as engine:
            yield engine


class Scaled(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))


def scaled(classifier, block, row):
    """A row times a factor, with the process and the node that computed it."""
    time.sleep(0.02)
    node = np.frombuffer(ray.get_runtime_context().get_node_id().encode(), np.uint8)
    about = {"pid": np.array([os.getpid()]), "threads": np.array([torch.get_num_threads()])}
    return {"row": np.float32(classifier.factor.item()) * block[row], "node": node} | about


def by_both(nodes, classifier, block, row):
    """The same; waits until a process of each node has started."""
    nodes.mkdir(exist_ok=True)
    (nodes / ray.get_runtime_context().get_node_id()).touch()
    end = time.monotonic() + 60
    while len(list(nodes.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    return scaled(classifier, block, row)


BLOCKS = np.arange(120, dtype=np.float32).reshape(2, 20, 3)
ITEMS = [(block, row) for block in BLOCKS for row in range(20)]


@nightly
def test_parts_are_computed_in_order_on_both_nodes_and_resume_after_a_kill(engine, tmp_path):
    model, drawn = Scaled(2.0), []
    work = partial(by_both, tmp_path / "nodes")
    items = (drawn.append(item) or item for item in ITEMS)
    killed = Parts("work", "key", tmp_path, engine.each).each("part", work, model, items)
    next(killed)
    assert len(drawn) == shards.AHEAD * engine.settings.workers, "drawing ahead is bounded"
    before = [next(killed)["row"] for _ in range(6)]
    with pytest.raises(RuntimeError, match="one work at a time"):
        next(engine.each(scaled, model, ITEMS))
    killed.close()
    resumed = Parts("work", "key", tmp_path, engine.each)  # the first has not closed its file
    assert resumed.found == 7
    parts = list(resumed.each("part", work, model, ITEMS))
    assert np.array_equal([part["row"] for part in parts], 2 * BLOCKS.reshape(40, 3))
    assert np.array_equal([part["row"] for part in parts[1:7]], before)
    assert os.getpid() not in {int(part["pid"][0]) for part in parts}
    assert len({part["node"].tobytes() for part in parts}) == 2
    assert {int(part["threads"][0]) for part in parts} == {1}
    assert engine.device.type == "cpu"


def test_what_parts_share_is_put_into_the_store_once(engine, monkeypatch):
    model, stored, put = Scaled(2.0), [], ray.put
    monkeypatch.setattr(ray, "put", lambda item: stored.append(type(item).__name__) or put(item))
    for _ in range(2):
        list(engine.each(scaled, model, ITEMS))
    assert stored == ["function", "Scaled", "ndarray", "ndarray", "function", "ndarray", "ndarray"]


def large(classifier, _, n):
    return {"array": np.full(2**18, n, np.float32)}


def test_results_do_not_stay_in_the_store(engine):
    parts = list(engine.each(large, Scaled(1.0), ((None, n) for n in range(64))))
    assert sum(part["array"].nbytes for part in parts) == 64 * 2**20
    end = time.monotonic() + 10  # Ray frees many at a time
    while (used := mib_in_store(engine.settings.address)) >= 16:
        assert time.monotonic() < end, f"{used} MiB"
        time.sleep(0.2)


def mib_in_store(address: str) -> float:
    summary = memory_summary(address, stats_only=True)
    return float(re.search(r"Plasma memory usage ([0-9.]+) MiB", summary).group(1))


def read_weights(classifier, _, name):
    return {"content": np.frombuffer(Path("data/weights", name).read_bytes(), np.uint8)}


def test_files_of_weights_reach_workers(engine):
    (part,) = engine.each(read_weights, Scaled(1.0), [(None, "own.safetensors")])
    assert part["content"].tobytes() == b"weights"


def refused(classifier, _, n):
    raise UserError(f"{n} is too many")


def no_memory(classifier, _, n):
    with compute.refusals(torch.device("cpu"), "compute.batch_size", n, 32):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def broken(classifier, _, n):
    raise ZeroDivisionError(f"of {n}")


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        (refused, UserError, "^3 is too many$"),
        (no_memory, compute.OutOfMemory, "3 images of 32 x 32 pixels at once"),
        (broken, ZeroDivisionError, "of 3"),
    ],
)
def test_errors_in_parts_reach_the_stage(engine, work, kind, message):
    with pytest.raises(kind, match=message):
        list(engine.each(work, Scaled(1.0), [(None, 3)]))


def killed_once(classifier, folder, n):
    """The process of the fifth part is killed the first time."""
    (folder / f"{n}-{os.getpid()}").touch()
    if n == 5 and len(list(folder.glob("5-*"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return {"n": np.array([n])}


def test_a_killed_process_costs_the_parts_in_progress(engine, tmp_path):
    parts = engine.each(killed_once, Scaled(1.0), ((tmp_path, n) for n in range(30)))
    assert [int(part["n"][0]) for part in parts] == list(range(30))
    started = Counter(int(mark.name.partition("-")[0]) for mark in tmp_path.iterdir())
    assert started[5] == 2
    assert sum(started.values()) - 30 <= shards.SECONDS / 0.05 + 1, "at most one shard was repeated"


def test_records_of_a_queue_are_answered(engine):
    records = engine.work_off(queues.sums, deque([3, 5]), 1, queues.answer)
    assert list(records) == queues.RECORDS


def unable():
    raise UserError("the images are missing")


def wrong():
    def records(_):
        raise ZeroDivisionError("in the program")
        yield

    return records


def test_errors_in_a_queue_reach_the_stage(engine):
    with pytest.raises(UserError, match=r"^the images are missing$"):
        list(engine.work_off(unable, deque([1]), 1))
    with pytest.raises(RuntimeError, match=r"(?s)^1: .*ZeroDivisionError: in the program"):
        list(engine.work_off(wrong, deque([1]), 1))


@nightly
def test_a_search_whose_worker_is_killed_has_the_history_of_an_uninterrupted_one(engine, params, tmp_path):
    local, search = search_of(Trainer, params, tmp_path / "local"), search_of(KilledOnce, params, tmp_path)
    searches.run(local)
    list(search.run(engine.lend(black_and_white, "train", "validation"), engine.work_off))
    assert essence(search.trials()) == essence(local.trials())
    assert [len(attempts(search, number)) for number in range(6)] == [1, 2, 1, 1, 1, 1]


def numbers(classifier, block, row):
    return {"numbers": np.array([block, row])}


def test_short_works_use_the_same_workers(engine, monkeypatch):
    """And get no result of an earlier one: the second worker is still starting when the first works have ended."""
    engine.pool.dismiss()
    start_worker, started = actors.start_worker, []
    monkeypatch.setattr(actors, "start_worker", lambda resources: started.append(1) or start_worker(resources))
    for n in range(30):
        parts = engine.each(numbers, Scaled(1.0), [(n, 0), (n, 1)])
        assert [part["numbers"].tolist() for part in parts] == [[n, 0], [n, 1]]
    assert len(started) == 2


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_are_killed_before_they_begin_are_not_replaced_for_ever(engine, monkeypatch):
    monkeypatch.setattr(limits, "RETRIES", 1)
    with pytest.raises(UserError, match=r"^2 workers were lost one after another before they could begin"):
        list(engine.work_off(killed, deque([1]), 1))


def test_trials_that_no_machine_has_room_for_are_refused(engine, monkeypatch, capsys):
    monkeypatch.setattr(limits, "ROOM_TIMEOUT", 1.0)
    monkeypatch.setattr(limits, "STATUS_INTERVAL", 1.0)
    message = (
        r"^work is waiting, and a worker takes 1 CPUs and 2 GPUs \(compute\.cpus, tune\.gpus\), but the machines of "
        r"the cluster have 1 CPUs, 0 GPUs; 1 CPUs, 0 GPUs: room for 0$"
    )
    with pytest.raises(UserError, match=message):
        list(engine.work_off(wrong, deque([1]), 1, gpus=2.0))
    assert "room for 0; waiting for more" in capsys.readouterr().err
    assert not engine.pool._idle, "they would hold the CPUs of the others"


def one_rank(request, n_ranks, resources):
    """Instead of Ray Train and its eight processes."""
    ranks.train_rank({"request": request})


@dataclass(frozen=True)
class EndsEarly(Training):
    """Its process is killed once, after two epochs; or, without a folder, an error is raised."""

    folder: Path | None = None

    def epochs(self, *arguments):
        for epoch in super().epochs(*arguments):
            yield epoch
            if self.folder is None:
                raise ZeroDivisionError("in the program")
            if epoch.epoch == 2 and not (mark := self.folder / "killed").exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def splits(monkeypatch):
    monkeypatch.setattr(ranks, "run_ray_train", one_rank)
    return black_and_white("train"), black_and_white("validation")


def test_errors_in_a_training_reach_the_stage(engine, params, splits):
    training = clusters.training(params, batch_size=8)
    diverging = clusters.training(params, batch_size=8, learning_rate=1e30)
    with pytest.raises(Diverged, match="the loss is not a number after epoch"):
        list(engine.train(diverging, *splits)[1])
    _, epochs, _ = engine.train(EndsEarly(**vars(training)), *splits)
    assert next(epochs).epoch == 1
    with pytest.raises(RuntimeError, match=r"(?s)^Traceback .*ZeroDivisionError: in the program"):
        next(epochs)


def test_costs_and_machine_are_those_of_the_workers(engine):
    costs = engine.costs(time.perf_counter() - 2, 10)
    assert costs["images_per_second"] == pytest.approx(5, rel=0.1)
    assert costs["peak_memory"] > 0.1, "GiB of a process that has imported torch"
    assert engine.machine()["torch"] == torch.__version__.split("+")[0]


@nightly
def test_a_training_whose_process_is_killed_resumes_after_its_last_epoch(engine, params, splits, tmp_path, capsys):
    training = clusters.training(params)
    expected, epochs, _ = training.begin(*splits, engine.place)
    expected_curve = clusters.curve(epochs)
    engine.pool.dismiss()
    checkpoint = training.checkpoint(engine.place)
    checkpoint.path.unlink()
    killed, epochs, _ = engine.train(EndsEarly(**vars(training), folder=tmp_path), *splits)
    assert clusters.curve(epochs) == expected_curve
    assert "a process of the training was lost" in capsys.readouterr().err
    assert (tmp_path / "killed").exists()
    for name, weights in expected.state_dict().items():
        assert torch.equal(killed.state_dict()[name], weights), name


class Failing:
    """A worker that fails as it starts or as it describes itself."""

    def __init__(self, failure):
        self.failure = failure
        if failure == "import":
            raise ModuleNotFoundError("No module named 'torch'")

    def describe(self, *_):
        if self.failure == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("a machine has torch 2.14.1")


def test_a_first_worker_that_is_lost_is_replaced(settings, engine, monkeypatch):
    engine.pool.dismiss()
    workers = [ray.remote(Failing).remote("kill"), actors.start_worker(engine.resources)]
    monkeypatch.setattr(actors, "start_worker", lambda resources: workers.pop(0))
    RayEngine(settings).pool.dismiss()
    assert workers == []


@pytest.mark.parametrize(
    ("failure", "attempts", "message"),
    [
        ("kill", 2, "^the first worker of the cluster was lost"),
        ("import", 1, r"^a worker of the cluster could not begin .*No module named 'torch'.*: install req"),
        ("versions", 1, r"^a machine has torch 2\.14\.1$"),
    ],
)
def test_first_workers_that_fail_stop_the_stage(settings, engine, monkeypatch, failure, attempts, message):
    started = []
    monkeypatch.setattr(limits, "RETRIES", 1)
    monkeypatch.setattr(
        actors, "start_worker", lambda resources: started.append(1) or ray.remote(Failing).remote(failure)
    )
    with pytest.raises(UserError, match=message):
        RayEngine(settings)
    assert len(started) == attempts


def test_a_stage_whose_workers_no_machine_has_room_for_is_refused(settings, engine, monkeypatch):
    monkeypatch.setattr(limits, "ROOM_TIMEOUT", 0.0)
    with pytest.raises(UserError, match=r"^compute.workers is 2, and a worker takes 1 CPUs and 2 GPUs .*: room for 0$"):
        RayEngine(settings.model_copy(update={"gpus": 2}))
