"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import os
import sys
import threading
import time
from typing import Any

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines in a log, even during a longer step


class Bar(tqdm):
    """tqdm's bar, with its arguments. If stderr is no terminal, it prints a line every half a minute instead:
    `training: 12 of 30 epochs after 6 min 20 s`."""

    # For `close`, which tqdm calls even if Ctrl-C came before `__init__`.
    disable, _ended, _sink = True, threading.Event(), None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._ended, self._start = threading.Event(), time.monotonic()
        self._sink = None if sys.stderr.isatty() else open(os.devnull, "w")  # noqa: SIM115, PTH123 (closed with the bar)
        super().__init__(*arguments, file=self._sink or sys.stderr, **options)
        if self._sink:
            threading.Thread(target=self._beat, daemon=True).start()

    def line(self) -> str:
        """The progress in words."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        hours, minutes = divmod(minutes, 60)
        duration = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
        postfix = f": {self.postfix}" if self.postfix else ""
        return f"{self.desc.removesuffix(': ')}: {self.n} of {self.total} {self.unit}s after {duration}{postfix}"

    def close(self) -> None:
        self._ended.set()
        super().close()
        if self._sink:
            self._sink.close()
            self._sink = None

    def _beat(self) -> None:
        while not self._ended.wait(EVERY):
            print(self.line(), file=sys.stderr, flush=True)
