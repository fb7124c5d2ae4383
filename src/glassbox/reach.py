"""Whether the cluster that the section `compute` names can be reached, found out in milliseconds and without ray."""

import importlib.util
import os
import socket

from glassbox import config
from glassbox.errors import UserError, cut

EXTRA = "glassbox[cluster]"
SECONDS = 10  # after which nobody listens there; Ray itself would try for minutes


def check(settings: config.Compute) -> None:
    """Whether Ray is installed and somebody listens at the address.

    Raises:
        UserError: it is not, or nobody does.
    """
    if settings.engine != "ray":
        return
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"compute.engine is ray, but Ray is not installed: pip install '{EXTRA}'")
    host, _, port = (address(settings) or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            with socket.create_connection((host, int(port)), SECONDS):
                pass
        except (OSError, OverflowError) as error:
            raise refusal(settings, error) from None


def address(settings: config.Compute) -> str | None:
    """As Ray takes it; None is a cluster of this machine alone."""
    if settings.address in (None, "auto"):
        return os.environ.get("RAY_ADDRESS") or settings.address
    return settings.address


def refusal(settings: config.Compute, error: BaseException) -> UserError:
    """What to raise when the cluster cannot be used."""
    where = "compute.address" if address(settings) == settings.address else "RAY_ADDRESS"
    said, _, trace = str(error).partition("Traceback (most recent call last)")  # the other side's, whose end says why
    said = cut(" ".join([*said.split(), *trace.rstrip().rpartition("\n")[2].split()]))
    return UserError(
        f"{where} is {address(settings) or 'null'}, but no Ray cluster can be used there ({said}): see docs/cluster.md"
    )
