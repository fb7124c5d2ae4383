"""Interleaved pairs, medians, and the file that keeps them."""

import re
import statistics
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from glassbox import compute, config, files

RESULTS = Path(__file__).parent / "results"
PAIRS = 5


def compare(
    name: str, a: tuple[str, Callable[[], float]], b: tuple[str, Callable[[], float]], unit: str, pairs: int = PAIRS
) -> dict[str, Any]:
    """Measure A and B in turn (A B B A A B ...) and print the medians and their ratio.

    Args:
        name: what is measured.
        a, b: label and measurement, each call of which returns one value.
        unit: of the values.
        pairs: measurements of each.
    """
    values: dict[str, list[float]] = {a[0]: [], b[0]: []}
    for turn in range(pairs):
        for label, measure in (a, b) if turn % 2 == 0 else (b, a):
            values[label].append(measure())
    medians = {label: statistics.median(v) for label, v in values.items()}
    ratio = medians[b[0]] / medians[a[0]]
    shown = ", ".join(f"{label} {medians[label]:,.4g} {unit}" for label in medians)
    print(f"{name}: {shown}; ratio {ratio:.3f}", flush=True)
    return {"name": name, "unit": unit, "medians": medians, "ratio": ratio, "values": values}


def machine() -> dict[str, Any]:
    """What was measured on, and with which versions."""
    packages = ("torchvision", "mlflow", "numpy")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    status = ["git", "status", "--porcelain", "--", ".", ":!benchmarks/results"]  # which a run writes itself
    dirty = subprocess.run(status, capture_output=True, text=True, check=True).stdout != ""
    versions = {name: version(name) for name in packages}
    place = compute.resolve(config.read("params.yaml").compute)
    return compute.machine(place) | {"versions": versions, "commit": commit + ("-dirty" if dirty else "")}


def record(subject: str, rows: list[dict[str, Any]]) -> None:
    """Put the rows of one subject into benchmarks/results/<machine>.json, beside those of the others."""
    here = machine()
    words = f"{here['gpu'] or here['processor']} {here['threads']} threads"
    path = RESULTS / f"{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')}.json"
    kept = files.read_json(path) if path.exists() else {}
    files.write_json(path, kept | {subject: {"machine": here, "rows": rows}})
    print(f"written: {path.relative_to(Path.cwd())}")
