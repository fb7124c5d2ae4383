"""docs/scaling.md: what `python -m benchmarks cluster` measured, and how far that carries on paper.

    python -m docs.scaling        write the page

Every figure is measured, or computed here from measured ones and the assumptions below.
"""

import textwrap
from typing import Any

import numpy as np

from docs.performance import HERE, RESULTS
from docs.runs import table
from glassbox.core import files
from glassbox.core.errors import UserError, run

PAGE = HERE / "scaling.md"
# What is assumed of the large cluster.
GPUS, TO_A_MACHINE, TO_A_GPU = 1_000, 8, 4  # GPUs, GPUs of a machine, trials on a GPU (tune.gpus: 0.25)
TRIAL, EPOCHS, TRIALS = 600.0, 20, 40_000  # seconds, epochs, trials of the search
IMAGES, EXPLAINERS, MAP = 1_000_000, 7, 1.0  # images, explainers, seconds of a GPU for a map
MEMORY, LINK = 64 * 2**30, 10e9 / 8  # of a server: bytes, bytes a second
FEW = 1_000  # trials of a search that is not so long
REPORTED = 10  # epochs of a measured trial
SMALL, LARGE = 32, 224  # pixels a side
GIB = 2**30

HEAD = """# How far a cluster carries

Made by `python -m docs.scaling` from what `python -m benchmarks cluster` measured on {machine}, which is head, worker,
laptop and MLflow's server at once: {versions}. The first lines of the benchmark describe exactly what it does;
[cluster.md](cluster.md) describes how a cluster is started.

## Measured

### Two workers on two cores
"""

WAITING = """
"2 processes apart" run without Ray and independently: what this machine gives two processes at a time. Handing the
work to one worker costs what stands between the first two columns. In training Ray Train's own processes share the two
cores. Two that train together have the loss curve of one, for which they exchange every step's gradients and the sums
of batch norm, and both draw dropout's numbers for the whole batch.

### Workers that only wait

The search is the real one, with trials that sleep for five to fifteen seconds, each in ten epochs that are reported,
after which a worker waits until it may continue. Useful is the share of their time in which workers sleep; the rest is
the one process that draws and prunes for all, Ray, and two cores for all of them, that process included.
"""

SHARING = """
(64 workers of Ray do not fit in this machine's memory: each takes a third of a GiB for PyTorch. "Libraries shared" are
processes that were forked, with the same search.) The bar was 95 % with 32 workers and trials of ten
seconds: {reached:.1f} %.

### Searches that are long or wide

What the stage's process needs for one trial, when others lie behind it, from which it draws, or run beside it, which it
keeps away from:
"""

ROWS = """
The file is opened once, when a stage begins.

### MLflow's server

With PostgreSQL behind it a trial of ten epochs takes {trial:.0f} ms to log, in requests that wait for one another, and
files go through it to its artifacts at {upload:.0f} MiB a second. A search does not wait for it: rows are written by a
process beside the stage, which is waited for when the stage ends.

### Maps through a stage

By Grad-CAM on images of 32 pixels, 4 KiB a map, with the scores, the table and the file; two workers:
"""

PAPER = """
A map's numbers stay in memory until the table is written, {kib:.2f} KiB each; the maps are in files.

## 1,000 GPUs and a million images, on paper

Assumed: machines of {a_machine} GPUs; servers (MLflow, head) and the laptop with cores as fast as the measured
ones, {memory} GiB and 10 Gb/s. A search of {trials:,} trials, each of {epochs} epochs in {minutes:.0f} minutes,
{to_a_gpu} on a GPU at a time (`tune.gpus: 0.25`): {at_once:,} at once on {gpus:,} GPUs. Explanations that take a GPU
{seconds:.0f} second each, as LIME and Shapley values of a ResNet-50, by {explainers} explainers: {hours:.1f} hours for
a million images.

In the order in which they are full:
"""

IN_IMAGES = """
What fills with the number of images, whatever the number of GPUs:
"""

