import importlib.util
import os
import socket
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from glassbox import cli as commands
from glassbox.config import parameters
from glassbox.core.errors import UserError
from glassbox.execution import engine
from glassbox.execution.ray_cluster import address


@pytest.fixture
def asked(params):
    return params.compute.model_copy(update={"engine": "ray"})


def test_the_engine_of_this_process_needs_nothing(params, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", None)
    address.check(params.compute)


def test_without_ray_one_sentence_says_what_to_install(asked, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    words = r"^compute\.engine is ray, but Ray is not installed: pip install 'glassbox\[cluster\]'$"
    with pytest.raises(UserError, match=words):
        address.check(asked)
    with pytest.raises(UserError, match=words), engine.start(asked):
        pass


@pytest.mark.parametrize("where", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_nobody_answers_is_refused_at_once(asked, where):
    start = time.monotonic()
    words = rf"^compute\.address is {where}, but no Ray cluster can be used there \(.+\): see docs/cluster\.md$"
    with pytest.raises(UserError, match=words), engine.start(asked.model_copy(update={"address": where})):
        pass
    assert time.monotonic() - start < address.TIMEOUT


def test_an_address_of_the_environment_is_named_after_its_variable(asked, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS is 127\.0\.0\.1:1, but no Ray cluster"):
        address.check(asked)
    auto = asked.model_copy(update={"address": "auto"})
    with pytest.raises(UserError, match=r"^RAY_ADDRESS is 127\.0\.0\.1:1, but no Ray cluster"):
        address.check(auto)  # as Ray takes it
    monkeypatch.delenv("RAY_ADDRESS")
    assert address.resolve(auto) == "auto"
    address.check(asked)  # a cluster of this machine is made when a stage begins


def test_somebody_who_listens_is_enough(asked):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address.check(asked.model_copy(update={"address": f"127.0.0.1:{server.getsockname()[1]}"}))


def test_check_and_stages_stop_before_any_work(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    changes = ["compute.engine=ray", "compute.address=127.0.0.1:1"]
    (tmp_path / "params.yaml").write_text(parameters.edit(ROOT / "params.yaml", changes))
    with pytest.raises(UserError, match=r"compute\.address is 127\.0\.0\.1:1"):
        commands.check()
    done = subprocess.run(
        [sys.executable, "-m", "stages.evaluate"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: compute.address is 127.0.0.1:1, but no Ray cluster can be used there (")
    assert len(done.stderr.splitlines()) == 1
