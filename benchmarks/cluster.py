"""A Ray cluster of this machine: what its workers gain, what handing work to them costs, what it takes of memory.

- efficiency: Shapley values of the same images by this process, by one worker, by two, each with one thread. Beside
  them two independent processes: what this machine's two cores can give.
- together: epochs of one training by this process, by one worker and by two.
- waiting workers: trials that only sleep, ten epochs of a second each on average, by the real search and the real
  processes of a cluster, all of them on this machine; and images that take a fifth of a second of sleep. Useful is the
  share of a worker's time, from its first sleep to its last, in which it sleeps: all else is what the stage's process,
  scheduling and this machine's two cores need, which on a real cluster 32 workers do not have to share. A worker of Ray
  takes a third of a GiB, so 64 trials at a time are those of processes that share their libraries.
- history: what it takes the stage's process to draw and end a trial, and to take an epoch's report, when so many trials
  lie behind or run beside it; and to open the file that so many are in.
- rows: trials logged to an MLflow server with PostgreSQL, and a file of 512 MiB that it takes on to its artifacts.
- memory: this process's own, while so many maps are made by two workers, measured, and written.

About half an hour on 2 cores and 16 GiB, so only when named: python -m benchmarks cluster; or parts of it, as in
GLASSBOX_BENCH_CLUSTER="waiting rows", which leave what is recorded of the others. `rows` starts a database server
(Debian's postgresql).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import common, harness
from benchmarks.scaling import MIB, held
from glassbox import models
from glassbox.config import hyperparameters, parameters
from glassbox.config.compute import Compute
from glassbox.config.explain import Faithfulness, KernelShap
from glassbox.config.hyperparameters import Hyperparameters
from glassbox.config.space import in_order
from glassbox.core import files
from glassbox.data.store import Description, Split
from glassbox.execution import compute, engine
from glassbox.execution import workers as processes
from glassbox.explainers import factory
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.running import Bookkeeping, attribute
from glassbox.explaining import explanations, map_tables, selection
from glassbox.models.preprocessing import Preprocessing
from glassbox.search import outcome, space, trainer, tuning
from glassbox.training import loop
from glassbox.training.records import Epoch

WORKERS, SHARING, TRIALS, EPOCHS, SLEEP = (2, 4, 8, 16, 32), (32, 64), 5, 10, 1.0
IMAGES, COALITIONS, PAIRS = 24, 1024, 5
LEARNT, BATCH = 4096, 512
PART, PARTS = 0.2, 40  # seconds, for each worker
HISTORY, BESIDE, LOGGED, UPLOAD = (100, 1_000, 10_000), (32, 320, 3_200), 200, 512
MAPS = (1_000, 10_000, 100_000)
TOY = Description("toy", ("a", "b"), 8, {}, (0, 0, 0), (1, 1, 1), False, "d" * 64)
DROPOUT = "model.arguments.dropout_1"  # which stands for the accuracy of trials that learn nothing
LOCAL, ONE, TWO, APART = "this process", "1 worker", "2 workers", "2 processes apart"


@contextmanager
def cluster(cpus: int) -> Iterator[None]:
    """A cluster of this machine that says it has so many processors, while the block runs."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever token lies in this user's home
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    subprocess.run([*ray, "start", "--head", f"--num-cpus={cpus}", "--port=6399", "--include-dashboard=false"], **quiet)
    try:
        yield
    finally:
        subprocess.run([*ray, "stop", "--force"], **quiet)


def services() -> Any:
    """The tests' servers."""
    sys.path.append("tests")
    import services

    return services


def settings(**changes: Any) -> Compute:
    asked = {"engine": "ray", "address": "127.0.0.1:6399", "threads": 1} | changes
    return parameters.read("params.yaml").compute.model_copy(update=asked)


# Efficiency


def kernel_shap() -> tuple[factory.Explainer, models.Classifier, Request]:
    shipped = parameters.read("params.yaml").explain
    how = shipped.model_copy(
        update={
            "explainers": ("kernel_shap",),
            "kernel_shap": KernelShap(
                coalitions=COALITIONS, tolerance=None, background=1, draw_background=False, classes=0
            ),
        }
    )
    split = common.some_images(IMAGES)
    classifier = common.cnn(torch.device("cpu"))
    made = factory.make(Setup(classifier, how, split.images, common.MEAN, batch_size=128))["kernel_shap"]
    return made, classifier, Request(split.images, split.labels, tuple(range(IMAGES)))


