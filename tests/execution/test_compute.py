import os
import platform
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glassbox.config import parameters
from glassbox.config.compute import Compute
from glassbox.core.errors import UserError
from glassbox.execution import compute
from glassbox.execution.compute import Place
from tests.conftest import ROOT, shell


@pytest.fixture(autouse=True)
def settings_of_the_process(monkeypatch):
    """What the tests change for the whole process is as it was for the next."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    Place(torch.device("cpu"), torch.float32, 1).settle()


def settings(device: str, precision: str, **changes: bool) -> Compute:
    flags = {"tf32": True, "deterministic": True, "compile": False, "threads": None} | changes
    shipped = parameters.read(ROOT / "params.yaml").compute.model_dump()
    return Compute(**shipped | {"device": device, "precision": precision, "batch_size": 8} | flags)


def test_the_cpu_and_its_precision():
    place = compute.resolve(settings("cpu", "float32"))
    assert (place.device.type, place.dtype, place.batch_size) == ("cpu", torch.float32, 8)
    with place.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with compute.resolve(settings("cpu", "bfloat16")).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_auto_takes_bfloat16_only_where_the_chip_has_it(monkeypatch):
    for capabilities, dtype in (({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capabilities=capabilities: capabilities)
        assert compute.resolve(settings("cpu", "auto")).dtype == dtype


def test_a_missing_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert compute.resolve(settings("auto", "float32")).device.type == "cpu"
    with pytest.raises(UserError, match=r"compute.device is 'cuda:1', but this machine has no CUDA device"):
        compute.resolve(settings("cuda:1", "auto"))


def test_the_machine_is_the_one_that_computed(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.15.0+cu132")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    on_cpu = compute.machine(Place(torch.device("cpu"), torch.float32, 1))
    assert on_cpu["gpu"] is None
    assert on_cpu["processor"]
    assert on_cpu["threads"] == torch.get_num_threads()
    assert on_cpu["torch"] == "2.15.0"
    assert compute.machine(Place(torch.device("cuda:1"), torch.float32, 1))["gpu"] == "GPU 1"


def test_cuda_graphs_are_asked_for_by_name(monkeypatch):
    with pytest.raises(UserError, match=r"compute.compile is cuda_graphs, but the device is cpu: use false or true"):
        compute.resolve(settings("cpu", "float32", compile="cuda_graphs"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    place = compute.resolve(settings("cuda", "float32", compile="cuda_graphs"))
    assert (place.compiled, place.graphs) == (True, True)
    assert not compute.resolve(settings("cuda", "float32", compile=True)).graphs


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("tf32", [False, True])
def test_what_holds_for_the_whole_process_is_set(tf32, deterministic):
    place = compute.resolve(settings("cpu", "float32", tf32=tf32, deterministic=deterministic, compile=tf32))
    assert (place.tf32, place.deterministic, place.compiled) == (tf32, deterministic, tf32)
    assert torch.backends.cuda.matmul.allow_tf32 == tf32
    assert torch.backends.cudnn.allow_tf32 == tf32
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.backends.cudnn.deterministic == deterministic
    assert torch.backends.cudnn.benchmark == (not deterministic)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)
    assert not torch.utils.deterministic.fill_uninitialized_memory


def test_running_out_of_memory_is_one_sentence():
    cpu = torch.device("cpu")
    with pytest.raises(compute.OutOfMemory) as refused, compute.refusals(cpu, "train.batch_size", 32, 224):
        torch.empty(2**50)  # a real allocation of 4 PiB
    assert re.fullmatch(
        r"32 images of 224 x 224 pixels at once \(train.batch_size and model.input_size\) do not fit in the memory of "
        r"this machine \(\d+ GiB\): lower one of them",
        str(refused.value),
    )
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ):
        with pytest.raises(compute.OutOfMemory), compute.refusals(cpu, "train.batch_size", 32, 224):
            raise error


def test_a_gpu_is_named_with_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * 2**30))
    with (
        pytest.raises(compute.OutOfMemory, match=r"of GPU \(80 GiB\)"),
        compute.refusals(torch.device("cuda"), "k", 1, 1),
    ):
        raise torch.OutOfMemoryError


def test_an_operation_without_a_deterministic_algorithm_is_named():
    compute.resolve(settings("cpu", "float32"))
    with pytest.raises(UserError) as refused, compute.refusals(torch.device("cpu"), "k", 1, 1):
        # One of the few that refuse on the CPU as well.
        torch.zeros(4).index_copy(0, torch.tensor([0]), torch.ones(1)).put_(torch.tensor([0]), torch.ones(1))
    assert str(refused.value) == (
        "compute.deterministic is true, but PyTorch has no deterministic put_ on CPU: set it to false"
    )


def test_a_workspace_of_cublas_that_is_not_deterministic_is_named(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    compute.resolve(settings("cpu", "float32"))  # leaves it as the user set it
    said = "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or ..."
    refused = pytest.raises(UserError, match=r"sets CUBLAS_WORKSPACE_CONFIG to ':0:0': unset it")
    with refused, compute.refusals(torch.device("cuda"), "k", 1, 1):
        raise RuntimeError(said)


def test_a_network_that_cannot_be_compiled_is_said():
    def backend(*_):
        raise ValueError("no compiler")

    with (
        pytest.raises(UserError, match=r"compute.compile is on, but torch.compile does not work here \(.*no compiler"),
        compute.refusals(torch.device("cpu"), "k", 1, 1),
    ):
        torch.compile(lambda x: x + 1, backend=backend)(torch.ones(1))


def test_other_errors_pass():
    for error in (RuntimeError("size mismatch"), UserError("a sentence"), KeyError("x")):
        with pytest.raises(type(error), match=str(error)), compute.refusals(torch.device("cpu"), "k", 1, 1):
            raise error


def test_a_peak_begins_where_it_is_made():
    held = np.ones(2**25)  # 256 MiB
    del held
    peak = compute.Peak(torch.device("cpu"))
    assert peak() < 0.1
    held = np.ones(2**25)
    del held
    assert 0.2 < peak() < 0.4
    highest = compute.peak_memory(torch.device("cpu"))
    compute.Peak(torch.device("cpu"))
    assert compute.peak_memory(torch.device("cpu")) >= highest  # so far: what a stage says of itself


KEPT = """
import resource, sys, torch
from glassbox.execution.compute import Peak, Place
if sys.argv[1] == "settled":
    Place(torch.device("cpu"), torch.float32, 1).settle()

