"""What a module is made of, worked out on a small repository, and what follows from it in the real one."""

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
    assert names(repository, fingerprint.sources("stages.train")) == [
        "src/glassbox/__init__.py", "src/glassbox/core/__init__.py", "src/glassbox/core/files.py",
        "src/glassbox/networks/__init__.py", "src/glassbox/networks/one.py", "src/glassbox/networks/two.py",
        "src/glassbox/training/__init__.py", "src/glassbox/training/loop.py", "stages/__init__.py", "stages/train.py",
    ]  # fmt: skip
    pages = {"src/glassbox/report/page.html", "src/glassbox/report/page.py"}
    assert pages < set(names(repository, fingerprint.sources("stages.report")))


def test_dependencies_name_whole_folders_and_no_packages_that_say_what_they_are(repository):
    assert fingerprint.dependencies("train") == [
        "src/glassbox/core/files.py", "src/glassbox/networks", "src/glassbox/training/loop.py", "stages/__init__.py",
        "stages/train.py",
    ]  # fmt: skip
    assert set(fingerprint.dependencies("train")) < set(fingerprint.dependencies("report")), "it keeps all of the code"


@pytest.mark.parametrize(
    ("name", "same"),
    [("src/glassbox/core/files.py", False), ("src/glassbox/networks/two.py", False), ("stages/train.py", False),
     ("src/glassbox/core/seeds.py", True), ("src/glassbox/report/page.py", True)],
)  # fmt: skip
def test_a_digest_changes_with_what_it_is_of_and_with_nothing_else(repository, code_in, name, same):
    before = fingerprint.digest("stages.train")
    (repository / name).write_text("x = 2")
    code_in(repository)
    assert (fingerprint.digest("stages.train") == before) == same


def test_a_package_has_the_same_digest_at_another_place(repository, tmp_path, code_in):
    """As on a worker of a cluster, where it lies in no src/."""
    before = fingerprint.digest("glassbox.training.loop")
    shutil.copytree(repository / "src", tmp_path / "elsewhere/src")
    code_in(tmp_path / "elsewhere")
    assert fingerprint.digest("glassbox.training.loop") == before


def test_what_is_no_module_of_this_project_is_refused():
    for name in ("glassbox.nothing", "numpy", "stages.nothing"):
        with pytest.raises(FileNotFoundError, match=f"there is no module {name} in "):
            fingerprint.sources(name)


def test_every_stage_is_made_of_its_script_and_nothing_of_the_command_line():
    for stage in fingerprint.STAGES:
        found = names(ROOT, fingerprint.sources(f"stages.{stage}"))
        assert f"stages/{stage}.py" in found
        assert "src/glassbox/cli.py" not in found