def explain_alone() -> None:
    """What one of two processes that are apart does: half of the images, again and again, as it is told."""
    torch.set_num_threads(1)
    made, classifier, request = kernel_shap()
    half = request.part(0, IMAGES // 2)
    attribute(made, classifier, half)
    for _ in sys.stdin:
        attribute(made, classifier, half)
        print("done", flush=True)


def efficiency() -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    made, classifier, request = kernel_shap()
    code = "from benchmarks.cluster import explain_alone; explain_alone()"
    others = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    def apart() -> None:
        for other in others:
            other.stdin.write("go\n")
            other.stdin.flush()
        for other in others:
            assert other.stdout.readline() == "done\n"

    def by(each: Any) -> Callable[[], Any]:
        keep = type("Keep", (), {"each": lambda _, __, *work: each(*work)})()
        return lambda: attribute(made, classifier, request, Bookkeeping(keep))

    with cluster(2), engine.start(settings(workers=2)) as at:
        two = at.each

        def one(*work: Any) -> Any:
            at.settings = settings(workers=1)
            try:
                yield from two(*work)
            finally:
                at.settings = settings(workers=2)

        local = engine.Engine(settings(engine="local"))
        assert np.array_equal(by(local.each)().maps, by(two)().maps), "the same bytes"
        row = harness.compare(
            f"Shapley values of {IMAGES} images, {COALITIONS:,} coalitions",
            "s",
            {name: harness.seconds(by(each)) for name, each in ((LOCAL, local.each), (ONE, one), (TWO, two))}
            | {APART: harness.seconds(apart)},
            [harness.Bar(LOCAL, ONE), harness.Bar(LOCAL, TWO), harness.Bar(APART, TWO)],
            PAIRS,
        )
    for other in others:
        other.stdin.close()
        other.wait()
    return [row]


# Learning together


def together() -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    local = engine.Engine(settings(engine="local"))
    with cluster(2), engine.start(settings(workers=2)) as at:
        row = harness.compare(
            f"training of the CNN, batches of {BATCH}",
            "images/s",
            {LOCAL: partial(learn, local, 1), ONE: partial(learn, at, 1), TWO: partial(learn, at, 2)},
            [harness.Bar(ONE, LOCAL), harness.Bar(TWO, LOCAL)],
            3,
            warm_up=False,
        )
    return [row]


def learn(at: engine.Engine, workers: int) -> float:
    """Images a second of the last three of six epochs: while the first ones run, Ray Train's own processes begin."""
    section = common.training(epochs=6, batch_size=BATCH, workers=workers, patience=10**6)
    network = parameters.read("params.yaml").model.model_copy(update={"arguments": common.NETWORK})
    about = Description("toy", tuple("0123456789"), 32, {}, common.MEAN, common.STD, False, "d" * 64)
    job = loop.Training(hyperparameters.together(network, section, common.OFF), about, 0)
    with tempfile.TemporaryDirectory() as name, chdir(name):  # which has no checkpoint
        _, epochs, _ = at.train(job, common.some_images(LEARNT), common.some_images(64))
        return float(np.median([epoch.images_per_second for epoch in epochs][3:]))


# Workers that wait


def asleep(folder: Path, seconds: float) -> None:
    start = time.time()
    time.sleep(seconds)
    with (folder / str(os.getpid())).open("a") as file:
        file.write(f"{start} {time.time()}\n")


@dataclass(frozen=True)
class Sleeping(trainer.Trainer):
    """Its trials learn nothing. They take half of the time to one and a half of it, and so do their epochs, as networks
    differ: what is of one length ends at the same time, and two cores would be measured that serve all at once. None
    begins before all processes are there: until then they share these cores with others' imports."""

    folder: Path | None = None

    def epochs(self, number: int, drawn: Hyperparameters, *_: Any) -> Iterator[Epoch]:
        folder = self.folder
        if not (folder / str(os.getpid())).exists():
            meet(folder.with_name(f"{folder.name}_met"), self.settings.workers)
        draw = np.random.default_rng(number)
        lengths = draw.uniform(0.5, 1.5, self.settings.epochs)
        for epoch, length in enumerate(lengths / lengths.mean() * SLEEP * draw.uniform(0.5, 1.5), 1):
            asleep(folder, length)
            yield epoch_of(epoch, drawn.model.arguments["dropout_1"])


def epoch_of(number: int, accuracy: float) -> Epoch:
    return Epoch(number, 1.0, 0.5, 1.0, accuracy, 0.0, 0.1, True, SLEEP, 1.0, 0.5, 0.0, 0.0)


def nothing(_: str) -> Split:
    return Split(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), None, None, None)


