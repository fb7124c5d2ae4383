"""docs/performance.md: what `make bench` measured, from benchmarks/results/.

    python -m docs.performance        write the page

Only what was measured is in its tables; what stands between a subject and its ceiling is written here, by subject.
"""

from pathlib import Path
from typing import Any

from docs.runs import table
from glassbox.core import files
from glassbox.core.errors import UserError, run

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE.parent / "benchmarks" / "results", HERE / "performance.md"

# By subject: its ceiling, by the labels whose medians have to be divided (fraction = first / second), and what stands
# between.
CEILINGS: dict[str, tuple[str, str, str, str]] = {
    "training_input": (
        "bytes to floats, nothing changed", "glassbox", "bytes to floats alone",
        "random crop and flip move every pixel once more, and jitter reads and writes a batch's floats five times; "
        "each is one operation over many batches at a time. Beside a training step it no longer counts.",
    ),
    "training_step": (
        "the step's convolutions and matrix products alone", "glassbox", "products alone",
        "batch norm, pooling, activation and dropout, which wait for memory and not for arithmetic, forward and "
        "backward; then the optimizer and PyTorch's own calls. A compiler that fuses them does not pay on the CPU "
        "(subject `compiling`).",
    ),
    "lime": (
        "a bare forward pass of the same images in the same precision", "bare forward", "glassbox",
        "putting the regions together (4 %), lime's own surrogate (a ridge regression an image) and its distances "
        "(4 %); superpixels (2 %).",
    ),
    "kernel_shap": (
        "the bare set function: the same coalitions' images and their forward passes", "bare set function", "glassbox",
        "drawing coalitions in pairs, and the solver: two factorisations of a matrix of one row a pair.",
    ),
    "gradient_shap": (
        "bare gradients of as many images", "bare gradients", "glassbox",
        "making the points between image and background, and the sum over them.",
    ),
    "integrated_gradients": (
        "bare gradients of as many images, at the pixels", "bare gradients", "glassbox",
        "nothing: it stops at the first layer's output, and so takes less than the gradients at the pixels.",
    ),
    "grad_cam": (
        "a bare forward pass", "bare forward", "glassbox",
        "the layers behind the last convolution once more, backward, and float32 with the layers in their order: its "
        "hook has to see the features before they are pooled.",
    ),
    "deletion_insertion": (
        "a bare forward pass of as many images in the same precision", "bare forward", "glassbox",
        "ranking the pixels, and mixing the images of the steps.",
    ),
    "repro": (
        "an empty pipeline", "empty pipeline", "study",
        "seven stages instead of five, about 150 files and folders whose dates are compared, and as many entries in "
        "dvc.lock, which DVC reads twice.",
    ),
    "tracking": (
        "the stage without tracking", "off", "on",
        "less than measurements resolve: MLflow is imported, and written to, by a process beside the stage.",
    ),
    "startup": ("import torch", "import torch", "score", "numpy, pydantic, pandas, and starting Python."),
}  # fmt: skip

ELSEWHERE = ("scaling", "pruning", "compiling", "cluster")  # not in its tables of ratios

HEAD = """# How fast it is, and how fast it could be

Made by `python -m docs.performance` from `benchmarks/results/`, which `make bench` writes: every ratio is the median of
the ratios turn by turn, ours and the usual way measured in turn in one process (`dvc` and stages: in processes of their
own) on the same inputs, after a check that both compute the same thing. `python -m benchmarks lime` measures one
subject; a missed bar is printed as MISSED.

The usual way is the library's own function on a plain PyTorch model in its default memory order and float32, as in the
libraries' examples. "glassbox" is what the shipped parameters do on that machine: with `auto` precision, bfloat16 where
the processor has instructions for it. One parameter away, `explain.precision: float32` and `compute.precision:
float32`, is what the lines with "float32" show."""

GROWTH = """
### How it grows

`python -m benchmarks scaling`; memory is without the pages of files, which the system takes back when memory is short.
"""

