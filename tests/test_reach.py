import importlib.util
import os
import socket
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from glassbox import __main__ as commands
from glassbox import config, engine, reach
from glassbox.errors import UserError


@pytest.fixture
def asked(params):
    return params.compute.model_copy(update={"engine": "ray"})


def test_the_engine_of_this_process_needs_nothing(params, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", None)
    reach.check(params.compute)


def test_without_ray_one_sentence_says_what_to_install(asked, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    words = r"^compute\.engine is ray, but Ray is not installed: pip install 'glassbox\[cluster\]'$"
    with pytest.raises(UserError, match=words):
        reach.check(asked)
    with pytest.raises(UserError, match=words), engine.start(asked):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_nobody_answers_is_refused_at_once(asked, address):
    start = time.monotonic()
    words = rf"^compute\.address is {address}, but no Ray cluster can be used there \(.+\): see docs/cluster\.md$"
    with pytest.raises(UserError, match=words), engine.start(asked.model_copy(update={"address": address})):
        pass
    assert time.monotonic() - start < reach.SECONDS


def test_an_address_of_the_environment_is_named_after_its_variable(asked, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS is 127\.0\.0\.1:1, but no Ray cluster"):
        reach.check(asked)
    auto = asked.model_copy(update={"address": "auto"})
    with pytest.raises(UserError, match=r"^RAY_ADDRESS is 127\.0\.0\.1:1, but no Ray cluster"):
        reach.check(auto)  # as Ray takes it
    monkeypatch.delenv("RAY_ADDRESS")
    assert reach.address(auto) == "auto"
    reach.check(asked)  # a cluster of this machine is made when a stage begins


def test_somebody_who_listens_is_enough(asked):
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach.check(asked.model_copy(update={"address": f"127.0.0.1:{server.getsockname()[1]}"}))


def test_check_and_stages_stop_before_any_work(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    changes = ["compute.engine=ray", "compute.address=127.0.0.1:1", "tune.storage=postgresql+psycopg://db/search"]
    (tmp_path / "params.yaml").write_text(config.edit(ROOT / "params.yaml", changes))
    with pytest.raises(UserError, match=r"compute\.address is 127\.0\.0\.1:1"):
        commands.check()
    done = subprocess.run([sys.executable, "-m", "stages.evaluate"], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: compute.address is 127.0.0.1:1, but no Ray cluster can be used there (")
    assert len(done.stderr.splitlines()) == 1