def meet(folder: Path, n: int, *_: Any) -> dict[str, np.ndarray]:
    """Wait until so many workers are there."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < n:
        time.sleep(0.2)
    return {}


def part(folder: Path, *_: Any) -> dict[str, np.ndarray]:
    """A work that sleeps."""
    asleep(folder, PART)
    return {"maps": np.zeros((1, 32, 32), np.float32)}


def useful(folder: Path) -> tuple[float, int]:
    """The share of the workers' time in which they slept, and how many they were."""
    slept, all_in_all = 0.0, 0.0
    for path in folder.iterdir():
        times = np.array([line.split() for line in path.read_text().splitlines()], float)
        slept += (times[:, 1] - times[:, 0]).sum()
        all_in_all += times[-1, 1] - times[0, 0]
    return float(slept / all_in_all), len(list(folder.iterdir()))


def met(at: engine.Engine, workers: int, folder: Path) -> float:
    """Seconds until all workers were there; they stay."""
    start = time.perf_counter()
    list(at.each(partial(meet, folder, workers), torch.nn.Identity(), ((None, n) for n in range(workers))))
    return time.perf_counter() - start


def sleeping(place: compute.Place, workers: int, folder: Path, prunes: bool = False) -> tuning.Search:
    shipped = parameters.read("params.yaml")
    tune = shipped.tune.model_copy(
        update={"n_trials": TRIALS * workers, "workers": workers, "epochs": EPOCHS}
        | ({} if prunes else {"pruner_startup_trials": 10**6})
    )
    known = hyperparameters.together(shipped.model, shipped.train, shipped.augment)
    of_trials = Sleeping(tune, known, 0, TOY, place, folder=folder)
    return tuning.Search(of_trials, folder.with_name(f"{folder.name}_search"), threads=1, apart=True)


def search(place: compute.Place, work_off: Callable[..., Any], workers: int, folder: Path) -> dict[str, Any]:
    made = sleeping(place, workers, folder)
    start, before = time.perf_counter(), time.process_time()
    trials = [record for _, record in made.run(nothing, work_off) if isinstance(record, outcome.Trial)]
    assert len(trials) == TRIALS * workers
    share, seen = useful(folder)
    assert seen == workers
    seconds, busy = time.perf_counter() - start, time.process_time() - before
    return {"workers": workers, "useful": share, "seconds": seconds, "processor_seconds_a_trial": busy / len(trials)}


def images(at: engine.Engine, workers: int, folder: Path) -> dict[str, Any]:
    n = PARTS * workers
    start, processor = time.perf_counter(), time.process_time()
    for _ in at.each(partial(part, folder), torch.nn.Identity(), ((None, k) for k in range(n))):
        pass
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    share, seen = useful(folder)
    assert seen == workers
    return {"workers": workers, "useful": share, "seconds": seconds, "processor_seconds_a_part": processor / n}


def waiting() -> list[dict[str, Any]]:
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have the package alone
    of_trials, of_images, of_sharing = (
        f"trials of {EPOCHS * SLEEP:g} s",
        f"images of {PART:g} s",
        f"trials of {EPOCHS * SLEEP:g} s, libraries shared",
    )
    rows: dict[str, list[dict[str, Any]]] = {of_trials: [], of_images: [], of_sharing: []}

    def tell(what: str, found: dict[str, Any]) -> None:
        rows[what].append(found)
        told = f"{100 * found['useful']:.1f} % useful, {found['seconds']:.0f} s"
        print(f"{what}, {found['workers']} workers: {told}", flush=True)

    with tempfile.TemporaryDirectory() as name:

        def folder() -> Path:
            return Path(tempfile.mkdtemp(dir=name))

        with cluster(max(WORKERS)):
            for workers in WORKERS:
                with engine.start(settings(workers=workers)) as at:
                    begun = met(at, workers, folder())
                    print(f"{workers} workers began within {begun:.0f} s", flush=True)
                    tell(of_images, images(at, workers, folder()))
                    tell(of_trials, search(at.place, at.work_off, workers, folder()))
        place = compute.resolve(settings(engine="local"))
        for n in SHARING:
            tell(of_sharing, search(place, processes.each, n, folder()))
    made = []
    for what, points in rows.items():
        bar = 0.95 if what == of_trials else None
        shares = {point["workers"]: point["useful"] for point in points}
        judged = [harness.judged(f"{what}: useful with 32 workers", shares[32], at_least=bar)]
        made.append({"name": what, "axis": "workers", "points": points, "ratios": judged})
    return made


# A long search


