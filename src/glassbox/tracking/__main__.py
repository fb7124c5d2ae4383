"""`make ui`; with the argument `record`, the process that writes to MLflow for a stage."""

import sys

from glassbox.core.errors import run
from glassbox.tracking import recorder, ui

if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        recorder.serve()
    else:
        run(ui.serve)
