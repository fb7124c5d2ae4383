"""How a cluster is joined and left. No cluster is needed: Ray's connection is replaced."""

import sys

import pytest
import ray

from glassbox.core.errors import UserError
from glassbox.execution.engine import start
from glassbox.execution.ray_cluster import connection, limits


@pytest.fixture
def settings(params, monkeypatch):
    """The section `compute` for a cluster that does nothing."""
    monkeypatch.setattr(connection, "RayEngine", lambda settings: settings)
    monkeypatch.setattr(connection.address, "check", lambda settings: None)
    return params.compute.model_copy(update={"engine": "ray", "address": "10.0.0.1:6379"})


@pytest.mark.parametrize(("executable", "quoted"), [("/a/bin/python", None), ("/a b/bin/python", "'/a b/bin/python'")])
@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_a_path_of_python_with_a_space_is_quoted_or_noted(settings, monkeypatch, capsys, executable, quoted, address):
    """Ray starts workers by a shell, to which it does not quote the path of Python."""
    joined = []
    monkeypatch.setattr(ray, "init", lambda where, runtime_env, **_: joined.append((where, runtime_env)))
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with start(settings.model_copy(update={"address": address})):
        ((where, runtime_env),) = joined
    assert where == (address or "local"), "without an address a cluster is started, and no running one joined"
    assert runtime_env.get("py_executable") == (None if address else quoted)
    is_noted = "another special character of shells in its path, Ray cannot start workers" in capsys.readouterr().err
    assert is_noted == (quoted is not None and address is not None)


@pytest.mark.parametrize("failures", [limits.RETRIES, limits.RETRIES + 1])
def test_a_head_that_fails_to_serve_is_tried_again(settings, monkeypatch, capsys, failures):
    """The process that a head starts for a client may crash as it is forked; this is the error of Ray's client."""
    trace = "Traceback (most recent call last):\n  File ...\nRuntimeError: Starting Ray client server failed."
    errors = [ConnectionAbortedError(f"Initialization failure from server:\n{trace}")] * failures

    def init(*_, **options):
        if errors:
            raise errors.pop()

    monkeypatch.setattr(ray, "init", init)
    if failures == limits.RETRIES:
        with start(settings):
            pass
        assert capsys.readouterr().err.count("the cluster's head could not serve this stage: trying again") == failures
    else:
        message = r"there \(Initialization failure from server: RuntimeError: Starting Ray client server failed\.\)"
        with pytest.raises(UserError, match=message), start(settings):
            pass
    assert not errors


def test_a_lost_connection_to_the_cluster_is_one_sentence(settings, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda *_, **options: None)
    message = r"^the connection to the cluster at 10.0.0.1:6379 was lost \(Client is shutting down\.\): when it is back"
    with pytest.raises(UserError, match=message), start(settings):
        raise ConnectionError("Client is shutting down.")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(ConnectionError, match=r"^to something else$"), start(settings):
        raise ConnectionError("to something else")