NOTES = """
## How to read it

- **LIME** leaves the surrogate to the library lime; masks are drawn as it does, but images are made and sent through
  the network in batches. The same masks give the same coefficients.
- **Quantus** takes the pixels' colours for features: for the same portions of an image it needs three times as
  many forward passes. Where it needs as many as glassbox, in the lines "of Quantus 24", the ratio is smaller.
- **Shapley values** are estimated by a Gaussian process from pairs of coalitions, not by shap's regression, and are
  nearer to the exact ones: subject `shapley`, which also has the share of exact values within 1.96 standard errors.
- **Precision** is judged on maps: the change from float32 to `auto` moves them less than another seed does, for every
  explainer that uses it. Gradients (GradientSHAP, Integrated Gradients, Grad-CAM) and SHAP's two end points are always
  in float32.
- **No GPU was at hand**: `sh benchmarks/gpu.sh` measures one, in one call, and this page then has a section for it. Its
  parts were run on a CPU with small numbers, and the paths that need CUDA not at all.
- Machines differ, and one differs from day to day: single medians by up to a factor of two here, ratios by a tenth.
"""


def formatted(value: float, unit: str) -> str:
    """With its unit, three significant digits."""
    if unit == "s":
        return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:,.0f} {unit}" if unit == "images/s" else f"{value:.2g}"


def comparisons(results: dict[str, Any]) -> str:
    """One row a ratio of two contenders that has a bar, or is only shown."""
    rows = []
    for subject, content in results.items():
        for row in content["rows"]:
            for ratio in row.get("ratios", []):
                a, _, b = ratio["name"].partition(" / ")
                medians = row.get("medians", {})
                values = [formatted(medians[x], row["unit"]) if x in medians else "" for x in (a, b)]
                holds = "" if ratio["bar"] is None else "yes" if ratio["holds"] else "**no**"
                rows.append([f"`{subject}`", row["name"], ratio["name"], *values, f"{ratio['ratio']:.3g}",
                             ratio["bar"] or "", holds])  # fmt: skip
    return table(["subject", "measured", "ratio of", "first", "second", "ratio", "bar", "holds"], rows)


def limits(results: dict[str, Any]) -> str:
    """One row a subject: how near it is to what the machine allows."""
    rows = []
    for subject, (ceiling, a, b, between) in CEILINGS.items():
        if subject in results:
            medians = results[subject]["rows"][0]["medians"]
            rows.append([f"`{subject}`", ceiling, f"{100 * medians[a] / medians[b]:.0f} %", between])
    return table(["subject", "ceiling", "reached", "what stands between"], rows)


def growth(results: dict[str, Any]) -> str:
    """Seconds and memory by axis, with the fitted exponents."""
    rows = []
    for row in results["scaling"]["rows"]:
        points = zip(row["values"], row["points"], strict=True)
        shown = "; ".join(f"{value:,}: {p['seconds']:.2g} s, {p['mib']:.0f} MiB" for value, p in points)
        bars = [f"{r['name']}: {r['ratio']:.2g}" + (f" ({r['bar']})" if r["bar"] else "") for r in row["ratios"]]
        exponents = [f"{row[f'{unit}_exponent']:.2f}" for unit in ("seconds", "mib_in_all")]
        rows.append([row["name"], row["axis"], shown, *exponents, "; ".join(bars)])
    unit = "seconds, and memory beyond that of the libraries"
    return table(["work", "by", unit, "seconds ~ n^", "memory in all ~ n^", "measured besides"], rows)


def page(all_results: dict[str, dict[str, Any]]) -> str:
    """The page for the results of one or more machines."""
    parts = [HEAD]
    for results in all_results.values():
        bench = {name: content for name, content in results.items() if name not in ELSEWHERE}
        if not bench:
            continue
        about = next(iter(bench.values()))["machine"]
        where = about["gpu"] or f"{about['processor']}, {about['threads']} threads"
        versions = ", ".join(f"{k} {v}" for k, v in {"torch": about["torch"], **about["versions"]}.items())
        parts += [f"\n## {where}\n\nPython {about['python']}, {versions}.\n", comparisons(bench),
                  "\n### How near to the machine's limit\n", limits(bench)]  # fmt: skip
        if "scaling" in results:
            parts += [GROWTH, growth(results)]
    return "\n".join([*parts, NOTES])


def main() -> None:
    found = {path.stem: files.read_json(path) for path in sorted(RESULTS.glob("*.json"))}
    if not found:
        raise UserError(f"{RESULTS} holds no results: 'make bench' makes them")
    files.write_text(PAGE, page(found))
    print(f"written: {PAGE.relative_to(HERE.parent)}")


if __name__ == "__main__":
    run(main)
