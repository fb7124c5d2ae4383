"""`python -m benchmarks [SUBJECT ...]`: the usual subjects, or those named."""

import importlib
import sys
import time

from benchmarks import harness
from glassbox.errors import UserError, run

SUBJECTS = (
    "training_input", "training_step", "lime", "kernel_shap", "shapley", "gradient_shap", "integrated_gradients",
    "grad_cam", "deletion_insertion", "precision", "repro", "startup", "tracking",
)  # fmt: skip
LONG = ("scaling", "pruning", "compiling")  # only when named


def main() -> None:
    wanted = sys.argv[1:] or SUBJECTS
    for name in wanted:
        if name not in SUBJECTS + LONG:
            raise UserError(f"{name} is no benchmark: there are {', '.join(SUBJECTS + LONG)}")
    for name in wanted:
        start = time.perf_counter()
        importlib.import_module(f"benchmarks.{name}").main()
        print(f"    {name} took {time.perf_counter() - start:.0f} s", flush=True)
    print(f"written: {harness.results().relative_to(harness.RESULTS.parent.parent)}")


if __name__ == "__main__":
    run(main)
