"""Processes that train one network together, each on its share of every batch.

The caller starts and ends the group with `torch.distributed`: gloo for CPUs, NCCL for CUDA. Methods that combine
values wait for all ranks, so all have to call them in the same order. If one rank fails by itself, for example for lack
of memory, the others wait until their group fails or they are ended.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Ranks:
    """The processes of a group."""

    rank: int  # number of this process, from 0; the first one reads and writes for all
    size: int  # number of processes

    @classmethod
    def here(cls) -> Self:
        """The ranks of this process's group; one rank if it trains alone."""
        if not distributed.is_initialized():
            return cls(0, 1)
        return cls(distributed.get_rank(), distributed.get_world_size())

    def share(self, n: int) -> slice:
        """This rank's rows of n, in one piece; shares differ by one row at most, and of few rows some are empty."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, the same bits on each."""
        if self.size == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total

    def highest(self, value: float, device: torch.device) -> float:
        """The largest of all ranks' numbers; `device` is one that the group works on."""
        if self.size == 1:
            return value
        highest = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        return highest.item()

    def follow(self, values: torch.Tensor) -> torch.Tensor:
        """The first rank's values, which replace this rank's."""
        if self.size > 1:
            distributed.broadcast(values, src=0)
        return values

    def of_first(self, value: Any, device: torch.device) -> Any:
        """The first rank's value: anything that can be pickled, its tensors on the CPU. Other values are ignored."""
        if self.size == 1:
            return value
        values = [value if self.rank == 0 else None]
        distributed.broadcast_object_list(values, src=0, device=device)
        return values[0]

    def averaging(self, module: nn.Module) -> nn.Module:
        """The module with gradients that are the mean over all ranks, and the first rank's weights. Make it anew when
        other weights need a gradient."""
        return module if self.size == 1 else nn.parallel.DistributedDataParallel(module)


ALONE = Ranks(0, 1)