def history() -> list[dict[str, Any]]:
    """What one trial more costs the process that asks and tells."""
    import optuna

    shipped = parameters.read("params.yaml")
    options = in_order(shipped.tune.options)
    given = hyperparameters.together(shipped.model, shipped.train, shipped.augment).by_key()
    kinds: dict[str, list[dict[str, Any]]] = {"behind": [], "beside": []}
    place = compute.resolve(settings(engine="local"))
    for kind, n in [("behind", n) for n in HISTORY] + [("beside", n) for n in BESIDE]:
        past = optuna.create_study(sampler=optuna.samplers.RandomSampler(0), direction="maximize")
        for number in range(n):
            trial = past.ask()
            params = space.draw(trial, options, given)
            trial.set_user_attr("number", number)
            for epoch in range(1, EPOCHS + 1):
                trial.report(params[DROPOUT], epoch)
            if kind == "behind":
                past.tell(trial, params[DROPOUT])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "work"
            sleeping(place, n, folder, prunes=True).study.add_trials(past.trials)
            start = time.perf_counter()
            made = sleeping(place, n, folder, prunes=True)
            point = {"trials": n, "seconds_to_open": time.perf_counter() - start}
            drawing, reporting = [], []
            for number in range(n, n + 5):
                start = time.perf_counter()
                attempt, params = made._ask(number)
                begun = time.perf_counter()
                for epoch in range(1, EPOCHS + 1):
                    made._prunes(attempt, epoch_of(epoch, params[DROPOUT]))
                reported = time.perf_counter()
                made._end(attempt, "")
                drawing.append(begun - start + time.perf_counter() - reported)
                reporting.append((reported - begun) / EPOCHS)
        point |= {"seconds_a_trial": statistics.median(drawing), "seconds_an_epoch": statistics.median(reporting)}
        kinds[kind].append(point)
        told = f"{1000 * point['seconds_a_trial']:.0f} ms a trial, {1000 * point['seconds_an_epoch']:.1f} ms an epoch"
        print(f"{n:,} trials {kind}: {told}, {point['seconds_to_open']:.2f} s to open", flush=True)
    return [
        {"name": f"a trial with others {kind}", "axis": "trials", "points": points, "ratios": []}
        for kind, points in kinds.items()
    ]


# Rows of MLflow


def rows() -> list[dict[str, Any]]:
    helpers = services()
    port, mlflow = helpers.free_port(), str(Path(sys.executable).with_name("mlflow"))
    with tempfile.TemporaryDirectory() as name, helpers.postgres(Path(name), "mlflow") as (database, password):
        folder, log, where = Path(name), Path(name) / "mlflow.log", f"http://127.0.0.1:{port}"
        os.environ["PGPASSWORD"] = password
        started = [mlflow, "server", "--port", str(port), "--artifacts-destination", str(folder / "artifacts")]
        kept = os.environ | {"MLFLOW_BACKEND_STORE_URI": database}
        with log.open("w") as file:
            tracking = subprocess.Popen(started, env=kept, stdout=file, stderr=file, start_new_session=True)
        try:
            helpers.wait_for_page(f"{where}/health", log)
            common.copy_project(folder / "project")
            (folder / "many").mkdir()
            (folder / "many" / "maps.npz").write_bytes(np.random.default_rng(0).bytes(UPLOAD * MIB))
            asked = {"nothing": (0, None), "rows": (LOGGED, None), "file": (0, folder / "many")}
            seconds = {what: [] for what in asked}
            for what in ("nothing", *3 * [*asked]):
                n, sent = asked[what]
                start = time.perf_counter()
                code = f"from benchmarks.cluster import logged; logged({n}, {str(sent)!r})"
                subprocess.run(
                    [sys.executable, "-c", code],
                    cwd=folder / "project",
                    check=True,
                    env=os.environ | {"MLFLOW_TRACKING_URI": where, "PYTHONPATH": f"{Path.cwd() / 'src'}:{Path.cwd()}"},
                )
                seconds[what].append(time.perf_counter() - start)
            seconds["nothing"].pop(0)  # the server was not warm
        finally:
            helpers.end(tracking)
    begun, of_rows, of_file = (statistics.median(values) for values in seconds.values())
    found = {
        "milliseconds_a_trial": 1000 * (of_rows - begun) / LOGGED,
        "mib_a_second": UPLOAD / (of_file - begun),
    }
    told = f"{found['milliseconds_a_trial']:.0f} ms a trial, {found['mib_a_second']:.0f} MiB/s of files"
    print(f"MLflow's server: {told}", flush=True)
    return [{"name": "rows and files of an MLflow server", "points": [found], "ratios": []}]


