"""The device, its precision, its memory, and its errors."""

import ctypes
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from glassbox.config.compute import Compute
from glassbox.config.types import Precision
from glassbox.core.errors import UserError

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux: memory of this process
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of glibc's mallopt


@dataclass(frozen=True)
class Place:
    """A device and the precision of training on it.

    Attributes:
        device: the device.
        dtype: torch.float32, or torch.bfloat16 for automatic mixed precision.
        batch_size: images in one forward pass without gradients.
        tf32: whether CUDA may round the factors of float32 products to 10 bits.
        deterministic: whether only algorithms may run that give the same bits every time.
        compiled: whether training runs the network through torch.compile.
        graphs: whether compiled code is also recorded as CUDA graphs, which start all kernels at once: a small
            network's kernels take less time than starting them one by one.
        automatic: whether the data type was left to "auto": then training may choose another, see `training.precision`.
        threads: CPU threads, which determine the order of sums, and so their last bits; None = PyTorch's default or
            OMP_NUM_THREADS.
    """

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    tf32: bool = False
    deterministic: bool = True
    compiled: bool = False
    graphs: bool = False
    automatic: bool = False
    threads: int | None = None

    def settle(self) -> None:
        """Apply the settings that PyTorch has for the whole process. A process that receives a place must call it."""
        # PyTorch's own defaults for TF32 differ between matrices (off) and convolutions (on).
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        if self.compiled:
            torch.use_deterministic_algorithms(self.deterministic)
        else:  # the same without the compiler, whose import takes two seconds
            torch.set_deterministic_debug_mode("error" if self.deterministic else "default")
        torch.utils.deterministic.fill_uninitialized_memory = False  # no code here reads uninitialized memory
        torch.backends.cudnn.deterministic = self.deterministic
        torch.backends.cudnn.benchmark = not self.deterministic  # choose the fastest algorithm by timing
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        if self.threads:
            torch.set_num_threads(self.threads)
            threadpool_limits(self.threads)
            for library in ("OMP", "OPENBLAS", "MKL"):  # those that are loaded later
                os.environ[f"{library}_NUM_THREADS"] = str(self.threads)
        if self.device.type == "cpu":
            _keep_freed_memory()

    def autocast(self) -> AbstractContextManager:
        """See `autocast`."""
        return autocast(self.device, self.dtype)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


class OutOfMemory(UserError):
    """The images of one batch do not fit in the device's memory."""


def resolve(compute: Compute) -> Place:
    """The place for the section `compute` on this machine, settled.

    Raises:
        UserError: CUDA or CUDA graphs are required, and this machine has none.
    """
    has_cuda = torch.cuda.is_available()
    if compute.device.startswith("cuda"):
        wanted = torch.device(compute.device).index or 0
        if wanted >= (torch.cuda.device_count() if has_cuda else 0):
            found = f"{torch.cuda.device_count()} CUDA device(s)" if has_cuda else "no CUDA device"
            raise UserError(f"compute.device is {compute.device!r}, but this machine has {found}: use auto or cpu")
    device = torch.device(("cuda" if has_cuda else "cpu") if compute.device == "auto" else compute.device)
    dtype = number(compute.precision, device)
    graphs = compute.compile == "cuda_graphs"
    if graphs and device.type != "cuda":
        raise UserError(f"compute.compile is cuda_graphs, but the device is {device.type}: use false or true")
    compiled = bool(compute.compile)
    place = Place(
        device=device,
        dtype=dtype,
        batch_size=compute.batch_size,
        tf32=compute.tf32,
        deterministic=compute.deterministic,
        compiled=compiled,
        graphs=graphs,
        automatic=compute.precision == "auto",
        threads=compute.threads,
    )
    place.settle()
    return place


def number(precision: Precision, device: torch.device) -> torch.dtype:
    """The data type of a precision on a device: "auto" is bfloat16 where the hardware computes it."""
    if precision == "auto":
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    return getattr(torch, precision)


# Changes of the log odds log(p / (1 - p)) by rounding alone. float32: one image in batches of several sizes differed by
# up to 7e-5 with ResNet-50. bfloat16: numbers between 2 and 4, such as logits, are 1/64 apart.
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 1 / 64}


