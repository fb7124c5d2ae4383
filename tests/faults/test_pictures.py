"""The pictures of docs/. It takes half a minute, most of it to wait for pages to be drawn."""

import re
import shutil

from conftest import ROOT, nightly, shell
from PIL import Image


@nightly
def test_the_pictures_of_the_pages_are_taken_where_the_tutorial_was_followed(tutorial, browser):
    project, _ = tutorial
    shutil.rmtree(project / "docs/pictures")
    shell("python", "-m", "docs.pictures", cwd=project, PYTHONPATH="src")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    taken = {path.name: Image.open(path).convert("L") for path in (project / "docs/pictures").iterdir()}
    assert set(taken) == set(re.findall(r"\]\((?:docs/)?pictures/(\S+)\)", text))
    for name, picture in taken.items():
        assert picture.width > 1000, name
        assert len(picture.getcolors()) > 50, name
