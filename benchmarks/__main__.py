"""`python -m benchmarks [SUBJECT ...]`: the usual subjects, or those named."""

import multiprocessing
import sys
from functools import partial

from benchmarks import harness
from glassbox.core.errors import UserError, run

SUBJECTS = (
    "training_input", "training_step", "lime", "kernel_shap", "shapley", "gradient_shap", "integrated_gradients",
    "grad_cam", "deletion_insertion", "precision", "repro", "startup", "tracking",
)  # fmt: skip
LONG = (
    "scaling",
    "pruning",
    "compiling",
    "cluster",
    "coverage_of_differences",
    "training_precision",
)  # only when named


def main() -> None:
    wanted = sys.argv[1:] or SUBJECTS
    for name in wanted:
        if name not in SUBJECTS + LONG:
            raise UserError(f"{name} is no benchmark: there are {', '.join(SUBJECTS + LONG)}")
    for name in wanted:
        # Each in a process of its own: the memory and the threads that one leaves behind would slow the next down.
        process = multiprocessing.get_context("spawn").Process(target=run, args=(partial(harness.measure, name),))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)
    print(f"written: {harness.results().relative_to(harness.RESULTS.parent.parent)}")


if __name__ == "__main__":
    run(main)
