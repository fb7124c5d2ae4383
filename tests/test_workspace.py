"""What a kill leaves of DVC's own files."""

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from glassbox import workspace

LOCK = """\
schema: '2.0'
stages:
  prepare:
    cmd: python -m stages.prepare
    deps:
    - path: data/raw
      hash: md5
      md5: d751713988987e9331980363e24189ce.dir
      size: 0
      nfiles: 0
    - path: stages/prepare.py
      hash: md5
      md5: 20f1b7e8e1e8b9d3b4a7ea0fba6f1c9e
      size: 1042
    params:
      params.yaml:
        data.limit:
        data.convert: []
    outs:
    - path: data/prepared
      hash: md5
      md5: 7d1cbb5cf6b0d29d5d3c9c3f66b5e1a1.dir
      size: 70
      nfiles: 2
  tune:
    cmd: python -m stages.tune
"""


def taken_by_dvc(text: str) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text) or {})
    except (YAMLError, Invalid):
        return False
    return True


def test_wherever_dvc_was_killed_while_it_wrote_its_lock_what_stays_is_taken_by_dvc(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lock = tmp_path / "dvc.lock"
    lock.write_text(LOCK)
    workspace.mend()
    assert lock.read_text() == LOCK, "a whole one stays"
    assert capsys.readouterr().out == ""
    stayed = 0
    for length in range(len(LOCK)):
        lock.write_text(LOCK[:length])
        workspace.mend()
        if lock.exists():
            stayed += 1
            assert taken_by_dvc(LOCK[:length]), LOCK[:length][-40:]
    assert 0 < stayed < len(LOCK) - 1
    assert "dvc.lock was cut off when DVC was stopped: it is now dvc.lock.damaged\n" in capsys.readouterr().out