END = """
So what is full first is {first}, at {full} GPUs. One process draws for all workers, and needs {draw:.1f} s for a trial
when half of {trials:,} lie behind it, which TPE reads all of; when {few:,} lie behind, it is full at {full_of_few}
GPUs. Nothing else is in the way of all workers at once: networks and training images are sent to each machine once, and
workers write nothing.

One training does not belong on {gpus:,} GPUs: with {batch} images on each, a batch has {whole:,}, and in each step
every process sends and takes {gradients:.0f} MB of a ResNet-50's gradients, {step:.2f} s at 10 Gb/s, while its
arithmetic takes about a tenth of a second. `train.workers` is for the GPUs of a machine or two; others train other
seeds, as studies of their own (`dvc exp run --queue`).

What is not on this page was not measured: no GPU and no second machine were at hand.
"""


def results() -> dict[str, Any]:
    """The subject "cluster", of the one machine that has it.

    Raises:
        UserError: no machine has it, or more than one.
    """
    found = [
        content["cluster"] for path in sorted(RESULTS.glob("*.json")) if "cluster" in (content := files.read_json(path))
    ]
    if len(found) != 1:
        raise UserError(
            f"{RESULTS} holds {len(found)} results of a cluster, not one: 'python -m benchmarks cluster' makes them"
        )
    return found[0]


def efficiency(rows: list[dict[str, Any]]) -> str:
    """What two workers gain."""
    names = ["this process", "1 worker", "2 workers", "2 processes apart"]
    lines = []
    for row in rows:
        unit, medians = row["unit"], row["medians"]
        values = [f"{float(f'{medians[name]:.3g}'):,g} {unit}" if name in medians else "" for name in names]
        gain = medians[names[1]] / medians[names[2]] if unit == "s" else medians[names[2]] / medians[names[1]]
        lines.append([row["name"], *values, f"{gain:.2f}"])
    return table(["work", *names, "2 workers / 1"], lines)


def waiting(trials: list[dict[str, Any]], images: list[dict[str, Any]], sharing: list[dict[str, Any]]) -> str:
    """Useful shares, by the number of workers."""
    columns = [{point["workers"]: point for point in points} for points in (trials, images, sharing)]
    lines = []
    for workers in sorted(set().union(*columns)):
        shares = [f"{100 * column[workers]['useful']:.1f} %" if workers in column else "" for column in columns]
        of = columns[0].get(workers) or columns[2][workers]
        lines.append([str(workers), *shares, f"{1000 * of['processor_seconds_a_trial']:.0f} ms"])
    return table(["workers", "trials of 10 s", "images of 0.2 s", "trials of 10 s, libraries shared",
                  "the stage's processor, a trial"], lines)  # fmt: skip


def history(behind: list[dict[str, Any]], beside: list[dict[str, Any]]) -> str:
    """Seconds of the stage's process for a trial."""
    lines = [
        [
            f"{point['trials']:,} {where}",
            f"{1000 * point['seconds_a_trial']:.0f} ms",
            f"{1000 * point['seconds_an_epoch']:.1f} ms",
            f"{point['seconds_to_open']:.2f} s",
        ]
        for where, points in (("behind", behind), ("beside", beside))
        for point in points
    ]
    return table(["others", "to draw and end a trial", "to take an epoch's report", "to open the file"], lines)


def maps(points: list[dict[str, Any]]) -> str:
    """Time and memory of a stage."""
    lines = [
        [f"{p['maps']:,}", f"{p['seconds']:.0f} s", f"{1000 * p['processor_seconds'] / p['maps']:.2f} ms",
         f"{p['mib']:.0f} MiB", f"{p['store_mib']:.0f} MiB"] for p in points
    ]  # fmt: skip
    return table(["maps", "in all", "processor of the stage's process, a map", "its memory", "Ray's store"], lines)


