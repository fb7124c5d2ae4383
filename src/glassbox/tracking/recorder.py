"""The process that writes to MLflow for a stage. It carries out what the stage sends, in order.

In a process of its own, mlflow's import of two seconds hardly delays the stage. When the stage is killed, the recorder
sees its pipe close and marks the run as killed. When the recorder is killed as well, as when the machine goes down, the
next one marks its runs.
"""

import gc
import io
import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from glassbox.config import yaml_file
from glassbox.tracking import address, models, ownership, store
from glassbox.tracking.runs import NOTE, VIEW, StudyRuns
from glassbox.tracking.writer import Point, Writer, now, points

READY = b"ready\n"  # the answer to `report_ready`
OF_THE_USER = ("photos", "compare")  # folders in reports/ that belong to no study


class Recorder:
    """A stage calls its methods; see `client.StageRun`."""

    def __init__(self) -> None:
        self.params = yaml_file.read()
        self.client = store.connect()
        self.writer = Writer(self.client, parallel=address.is_http(address.tracking_uri()))
        self.owner = ownership.Owner()
        ownership.mark_killed(self.client)
        self.sent_at = 0  # when the stage sent the present call, in milliseconds since 1970
        self.runs: StudyRuns | None = None

    def start(self, stage: str) -> None:
        """A stage has started."""
        self.stage, self.started = stage, self.sent_at

    def report_ready(self) -> None:
        """Answer that the store is open."""
        print(READY.decode(), end="", flush=True)

    def begin(self, data: dict[str, Any]) -> None:
        """Open the runs, as soon as the data are known."""
        self.runs = StudyRuns(self.writer, self.params, data, self.stage, self.started, self.owner.name)
        if self.stage == "report":
            import git  # noqa: F401 (log_model needs these later; now nothing waits for them)
            import mlflow.pyfunc  # noqa: F401

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Parameters of this stage's own run, by dotted key."""
        self.writer.log_batch(self.runs.stage_id, params=values)

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Metrics of this stage's own run."""
        self.writer.log_batch(self.runs.stage_id, metrics=points(values, step, self.sent_at))

    def log_headline(self, values: Mapping[str, float]) -> None:
        """Metrics that also belong in the study's row."""
        for run_id in (self.runs.stage_id, self.runs.row_id):
            self.writer.log_batch(run_id, metrics=points(values, 0, self.sent_at))

    def log_files(self, folder: str | Path) -> None:
        """Every file of a folder, as artifacts of this stage's run."""
        self.writer.log_folder(self.runs.stage_id, folder)

    def log_trial(self, trial: Mapping[str, Any], measure: str) -> None:
        """One trial of the search, nested under this run: its parameters by key, and the measure by epoch.

        Args:
            trial: the fields of an `outcome.Trial`.
        """
        tags = {"kind": "trial", "trial_state": trial["state"]}
        start_time = self.sent_at - int(1000 * trial["seconds"])
        trial_id = self.runs.nested(f"trial-{trial['number']:03d}", self.runs.stage_id, start_time, tags)
        metrics = [p for epoch, value in enumerate(trial["curve"], 1) for p in points({measure: value}, epoch, now())]
        headline = {f"best_{measure}": trial["value"], "second_objective": trial["cost"]}
        metrics += points({name: value for name, value in headline.items() if value is not None}, 0, now())
        self.writer.log_batch(trial_id, params=trial["by_key"], metrics=metrics)
        self.client.set_terminated(trial_id, "FAILED" if trial["state"] == "failed" else "FINISHED", self.sent_at)

    def log_model(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        classes: tuple[str, ...],
        example: Any,
        card: str,
        validation_accuracy: float,
    ) -> None:
        """The study's model, for `mlflow.pyfunc.load_model`: uint8 images in, classes and the study's probabilities
        out, weights as safetensors, no pickle. It becomes the latest version of glassbox-STUDY in MLflow's registry,
        and is linked to the study's row. The version with the highest validation accuracy has the alias "best".

        Args:
            folder: the saved classifier's folder.
            settings: see `serving.Predictor`.
            example: (1 or more, H, W, 3) uint8 array.
            card: the description of the model and its version, Markdown.
            validation_accuracy: of the weights that were kept, 0..1.
        """
        models.log(self.runs, folder, settings, classes, example, card, validation_accuracy)

    def complete_study(
        self,
        choices: list[dict[str, Any]],
        headline: Mapping[str, float],
        curves: list[dict[str, float]],
        description: str,
        best: str,
        view: str,
        reports: str | Path,
    ) -> None:
        """Fill the study's row from the files: resolved hyperparameters, headline metrics, curves, every figure.

        Args:
            choices: key, value and source of every hyperparameter.
            curves: one mapping for each epoch, with "epoch".
            description: Markdown, in which `artifact:PATH` is the address of a file of `reports`.
            best: the best explainer, in words.
            view: arrangement of the experiment's page; see `mlflow_view`.
            reports: folder whose files become the row's artifacts.
        """
        row_id = self.runs.row_id
        logged = self.client.get_run(row_id).data.params
        resolved = {choice["key"]: choice["value"] for choice in choices if choice["value"] is not None}
        self.writer.log_batch(row_id, params={key: resolved[key] for key in resolved if key not in logged})
        pictures = f"](get-artifact?run_uuid={row_id}&path="
        self.client.set_tag(row_id, NOTE, description.replace("](artifact:", pictures))
        self.client.set_tag(row_id, "best_explainer", best)
        self.client.set_experiment_tag(self.runs.experiment_id, f"mlflow.sharedViewState.{VIEW}", view)
        self.writer.log_batch(row_id, metrics=self._new_points(curves) + points(headline, 0, now()))
        for path in sorted(Path(reports).iterdir()):
            if path.is_dir() and path.name not in OF_THE_USER:
                self.writer.log_folder(row_id, path, path.name)
            elif path.is_file():
                self.client.log_artifact(row_id, str(path))

    def _new_points(self, curves: list[dict[str, float]]) -> list[Point]:
        """The points of curves that the row does not have yet: it may be filled a second time."""
        curve_points = []
        for epoch in curves:
            values = {name: value for name, value in epoch.items() if name != "epoch" and not math.isnan(value)}
            curve_points += points(values, int(epoch["epoch"]), now())
        logged = {
            (name, metric.step, metric.value)
            for name in {point[0] for point in curve_points}
            for metric in self.client.get_metric_history(self.runs.row_id, name)
        }
        return [point for point in curve_points if (point[0], point[3], point[1]) not in logged]

    def log_images(self, images: list[tuple[str, int, bytes]]) -> None:
        """Pictures of the study's row that MLflow shows step by step, and side by side for several rows: key, step, and
        content of a PNG file of each."""
        from PIL import Image

        row_id = self.runs.row_id
        # The row may have some of them already. MLflow writes two files for each image, .webp last.
        names = [Path(file.path).name for file in self.client.list_artifacts(row_id, "images")]
        logged = {name.partition("+timestamp+")[0] for name in names if name.endswith(".webp")}

        def log(image: tuple[str, int, bytes]) -> None:
            key, step, content = image
            with Image.open(io.BytesIO(content)) as picture:
                self.client.log_image(row_id, picture, key=key, step=step)

        missing = [image for image in images if f"{image[0].replace('/', '~')}+step+{image[1]}" not in logged]
        # The first alone: it sets a tag of the row, and PostgreSQL refuses to set it twice at once.
        self.writer.each(log, missing[:1])
        self.writer.each(log, missing[1:])

    def end(self, status: str) -> None:
        """Close the runs."""
        if self.runs is not None:
            self.runs.end(status, now())
        if not address.is_embedded():  # a run may have been created twice, if a server died before it answered
            ownership.end_running(self.client, self.owner.name)
        self.owner.release()