def use(): # 10 tensors of 20 MiB at a time
    held = [torch.ones(5 * 2**20) for _ in range(10)]

torch.ones(2) # what PyTorch makes on its first call stays, and above the blocks would keep them from being given back
for _ in range(5): # blocks find their places: aligned, one may not fit where another was
    use()
cleared = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    cleared.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(cleared)) # not the sum: a block may find its place for good as late as this, as rarely as in one run of 100
peak = Peak(torch.device("cpu"))
use()
print(peak())
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="other systems' malloc")
def test_freed_memory_is_kept_and_counts_all_the_same():
    def measure(how: str) -> float:
        faults, peak = shell(sys.executable, "-c", KEPT, how, cwd=ROOT, PYTHONPATH="src").stdout.split()
        assert float(peak) == pytest.approx(0.195, abs=0.01)  # GiB
        return float(faults)

    assert measure("settled") < 500  # of the 51,200 pages of 4 KiB, none is cleared again but Python's own
    # Where a small block happens to lie above all others even glibc as it was keeps them, in one process of four.
    assert any(measure("as it was") > 25_000 for _ in range(6))


def test_peak_memory_grows_with_what_is_used(monkeypatch):
    before = compute.peak_memory(torch.device("cpu"))
    assert 0.05 < before < 24
    held = np.ones(int(before * 2**27) + 2**27)  # twice as many bytes as the whole process ever had, and a GiB
    assert compute.peak_memory(torch.device("cpu")) > before + held.nbytes / 2**31
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 * 2**30)
    assert compute.peak_memory(torch.device("cuda")) == 3


THREADS = """
import os, sys
sys.path.insert(0, sys.argv[1] + "/src")
import numpy, torch
from threadpoolctl import threadpool_info
from glassbox.execution import compute; from glassbox.config import parameters
shipped = parameters.read(sys.argv[1] + "/params.yaml").compute
compute.resolve(shipped.model_copy(update={"device": "cpu", "threads": 3}))
print(torch.get_num_threads(), {pool["num_threads"] for pool in threadpool_info()}, os.environ["OMP_NUM_THREADS"])
"""


def test_the_number_of_threads_is_that_of_the_parameters(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-c", THREADS, str(ROOT)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "3 {3} 3\n"


def test_answers_vary_where_they_differ_by_more_than_rounding():
    # Near 0.5 a probability moves by a quarter of what its log odds do.
    for dtype, rounding in compute.ROUNDING.items():
        moved = 0.5 + 0.25 * rounding * np.array([[-0.4, -0.6], [0.4, 0.6]])
        assert compute.varies(moved, dtype).tolist() == [False, True]
    certain = 1 - np.array([[1e-6, 0.0], [1e-4, 0.0]])  # of odds that differ by 100 times, and of none
    assert compute.varies(certain, torch.bfloat16).tolist() == [True, False]
