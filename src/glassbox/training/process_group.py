"""Processes that train one network together, each on its share of every batch.

Whoever starts them calls `torch.distributed.init_process_group`, with gloo for CPUs or NCCL for CUDA, and ends the
group afterwards. What is of all ranks waits for all of them, so they have to call it alike: where one ends with an
error of its own, such as memory that runs out, the others wait until their group fails or they are ended.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Ranks:
    """The processes of a group.

    Attributes:
        rank: this one's number, from 0; the first one reads and writes for all.
        size: how many they are.
    """

    rank: int
    size: int

    @classmethod
    def here(cls) -> Self | None:
        """Those of this process's group; None where it trains alone."""
        if not distributed.is_initialized() or distributed.get_world_size() == 1:
            return None
        return cls(distributed.get_rank(), distributed.get_world_size())

    def share(self, n: int) -> slice:
        """This rank's rows of n, in one piece; shares differ by one row at most, and of few rows some are empty."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, on all of them the same bits."""
        total = values.clone()
        distributed.all_reduce(total)
        return total

    def highest(self, value: float, device: torch.device) -> float:
        """The largest of all ranks' numbers; `device` is one that the group works on."""
        found = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return found.item()

    def follow(self, values: torch.Tensor) -> torch.Tensor:
        """The first rank's values, in the place of this one's."""
        distributed.broadcast(values, src=0)
        return values

    def of_first(self, value: Any, device: torch.device) -> Any:
        """What the first rank gives: anything that can be pickled, its tensors on the CPU. What others give is not
        looked at."""
        given = [value if self.rank == 0 else None]
        distributed.broadcast_object_list(given, src=0, device=device)
        return given[0]

    def averaging(self, module: nn.Module) -> nn.Module:
        """The module, whose gradients are then the mean over all ranks, and whose weights begin as the first rank's.
        That goes for those weights that need a gradient now: when others do, it has to be made anew."""
        return nn.parallel.DistributedDataParallel(module)
