import json

import pytest

from docs import scaling
from glassbox.core.errors import UserError

MACHINE = {"processor": "Some CPU", "torch": "2.15.0", "versions": {"optuna": "5.0.0", "mlflow": "3.17.2"}}


def of_trials(workers, useful):
    return {"workers": workers, "useful": useful, "seconds": 9.0, "processor_seconds_a_trial": 0.1 + 12 * 0.005 + 0.064}


def others(n):
    """40 ms and 6 ms an epoch, of which there are ten; for each other 1 ms, and 0.1 ms an epoch."""
    return {
        "trials": n,
        "seconds_to_open": 0.5,
        "seconds_a_trial": 0.04 + 0.001 * n,
        "seconds_an_epoch": 0.006 + 0.0001 * n,
    }


RESULTS = {"machine": MACHINE, "rows": [
    {"name": "Shapley values", "unit": "s", "ratios": [],
     "medians": {"this process": 2.0, "1 worker": 2.5, "2 workers": 1.25, "2 processes apart": 1.2}},
    {"name": "training", "unit": "images/s", "ratios": [],
     "medians": {"this process": 1000.0, "1 worker": 900.0, "2 workers": 1350.0}},
    {"name": "trials of 10 s", "points": [of_trials(2, 0.99), of_trials(32, 0.96)], "ratios": []},
    {"name": "images of 0.2 s", "points": [{"workers": 2, "useful": 0.98, "processor_seconds_a_part": 0.01},
                                           {"workers": 32, "useful": 0.97, "processor_seconds_a_part": 0.004}]},
    {"name": "trials of 10 s, libraries shared", "points": [of_trials(64, 0.9)]},
    {"name": "a trial with others behind", "points": [others(0), others(1000)]},
    {"name": "a trial with others beside", "points": [others(32), others(320), others(3200)]},
    {"name": "rows and files of an MLflow server", "points": [{"milliseconds_a_trial": 50.0, "mib_a_second": 70.0}]},
    {"name": "maps made by 2 workers", "ratios": [{"ratio": 0.5}],
     "points": [{"maps": 1000, "seconds": 2.0, "processor_seconds": 0.8, "mib": 11.0, "store_mib": 7.0}]},
]}  # fmt: skip


def test_what_was_measured_stands_on_the_page():
    text = scaling.page(RESULTS)
    assert "| Shapley values | 2 s | 2.5 s | 1.25 s | 1.2 s | 2.00 |" in text
    assert "| training | 1,000 images/s | 900 images/s | 1,350 images/s |  | 1.50 |" in text
    assert "| 32 | 96.0 % | 97.0 % |  | 224 ms |" in text
    assert "| 64 |  |  | 90.0 % | 224 ms |" in text
    assert "| 1,000 behind | 1040 ms | 106.0 ms | 0.50 s |" in text
    assert "| 1,000 | 2 s | 0.80 ms | 11 MiB | 7 MiB |" in text
    assert "Asked for was 95 % with 32 workers and trials of ten seconds: 96.0 %." in " ".join(text.split())


def test_what_is_full_when_is_what_one_works_out_on_paper():
    """Of the measured trial with 32 workers 0.1 + 32 * 0.002 s are Optuna's, the rest is 5 ms for each of 12 records. A
    trial of 20 epochs takes 0.16 + 22 * 0.005 = 0.27 s, and 3 ms for each of the others beside and behind it, of which
    there are 20,000 in the middle: 60.27 s. With w at once, w / 600 begin in a second: a core is busy at w / 600 (60.27
    + 0.003 w) = 1, w = 9.95, which is 2.5 GPUs; 4,000 at once want 4000 / 600 * 72.27 = 481.8 cores. With 1,000 behind,
    w / 600 (3.27 + 0.003 w) = 1, w = 159.9."""
    text = scaling.page(RESULTS)
    rows = [line.split(" | ") for line in text.splitlines() if line.endswith(" |") and " GPUs | " in line]
    full = {row[0].removeprefix("| "): row[3] for row in rows if row[3][0].isdigit()}
    assert full == {
        "the process that draws and prunes, its processor": "2 GPUs",
        "its link, maps of 224 pixels": "6,200 GPUs",  # 1.25e9 bytes a second / (4 * 224^2)
        "each machine's link, images of 224 pixels": "8,300 GPUs",
        "rows of trials": "3,000 GPUs",  # 20 a second * 600 s / 4
        "the process that gathers maps, its processor": "250 GPUs",  # 4 ms each
    }
    places = [text.index(f"| {name} |") for name in full]
    assert places == sorted(places), "in the order in which they are full"
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("|"))
    text = " ".join(text.split())
    assert "481.8 of 1 core" in text
    assert "6.7 of 20 a second" in text
    assert "what is full first is the process that draws and prunes, its processor, at 2 GPUs." in text
    assert "needs 60.3 s for a trial when half of 40,000 lie behind it" in text
    assert "when 1,000 lie behind, it is full at 40 GPUs." in text
    assert "| numbers of maps, in the stage's process | 3.5 KiB | 3.3 GiB | 19,000,000 images in 64 GiB |" in text


def test_the_page_is_that_of_the_results_that_lie_here():
    assert scaling.page(scaling.results()) == scaling.PAGE.read_text(encoding="utf-8")


def test_without_results_it_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    (tmp_path / "some-cpu-1-threads.json").write_text(json.dumps({"lime": {}}))
    with pytest.raises(UserError, match="'python -m benchmarks cluster' makes them"):
        scaling.results()
