"""Functions that several processes run at once, as a group on this machine."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from glassbox.execution import workers
from glassbox.training.process_group import Ranks


def together(function: Callable[..., Any], size: int, folder: Path, *arguments: Any) -> list[Any]:
    """What `function(ranks, *arguments)` gives on each rank; an error of any of them is raised."""
    how = workers._context().get_start_method()  # a rank then begins in a moment, and not in seconds
    multiprocessing.start_processes(_one, (function, size, folder, arguments), size, start_method=how)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _one(rank: int, function: Callable[..., Any], size: int, folder: Path, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    limit = timedelta(seconds=60)  # ranks that wait for one another in vain are to be told
    distributed.init_process_group("gloo", f"file://{folder}/group", limit, rank=rank, world_size=size)
    torch.save(function(Ranks.here(), *arguments), folder / f"{rank}.pt")
    distributed.destroy_process_group()
