"""What a module depends on, worked out on paper for a small repository, and what follows in the real one."""

import shutil

import pytest
from conftest import ROOT

from glassbox.provenance import fingerprint

REPOSITORY = {
    "stages/__init__.py": "import sys",
    "stages/train.py": "def main():\n    from glassbox.training import loop",
    "stages/report.py": "from glassbox.report import page",
    "src/glassbox/__init__.py": '"""What it is."""',
    "src/glassbox/core/__init__.py": '"""What it is."""',
    "src/glassbox/core/files.py": "import os",
    "src/glassbox/core/seeds.py": "",
    "src/glassbox/report/__init__.py": "",
    "src/glassbox/report/page.py": "import glassbox.core.files",
    "src/glassbox/report/page.html": "<p>",
    "src/glassbox/training/__init__.py": "",
    "src/glassbox/training/loop.py": (
        "from importlib import import_module\nfrom typing import TYPE_CHECKING\nfrom glassbox.core import files\n"
        "if TYPE_CHECKING:\n    from glassbox.report import page\n"
        "def make(name):\n    return import_module(f'glassbox.networks.{name}')"
    ),
    "src/glassbox/networks/__init__.py": '"""What it is."""',
    "src/glassbox/networks/one.py": "",
    "src/glassbox/networks/two.py": "from glassbox.core.files import whatever",
}


@pytest.fixture
def repository(tmp_path, code_in):
    for name, text in REPOSITORY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code_in(tmp_path, "stages.train", "stages.report")
    return tmp_path


def names(root, paths):
    return [path.relative_to(root).as_posix() for path in paths]


def test_sources_are_the_closure_of_imports(repository):
    """Inside functions, through others and by a name that is known later; not for type checkers."""
    absent = ("core/seeds.py", "report/__init__.py", "report/page.py", "report/page.html")
    assert names(repository, fingerprint.sources("stages.train")) == sorted(
        REPOSITORY.keys() - {"stages/report.py", *(f"src/glassbox/{name}" for name in absent)}
    )
    pages = {"src/glassbox/report/page.html", "src/glassbox/report/page.py"}
    assert pages < set(names(repository, fingerprint.sources("stages.report")))


def test_dependencies_name_whole_folders_and_no_packages_with_only_a_docstring(repository):
    package = ["src/glassbox/core/files.py", "src/glassbox/networks", "src/glassbox/training/loop.py"]
    assert fingerprint.dependencies("train") == [*package, "stages/__init__.py", "stages/train.py"]
    assert set(fingerprint.dependencies("train")) < set(fingerprint.dependencies("report")), "it stores all of the code"


def test_a_digest_changes_only_with_the_sources(repository, code_in):
    changed = []
    for name in REPOSITORY:
        before = fingerprint.digest("stages.train")
        with (repository / name).open("a") as file:
            file.write("\n")
        code_in(repository)
        if fingerprint.digest("stages.train") != before:
            changed.append(name)
    assert sorted(changed) == names(repository, fingerprint.sources("stages.train"))


def test_a_package_has_the_same_digest_at_another_place(repository, tmp_path, code_in):
    """As on a worker of a cluster."""
    before = fingerprint.digest("glassbox.training.loop")
    shutil.copytree(repository / "src", tmp_path / "elsewhere/src")
    code_in(tmp_path / "elsewhere")
    assert fingerprint.digest("glassbox.training.loop") == before


def test_the_users_own_networks_belong_to_the_code_that_makes_them(repository, code_in, monkeypatch):
    own = ["networks/mine.py", "networks/parts/blocks.py"]
    for name in (*own, "networks/notes.md", "src/glassbox/models/networks/own_function.py"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("")
    monkeypatch.chdir(repository)
    assert not set(own) & set(names(repository, fingerprint.sources("stages.train")))
    assert "networks" not in fingerprint.dependencies("train")

    with (repository / "stages/train.py").open("a") as file:
        file.write("\n    from glassbox.models.networks import own_function")
    code_in(repository, "stages.train")
    assert set(own) < set(names(repository, fingerprint.sources("stages.train")))
    assert [path for path in fingerprint.dependencies("train") if path.startswith("networks")] == ["networks"]
    before = fingerprint.digest("glassbox.models.networks.own_function")
    worker = repository / "a worker's"
    shutil.copytree(repository / "networks", worker / "networks")
    monkeypatch.chdir(worker)
    code_in(repository, "stages.train")
    assert fingerprint.digest("glassbox.models.networks.own_function") == before, "they lie where a worker runs"
    (worker / own[1]).write_text("x = 1")
    assert fingerprint.digest("glassbox.models.networks.own_function") != before


@pytest.mark.parametrize("name", ["glassbox.nothing", "numpy", "stages.nothing"])
def test_another_name_than_a_module_of_this_project_is_refused(name):
    with pytest.raises(FileNotFoundError, match=f"there is no module {name} in "):
        fingerprint.sources(name)


def test_every_stage_depends_on_its_script_and_not_on_the_command_line():
    for stage in fingerprint.STAGES:
        sources = names(ROOT, fingerprint.sources(f"stages.{stage}"))
        assert f"stages/{stage}.py" in sources
        assert "src/glassbox/cli.py" not in sources