def line(points: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """(a, b) of the least-squares line a + b n through a cost by number of trials."""
    b, a = np.polyfit([point["trials"] for point in points], [point[name] for point in points], 1)
    return float(a), float(b)


def rounded(value: float) -> str:
    """To two digits: what is computed from measurements is no better."""
    return f"{float(f'{value:.2g}'):,.0f}"


def wide(named: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The table of what is full at how many GPUs, and what the text needs."""
    at_32 = next(point for point in named["trials"]["points"] if point["workers"] == 32)

    def of_trial(kind: str, epochs: int) -> tuple[float, float]:
        """Seconds of a trial that is alone, and for each other behind or beside it."""
        points = named[kind]["points"]
        (a, b), (c, d) = line(points, "seconds_a_trial"), line(points, "seconds_an_epoch")
        return a + c * epochs, b + d * epochs

    # What is not Optuna's in the measured trials is Ray's, for each of their records.
    alone, beside = of_trial("beside", REPORTED)
    of_record = max(0.0, at_32["processor_seconds_a_trial"] - (alone + 32 * beside)) / (REPORTED + 2)
    (alone, beside), (_, behind) = of_trial("beside", EPOCHS), of_trial("behind", EPOCHS)
    alone += of_record * (EPOCHS + 2)

    def full_with(others: int) -> float:
        """GPUs whose trials keep the process busy all the time, when so many lie behind."""
        return float(np.roots([beside / TRIAL, (alone + behind * others) / TRIAL, -1]).max() / TO_A_GPU)

    at_once, half = GPUS * TO_A_GPU, TRIALS // 2
    a_trial = named["rows"]["points"][0]["milliseconds_a_trial"] / 1000
    a_part = named["images"]["points"][-1]["processor_seconds_a_part"]
    large = 4 * LARGE**2  # bytes of a map
    image = 3 * LARGE**2
    rate = GPUS / MAP  # maps a second
    rows = [
        (full_with(half), "the process that draws and prunes, its processor",
         f"{1000 * alone:.0f} ms a trial, {1e6 * beside:.0f} µs for each beside it, {1e6 * behind:.0f} µs for each "
         "behind it",
         f"{at_once / TRIAL * (alone + beside * at_once + behind * half):.1f} of 1 core",
         "longer trials, or fewer of them; fewer at once (`tune.gpus: 1`); several searches, each a study with a part "
         "of `tune.space`"),
        (1 / a_trial * TRIAL / TO_A_GPU, "rows of trials", f"{1000 * a_trial:.0f} ms a trial",
         f"{GPUS * TO_A_GPU / TRIAL:.1f} of {1 / a_trial:.0f} a second",
         "nothing waits but the stage's end; `GLASSBOX_TRACKING=off`, and the files under `reports/` have all of it"),
        (MAP / a_part, "the process that gathers maps, its processor", f"{1000 * a_part:.1f} ms a map",
         f"{rate:,.0f} of {1 / a_part:,.0f} maps a second",
         "one explainer a study (`explain.explainers`), each with a stage of its own: `dvc exp run --queue`"),
        (LINK / large * MAP, f"its link, maps of {LARGE} pixels", f"{large / 1024:.0f} KiB a map",
         f"{rate * large / 1e6:.0f} of {LINK / 1e6:.0f} MB a second",
         "the stage on a machine of the cluster (`compute.address: auto`): a laptop's link is slower"),
        (LINK / image * MAP, f"each machine's link, images of {LARGE} pixels", f"{image / 1024:.0f} KiB an image",
         f"{rate * image / 1e6:.0f} of {LINK / 1e6:.0f} MB a second",
         "as above: every machine takes every block of 64 MiB that it has a part of"),
    ]  # fmt: skip
    lines = [[what, unit, needed, f"{rounded(gpus)} GPUs", then] for gpus, what, unit, needed, then in sorted(rows)]
    made = table(["what", "one takes", f"{GPUS:,} GPUs need", "full at", "what then"], lines)
    full, first = min((gpus, what) for gpus, what, *_ in rows)
    facts = {"first": first, "full": rounded(full), "full_of_few": rounded(full_with(FEW))}
    return made, facts | {"draw": alone + beside * full * TO_A_GPU + behind * half}


def many(kib: float) -> str:
    """The table of what is full at how many images."""
    rows = []
    for side in (SMALL, LARGE):
        disk = 4 * side**2 * EXPLAINERS
        rows.append([f"`attributions.npz`, {side} pixels", f"{disk / 1024:,.0f} KiB", f"{IMAGES * disk / 1e9:,.0f} GB",
                     "the disk", "`explain.explainers`, `model.input_size`; a sample of the images"])  # fmt: skip
    memory = kib * 1024 * EXPLAINERS
    rows.append(["numbers of maps, in the stage's process", f"{kib * EXPLAINERS:.1f} KiB",
                 f"{IMAGES * memory / GIB:.1f} GiB", f"{rounded(MEMORY / memory)} images in {MEMORY // GIB} GiB",
                 "fewer explainers a study"])  # fmt: skip
    rows.append(["pictures, the report, MLflow's images", "", "64 images", "never", "`explain.figures`"])
    return table(["what", "an image takes", "a million", "full at", "what then"], rows)


def page(measured: dict[str, Any]) -> str:
    """The page for these results."""
    rows = {row["name"]: row for row in measured["rows"]}
    keys = {"images of": "images", "with others behind": "behind", "with others beside": "beside", "rows and": "rows",
            "maps made": "maps", "s, libraries shared": "sharing"}  # fmt: skip
    named = {short: row for name, row in rows.items() for part, short in keys.items() if part in name}
    named["trials"] = next(row for name, row in rows.items() if name.startswith("trials") and "shared" not in name)
    machine = measured["machine"]
    packages = machine["versions"] | {"torch": machine["torch"]}
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "optuna", "mlflow"))
    points = {short: row["points"] for short, row in named.items()}
    reached = next(point["useful"] for point in points["trials"] if point["workers"] == 32)
    (kib,) = [ratio["ratio"] for ratio in named["maps"]["ratios"]]
    first, facts = wide(named)
    at_once = GPUS * TO_A_GPU
    parts = [
        HEAD.format(machine=f"one {machine['processor']} with 2 cores", versions=versions),
        efficiency([row for row in rows.values() if "medians" in row]),
        WAITING,
        waiting(points["trials"], points["images"], points["sharing"]),
        SHARING.format(reached=100 * reached),
        history(points["behind"], points["beside"]),
        ROWS.format(trial=points["rows"][0]["milliseconds_a_trial"], upload=points["rows"][0]["mib_a_second"]),
        maps(points["maps"]),
        PAPER.format(
            kib=kib, a_machine=TO_A_MACHINE, memory=MEMORY // GIB, trials=TRIALS, epochs=EPOCHS,
            minutes=TRIAL / 60, to_a_gpu=TO_A_GPU, at_once=at_once, gpus=GPUS, seconds=MAP, explainers=EXPLAINERS,
            hours=IMAGES * EXPLAINERS * MAP / GPUS / 3600,
        ),
        first,
        IN_IMAGES,
        many(kib),
        END.format(
            **facts, trials=TRIALS, few=FEW, gpus=GPUS, batch=128, whole=128 * GPUS, gradients=2 * 25.6 * 4,
            step=2 * 25.6e6 * 4 / LINK,
        ),
    ]  # fmt: skip
    return "\n\n".join(map(wrapped, "\n".join(parts).split("\n\n"))).rstrip("\n") + "\n"


def wrapped(paragraph: str) -> str:
    """In lines of at most 120 characters, which the numbers put into it have moved. Tables, lists and headings stay."""
    if paragraph.lstrip().startswith(("|", "-", "#")):
        return paragraph
    return textwrap.fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    files.write_text(PAGE, page(results()))
    print(f"written: {PAGE.relative_to(HERE.parent)}")


if __name__ == "__main__":
    run(main)
