import json

import pytest

from docs import scaling
from glassbox.errors import UserError

MACHINE = {"processor": "Some CPU", "torch": "2.15.0", "versions": {"optuna": "5.0.0", "mlflow": "3.17.2"}}


def of_trials(workers, useful):
    return {"workers": workers, "useful": useful, "seconds": 9.0, "server_seconds_a_trial": 0.05 + 9 * 0.01,
            "server_mib_a_worker": 8.0}  # fmt: skip


def beside(n):  # 0.018 s, and 1 ms for each other that runs
    server = 0.018 + 0.001 * n
    return {"trials": n, "seconds": 9.0, "server_seconds": 9.0, "seconds_later": 0.1 + 0.0005 * n,
            "server_seconds_later": server}  # fmt: skip


RESULTS = {"machine": MACHINE, "rows": [
    {"name": "KernelSHAP", "unit": "s", "ratios": [],
     "medians": {"this process": 2.0, "1 worker": 2.5, "2 workers": 1.25, "2 processes apart": 1.2}},
    {"name": "training", "unit": "images/s", "ratios": [],
     "medians": {"this process": 1000.0, "1 worker": 900.0, "2 workers": 1350.0}},
    {"name": "trials of 10 s", "points": [of_trials(2, 0.99), of_trials(32, 0.96)], "ratios": []},
    {"name": "images of 0.2 s", "points": [{"workers": 2, "useful": 0.98, "processor_seconds_a_part": 0.01},
                                           {"workers": 32, "useful": 0.97, "processor_seconds_a_part": 0.004}]},
    {"name": "trials of 10 s, libraries shared", "points": [of_trials(64, 0.9)]},
    {"name": "a trial with others behind", "points": [beside(0), beside(1000)]},
    {"name": "a trial with others beside", "points": [beside(32), beside(320), beside(3200)]},
    {"name": "rows and files of an MLflow server", "points": [{"milliseconds_a_trial": 50.0, "mib_a_second": 70.0}]},
    {"name": "maps made by 2 workers", "ratios": [{"ratio": 0.5}],
     "points": [{"maps": 1000, "seconds": 2.0, "processor_seconds": 0.8, "mib": 11.0, "store_mib": 7.0}]},
]}  # fmt: skip


def test_what_was_measured_stands_on_the_page():
    text = scaling.page(RESULTS)
    assert "| KernelSHAP | 2 s | 2.5 s | 1.25 s | 1.2 s | 2.00 |" in text
    assert "| training | 1,000 images/s | 900 images/s | 1,350 images/s |  | 1.50 |" in text
    assert "| 32 | 96.0 % | 97.0 % |  | 140 ms |" in text
    assert "| 64 |  |  | 90.0 % | 140 ms |" in text
    assert "| 1,000 behind | 9.00 s | 9.00 s | 0.60 s | 1.02 s |" in text
    assert "| 1,000 | 2 s | 0.80 ms | 11 MiB | 7 MiB |" in text
    assert "Asked for was 95 % with 32 workers and trials of ten\nseconds: 96.0 %." in text


def test_what_is_full_when_is_what_one_works_out_on_paper():
    """A trial of 20 epochs takes 0.018 + 19 * 0.01 s of the database, and 1 ms for each other. With w at once, w / 600
    begin in a second: 16 cores are busy at w / 600 (0.208 + w / 1000) = 16, w = 2,997, which is 749 GPUs; 4,000 at once
    want 4000 / 600 * 4.208 = 28.1 cores."""
    text = scaling.page(RESULTS)
    rows = [line.split(" | ") for line in text.splitlines() if line.endswith(" |") and " GPUs | " in line]
    full = {row[0].removeprefix("| "): row[3] for row in rows if row[3][0].isdigit()}
    assert full == {
        "the database's connections": "38 GPUs",  # 300 / 2 / 4, to two digits
        "its link, maps of 224 pixels": "6,200 GPUs",  # 1.25e9 bytes a second / (4 * 224^2)
        "each machine's link, images of 224 pixels": "8,300 GPUs",
        "the database's memory": "2,000 GPUs",  # 64 GiB / 8 MiB / 4
        "the database's processor": "750 GPUs",
        "rows of trials": "3,000 GPUs",  # 20 a second * 600 s / 4
        "the process that gathers maps, its processor": "250 GPUs",  # 4 ms each
    }
    places = [text.index(f"| {name} |") for name in full]
    assert places == sorted(places), "in the order in which they are full"
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("|"))
    text = " ".join(text.split())
    assert "28.1 of 16 cores" in text
    assert "8,000 of 300" in text
    assert "6.7 of 20 a second" in text
    assert "what is full first is the process that gathers maps, its processor, at 250 GPUs;" in text
    assert "a worker needs 2.0 s to draw a trial beside 4,000 others, and 20.0 s more when 40,000 lie behind" in text
    assert "| numbers of maps, in the stage's process | 3.5 KiB | 3.3 GiB | 19,000,000 images in 64 GiB |" in text


def test_the_page_is_that_of_the_results_that_lie_here():
    assert scaling.page(scaling.results()) == scaling.PAGE.read_text(encoding="utf-8")


def test_without_results_it_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    (tmp_path / "some-cpu-1-threads.json").write_text(json.dumps({"lime": {}}))
    with pytest.raises(UserError, match="'python -m benchmarks cluster' makes them"):
        scaling.results()
