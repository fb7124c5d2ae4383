"""`python -m benchmarks [SUBJECT ...]`: the usual subjects, or those named."""

import importlib
import sys

from glassbox.errors import UserError, run

SUBJECTS = ("training", "tracking", "kernel_shap", "shapley")
LONG = ("pruning", "compiling")  # only when named


def main() -> None:
    wanted = sys.argv[1:] or SUBJECTS
    for name in wanted:
        if name not in SUBJECTS + LONG:
            raise UserError(f"{name} is no benchmark: there are {', '.join(SUBJECTS + LONG)}")
    for name in wanted:
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    run(main)
