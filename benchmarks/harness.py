"""Interleaved measurements, medians, ratios beside their bars, and the file that keeps them."""

import importlib
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from glassbox.config import parameters
from glassbox.core import files
from glassbox.execution import compute

RESULTS = Path(__file__).parent / "results"
PAIRS = 5
REST = 0.1  # s before a measurement, in which the threads of the one before stop waiting for more work


@dataclass(frozen=True)
class Bar:
    """What a ratio of two medians has to reach.

    Attributes:
        of, to: labels; the ratio is that of `of` to `to`.
        at_least, at_most: one of them, or none where the ratio is only told.
    """

    of: str
    to: str
    at_least: float | None = None
    at_most: float | None = None

    def judge(self, values: dict[str, list[float]]) -> dict[str, Any]:
        """The median of the ratios turn by turn, which the machine's changes of speed leave alone."""
        ratio = statistics.median(a / b for a, b in zip(values[self.of], values[self.to], strict=True))
        return judged(f"{self.of} / {self.to}", ratio, self.at_least, self.at_most)


def judged(name: str, ratio: float, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    """A ratio, its bar in words, and whether it holds; printed."""
    bar = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}" if at_most is not None else None
    holds = None if bar is None else ratio >= at_least if at_least is not None else ratio <= at_most
    print(f"    {name}: {ratio:.3g}" + (f" ({bar}: {'holds' if holds else 'MISSED'})" if bar else ""), flush=True)
    return {"name": name, "ratio": ratio, "bar": bar, "holds": holds}


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """A measurement: how long `work` takes."""

    def measure() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return measure


def compare(
    name: str, unit: str, contenders: dict[str, Callable[[], float]], bars: list[Bar], pairs: int = PAIRS,
    warm_up: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Measure all contenders in turn, again and again (A B, B A, A B ...), and print medians and ratios.

    Args:
        name: what is measured.
        unit: of the values.
        contenders: by label a measurement, each call of which returns one value.
        bars: ratios to tell.
        pairs: measurements of each.
        warm_up: whether each is called once more before, without being counted.
    """
    if warm_up:
        for measure in contenders.values():
            measure()
    values: dict[str, list[float]] = {label: [] for label in contenders}
    for turn in range(pairs):
        for label in list(contenders)[:: 1 if turn % 2 == 0 else -1]:
            time.sleep(REST)
            values[label].append(contenders[label]())
    medians = {label: statistics.median(v) for label, v in values.items()}
    print(f"{name}: " + ", ".join(f"{label} {medians[label]:,.4g} {unit}" for label in medians), flush=True)
    ratios = [bar.judge(values) for bar in bars]
    return {"name": name, "unit": unit, "medians": medians, "ratios": ratios, "values": values}


def measure(subject: str) -> None:
    """Run one of the benchmarks."""
    start = time.perf_counter()
    importlib.import_module(f"benchmarks.{subject}").main()
    print(f"    {subject} took {time.perf_counter() - start:.0f} s", flush=True)


def machine() -> dict[str, Any]:
    """What was measured on, and with which versions."""
    packages = ("torchvision", "numpy", "captum", "dvc", "lime", "mlflow", "optuna", "quantus", "shap")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    status = ["git", "status", "--porcelain", "--", ".", ":!benchmarks/results"]  # which a run writes itself
    dirty = subprocess.run(status, capture_output=True, text=True, check=True).stdout != ""
    versions = {name: found for name in packages if (found := _version(name))}
    place = compute.resolve(parameters.read("params.yaml").compute)
    return compute.machine(place) | {"versions": versions, "commit": commit + ("-dirty" if dirty else "")}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def results() -> Path:
    """The file of this machine."""
    here = machine()
    words = f"{here['gpu'] or here['processor']} {here['threads']} threads"
    return RESULTS / f"{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')}.json"


def record(subject: str, rows: list[dict[str, Any]]) -> None:
    """Put the rows of one subject into benchmarks/results/<machine>.json, beside those of the others."""
    path = results()
    kept = files.read_json(path) if path.exists() else {}
    files.write_json(path, kept | {subject: {"machine": machine(), "rows": rows}})