def varies(p: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Whether probabilities differ by more than rounding.

    Args:
        p: (M, T), M probabilities for each of T classes.
        dtype: data type of the network's products.

    Returns:
        (T,) bool: whether the range of each class exceeds `ROUNDING` times p (1 - p), the derivative of a probability
        by its log odds.
    """
    slope = (p * (1 - p)).max(axis=0)
    return np.ptp(p, axis=0) > ROUNDING[dtype] * slope + 8 * np.finfo(float).eps


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    """Mixed precision inside the block, unless `dtype` is float32: weights and sums stay float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


@contextmanager
def refusals(place: torch.device, key: str, images: int, side: int) -> Iterator[None]:
    """Turn errors of the device inside the block into one sentence.

    Args:
        place: the device.
        key: the parameter that sets the number of images in a batch.
        images: that number.
        side: height and width of the network's input, pixels.

    Raises:
        OutOfMemory: memory ran out.
        UserError: an operation has no deterministic algorithm, or the network cannot be compiled.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        message = " ".join(str(error).split())
        if out_of_memory(error):
            raise OutOfMemory(
                f"{images} images of {side} x {side} pixels at once ({key} and model.input_size) do not fit in the "
                f"memory of {_with_memory(place)}: lower one of them"
            ) from error
        if "does not have a deterministic implementation" in message:
            raise UserError(
                f"compute.deterministic is true, but PyTorch has no deterministic {message.split()[0]} on "
                f"{place.type.upper()}: set it to false"
            ) from error
        if "Deterministic behavior was enabled" in message:  # by cuBLAS, where its workspace was set otherwise
            raise UserError(
                f"compute.deterministic is true, but the environment sets CUBLAS_WORKSPACE_CONFIG to "
                f"{os.environ.get('CUBLAS_WORKSPACE_CONFIG', '')!r}: unset it, or make it :4096:8"
            ) from error
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UserError(
                f"compute.compile is on, but torch.compile does not work here ({message[:200]}): set it to false"
            ) from error
        raise


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. PyTorch has a class for it, but raises a plain RuntimeError on the CPU and for CUDA's
    libraries."""
    messages = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in messages)


def _glibc(function: str, *arguments: int) -> None:
    """Call a function of glibc; other C libraries have no such function, and need none."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), function):
        getattr(library, function)(*arguments)


def _keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones. By default the C library returns it to the system, which
    then clears every page anew: a quarter of the time of ResNets on images of 224 x 224 pixels on two cores. Blocks of
    more than 32 MiB are kept only if none is mapped on its own."""
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):  # else it is the user's choice
        _glibc("mallopt", MMAP_MAX, 0)
        _glibc("mallopt", TRIM_THRESHOLD, -1)  # never


_before_reset = 0.0  # GiB, the highest value before `Peak` last reset the system's counter


def peak_memory(device: torch.device) -> float:
    """Peak memory since the process began, GiB: on CUDA that of PyTorch's tensors, on the CPU that of the process."""
    return max(_before_reset, _counted(device))


def _counted(device: torch.device) -> float:
    """Peak memory since the last reset, GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    counted = re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE) if STATUS.exists() else None
    if counted:
        return int(counted.group(1)) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


class Peak:
    """Peak memory of some work, GiB: beyond that in use when this object is made, or, on systems whose counter cannot
    be reset, beyond the peak of the process so far. Call it for the value."""

    def __init__(self, device: torch.device) -> None:
        global _before_reset
        self.device, _before_reset = device, peak_memory(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif RESET.exists():
            _glibc("malloc_trim", 0)  # else freed memory of earlier work would hide what this work takes
            RESET.write_text("5")  # the peak becomes the present value
        self.before = _counted(device)

    def __call__(self) -> float:
        return _counted(self.device) - self.before


def costs(peak: float, since: float, images: int) -> dict[str, float]:
    """Costs of work on `images` images: seconds since `time.perf_counter()` was `since`, images per second, and the
    peak memory (GiB)."""
    seconds = time.perf_counter() - since
    return {"seconds": seconds, "images_per_second": images / seconds, "peak_memory": peak}


def machine(place: Place) -> dict[str, Any]:
    """The hardware and software behind measured times: processor, PyTorch's threads, gpu (None if not used), versions
    of Python and torch."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],  # without the build
    }


def _computes_bfloat16(device: torch.device) -> bool:
    # Without such instructions bfloat16 is emulated, many times slower than float32.
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _with_memory(device: torch.device) -> str:
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return f"{torch.cuda.get_device_name(device)} ({total / 2**30:.0f} GiB)"
    return f"this machine ({os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB)"
