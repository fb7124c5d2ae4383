"""Parameters, metrics and files of runs, written in as few requests as MLflow's limits allow."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassbox.core.errors import masked

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

REQUESTS = 8  # to a server at a time
MOST_PARAMS, MOST_ENTRIES = 100, 1000  # in one batch: parameters; parameters and metrics together

Point = tuple[str, float, int, int]  # of a metric: name, value, time (milliseconds since 1970), step


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def points(values: Mapping[str, float], step: int, at: int) -> list[Point]:
    """Metrics of one moment."""
    return [(name, float(value), at, step) for name, value in values.items()]


class Writer:
    """Writes to the store of `client`; with `parallel`, as to a server, several requests at once."""

    def __init__(self, client: "MlflowClient", parallel: bool) -> None:
        self.client, self.parallel = client, parallel

    def log_batch(
        self, run_id: str, params: Mapping[str, Any] | None = None, metrics: list[Point] | None = None
    ) -> None:
        from mlflow.entities import Metric, Param

        params_left = [Param(key, masked(str(value))) for key, value in (params or {}).items()]
        metrics_left = [Metric(*point) for point in metrics or []]
        while params_left or metrics_left:
            batch, params_left = params_left[:MOST_PARAMS], params_left[MOST_PARAMS:]
            room = MOST_ENTRIES - len(batch)
            self.client.log_batch(run_id, metrics=metrics_left[:room], params=batch)
            metrics_left = metrics_left[room:]

    def log_folder(self, run_id: str, folder: str | Path, artifact_path: str = "") -> None:
        """Log every file of a folder as an artifact of a run, in the run's folder `artifact_path`."""

        def log(path: Path) -> None:
            inside = (Path(artifact_path) / path.parent.relative_to(folder)).as_posix()
            self.client.log_artifact(run_id, str(path), None if inside == "." else inside)

        self.each(log, sorted(path for path in Path(folder).rglob("*") if path.is_file()))

    def each(self, log: Callable[[Any], None], items: list[Any]) -> None:
        """Log items that take a request each; requests to a server do not wait for each other."""
        with ThreadPoolExecutor(REQUESTS if self.parallel else 1) as pool:
            list(pool.map(log, items))  # raises the first error
