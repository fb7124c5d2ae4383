"""Versions of packages: a worker with other ones might compute other bytes."""

import socket
from importlib.metadata import PackageNotFoundError, version

from glassbox.core.errors import UserError

# Packages whose versions can change results. Ray itself compares its own version and Python's.
COMPARED = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "optuna",
    "shap",
    "lime",
    "captum",
)


def installed() -> dict[str, str]:
    """The versions of those packages on this machine."""
    return {name: _version(name) for name in COMPARED}


def require(versions: dict[str, str]) -> None:
    """Compare this machine's versions with those of the stage.

    Raises:
        UserError: they differ.
    """
    here = installed()
    other = [f"{name} {here[name]} instead of {versions[name]}" for name in here if here[name] != versions[name]]
    if other:
        raise UserError(
            f"{socket.gethostname()}, a machine of the cluster, has {', '.join(other)}: install requirements.lock on "
            "all machines"
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
