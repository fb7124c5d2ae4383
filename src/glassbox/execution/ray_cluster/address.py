"""Checks in milliseconds, without importing ray, that the cluster of the section `compute` can be reached."""

import importlib.util
import os
import socket

from glassbox.config.compute import Compute
from glassbox.core.errors import UserError, cut

TIMEOUT = 10  # seconds for a connection; Ray itself would try for minutes


def check(settings: Compute) -> None:
    """Raises UserError if Ray is not installed, or the address does not accept connections."""
    if settings.engine != "ray":
        return
    if importlib.util.find_spec("ray") is None:
        raise UserError("compute.engine is ray, but Ray is not installed: pip install 'glassbox-xai[cluster]'")
    host, _, port = (resolve(settings) or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            with socket.create_connection((host, int(port)), TIMEOUT):
                pass
        except (OSError, OverflowError) as error:
            raise refusal(settings, error) from None


def resolve(settings: Compute) -> str | None:
    """The address in Ray's form; None = a cluster of this machine alone."""
    if settings.address in (None, "auto"):
        return os.environ.get("RAY_ADDRESS") or settings.address
    return settings.address


def refusal(settings: Compute, error: BaseException) -> UserError:
    """The error for a cluster that cannot be used."""
    where = "compute.address" if resolve(settings) == settings.address else "RAY_ADDRESS"
    # The server's traceback may follow; its last line is the reason.
    reason, _, trace = str(error).partition("Traceback (most recent call last)")
    reason = cut(" ".join([*reason.split(), *trace.rstrip().rpartition("\n")[2].split()]))
    return UserError(
        f"{where} is {resolve(settings) or 'null'}, but no Ray cluster can be used there ({reason}): see "
        "docs/cluster.md"
    )
