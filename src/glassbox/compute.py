"""Where tensors live and how precisely they are multiplied."""

import platform
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glassbox import config
from glassbox.errors import UserError


@dataclass(frozen=True)
class Place:
    """A device and the precision of training on it.

    Attributes:
        device: where.
        dtype: torch.float32, or torch.bfloat16 for automatic mixed precision.
        batch_size: images in one forward pass without gradients.
    """

    device: torch.device
    dtype: torch.dtype
    batch_size: int

    def autocast(self) -> AbstractContextManager:
        """Mixed precision, where it was chosen: weights and sums stay float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


def resolve(compute: config.Compute) -> Place:
    """Turn "auto" into what this machine has.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if compute.device.startswith("cuda"):
        wanted = torch.device(compute.device).index or 0
        if wanted >= (torch.cuda.device_count() if has_cuda else 0):
            found = f"{torch.cuda.device_count()} CUDA device(s)" if has_cuda else "no CUDA device"
            raise UserError(f"compute.device is {compute.device!r}, but this machine has {found}: use auto or cpu")
    device = torch.device(("cuda" if has_cuda else "cpu") if compute.device == "auto" else compute.device)
    if compute.precision == "auto":
        dtype = torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    else:
        dtype = getattr(torch, compute.precision)
    return Place(device, dtype, compute.batch_size)


def machine(place: Place) -> dict[str, Any]:
    """What times are to be read with: processor, PyTorch's threads on it, gpu (None where none was used), versions of
    Python and torch."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],  # without the kind of build
    }


def _computes_bfloat16(device: torch.device) -> bool:
    # Without such instructions bfloat16 is emulated, many times slower than float32.
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