def logged(n: int, folder: str | None) -> None:
    """A stage that logs n trials of ten epochs, and the files of a folder."""
    from glassbox import tracking

    params = {f"parameter_{k}": k / 7 for k in range(13)}
    with tracking.stage("tune") as tracked:
        tracked.begin(TOY)
        for number in range(n):
            curve = [0.1 * epoch for epoch in range(EPOCHS)]
            trial = outcome.Trial(number, "complete", curve[-1], params, params, curve, None, 10.0, "")
            tracked.log_trial(asdict(trial), "validation_accuracy")
        if folder != "None":
            tracked.log_files(folder)


# Memory


def explain_many(n: int) -> dict[str, float]:
    """n maps: Grad-CAM's and the control's, of 32 x 32 pixels, which is 4 KiB each, measured, in a table and a file."""
    sizes = {"conv1_filters": 4, "conv2_filters": 8, "dense_units_1": 8, "pool_size_1": 2, "pool_size_2": 2}
    torch.manual_seed(0)
    classifier = models.build("cnn", common.NETWORK | sizes, Preprocessing((0.5,) * 3, (0.2,) * 3), 32, 4).eval()
    shipped = parameters.read("params.yaml").explain
    how = shipped.model_copy(
        update={"explainers": ("grad_cam",), "faithfulness": Faithfulness(steps=2, blur_sigma=2.0)}
    )
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n // 2, 32, 32, 3), dtype=np.uint8))
    picks = [selection.Pick(row, "correct", "", (row % 4,), drawn=False) for row in range(n // 2)]
    labels, p = np.arange(n // 2) % 4, np.eye(4)[np.arange(n // 2) % 4]
    cases = selection.Cases(pixels, labels, p, ("a", "b", "c", "d"), picks)
    with tempfile.TemporaryDirectory() as name, engine.start(settings(workers=2)) as at:
        folder, most = Path(name), [before := held()]
        keep, done = type("Keep", (), {"each": lambda _, __, *work: at.each(*work)})(), threading.Event()
        shared = os.statvfs("/dev/shm")  # noqa: S108 (where Ray keeps what processes share)
        free, least = shared.f_bavail, [shared.f_bavail]

        def watch() -> None:
            while not done.wait(0.01):
                most.append(held())
                least.append(os.statvfs("/dev/shm").f_bavail)  # noqa: S108

        watcher = threading.Thread(target=watch)
        watcher.start()
        start, processor = time.perf_counter(), time.process_time()
        plan = explanations.plan(cases, how, 0, folder)
        setup = Setup(classifier, how, pixels[:8], (0.5,) * 3, batch_size=128)
        results = list(explanations.explain(setup, plan, Bookkeeping(keep, folder)))
        test = Split(pixels, torch.from_numpy(labels), None, torch.arange(n // 2), None)
        table = map_tables.tables(cases, results, how.superpixels, test)["index"]
        files.write_csv(folder / "index.csv", table)
        files.write_npz(folder / "attributions.npz", map_tables.arrays(results, plan, folder))
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        done.set()
        watcher.join()
        assert len(table) == n
    store = (free - min(least)) * shared.f_frsize / MIB
    found = {"maps": n, "seconds": seconds, "processor_seconds": processor}
    return found | {"mib": (max(most) - before) / MIB, "store_mib": store}


def memory() -> list[dict[str, Any]]:
    points = []
    with cluster(2):
        for n in MAPS:
            code = f"import json; from benchmarks.cluster import explain_many; print(json.dumps(explain_many({n})))"
            said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
            points.append(found := json.loads(said.splitlines()[-1]))
            told = f"{found['mib']:.0f} MiB more here, {found['store_mib']:.0f} MiB shared, {found['seconds']:.0f} s"
            print(f"{n:,} maps: {told}", flush=True)
    per_map = (points[-1]["mib"] - points[0]["mib"]) * 1024 / (MAPS[-1] - MAPS[0])
    judged = [harness.judged("KiB more for each map", per_map, at_most=1)]
    return [{"name": "maps made by 2 workers", "axis": "maps", "points": points, "ratios": judged}]


def main() -> None:
    compute.resolve(settings(engine="local"))
    parts = {part.__name__: part for part in (together, efficiency, waiting, rows, history, memory)}
    asked = os.environ.get("GLASSBOX_BENCH_CLUSTER", " ".join(parts)).split()
    path = harness.results()
    known = files.read_json(path).get("cluster", {"rows": []})["rows"] if path.exists() else []
    made = {row["name"]: row for row in known}
    for name in asked:
        made |= {row["name"]: row for row in parts[name]()}
        harness.record("cluster", [*made.values()])
