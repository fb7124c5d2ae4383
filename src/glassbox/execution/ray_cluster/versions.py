"""Versions of packages: workers must have those of the stage, or could compute other bytes."""

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
    """Raises UserError if this machine's versions differ from those of the stage."""
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
