"""How far long work is: a bar on a terminal, and in a log, where a bar would be a mess, a line now and then."""

import os
import sys
import threading
import time
from typing import Any

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines in a log, also while a single step takes longer


class Bar(tqdm):
    """tqdm's bar, with its arguments. Where stderr is no terminal a line says every half a minute how far the work is,
    and so that it is alive: `training: 12 of 30 epochs after 6 min 20 s`."""

    # What Ctrl-C leaves when it comes before `__init__` is closed as well, by its end.
    disable, _ended, _sink = True, threading.Event(), None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._ended, self._start = threading.Event(), time.monotonic()
        self._sink = None if sys.stderr.isatty() else open(os.devnull, "w")  # noqa: SIM115, PTH123 (closed with the bar)
        super().__init__(*arguments, file=self._sink or sys.stderr, **options)
        if self._sink:
            threading.Thread(target=self._beat, daemon=True).start()

    def line(self) -> str:
        """How far it is, in words."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        hours, minutes = divmod(minutes, 60)
        took = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
        told = f": {self.postfix}" if self.postfix else ""
        return f"{self.desc.removesuffix(': ')}: {self.n} of {self.total} {self.unit}s after {took}{told}"

    def close(self) -> None:
        self._ended.set()
        super().close()
        if self._sink:
            self._sink.close()
            self._sink = None

    def _beat(self) -> None:
        while not self._ended.wait(EVERY):
            print(self.line(), file=sys.stderr, flush=True)
