"""Errors that a user can act on: one sentence, no traceback, exit code 2."""

import errno
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable

# What the user can change about a disk: there is no room on it, it may not be written or read, or something else lies
# where a file or a folder must be.
OF_THE_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.ENFILE,
)


STOPPED = "stopped by the user; run the same command again to go on"


class UserError(Exception):
    """Something the user can put right. The message is one sentence that names the file or parameter, its value and
    what is allowed."""


def of_the_disk(error: OSError) -> str | None:
    """The sentence for an error of the system that the user can put right; None for another one."""
    if error.errno not in OF_THE_DISK:
        return None
    why = os.strerror(error.errno)
    if error.errno == errno.EFBIG:
        why = f"{why}: there is a limit on the size of files (ulimit -f)"
    what = error.filename or "a file cannot be written"
    return f"{what}: {why}: put that right, then run the same command again to go on"


def cut(text: str, most: int = 300) -> str:
    """Text for a sentence, the middle left out of what is long."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 + 1 :]}"


def one_line(error: BaseException) -> str:
    """The message of an error, for a sentence."""
    return cut(" ".join(str(error).split()))


def masked(text: str) -> str:
    """Any text without the passwords, tokens and keys of the URLs in it."""
    text = re.sub(r"(?<=://)([^/\s:@]*):\S*@", r"\1:***@", text)  # up to the last @: one may stand in a password
    text = re.sub(r"(?<=://)[^/\s:@]+@", "***@", text)  # a token in the name's place
    return re.sub(r"([?&;][^=\s&;]*(?:pass|pwd|token|secret|key|sig)[^=\s&;]*=)[^&;\s]+", r"\1***", text, flags=re.I)


def before_imports() -> None:
    """Until `run` takes over libraries are imported, for seconds. Ctrl-C ends the process with one line meanwhile: it
    would show where in them it came. What they make stays: to look for garbage in it is a fifth of PyTorch's import."""
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in the background
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> None:
    print(STOPPED, file=sys.stderr, flush=True)
    os._exit(130)


def run(main: Callable[[], None]) -> None:
    """Call `main`; a UserError, and a disk that is full or may not be written, becomes one line on stderr and exit code
    2, Ctrl-C exit code 130, and a pipe that nobody reads any longer exit code 141, as of a program that it ends."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What it cannot hold, as an arrow in ASCII, or a name that is not text, is written as an escape.
            stream.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it ends
        sys.exit(141)
    except OSError as error:
        if (said := of_the_disk(error)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(130)
