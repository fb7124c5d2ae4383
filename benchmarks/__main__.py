"""`python -m benchmarks [SUBJECT ...]`: all subjects, or those named."""

import importlib
import sys

from glassbox.errors import UserError, run

SUBJECTS = ("training", "tracking")


def main() -> None:
    wanted = sys.argv[1:] or SUBJECTS
    for name in wanted:
        if name not in SUBJECTS:
            raise UserError(f"{name} is no benchmark: there are {', '.join(SUBJECTS)}")
    for name in wanted:
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    run(main)
