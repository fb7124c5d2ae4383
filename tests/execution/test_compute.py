import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
def default_settings(monkeypatch):
    """Restores the settings of the process after each test."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    Place(torch.device("cpu"), torch.float32, 1).settle()


def settings(device: str, precision: str, **changes: bool) -> Compute:
    shipped = parameters.read(ROOT / "params.yaml").compute.model_dump()
    return Compute(**shipped | {"device": device, "precision": precision, "batch_size": 8} | changes)


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


def test_a_missing_gpu_is_refused(monkeypatch):
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


def test_cuda_graphs_need_cuda(monkeypatch):
    with pytest.raises(UserError, match=r"compute.compile is cuda_graphs, but the device is cpu: use false or true"):
        compute.resolve(settings("cpu", "float32", compile="cuda_graphs"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    place = compute.resolve(settings("cuda", "float32", compile="cuda_graphs"))
    assert (place.compiled, place.graphs) == (True, True)
    assert not compute.resolve(settings("cuda", "float32", compile=True)).graphs


@pytest.mark.parametrize(("tf32", "deterministic"), [(False, False), (False, True), (True, False), (True, True)])
def test_settings_of_the_whole_process_are_applied(tf32, deterministic):
    place = compute.resolve(settings("cpu", "float32", tf32=tf32, deterministic=deterministic, compile=tf32))
    assert (place.tf32, place.deterministic, place.compiled) == (tf32, deterministic, tf32)
    assert torch.backends.cuda.matmul.allow_tf32 == tf32
    assert torch.backends.cudnn.allow_tf32 == tf32
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.backends.cudnn.deterministic == deterministic
    assert torch.backends.cudnn.benchmark == (not deterministic)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)
    assert not torch.utils.deterministic.fill_uninitialized_memory


@contextmanager
def refused(kind: type[Exception], message: str, device: str = "cpu") -> Iterator[None]:
    """A block that a device refuses with such an error."""
    with pytest.raises(kind, match=message), compute.refusals(torch.device(device), "train.batch_size", 32, 224):
        yield


def test_running_out_of_memory_is_one_sentence(monkeypatch):
    message = (
        r"^32 images of 224 x 224 pixels at once \(train.batch_size and model.input_size\) do not fit in the memory of "
        r"this machine \(\d+ GiB\): lower one of them$"
    )
    with refused(compute.OutOfMemory, message):
        torch.empty(2**50)  # a real allocation of 4 PiB
    cuda = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")]
    for error in (*cuda, MemoryError()):
        with refused(compute.OutOfMemory, message):
            raise error
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * 2**30))
    with refused(compute.OutOfMemory, r"of GPU \(80 GiB\)", "cuda"):
        raise torch.OutOfMemoryError


def test_an_operation_without_a_deterministic_algorithm_is_named():
    compute.resolve(settings("cpu", "float32"))
    message = "^compute.deterministic is true, but PyTorch has no deterministic put_ on CPU: set it to false$"
    with refused(UserError, message):
        torch.zeros(4).put_(torch.tensor([0]), torch.ones(1))


def test_a_workspace_of_cublas_that_is_not_deterministic_is_named(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    compute.resolve(settings("cpu", "float32"))  # leaves it as the user set it
    with refused(UserError, r"sets CUBLAS_WORKSPACE_CONFIG to ':0:0': unset it", "cuda"):
        raise RuntimeError("Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)`")


def test_a_network_that_cannot_be_compiled_is_refused():
    def backend(*_):
        raise ValueError("no compiler")

    with refused(UserError, r"compute.compile is on, but torch.compile does not work here \(.*no compiler"):
        torch.compile(lambda x: x + 1, backend=backend)(torch.ones(1))


def test_other_errors_pass():
    for error in (RuntimeError("size mismatch"), UserError("a sentence"), KeyError("x")):
        with refused(type(error), str(error)):
            raise error


def test_a_peak_is_that_of_the_work_since_it_was_made(monkeypatch):
    held = np.ones(2**25)  # 256 MiB
    del held
    peak = compute.Peak(torch.device("cpu"))
    assert peak() < 0.1
    held = np.ones(2**25)
    del held
    assert 0.2 < peak() < 0.4
    highest = compute.peak_memory(torch.device("cpu"))
    compute.Peak(torch.device("cpu"))
    assert compute.peak_memory(torch.device("cpu")) >= highest
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3 * 2**30)
    assert compute.peak_memory(torch.device("cuda")) == 3


KEPT = """
import resource, sys, torch
from glassbox.execution.compute import Peak, Place, peak_memory
Place(torch.device("cpu"), torch.float32, 1).settle()

def use(): # 200 MiB in so many tensors at a time
    held = [torch.ones(50 * 2**20 // int(sys.argv[1])) for _ in range(int(sys.argv[1]))]

torch.ones(2) # what PyTorch allocates on its first call stays, and above the blocks would keep them from being returned
before = peak_memory(torch.device("cpu"))
for _ in range(5): # the blocks find their places
    use()
print(peak_memory(torch.device("cpu")) - before)
cleared = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    cleared.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(cleared)) # not the sum: one block may still find its place
peak = Peak(torch.device("cpu"))
use()
print(peak())
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="other systems' malloc")
@pytest.mark.parametrize("tensors", ["10", "2"])  # of 20 or 100 MiB; glibc treats those above 32 MiB in another way
def test_freed_memory_is_kept_and_counted(tensors):
    growth, faults, peak = shell(sys.executable, "-c", KEPT, tensors, cwd=ROOT, PYTHONPATH="src").stdout.split()
    assert int(faults) < 500, "of 51,200 pages of 4 KiB; glibc by default clears most of them again"
    assert float(peak) == pytest.approx(0.195, abs=0.01)  # GiB
    assert 0.15 < float(growth) < 0.65, "with what PyTorch allocates on its first call"


THREADS = """
import os, sys
import numpy, torch
from threadpoolctl import threadpool_info
from glassbox.config import parameters
from glassbox.execution import engine
sys.modules["ray"] = None  # importing it fails
shipped = parameters.read("params.yaml").compute
with engine.start(shipped.model_copy(update={"device": "cpu", "threads": 3})) as local:
    print(torch.get_num_threads(), {pool["num_threads"] for pool in threadpool_info()}, os.environ["OMP_NUM_THREADS"])
    print(local.place, local.apart)
"""


def test_the_local_engine_takes_the_threads_of_the_parameters_and_needs_no_ray():
    done = shell(sys.executable, "-c", THREADS, cwd=ROOT, PYTHONPATH="src", OMP_NUM_THREADS="1")
    threads, place = done.stdout.splitlines()
    assert threads == "3 {3} 3"
    assert re.fullmatch(r"CPU, (float32|bfloat16) False", place)


def test_answers_vary_where_they_differ_by_more_than_rounding():
    # Near 0.5 a probability moves by a quarter of what its log odds do.
    for dtype, rounding in compute.ROUNDING.items():
        moved = 0.5 + 0.25 * rounding * np.array([[-0.4, -0.6], [0.4, 0.6]])
        assert compute.varies(moved, dtype).tolist() == [False, True]
    certain = 1 - np.array([[1e-6, 0.0], [1e-4, 0.0]])  # of odds that differ by 100 times, and of none
    assert compute.varies(certain, torch.bfloat16).tolist() == [True, False]
