import pytest
import torch

from glassbox import compute, config
from glassbox.compute import Place
from glassbox.errors import UserError


def settings(device: str, precision: str) -> config.Compute:
    return config.Compute(device=device, precision=precision, batch_size=8)


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
