"""A cluster loses processes and machines: the results are those of an undisturbed one, and at most the work in progress
is repeated. `make faults` has these tests; faster ones are in tests/execution/ray_cluster."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass

import clusters
import machines
import numpy as np
import psutil
import pytest
import torch
from clusters import curve
from conftest import ROOT, environment, nightly

from glassbox.execution import engine
from glassbox.provenance.resume import Parts
from glassbox.search.outcome import Trial
from glassbox.training.loop import Training
from glassbox.training.records import Epoch
from tests import searches
from tests.searches import InFolder, attempts, black_and_white, epoch_of, search_of

pytestmark = nightly
MODULES = (sys.modules[__name__], searches, clusters)  # their functions are sent to nodes
SHARD = 0.2  # seconds of work in a shard


@pytest.fixture
def settings(params):
    return params.compute.model_copy(update={"engine": "ray", "workers": 2, "threads": 1, "precision": "float32"})


def marked(classifier, folder, n):
    (folder / f"{n}-{os.getpid()}").touch()
    time.sleep(0.05)
    # The second array is too large to be sent with the answer: it stays on its node until it is requested.
    return {"n": np.array([n]), "large": np.zeros(2**18)}


def test_a_node_that_is_removed_while_parts_are_computed(settings, tmp_path):
    marks, done = tmp_path / "marks", []
    marks.mkdir()
    with clusters.nodes(*MODULES, _system_config=clusters.SOON) as cluster:
        second = clusters.add(cluster)
        with engine.start(settings.model_copy(update={"address": cluster.address})) as ray_engine:
            keep = Parts("marked", "key", tmp_path, ray_engine.each)
            for part in keep.each("part", marked, torch.nn.Identity(), ((marks, n) for n in range(80))):
                done.append(int(part["n"][0]))
                if len(done) == 20:
                    cluster.remove_node(second, allow_graceful=False)
    assert done == list(range(80))
    started = Counter(int(mark.name.partition("-")[0]) for mark in marks.iterdir())
    assert sorted(started) == done
    assert sum(started.values()) - 80 <= SHARD / 0.05 + 1, "at most one shard was repeated"
    assert Parts("marked", "key", tmp_path).found == 80


@dataclass(frozen=True)
class Slow(InFolder):
    """Its trials train nothing for two seconds, and mark their node."""

    def epochs(self, number, hyperparameters, *_):
        import ray

        node = ray.get_runtime_context().get_node_id()
        for epoch in range(1, self.settings.epochs + 1):
            (self.folder / f"{number}-{node}-{epoch}").touch()
            time.sleep(0.5)
            yield epoch_of(epoch, hyperparameters.model.arguments["dropout_1"])


def test_a_node_that_the_network_cuts_off_while_tuning(settings, params, tmp_path):
    """What it computes afterwards does not count."""
    import ray

    with machines.network(tmp_path) as network:
        machine, head = network.machine(), {"node_ip_address": network.host, "_system_config": clusters.SOON}
        with clusters.nodes(*MODULES, **head) as cluster, clusters.node(machine, cluster):
            search = search_of(Slow, params, tmp_path, n_trials=5, workers=2, pruner_startup_trials=99)
            search.apart, lost, finished = True, None, []
            with engine.start(settings.model_copy(update={"address": cluster.address})) as ray_engine:
                here = ray.get_runtime_context().get_node_id()
                for number, record in search.run(black_and_white, ray_engine.work_off):
                    finished += [number] * isinstance(record, Trial)
                    is_elsewhere = not list(tmp_path.glob(f"{number}-{here}-*"))
                    if lost is None and is_elsewhere and isinstance(record, Epoch) and record.epoch == 2:
                        lost = number
                        machine.cut()
    assert lost is not None, "the other node had trials"
    assert sorted(finished) == list(range(5)) == [trial.number for trial in search.trials()]
    assert {trial.state for trial in search.trials()} == {"complete"}
    assert [len(attempts(search, number)) for number in range(5)] == [1 + (number == lost) for number in range(5)]
    first, second = attempts(search, lost)
    assert first == second


class Slowed(Training):
    """It does not end before a node is removed."""

    def epochs(self, *arguments):
        for epoch in super().epochs(*arguments):
            yield epoch
            time.sleep(1)


def one_part(classifier, _, n):
    return {"n": np.array([n])}


def test_a_node_that_is_removed_and_a_stage_that_is_killed_while_training(
    settings, params, tmp_path, monkeypatch, capsys
):
    """The training, by Ray Train, waits for another node, and resumes after its last whole epoch. One process resumes
    from what the killed stage left: curve and weights are those of an undisturbed training."""
    monkeypatch.chdir(tmp_path)
    splits, finished = (black_and_white("train"), black_and_white("validation")), []
    two = Slowed(**vars(clusters.training(params, workers=2)))
    with clusters.nodes(*MODULES, _system_config=clusters.SOON) as cluster:
        second = clusters.add(cluster)
        with engine.start(settings.model_copy(update={"address": cluster.address})) as ray_engine:
            _, epochs, checkpoint = ray_engine.train(two, *splits)
            for epoch in epochs:
                finished.append(epoch)
                if len(finished) == 1:
                    cluster.remove_node(second, allow_graceful=False)
                    clusters.add(cluster)
                if len(finished) == 3:
                    break
            epochs.close()  # the stage is killed here
            place = ray_engine.place
            (part,) = ray_engine.each(one_part, torch.nn.Identity(), [(None, 1)])
    assert part["n"] == 1, "the training has returned its room"
    assert "a process of the training was lost" in capsys.readouterr().err
    assert checkpoint.path.exists()
    resumed, epochs, _ = two.begin(*splits, place)
    resumed_curve = curve(epochs)
    assert resumed_curve[:3] == curve(finished), "those of the stage, from its checkpoint"
    alone, epochs, _ = clusters.training(params).begin(*splits, place)
    assert np.allclose(resumed_curve, curve(epochs), atol=1e-4)
    for name, weights in alone.state_dict().items():
        assert torch.allclose(resumed.state_dict()[name].float(), weights.float(), atol=1e-3), name


ALONE = """
import torch
from glassbox.config import parameters; from glassbox.execution import engine

