import pytest
import torch

from glassbox import compute, config
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
