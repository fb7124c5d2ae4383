"""Whether a cluster can be reached, before anything connects to it."""

import importlib.util
import socket
import time

import pytest
from conftest import ROOT

from glassbox import cli
from glassbox.config import parameters
from glassbox.core.errors import UserError
from glassbox.execution import engine
from glassbox.execution.ray_cluster import address


@pytest.fixture
def settings(params):
    return params.compute.model_copy(update={"engine": "ray"})


def test_without_ray_the_message_names_what_to_install(settings, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    message = r"^compute\.engine is ray, but Ray is not installed: pip install 'glassbox-xai\[cluster\]'$"
    with pytest.raises(UserError, match=message):
        address.check(settings)
    with pytest.raises(UserError, match=message), engine.start(settings):
        pass


@pytest.mark.parametrize("where", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_that_does_not_respond_is_refused_at_once(settings, where):
    start = time.monotonic()
    message = rf"^compute\.address is {where}, but no Ray cluster can be used there \(.+\): see docs/cluster\.md$"
    with pytest.raises(UserError, match=message), engine.start(settings.model_copy(update={"address": where})):
        pass
    assert time.monotonic() - start < address.TIMEOUT


def test_an_address_of_the_environment_is_named_after_its_variable(settings, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS is 127\.0\.0\.1:1, but no Ray cluster"):
        address.check(settings)
    auto = settings.model_copy(update={"address": "auto"})
    with pytest.raises(UserError, match=r"^RAY_ADDRESS is 127\.0\.0\.1:1, but no Ray cluster"):
        address.check(auto)  # as Ray takes it
    monkeypatch.delenv("RAY_ADDRESS")
    assert address.resolve(auto) == "auto"
    address.check(settings)  # a cluster of this machine is started with the stage


def test_an_open_port_is_enough(settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address.check(settings.model_copy(update={"address": f"127.0.0.1:{server.getsockname()[1]}"}))


def test_check_stops_before_any_work(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    changes = ["compute.engine=ray", "compute.address=127.0.0.1:1"]
    (tmp_path / "params.yaml").write_text(parameters.edit(ROOT / "params.yaml", changes))
    with pytest.raises(UserError, match=r"compute\.address is 127\.0\.0\.1:1"):
        cli.check()
