"""Errors that a user can act on: one sentence, no traceback, exit code 2."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can put right. The message is one sentence that names the file or parameter, its value and
    what is allowed."""


def run(main: Callable[[], None]) -> None:
    """Call `main`; a UserError becomes one line on stderr and exit code 2, Ctrl-C exit code 130."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped by the user; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
