"""Functions that several processes of this machine run as a group."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from glassbox.execution import workers
from glassbox.training.process_group import Ranks


def together(function: Callable[..., Any], size: int, folder: Path, *arguments: Any) -> list[Any]:
    """The results of `function(ranks, *arguments)` by rank; the error of any rank is raised."""
    method = workers._context().get_start_method()  # the fork server, which starts ranks fast
    multiprocessing.start_processes(_rank, (function, size, folder, arguments), size, start_method=method)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _rank(rank: int, function: Callable[..., Any], size: int, folder: Path, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    limit = timedelta(seconds=60)  # for ranks that wait for each other in vain
    distributed.init_process_group("gloo", f"file://{folder}/group", limit, rank=rank, world_size=size)
    torch.save(function(Ranks.here(), *arguments), folder / f"{rank}.pt")
    distributed.destroy_process_group()
