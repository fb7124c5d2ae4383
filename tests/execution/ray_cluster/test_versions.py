"""The versions of packages that workers are compared by."""

import socket

import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.execution.ray_cluster import versions


@pytest.mark.parametrize(
    ("name", "there"), [("torch", torch.__version__.split("+")[0]), ("no-such-package", "missing")]
)
def test_a_machine_with_another_version_is_refused(params, monkeypatch, name, there):
    actors = pytest.importorskip("glassbox.execution.ray_cluster.actors")
    monkeypatch.setattr(versions, "COMPARED", (*versions.COMPARED, "no-such-package"))
    stage = versions.installed() | {name: "1.0"}
    message = rf"^{socket.gethostname()}, a machine of the cluster, has {name} {there} instead of 1.0: install"
    with pytest.raises(UserError, match=message):
        actors.Worker().describe(params.compute, stage)
    with pytest.raises(UserError, match=message):
        actors.ProcessSettings(None, 1, stage).apply()
