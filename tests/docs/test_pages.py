"""The pages that are written from results: each is what its results make, and none is written without results."""

import pytest

from benchmarks.pool import RESULTS
from docs import claims, cnn_paper, laptop, performance, resnet50_paper, scaling, shortcuts
from glassbox.core import files
from glassbox.core.errors import UserError

PAGES = {
    claims: lambda: files.read_json(RESULTS / "simulation.json"),
    cnn_paper: cnn_paper.load,  # with tuned runs in columns of their own, and two searches
    laptop: laptop.load,
    performance: lambda: {path.stem: files.read_json(path) for path in sorted(performance.RESULTS.glob("*.json"))},
    resnet50_paper: resnet50_paper.load,
    scaling: scaling.results,
    shortcuts: shortcuts.load,
}


@pytest.mark.parametrize("module", PAGES, ids=lambda module: module.PAGE.stem)
def test_the_page_in_the_repository_is_what_its_results_make(module):
    assert module.page(PAGES[module]()) == module.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "folder", "reason"),
    [
        (cnn_paper, "RUNS", "holds no run"),
        (resnet50_paper, "RUNS", "holds no run"),
        (performance, "RESULTS", "'make bench' makes them"),
        (scaling, "RESULTS", "'python -m benchmarks cluster' makes them"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_without_results_there_is_no_page(tmp_path, monkeypatch, module, folder, reason):
    if module is scaling:  # results of other subjects do not count
        files.write_json(tmp_path / "some-cpu-1-threads.json", {"lime": {}})
    monkeypatch.setattr(module, folder, tmp_path)
    monkeypatch.setattr("sys.argv", [module.__name__])
    with pytest.raises(UserError, match=reason):
        module.main()
