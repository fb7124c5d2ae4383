from docs import scaling

MACHINE = {"processor": "Some CPU", "torch": "2.15.0", "versions": {"optuna": "5.0.0", "mlflow": "3.17.2"}}


def trials(workers, useful):
    return {"workers": workers, "useful": useful, "seconds": 9.0, "processor_seconds_a_trial": 0.1 + 12 * 0.005 + 0.064}


def images(workers, useful, seconds):
    return {"workers": workers, "useful": useful, "processor_seconds_a_part": seconds}


def others(n):
    """A trial takes 40 ms and each of its ten epochs 6 ms; each of n others adds 1 ms, and 0.1 ms per epoch."""
    seconds = {"seconds_a_trial": 0.04 + 0.001 * n, "seconds_an_epoch": 0.006 + 0.0001 * n}
    return {"trials": n, "seconds_to_open": 0.5} | seconds


def row(name, *points, ratios=(), **more):
    return {"name": name, "points": points, "ratios": ratios} | more


SHAP = {"this process": 2.0, "1 worker": 2.5, "2 workers": 1.25, "2 processes apart": 1.2}
TRAINING = {"this process": 1000.0, "1 worker": 900.0, "2 workers": 1350.0}
MAPS = {"maps": 1000, "seconds": 2.0, "processor_seconds": 0.8, "mib": 11.0, "store_mib": 7.0}
ROWS = [
    row("Shapley values", unit="s", medians=SHAP),
    row("training", unit="images/s", medians=TRAINING),
    row("trials of 10 s", trials(2, 0.99), trials(32, 0.96)),
    row("images of 0.2 s", images(2, 0.98, 0.01), images(32, 0.97, 0.004)),
    row("trials of 10 s, libraries shared", trials(64, 0.9)),
    row("a trial with others behind", others(0), others(1000)),
    row("a trial with others beside", others(32), others(320), others(3200)),
    row("rows and files of an MLflow server", {"milliseconds_a_trial": 50.0, "mib_a_second": 70.0}),
    row("maps made by 2 workers", MAPS, ratios=[{"ratio": 0.5}]),
]
RESULTS = {"machine": MACHINE, "rows": ROWS}


def test_what_was_measured_stands_on_the_page():
    text = scaling.page(RESULTS)
    assert "| Shapley values | 2 s | 2.5 s | 1.25 s | 1.2 s | 2.00 |" in text
    assert "| training | 1,000 images/s | 900 images/s | 1,350 images/s |  | 1.50 |" in text
    assert "| 32 | 96.0 % | 97.0 % |  | 224 ms |" in text
    assert "| 64 |  |  | 90.0 % | 224 ms |" in text
    assert "| 1,000 behind | 1040 ms | 106.0 ms | 0.50 s |" in text
    assert "| 1,000 | 2 s | 0.80 ms | 11 MiB | 7 MiB |" in text
    assert "The bar was 95 % with 32 workers and trials of ten seconds: 96.0 %." in " ".join(text.split())


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