import ray

changes = {"engine": "ray", "threads": 1, "workers": 1}
with engine.start(parameters.read("params.yaml").compute.model_copy(update=changes)) as ray_engine:
    work = lambda network, _, own: {"output": network(torch.tensor([own])).detach().numpy()}
    (part,) = ray_engine.each(work, torch.nn.Linear(1, 1, bias=False), [(None, 3.0)])
    session = ray._private.worker._global_node.get_session_dir_path()
    print(ray.get_runtime_context().gcs_address, session, part["output"].shape)
"""


def test_without_an_address_a_cluster_is_started_for_the_stage_alone(tmp_path):
    """A cluster that runs on this machine already is not joined."""
    unset = {name: value for name, value in environment().items() if name != "RAY_ADDRESS"}
    changes = {"PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}  # where Ray leaves a token
    command = [sys.executable, "-c", ALONE]
    with clusters.nodes() as cluster:
        done = subprocess.run(command, cwd=ROOT, env=unset | changes, check=True, stdout=subprocess.PIPE, text=True)
    gcs_address, session, shape = done.stdout.splitlines()[-1].split(maxsplit=2)
    assert gcs_address != cluster.address
    assert shape == "(1,)"
    assert not [p for p in psutil.process_iter(["cmdline"]) if session in " ".join(p.info["cmdline"] or [])]


# A cluster of Ray's stand-in for a cloud: a head without CPUs, and machines with one, none at first.
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
}
NO_COMMANDS = """cluster_synced_files rsync_exclude rsync_filter initialization_commands setup_commands
    head_setup_commands worker_setup_commands head_start_ray_commands worker_start_ray_commands"""
CONNECT = """
from glassbox.config import parameters; from glassbox.execution import engine

changes = {"engine": "ray", "address": "auto", "threads": 1}
with engine.start(parameters.read("params.yaml").compute.model_copy(update=changes)) as ray_engine:
    print("there is a machine:", ray_engine.place)
"""


@clusters.NODES_OF_RAYS_OWN
def test_an_empty_cluster_grows_when_work_waits(tmp_path):
    (tmp_path / "growing.json").write_text(json.dumps(GROWING | {name: [] for name in NO_COMMANDS.split()}))
    (tmp_path / "connect.py").write_text(CONNECT)
    variables = environment(RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1", PYTHONPATH=str(ROOT / "src"))
    with machines.network(tmp_path) as network:
        start = f"ray start --head --num-cpus=0 --autoscaling-config={tmp_path}/growing.json --include-dashboard=false"
        script = f"{start} > {tmp_path}/log; python {tmp_path}/connect.py"
        output = network.machine().run(script, env=variables, cwd=ROOT)
    assert re.search("but the machines of the cluster have 0 CPUs, 0 GPUs.*: room for 0; waiting for more", output)
    assert output.rstrip().rpartition("\n")[2].startswith("there is a machine: CPU, ")
