"""The engine of a Ray cluster, on two nodes of one machine."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import clusters
import machines
import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT, environment

from glassbox.core.errors import UserError
from glassbox.data.store import Description, Split
from glassbox.execution import compute, engine, workers
from glassbox.execution.ray_cluster import actors, limits, ranks, shards, versions
from glassbox.provenance.resume import Parts
from glassbox.search import hyperparameters
from glassbox.training.loop import Training
from glassbox.training.records import Diverged
from tests import queues


@pytest.fixture(scope="module")
def nodes():
    """A head and a second node, with a CPU each."""
    with clusters.nodes(sys.modules[__name__], queues) as made:
        clusters.add(made)
        yield made


@pytest.fixture(scope="module")
def shared(params, nodes):
    """The section `compute` for that cluster, and what is to be closed of a connection to it."""
    asked = {"engine": "ray", "address": nodes.address, "threads": 1}
    with ExitStack() as stack:
        yield SimpleNamespace(settings=params.compute.model_copy(update=asked), stack=stack, at=None)


@pytest.fixture
def at(shared):
    """The engine, connected; the next test in the file that asks for it has the same, with workers at hand."""
    if shared.at is None:
        shared.at = shared.stack.enter_context(engine.start(shared.settings))
    return shared.at


@pytest.fixture
def settings(shared):
    """The section `compute`, for a connection of one's own."""
    shared.stack.close()
    shared.at = None
    return shared.settings


class Scaled(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))


def scaled(classifier, block, own):
    """Also by which process of which node."""
    import ray

    time.sleep(0.02)
    context = ray.get_runtime_context() if ray.is_initialized() else None
    where = np.frombuffer((context.get_node_id() if context else "").encode(), np.uint8)
    found = np.float32(classifier.factor.item()) * block[own]
    about = {"pid": np.array([os.getpid()]), "threads": np.array([torch.get_num_threads()])}
    return {"found": found, "node": where} | about


