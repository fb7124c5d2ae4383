import json

from docs import performance

MACHINE = {
    "processor": "Some CPU",
    "threads": 2,
    "gpu": None,
    "python": "3.11.0",
    "torch": "2.15.0",
    "commit": "0" * 40,
}


def ratio(name, value, bar=None, holds=None):
    return {"name": name, "ratio": value, "bar": bar, "holds": holds}


def measured(name, **row):
    return {"machine": MACHINE | {"versions": {"numpy": "2.4.0"}}, "rows": [{"name": name} | row]}


LIME = {"lime": 0.9, "glassbox": 0.36, "bare forward": 0.3}
RATIOS = [
    ratio("lime / glassbox", 2.51, "at least 2.5", True),
    ratio("glassbox / bare forward", 1.2345, "at most 1.2", False),
]
SCALING = {"axis": "explained images", "values": [10, 1000], "seconds_exponent": 1.02, "mib_in_all_exponent": 0.01}
POINTS = [{"seconds": 1, "mib": 10, "mib_in_all": 500}, {"seconds": 100, "mib": 11, "mib_in_all": 501}]
RESULTS = {
    "lime": measured("LIME, 4 images", unit="s", medians=LIME, ratios=RATIOS),
    "shapley": measured("12 players", ratios=[ratio("error: ours / theirs", 0.5)]),
    "scaling": measured("explain", ratios=[ratio("KiB more for each image", 0.25)], points=POINTS, **SCALING),
}


def test_what_was_measured_stands_on_the_page(tmp_path, monkeypatch, capsys):
    (tmp_path / "some-cpu-2-threads.json").write_text(json.dumps(RESULTS))
    monkeypatch.setattr(performance, "RESULTS", tmp_path)
    monkeypatch.setattr(performance, "HERE", tmp_path / "docs")
    monkeypatch.setattr(performance, "PAGE", tmp_path / "docs" / "performance.md")
    performance.main()
    text = (tmp_path / "docs" / "performance.md").read_text()
    assert "written: docs/performance.md" in capsys.readouterr().out
    assert "## Some CPU, 2 threads" in text
    assert "| `lime` | LIME, 4 images | lime / glassbox | 900 ms | 360 ms | 2.51 | at least 2.5 | yes |" in text
    assert "| 360 ms | 300 ms | 1.23 | at most 1.2 | **no** |" in text
    assert "| `shapley` | 12 players | error: ours / theirs |  |  | 0.5 |  |  |" in text
    assert "| `lime` | a bare forward pass of the same images in the same precision | 83 % |" in text
    assert "10: 1 s, 10 MiB; 1,000: 1e+02 s, 11 MiB | 1.02 | 0.01 | KiB more for each image: 0.25 |" in text


def test_every_ceiling_is_measured():
    measured = {name for path in performance.RESULTS.glob("*.json") for name in json.loads(path.read_text())}
    assert set(performance.CEILINGS) <= measured
