"""Errors that a user can act on: one sentence, no traceback, exit code 2."""

import errno
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable

# Errors of a disk that the user can put right: it is full or may not be written or read, or something else lies where a
# file or a folder must be.
OF_THE_DISK = "ENOSPC EDQUOT EROFS EACCES EPERM EFBIG EIO EISDIR ENOTDIR EEXIST ELOOP ENAMETOOLONG EMFILE ENFILE"

STOPPED = "stopped by the user; run the same command again to go on"


class UserError(Exception):
    """Something the user can put right. The message is one sentence: the file or parameter, its value, what is
    allowed."""


def of_the_disk(error: OSError) -> str | None:
    """The sentence for an error of the disk that the user can put right; None for other errors."""
    if errno.errorcode.get(error.errno or 0) not in OF_THE_DISK.split():
        return None
    why = os.strerror(error.errno)
    if error.errno == errno.EFBIG:
        why = f"{why}: there is a limit on the size of files (ulimit -f)"
    place = error.filename or "a file cannot be written"
    return f"{place}: {why}: put that right, then run the same command again to go on"


def cut(text: str, most: int = 300) -> str:
    """Text for a sentence; a long one without its middle."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 + 1 :]}"


def one_line(error: BaseException) -> str:
    """An error's message on one line, for a sentence."""
    return cut(" ".join(str(error).split()))


def masked(text: str) -> str:
    """Text without the passwords, tokens and keys of URLs in it."""
    text = re.sub(r"(?<=://)([^/\s:@]*):\S*@", r"\1:***@", text)  # up to the last @: a password may hold one
    text = re.sub(r"(?<=://)[^/\s:@]+@", "***@", text)  # a token instead of a name
    return re.sub(r"([?&;][^=\s&;]*(?:pass|pwd|token|secret|key|sig)[^=\s&;]*=)[^&;\s]+", r"\1***", text, flags=re.I)


def before_imports() -> None:
    """Prepare for seconds of imports before `run`: Ctrl-C ends the process with one line instead of a traceback, and
    garbage collection, a fifth of PyTorch's import, is off."""
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background process ignores it
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> None:
    print(STOPPED, file=sys.stderr, flush=True)
    os._exit(130)


def run(main: Callable[[], None]) -> None:
    """Call `main`. A UserError or an error of the disk becomes one line on stderr and exit code 2, Ctrl-C one line and
    exit code 130, a closed pipe exit code 141, as the signal SIGPIPE gives."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an arrow in ASCII becomes an escape
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it ends
        sys.exit(141)
    except (UserError, OSError) as error:
        sentence = of_the_disk(error) if isinstance(error, OSError) else str(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(130)