def by_both(nodes, classifier, block, own):
    """The same, which waits until a process of each node has begun."""
    import ray

    nodes.mkdir(exist_ok=True)
    (nodes / ray.get_runtime_context().get_node_id()).touch()
    end = time.monotonic() + 60
    while len(list(nodes.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    return scaled(classifier, block, own)


def items(n):
    blocks = np.arange(6 * n, dtype=np.float32).reshape(2, n, 3)
    return [(block, row) for block in blocks for row in range(n)]


def test_parts_come_in_order_from_both_nodes(at, tmp_path):
    model, asked = Scaled(2.0), items(20)
    wanted = [2 * block[row] for block, row in asked]
    assert at.device.type == "cpu"
    keep = Parts("work", "key", tmp_path, at.each)
    found = list(keep.each("part", partial(by_both, tmp_path / "nodes"), model, iter(asked)))
    costs, machine = at.costs(time.perf_counter() - 2, 10), at.machine()
    assert all(np.array_equal(one["found"], other) for one, other in zip(found, wanted, strict=True))
    assert {one["pid"][0] for one in found}.isdisjoint({os.getpid()})
    assert len({one["node"].tobytes() for one in found}) == 2
    assert {int(one["threads"][0]) for one in found} == {1}
    assert costs["images_per_second"] == pytest.approx(5, rel=0.1)
    assert costs["peak_memory"] > 0.1, "GiB of a process that has torch in it"
    assert machine["torch"] == torch.__version__.split("+")[0]
    again = Parts("work", "key", tmp_path)
    assert again.found == 40, "all of them are on disk"


def test_what_parts_share_is_sent_to_a_node_once(at, monkeypatch):
    """Put into the store once, whatever the number of parts; the same network once for several works."""
    import ray

    model, asked = Scaled(2.0), items(20)
    put, into_store = [], ray.put
    monkeypatch.setattr(ray, "put", lambda it: put.append(type(it).__name__) or into_store(it))
    for _ in range(2):
        list(at.each(scaled, model, asked))
    assert put == ["function", "Scaled", "ndarray", "ndarray", "function", "ndarray", "ndarray"]


def test_short_works_start_no_worker_anew(at, monkeypatch):
    """Nor does what one of them asked for reach a later one: the second worker has not begun when the first works are
    at their end."""
    at.pool.dismiss()
    start, started, model = actors.start_worker, [], Scaled(1.0)
    monkeypatch.setattr(actors, "start_worker", lambda resources: started.append(1) or start(resources))
    for n in range(30):
        found = list(at.each(same, model, [(n, 0), (n, 1)]))
        assert [one["found"].tolist() for one in found] == [[n, 0], [n, 1]]
    assert len(started) == 2


def same(classifier, block, own):
    return {"found": np.array([block, own])}


def test_the_results_of_a_task_do_not_stay_in_the_store(at):
    model = Scaled(1.0)
    kept = list(at.each(large, model, ((None, n) for n in range(64))))
    assert sum(one["found"].nbytes for one in kept) == 64 * 2**20
    end = time.monotonic() + 10  # Ray frees many at a time
    while (used := in_store()) >= 16:
        assert time.monotonic() < end, f"{used} MiB"
        time.sleep(0.2)


def large(classifier, _, own):
    return {"found": np.full(2**18, own, np.float32)}


def in_store() -> float:
    """MiB in use in the object stores of all nodes."""
    from ray._private.internal_api import memory_summary

    return float(re.search(r"Plasma memory usage ([0-9.]+) MiB", memory_summary(stats_only=True)).group(1))


def refused(classifier, _, own):
    raise UserError(f"{own} is too many")


def broken(classifier, _, own):
    raise ZeroDivisionError(f"of {own}")


def no_memory(classifier, _, own):
    with compute.refusals(torch.device("cpu"), "compute.batch_size", own, 32):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def test_what_workers_raise_reaches_the_stage(at):
    for work, kind, words in (
        (refused, UserError, "^3 is too many$"),
        (no_memory, compute.OutOfMemory, "3 images of 32 x 32 pixels at once"),
        (broken, ZeroDivisionError, "of 3"),
    ):
        with pytest.raises(kind, match=words):
            list(at.each(work, Scaled(1.0), [(None, 3)]))


def dies_once(classifier, folder, own):
    """The process of the fifth part is killed the first time."""
    marks = folder / f"{own}-{os.getpid()}"
    marks.touch()
    if own == 5 and len(list(folder.glob("5-*"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return {"found": np.array([own])}


def test_a_killed_process_costs_the_parts_in_hand(at, tmp_path):
    found = [int(one["found"][0]) for one in at.each(dies_once, Scaled(1.0), ((tmp_path, n) for n in range(30)))]
    assert found == list(range(30))
    began = Counter(int(mark.name.partition("-")[0]) for mark in tmp_path.iterdir())
    assert began[5] == 2
    assert sum(began.values()) - 30 <= shards.SECONDS / 0.05 + 1, "at most what one task had in hand was done again"


def test_the_work_goes_on_where_a_stage_was_killed(at, tmp_path):
    asked, model = items(10), Scaled(3.0)
    first = Parts("work", "key", tmp_path, at.each)
    begun = first.each("part", scaled, model, iter(asked))
    before = [next(begun)["found"] for _ in range(7)]
    with pytest.raises(RuntimeError, match="one work at a time"):
        next(at.each(scaled, model, iter(asked)))
    begun.close()
    second = Parts("work", "key", tmp_path, at.each)  # as another process would: the first has not closed its file
    assert second.found == 7
    found = [one["found"] for one in second.each("part", scaled, model, iter(asked))]
    assert np.array_equal(found[:7], before)
    assert np.array_equal(found, [3 * block[row] for block, row in asked])


def test_drawing_ahead_is_bounded(at, shared):
    drawn = []

    def endless():
        n = 0
        while True:
            drawn.append(n)
            yield None, n
            n += 1

    made = at.each(slow, Scaled(1.0), endless())
    for _ in range(5):
        next(made)
    assert len(drawn) <= 5 + shards.AHEAD * shared.settings.workers * shards.MOST_PARTS
    made.close()


def slow(classifier, _, own):
    time.sleep(0.3)
    return {"found": np.array([own])}


def test_the_engine_of_this_process_needs_no_ray(params):
    """And takes no time for it: a new Python, in which importing ray fails."""
    code = "import sys; sys.modules['ray'] = None; from glassbox.config import parameters\n"
    code += "from glassbox.execution import engine\n"
    code += "with engine.start(parameters.read('params.yaml').compute) as at: print(at.place)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("CPU"), done.stderr


def counted(folder):
    """Records of an item n: n - 1, n - 2 ... 0. The process of item 3 is killed the first time."""

    def records(n):
        (folder / f"{n}-{os.getpid()}").touch()
        for left in reversed(range(n)):
            time.sleep(0.05)
            if n == 3 and len(list(folder.glob("3-*"))) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield left

    return records


def test_a_queue_is_worked_off_and_the_lost_item_is_told(at, tmp_path):
    todo, told, lost = deque(range(1, 6)), [], []
    for item, record in at.work_off(partial(counted, tmp_path), todo, 2):
        if isinstance(record, workers.Died):
            lost.append((item, record))
            todo.appendleft(item)
        else:
            told.append((item, record))
    ((item, died),) = lost
    assert item == 3
    assert "its process or its machine was lost" in str(died)
    wanted = {n: list(reversed(range(n))) for n in range(1, 6)}
    assert {n: [record for item, record in told if item == n] for n in wanted} == wanted
    assert len(list(tmp_path.glob("3-*"))) == 2, "by another process"


def test_records_of_a_queue_are_answered(at):
    answer = lambda item, record: record if record < 20 else None  # noqa: E731
    found = list(at.work_off(queues.sums, deque([3, 5]), 1, answer))
    assert found == [(3, 3), (3, 6), (3, 12), (3, 24), (5, 5), (5, 10), (5, 20)]


def unable():
    raise UserError("the images are away")


def wrong():
    def records(_):
        raise ZeroDivisionError("of the program")
        yield

    return records


def test_what_a_process_of_a_queue_raises_reaches_the_stage(at):
    with pytest.raises(UserError, match=r"^the images are away$"):
        list(at.work_off(unable, deque([1]), 1))
    with pytest.raises(RuntimeError, match=r"(?s)^1: .*ZeroDivisionError: of the program"):
        list(at.work_off(wrong, deque([1]), 1))


def dying():
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_die_before_they_can_begin_are_not_replaced_for_ever(at, monkeypatch):
    monkeypatch.setattr(limits, "RETRIES", 1)
    with pytest.raises(UserError, match=r"^2 workers were lost one after another before they could begin"):
        list(at.work_off(dying, deque([1]), 1))


def seen(read):
    def records(_):
        split = read("train")
        yield split.images.sum().item(), split.labels.tolist()

    return records


def test_data_reach_workers(at):
    images = torch.arange(2 * 8 * 8 * 3).view(2, 8, 8, 3).to(torch.uint8)
    split = Split(images, torch.tensor([0, 1]), None, torch.arange(2), ("a", "b"))
    lent = at.lend({"train": split}.__getitem__, "train")
    ((_, record),) = at.work_off(partial(seen, lent), deque([1]), 1)
    assert record == (images.sum().item(), [0, 1])


@pytest.fixture(scope="module")
def training(params):
    """Of a small network with batch norm and dropout; and its images, of three classes."""
    values = {
        "conv1_filters": 4,
        "conv1_kernel_size": 3,
        "activation_func1": "relu",
        "l2_reg_1": 1e-4,
        "pool_size_1": 2,
        "dropout_1": 0.2,
        "conv2_filters": 8,
        "conv2_kernel_size": 3,
        "activation_func2": "relu",
        "l2_reg_2": 1e-4,
        "pool_size_2": 2,
        "dense_units_1": 16,
        "dense_l2_reg_1": 1e-4,
        "activation_func_dense": "relu",
        "dense_dropout_1": 0.2,
    }
    model = params.model.model_copy(update=values)
    settings = params.train.model_copy(
        update={"epochs": 4, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.01, "patience": 2}
    )
    network, optimizer, _ = hyperparameters.resolve(model, settings, {}, None)
    about = Description("toy", ("a", "b", "c"), 16, {}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64)
    rng = np.random.default_rng(0)

    def split(n):
        labels = torch.arange(n) % 3
        images = rng.integers(0, 180, (n, 16, 16, 3)) + 25 * labels[:, None, None, None].numpy()
        return Split(torch.from_numpy(images.astype(np.uint8)), labels, None, torch.arange(n), None)

    augment = params.augment.model_copy(update={"crop": 1})
    return Training(network, about, optimizer, settings, augment, 0), split(50), split(20)


def curve(epochs):
    return [(e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy, e.is_best) for e in epochs]


def one_rank(request, n_ranks, resources):
    """Without Ray Train and its eight processes."""
    ranks.train_rank({"request": request})


class Broken(Training):
    def epochs(self, *arguments):
        yield next(super().epochs(*arguments))
        raise ZeroDivisionError("of the program")


def test_a_training_that_fails_says_why(at, training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ranks, "run_ray_train", one_rank)
    job, train, validation = training
    wild = replace(job, optimizer=replace(job.optimizer, learning_rate=1e30))
    with pytest.raises(Diverged, match="the loss is not a number after epoch"):
        list(at.train(wild, train, validation)[1])
    _, epochs, _ = at.train(Broken(**vars(job)), train, validation)
    assert next(epochs).epoch == 1
    with pytest.raises(RuntimeError, match=r"(?s)^Traceback .*ZeroDivisionError: of the program"):
        next(epochs)


class Doomed:
    """A worker whose process is killed as it describes itself."""

    def describe(self, *_):
        os.kill(os.getpid(), signal.SIGKILL)


class Unable:
    """A worker on a machine without a package."""

    def __init__(self):
        raise ModuleNotFoundError("No module named 'torch'")

    def describe(self, *_):
        pass


def test_a_first_worker_that_is_lost_is_replaced_and_one_that_cannot_begin_is_said(settings, monkeypatch):
    import ray

    start, started = actors.start_worker, []

    def first(kind, times):
        def begin(resources):
            started.append(kind)
            return ray.remote(kind).remote() if len(started) <= times else start(resources)

        started.clear()
        monkeypatch.setattr(actors, "start_worker", begin)

    first(Doomed, 1)
    with engine.start(settings) as at:
        assert at.machine()["processor"]
    assert len(started) == 2
    first(Doomed, 99)
    monkeypatch.setattr(limits, "RETRIES", 1)
    with pytest.raises(UserError, match=r"^the first worker of the cluster was lost"), engine.start(settings):
        pass
    assert len(started) == 2
    first(Unable, 99)
    words = r"^a worker of the cluster could not begin .*No module named 'torch'.*: install requirements.lock on all"
    with pytest.raises(UserError, match=words), engine.start(settings):
        pass
    assert len(started) == 1


def always_dies(classifier, _, own):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_part_that_kills_every_process_is_given_up(settings, monkeypatch):
    monkeypatch.setattr(limits, "RETRIES", 1)
    with engine.start(settings) as at, pytest.raises(UserError, match="were lost 2 times"):
        list(at.each(always_dies, Scaled(1.0), [(None, 0)]))


def read_weights(classifier, _, own):
    return {"found": np.frombuffer(Path("data/weights/own.safetensors").read_bytes(), np.uint8)}


def test_files_of_weights_reach_workers(settings, tmp_path, monkeypatch):
    """Those of DVC as well, which git is told to leave out."""
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "data/weights"
    weights.mkdir(parents=True)
    (weights / "own.safetensors").write_bytes(b"weights")
    (weights / ".gitignore").write_text("/own.safetensors\n")
    with engine.start(settings) as at:
        (found,) = at.each(read_weights, Scaled(1.0), [(None, 0)])
    assert found["found"].tobytes() == b"weights"


ALONE = """
import torch
from glassbox.config import parameters; from glassbox.execution import engine

import ray

asked = parameters.read("params.yaml").compute.model_copy(update={"engine": "ray", "threads": 1, "workers": 1})
with engine.start(asked) as at:
    about = ray.get_runtime_context()
    (found,) = at.each(lambda network, _, own: {"found": network(torch.tensor([own])).detach().numpy()},
                       torch.nn.Linear(1, 1, bias=False), [(None, 3.0)])
    print(about.gcs_address, ray._private.worker._global_node.get_session_dir_path(), found["found"].shape)
"""


def test_without_an_address_a_cluster_is_begun_for_the_stage_alone(nodes, tmp_path):
    """And not the one joined that runs on this machine already."""
    known = {name: value for name, value in environment().items() if name != "RAY_ADDRESS"}
    known |= {"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}  # where Ray leaves a token
    command = [sys.executable, "-c", ALONE]
    said = subprocess.run(command, cwd=ROOT, env=known, check=True, stdout=subprocess.PIPE, text=True).stdout
    address, session, shape = said.splitlines()[-1].split(maxsplit=2)
    assert address != nodes.address
    assert shape == "(1,)"
    assert not [one for one in psutil.process_iter(["cmdline"]) if session in " ".join(one.info["cmdline"] or [])]


def test_a_head_that_fails_to_serve_is_asked_again(settings, monkeypatch, capsys):
    """As Ray's client says it of its process there, which now and then crashes as it is forked."""
    import ray

    init, asked = ray.init, []
    trace = "Traceback (most recent call last):\n  File ...\nRuntimeError: Starting Ray client server failed."

    def fails(times):
        def begin(*args, **options):
            asked.append(args)
            if len(asked) <= times:
                raise ConnectionAbortedError(f"Initialization failure from server:\n{trace}")
            return init(*args, **options)

        asked.clear()
        monkeypatch.setattr(ray, "init", begin)

    fails(limits.RETRIES)
    with engine.start(settings) as at:
        assert at.machine()["processor"]
    assert capsys.readouterr().err.count("the cluster's head could not begin to serve this stage: asking again") == 3
    fails(limits.RETRIES + 1)
    words = (
        r"can be used there \(Initialization failure from server: RuntimeError: Starting Ray client server failed\.\)"
    )
    with pytest.raises(UserError, match=words), engine.start(settings):
        pass
    assert len(asked) == limits.RETRIES + 1


def test_a_cluster_that_goes_away_is_one_sentence(settings, monkeypatch):
    import ray

    words = r"^the cluster at [0-9.]+:[0-9]+ went away \(Client is shutting down\.\): run the same command again"
    with pytest.raises(UserError, match=words), engine.start(settings):
        monkeypatch.setattr(ray, "is_initialized", lambda: False)  # as when Ray's client has lost its connection
        raise ConnectionError("Client is shutting down.")
    monkeypatch.undo()
    with pytest.raises(ConnectionError, match=r"^of something else$"), engine.start(settings):
        raise ConnectionError("of something else")


def test_machines_with_other_versions_are_refused(settings, monkeypatch):
    here = versions.installed()
    assert here["torch"] == torch.__version__.split("+")[0]
    monkeypatch.setattr(versions, "installed", lambda: here | {"torch": "2.14.1"})
    words = f"^{socket.gethostname()}, a machine of the cluster, has torch {here['torch']} instead of 2.14.1: install"
    with pytest.raises(UserError, match=words), engine.start(settings):
        pass


def test_trials_that_no_machine_has_room_for_are_refused(at, monkeypatch):
    monkeypatch.setattr(limits, "ROOM_TIMEOUT", 1.0)
    monkeypatch.setattr(limits, "STATUS_INTERVAL", 1.0)
    words = r"work is waiting, and a worker takes 1 CPUs and 2 GPUs \(compute\.cpus, tune\.gpus\), but .*: room for 0$"
    with pytest.raises(UserError, match=words):
        list(at.work_off(wrong, deque([1]), 1, gpus=2.0))
    assert not at.pool._idle, "they would hold the CPUs of those that are wanted"


def test_workers_that_no_machine_has_room_for_are_refused(settings, monkeypatch, capsys):
    monkeypatch.setattr(limits, "ROOM_TIMEOUT", 1.0)
    asked = settings.model_copy(update={"gpus": 2})
    words = (
        "a worker takes 1 CPUs and 2 GPUs .*but the machines of the cluster have 1 CPUs, 0 GPUs; 1 CPUs, 0 GPUs: room"
    )
    with pytest.raises(UserError, match=words), engine.start(asked):
        pass
    assert "waiting for more" in capsys.readouterr().err


# A cluster of Ray's stand-in for a cloud: a head without processors, and machines with one, none at first.
GROWING = {
    "cluster_name": "growing",
    "max_workers": 2,
    "idle_timeout_minutes": 1,
    "upscaling_speed": 1,
    "auth": {},
    "provider": {"type": "fake_multinode", "head_node_id": "f" * 56},
    "head_node_type": "head",
    "docker": {},
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "one": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
} | {
    name: []
    for name in (
        "cluster_synced_files",
        "rsync_exclude",
        "rsync_filter",
        "initialization_commands",
        "setup_commands",
        "head_setup_commands",
        "worker_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    )
}
BEGIN = """
import sys
from glassbox.config import parameters; from glassbox.execution import engine
from glassbox.execution.ray_cluster.resources import wait_for_room
asked = {"engine": "ray", "address": "auto", "threads": 1}
with engine.start(parameters.read("params.yaml").compute.model_copy(update=asked)) as at:
    wait_for_room(at.resources, workers=1, reason="one")
    print("there is a machine:", at.place)
"""


@clusters.NODES_OF_RAYS_OWN
def test_a_cluster_that_is_empty_grows_when_work_waits(tmp_path):
    (tmp_path / "growing.json").write_text(json.dumps(GROWING))
    (tmp_path / "begin.py").write_text(BEGIN)
    known = environment(RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1", PYTHONPATH=str(ROOT / "src"))
    with machines.network(tmp_path) as network:
        start = f"ray start --head --num-cpus=0 --autoscaling-config={tmp_path}/growing.json --include-dashboard=false"
        said = network.machine().run(f"{start} > {tmp_path}/log; python {tmp_path}/begin.py", env=known, cwd=ROOT)
    assert re.search("but the machines of the cluster have 0 CPUs, 0 GPUs.*: room for 0; waiting for more", said)
    assert said.rstrip().rpartition("\n")[2].startswith("there is a machine: CPU, ")
