"""The versions of packages that workers are compared by."""

import pytest

from glassbox.core.errors import UserError
from glassbox.execution.ray_cluster import versions


def test_a_package_that_a_machine_lacks_is_named(monkeypatch):
    here = versions.installed()
    monkeypatch.setattr(versions, "COMPARED", (*versions.COMPARED, "no-such-package"))
    with pytest.raises(UserError, match=r"has no-such-package missing instead of 1\.0: install requirements\.lock"):
        versions.require(here | {"no-such-package": "1.0"})