def serve() -> None:
    """Be a recorder: carry out what the stage sends until stdin closes.

    A stage whose pipe closes without `end` was killed. The first failure is printed and ends the process with code 1.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the stage sends how it ended
    os.nice(5)
    gc.disable()  # collecting garbage takes a sixth of mlflow's import
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 (most of the time that connecting takes)

    gc.freeze()
    gc.enable()

    recorder, method = None, ""
    try:
        for method, sent_at, arguments, options in _messages():
            recorder = recorder or Recorder()  # a stage that ended before it had begun leaves no trace
            recorder.sent_at = sent_at
            getattr(recorder, method)(*arguments, **options)
        if recorder:
            if method != "end":
                recorder.end("KILLED")
            store.merge_write_ahead_log()
    except Exception as error:  # whatever it is, the stage must report it
        with suppress(BrokenPipeError):  # unless the stage is gone
            print(store.reason(error), flush=True)
        os._exit(1)
    os._exit(0)  # Python would take most of a second to take mlflow apart, and the stage waits


def _messages() -> Iterator[tuple[str, int, tuple, dict[str, Any]]]:
    """What the stage sends: a method, the time in milliseconds since 1970, positional and named arguments. It ends when
    the pipe closes, be it in the middle of a message."""
    with Connection(sys.stdin.fileno(), writable=False) as pipe, suppress(EOFError, OSError):
        while True:
            yield pipe.recv()
