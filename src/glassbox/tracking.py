"""MLflow's view of a study. The only file that imports mlflow, and the only reader of DVC's environment variables.

Files under reports/ are the truth: a stage logs the files that it wrote, and no stage reads them back.

A study state (parameters + data + code) has one parent run, found again by every stage from the digest of that state.
A stage's run is nested under it, Optuna's trials under *tune*. `report` fills the parent from the files, so that it is
complete even when DVC took every other stage from its cache.

mlflow itself lives in a process of its own beside the stage, the recorder: its import of two seconds costs the stage
next to nothing, and when the stage is killed the recorder sees its pipe close and marks the run as killed. The stage
waits for the recorder only at its end. When the recorder is killed as well, as when the machine goes down, the next one
marks its runs: each signs what it makes with a name for which it holds a lock. GLASSBOX_TRACKING=off leaves it all out.
"""

import base64
import gc
import getpass
import http.client
import io
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from glassbox import config, files, record
from glassbox.data.store import Description
from glassbox.errors import UserError, cut, run
from glassbox.errors import masked as _masked

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each of a hundred small files

if TYPE_CHECKING:
    import psutil
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

STORE = "mlruns"
DATABASE = "mlflow.db"
SIGNS = ".running"  # folder of the locks
SIGN = "recorder"  # tag of a run: whose it is
SERVING = "serving.json"  # see `serving`, which needs torch
VIEW = "glassbox"  # of MLflow's page, in addresses
NAMED = 2  # changes that a row's name tells
NOTE = "mlflow.note.content"  # tag that MLflow shows as a description
MODEL_DIGEST = "model_digest"  # tag of a logged model: of its weights and settings
LISTED = "files.json"  # in a logged model: SHA-256 of every other file of it, by name
LISTED_DIGEST = "files_digest"  # tag of a logged model: of that list
NOT_WHOLE = "Files of this version are missing or damaged: load a later version."
FETCHED = ("models", "reports/prepare", "reports/evaluate", "reports/report", "reports/summary.json")  # of a row
OF_THE_USER = ("photos", "compare")  # folders in reports/ that belong to no study
REGISTERED = "glassbox"  # before a study's name: its model in the registry
SCHEME = "mlruns"  # of artifact locations in the embedded store: relative to the database, wherever that moves
FLUSH_SECONDS = 3.0
REQUESTS = 8  # on their way to a server at a time
ANSWER_SECONDS = 10  # in which a server must answer
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # of databases that MLflow takes, where the address has none
READY = "ready\n"  # what a recorder answers once the store is open
_SERVER_STORE = "_MLFLOW_SERVER_FILE_STORE"  # set by `mlflow server` for its workers


Point = tuple[str, float, int, int]  # a metric: name, value, time (milliseconds since 1970), step


def now() -> int:
    return int(time.time() * 1000)


def points(values: Mapping[str, float], step: int) -> list[Point]:
    """Metrics of this moment."""
    return [(key, float(value), now(), step) for key, value in values.items()]


def root() -> Path:
    """The repository that owns the runs. In `dvc exp run --temp` and in the queue a stage works in a temporary copy,
    while DVC_ROOT is still the original."""
    return Path(os.environ.get("DVC_ROOT", "")).absolute()


def uri() -> str:
    """MLFLOW_TRACKING_URI where it is set, else the SQLite database in mlruns/. A relative path of a SQLite database is
    one in the repository: a stage may run in a temporary copy, in which the database would be lost."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return _embedded()
    path, _, options = given.partition(":///")[2].partition("?")
    file = database(given)
    if file is None or path.startswith("/"):
        return given
    return _address(file) + (f"?{options}" if options else "")


def _embedded() -> str:
    return _address(root() / STORE / DATABASE)


def _address(file: Path) -> str:
    """Of a SQLite database; its path is quoted where it would be read as something else."""
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    # After "sqlite:///" MLflow takes a path as it stands for one of a file, and makes its folders.
    return f"{'sqlite' if quoted == str(file) else 'sqlite+pysqlite'}:///{quoted}"


def database(where: str) -> Path | None:
    """The file of a store that is a SQLite database, else None."""
    kind, _, rest = where.partition(":///")
    if kind not in ("sqlite", "sqlite+pysqlite"):
        return None
    return root() / urllib.parse.unquote(rest.partition("?")[0])


def _on_server(where: str) -> bool:
    """Whether a store is a database that a server of its own keeps."""
    return where.partition(":")[0].partition("+")[0] in PORTS


def check() -> None:
    """Whether runs can be logged, found out in milliseconds and without mlflow.

    Raises:
        UserError: the server does not answer, the database is one in memory, or mlruns/ cannot be written.
    """
    where = uri()
    if re.fullmatch(r"sqlite(\+pysqlite)?:/*(:memory:)?", os.environ.get("MLFLOW_TRACKING_URI", "")):
        raise UserError(
            f"MLFLOW_TRACKING_URI = {os.environ['MLFLOW_TRACKING_URI']} is a database in memory, which ends with each "
            "stage: name a file, as in sqlite:////srv/mlflow.db, or unset the variable to log to mlruns/"
        )
    if where.startswith(("http:", "https:")) or _on_server(where):
        _ask_for_life(where)
    elif not os.environ.get("MLFLOW_TRACKING_URI"):
        store = root() / STORE
        try:
            store.mkdir(parents=True, exist_ok=True)
            (store / ".lock").touch()
        except OSError as error:
            raise UserError(f"{store} cannot be written ({error.strerror}): MLflow's runs are kept there") from None


def connect() -> "MlflowClient":
    """A client of the store, which is made on first use.

    Raises:
        UserError: the store cannot be opened.
    """
    where = uri()
    if where == _embedded():
        _initialise(root() / STORE)
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(where)
    try:
        _open_once(where)
        client = mlflow.MlflowClient(where)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise UserError(f"the MLflow store {_masked(where)} cannot be opened: {_short(error)}") from None
    return client


def _ask_for_life(where: str) -> None:
    """Whether a server answers.

    Raises:
        UserError: it does not, or this is no address.
    """
    try:
        parts = urllib.parse.urlsplit(where)
        # urllib takes a name before @ for the host.
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if parts.scheme in ("http", "https"):
            urllib.request.urlopen(f"{bare.rstrip('/')}/health", timeout=ANSWER_SECONDS).close()  # noqa: S310
        elif parts.hostname:  # a database; one without a host is reached by a file
            port = parts.port or PORTS[parts.scheme.partition("+")[0]]
            socket.create_connection((parts.hostname, port), timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers, though not here
    except (ValueError, http.client.InvalidURL) as error:
        raise UserError(
            f"MLFLOW_TRACKING_URI = {_masked(where)} is no address ({_short(error)}): it must be one like "
            "http://127.0.0.1:5000"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = _short(getattr(error, "reason", error))
        raise UserError(
            f"MLFLOW_TRACKING_URI = {_masked(where)} does not answer ({reason}): start that server, or unset the "
            "variable to log to mlruns/"
        ) from None


def _open_once(where: str) -> None:
    """Open a database: MLflow would try ten times to, for two minutes, before it said why it cannot."""
    import sqlalchemy

    file = database(where)
    if file is None and not _on_server(where):
        return
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    waits = where.startswith(("postgresql", "mysql"))
    options = {"connect_args": {"connect_timeout": ANSWER_SECONDS}} if waits else {}
    engine = sqlalchemy.create_engine(where, **options)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _short(error: object) -> str:
    error = getattr(error, "orig", None) or error  # the database's own words, without the statement
    return cut(_masked(" ".join(str(error).split())))


def _initialise(store: Path) -> None:
    """Make the database once: of several processes that migrate a fresh one at the same time all but one crash."""
    database = store / DATABASE
    with filelock.FileLock(store / ".lock"):
        if database.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)  # else it tells of every table
        partial = store / f".{DATABASE}.partial"
        partial.unlink(missing_ok=True)  # of a process that was killed here
        made = SqlAlchemyStore(_address(partial), f"{SCHEME}:/")
        made.engine.dispose()
        with closing(sqlite3.connect(partial)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # readers and one writer at the same time
        partial.replace(database)


def artifact_repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """MLflow's plug-in for `mlruns:/...`: artifacts beside the database of the store at hand.

    A client of a server started by `make ui` reaches the same files through that server.
    """
    import mlflow
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.utils.file_utils import path_to_local_file_uri

    path = urllib.parse.unquote(urllib.parse.urlsplit(artifact_uri).path).lstrip("/")
    store = next(s for s in (tracking_uri, os.environ.get(_SERVER_STORE), mlflow.get_tracking_uri()) if s)
    if store.startswith(("http:", "https:")):
        return MlflowArtifactsRepository(f"mlflow-artifacts:/{path}", store, registry_uri)
    file = database(store)
    if file is None:
        raise UserError(f"{artifact_uri} lies beside a SQLite database, but the tracking URI is {_masked(store)}")
    folder = (file.parent / "artifacts").resolve()
    place = (folder / path).resolve()
    if not place.is_relative_to(folder):
        raise UserError(f"{artifact_uri} leads out of {folder}")
    return LocalArtifactRepository(path_to_local_file_uri(str(place)))


class Sign:
    """A recorder's name, for which it holds a lock as long as it lives: the operating system drops that with it, and
    no clock and no process number has a part in it. The file's name also says to which store the runs go."""

    def __init__(self) -> None:
        self._path: Path | None = None
        while self._path is None or not self._path.exists():  # one that sweeps may have come between file and lock
            self.name = uuid.uuid4().hex
            self._path = _signs() / f"{self.name}-{_store()}"
            self._lock = filelock.FileLock(self._path)
            self._lock.acquire()

    def take_down(self) -> None:
        self._path.unlink(missing_ok=True)
        self._lock.release()


def _signs() -> Path:
    folder = root() / STORE / SIGNS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _store() -> str:
    return files.digest(_masked(uri()))[:16]


def sweep(client: "MlflowClient") -> None:
    """Mark the runs of recorders that were killed: they would be shown as running for ever."""
    for path in sorted(_signs().glob(f"*-{_store()}")):
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:  # alive
            continue
        if path.exists():  # else another process has just done it
            sign = path.name.partition("-")[0]
            for model in client.search_logged_models(_everywhere(client), filter_string=f"tags.{SIGN} = '{sign}'"):
                if model.status == "PENDING":  # its files were being copied
                    client.finalize_logged_model(model.model_id, "FAILED")
            for run_id in _running(client, sign):
                client.set_terminated(run_id, "KILLED")
            path.unlink()
        lock.release()


def _everywhere(client: "MlflowClient") -> list[str]:
    """All experiments, by id."""
    return [experiment.experiment_id for experiment in client.search_experiments()]


def _running(client: "MlflowClient", sign: str) -> list[str]:
    """The runs of a recorder that have no end."""
    found = client.search_runs(_everywhere(client), f"tags.{SIGN} = '{sign}' and attributes.status = 'RUNNING'")
    return [run.info.run_id for run in found]


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no repository: then the tags say "unknown"
    return result.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())


_early: list[subprocess.Popen] = []  # the recorder that was started before anybody asked for it


def is_on() -> bool:
    return os.environ.get("GLASSBOX_TRACKING") != "off"


def start_recorder() -> subprocess.Popen:
    """A recorder process, which imports mlflow and then waits for its first line."""
    source = str(Path(__file__).resolve().parent.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "glassbox.tracking", "record"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, encoding="utf-8", env=os.environ | {"PYTHONPATH": source},
    )  # fmt: skip


def start_early() -> None:
    """Start the recorder of the stage to come: it imports mlflow while the stage still imports torch."""
    if is_on():
        _early.append(start_recorder())


def _dvc() -> "psutil.Process | None":
    """The DVC that runs this stage. Between the two there may be a shell, to which DVC gives the stage's name too."""
    if "DVC_STAGE" not in os.environ:
        return None
    import psutil

    for process in psutil.Process().parents():
        with suppress(psutil.Error):  # it has just ended, or its variables are hidden
            if "DVC_STAGE" not in process.environ():
                return process
    return None


def _lives(process: "psutil.Process") -> bool:
    return process.is_running() and process.status() != "zombie"


class StageRun:
    """The run of one stage, nested under its study's parent run. Made by `stage`; its methods return at once.

    Each of them raises a UserError when what was sent before could not be logged.
    """

    def __init__(self, name: str) -> None:
        self._pending: list[Point] = []
        self._flushed = time.monotonic()
        self._dvc = _dvc()
        self._recorder: subprocess.Popen | None = None
        if is_on():
            check()
            self._recorder = _early.pop() if _early else start_recorder()
            self._send("stage", name, now())
            if os.environ.get("MLFLOW_TRACKING_URI"):  # a store that we did not make may refuse us in many ways
                self._send("answer")
                if (told := self._recorder.stdout.readline()) != READY:
                    self._wait(told)

    def begin(self, data: Description) -> None:
        """Open the runs, as soon as the data are known."""
        self._send("begin", asdict(data))

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Parameters of this stage's own run, by dotted key."""
        self._send("log_params", dict(values))

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Metrics of this stage's own run; collected, and sent every few seconds."""
        self._pending += points(values, step)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def log_headline(self, values: Mapping[str, float]) -> None:
        """Metrics that also belong in the study's row."""
        self._send("log_headline", points(values, 0))

    def log_files(self, folder: str | Path) -> None:
        """Every file of a folder, as artifacts of this stage's run."""
        self._send("log_files", str(folder))

    def log_trial(
        self,
        number: int,
        state: str,
        params: Mapping[str, Any],
        values: list[float],
        seconds: float,
        measure: str = "validation_accuracy",
    ) -> None:
        """One trial of the search, nested under this run: its parameters, and the measure by epoch."""
        self._send("log_trial", number, state, dict(params), values, seconds, now(), measure)

    def log_model(
        self, folder: str | Path, settings: Mapping[str, Any], classes: tuple[str, ...], example: Any, card: str
    ) -> None:
        """The study's model, in a form that `mlflow.pyfunc.load_model` takes: uint8 images in, classes and the
        study's probabilities out, weights as safetensors, no pickle. It becomes the latest version of glassbox-STUDY in
        MLflow's registry, and stands in the study's row.

        Args:
            folder: with the saved classifier.
            settings: of `serving.Predictor`.
            classes: names.
            example: (1 or more, H, W, 3) uint8 array.
            card: the model card, Markdown.
        """
        self._send("log_model", str(folder), dict(settings), list(classes), example.tolist(), card)

    def complete_study(
        self,
        choices: list[dict[str, Any]],
        headline: Mapping[str, float],
        curves: list[dict[str, float]],
        description: str,
        best: str,
        view: str,
        reports: str,
    ) -> None:
        """Fill the study's row from the files: resolved hyperparameters, headline metrics, curves, every figure.

        Args:
            choices: key, value and source of every hyperparameter.
            headline: metrics of the row.
            curves: one mapping an epoch, with "epoch".
            description: Markdown, in which `artifact:PATH` is the address of a file of `reports`.
            best: explainer, in words.
            view: how MLflow arranges the experiment's page; see `view`.
            reports: folder whose files become the row's artifacts.
        """
        self._send("complete_study", choices, dict(headline), curves, description, best, view, reports)

    def log_images(self, images: Iterable[tuple[str, int, bytes]]) -> None:
        """Pictures of the study's row that MLflow shows step by step, and side by side for several rows: key, step and
        content of a PNG file of each."""
        self._send("log_images", [(key, step, base64.b64encode(png).decode()) for key, step, png in images])

    def end(self, status: str) -> None:
        """Wait until everything is logged, and close the runs. When DVC was killed meanwhile it will run the stage
        again, whose run then goes on with this one.

        Raises:
            UserError: something could not be logged.
        """
        if not self._recorder:
            return
        self._flush()
        self._send("end", "KILLED" if status == "FINISHED" and self._dvc and not _lives(self._dvc) else status)
        self._wait()

    def _wait(self, told: str = "") -> None:
        recorder, self._recorder = self._recorder, None
        answer, _ = recorder.communicate()
        if recorder.returncode:
            reason = f"{told}{answer}".strip() or f"its recorder ended with code {recorder.returncode}"
            raise UserError(f"logging to MLflow at {_masked(uri())} failed: {reason}")

    def _send(self, method: str, *arguments: Any) -> None:
        if self._recorder:
            try:
                self._recorder.stdin.write(json.dumps([method, *arguments]) + "\n")
                self._recorder.stdin.flush()
            except BrokenPipeError:  # it has failed and gone: better to hear of it now than after hours of work
                self._wait()

    def _flush(self) -> None:
        pending, self._pending, self._flushed = self._pending, [], time.monotonic()
        if pending:
            self._send("log_points", pending)


class Recorder:
    """The other end of the pipe: logs what a `StageRun` sends, in order. Only it knows mlflow."""

    def __init__(self) -> None:
        self.params = config.read()
        self.embedded = uri() == _embedded()
        self.remote = uri().startswith(("http:", "https:"))
        self.client = connect()
        self.sign = Sign()
        sweep(self.client)
        self.parent_id: str | None = None
        self.id: str | None = None

    def stage(self, name: str, started: int) -> None:
        self.name, self.started = name, started

    def answer(self) -> None:
        print(READY, end="", flush=True)

    def begin(self, data: dict[str, Any]) -> None:
        self._tags = self._describe(data["digest"])
        self.experiment_id = self._experiment()
        with filelock.FileLock(self._lock()):
            self.parent_id = self._find_parent() or self._make_parent(data)
        self.client.set_tag(self.parent_id, SIGN, self.sign.name)
        self.client.update_run(self.parent_id, status="RUNNING")
        before = self._interrupted()
        self.id = self._nested(self.name, self.parent_id, self.started, before)
        if before:
            self.client.set_tag(before["continues"], "continued_by", self.id)
        self._log_dataset(self.id, data)
        if self.name == "report":
            import git  # noqa: F401 (log_model needs these, and now nobody waits for them)
            import mlflow.pyfunc  # noqa: F401

    def log_params(self, values: dict[str, Any]) -> None:
        self._log_params(self.id, values)

    def log_points(self, values: list[Point]) -> None:
        self._log_points(self.id, values)

    def log_headline(self, values: list[Point]) -> None:
        self._log_points(self.id, values)
        self._log_points(self.parent_id, values)

    def log_files(self, folder: str) -> None:
        self._upload(self.id, folder)

    def log_trial(
        self,
        number: int,
        state: str,
        params: dict[str, Any],
        values: list[float],
        seconds: float,
        end: int,
        measure: str,
    ) -> None:
        trial = self._nested(
            f"trial-{number:03d}", self.id, end - int(1000 * seconds), {"kind": "trial", "trial_state": state}
        )
        curve = [point for epoch, value in enumerate(values, 1) for point in points({measure: value}, epoch)]
        self._log(trial, params, curve + (points({f"best_{measure}": max(values)}, 0) if values else []))
        self.client.set_terminated(trial, "FAILED" if state == "failed" else "FINISHED", end)

    def log_model(self, folder: str, settings: dict[str, Any], classes: list[str], example: list, card: str) -> None:
        from mlflow.entities import LoggedModelOutput

        digest = files.digest(_weights_digest(folder), json.dumps(settings, sort_keys=True))
        model_id = self._logged(digest) or self._save_model(folder, settings, classes, example, digest)
        linked = {output.model_id for output in self.client.get_run(self.parent_id).outputs.model_outputs}
        if model_id not in linked:
            self.client.log_outputs(self.parent_id, [LoggedModelOutput(model_id, step=0)])
        self.client.set_logged_model_tags(model_id, {NOTE: card})
        self._register(model_id, card)

    def _logged(self, digest: str) -> str | None:
        """The id of a model with these weights and settings, of another state of the study perhaps, that is whole; of
        one that is not it is said."""
        newest = [{"field_name": "creation_timestamp", "ascending": False}]
        found = self.client.search_logged_models(
            [self.experiment_id], filter_string=f"tags.{MODEL_DIGEST} = '{digest}'", order_by=newest
        )
        for model in found:
            with tempfile.TemporaryDirectory() as place:
                if fetch_model(self.client, model.model_id, place):
                    return model.model_id
            if model.status != "PENDING":  # else a recorder is at work on it
                self._retire(model.model_id)
        return None

    def _retire(self, model_id: str) -> None:
        self.client.finalize_logged_model(model_id, "FAILED")
        for version in self.client.search_model_versions(f"name = '{REGISTERED}-{self.params.study.name}'"):
            if version.source == f"models:/{model_id}":
                self.client.update_model_version(version.name, version.version, NOT_WHOLE)

    def _save_model(self, folder: str, settings: dict[str, Any], classes: list[str], example: list, digest: str) -> str:
        """Log a model under the study's row; its id."""
        import mlflow
        import numpy as np
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, DataType, Schema, TensorSpec

        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
            outputs=Schema(
                [ColSpec(DataType.string, "prediction"), *(ColSpec(DataType.double, f"p({name})") for name in classes)]
            ),
        )
        # pyfunc.log_model would load the model, and with it torch, to see that it takes its own example: `evaluate` has
        # used it, and tests/test_tracking.py loads it.
        with tempfile.TemporaryDirectory() as place, mlflow.start_run(run_id=self.parent_id):
            bundle = shutil.copytree(folder, Path(place) / "model")
            files.write_json(bundle / SERVING, settings)
            logged = Model.log(
                artifact_path=None, name="model", flavor=_Pyfunc, validate_serving_input=False,
                loader_module="glassbox.serving", data_path=str(bundle), code_paths=[str(Path(__file__).parent)],
                signature=signature, input_example=np.array(example, np.uint8), pip_requirements=_requirements(),
                tags={MODEL_DIGEST: digest, SIGN: self.sign.name},
            )  # fmt: skip
        self.client.update_run(self.parent_id, status="RUNNING")
        return logged.model_id

    def _register(self, model_id: str, card: str) -> None:
        """Make a model the latest version of its study's in the registry."""
        from mlflow.exceptions import MlflowException

        name, state = f"{REGISTERED}-{self.params.study.name}", self._tags["study_digest"]
        with filelock.FileLock(self._lock()):
            try:
                about = f"Versions of the classifier of the study {self.params.study.name}, one for each of its states."
                self.client.create_registered_model(name, description=about)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            known = self.client.search_model_versions(
                f"name = '{name}'", max_results=1, order_by=["version_number DESC"]
            )
            version = known[0] if known else None
            source, tags = f"models:/{model_id}", {"study_digest": state}
            if version is None or (version.source, version.tags) != (source, tags):
                version = self.client.create_model_version(name, source, self.parent_id, tags, model_id=model_id)
        self.client.update_model_version(name, version.version, card)

    def complete_study(
        self,
        choices: list[dict[str, Any]],
        headline: dict[str, float],
        curves: list[dict[str, float]],
        description: str,
        best: str,
        view: str,
        reports: str,
    ) -> None:
        logged = self.client.get_run(self.parent_id).data
        resolved = {c["key"]: c["value"] for c in choices if c["value"] is not None and c["key"] not in logged.params}
        self._log_params(self.parent_id, resolved)
        pictures = f"](get-artifact?run_uuid={self.parent_id}&path="
        self.client.set_tag(self.parent_id, NOTE, description.replace("](artifact:", pictures))
        self.client.set_tag(self.parent_id, "best_explainer", best)
        self.client.set_experiment_tag(self.experiment_id, f"mlflow.sharedViewState.{VIEW}", view)
        curve = [
            point
            for row in curves
            for point in points({k: v for k, v in row.items() if k != "epoch"}, int(row["epoch"]))
        ]
        # A row that is filled again must not get each point twice.
        known = {(name, m.step, m.value) for name in {point[0] for point in curve}
                 for m in self.client.get_metric_history(self.parent_id, name)}  # fmt: skip
        fresh = [point for point in curve if (point[0], point[3], point[1]) not in known]
        self._log_points(self.parent_id, fresh + points(headline, 0))
        for path in sorted(Path(reports).iterdir()):
            if path.is_dir() and path.name not in OF_THE_USER:
                self._upload(self.parent_id, str(path), path.name)
            elif path.is_file():
                self.client.log_artifact(self.parent_id, str(path))

    def log_images(self, images: list[tuple[str, int, str]]) -> None:
        from PIL import Image

        # A row is filled again when its state is, or when a kill left it with some of them. MLflow writes two files of
        # each, this one last.
        names = [Path(file.path).name for file in self.client.list_artifacts(self.parent_id, "images")]
        there = {name.partition("+timestamp+")[0] for name in names if name.endswith(".webp")}

        def log(one: tuple[str, int, str]) -> None:
            key, step, content = one
            with Image.open(io.BytesIO(base64.b64decode(content))) as image:
                self.client.log_image(self.parent_id, image, key=key, step=step)

        missing = [one for one in images if f"{one[0].replace('/', '~')}+step+{one[1]}" not in there]
        # The first by itself: it sets a tag of the row, and of two that set it at once PostgreSQL refuses one.
        self._each(log, missing[:1])
        self._each(log, missing[1:])

    def end(self, status: str) -> None:
        if self.id is not None:
            end = max(now(), self.started)  # no run ends before it began, though the clock may be set back
            self.client.set_terminated(self.id, status, end)
            self.client.set_terminated(self.parent_id, status)
        if not self.embedded:  # a server that died before it had answered may have been asked for a run twice
            for twin in _running(self.client, self.sign.name):
                self.client.set_terminated(twin, "KILLED")
        self.sign.take_down()

    def settle(self) -> None:
        """Move what SQLite still holds beside the database into it: a copy of that one file is then complete."""
        if self.embedded:
            with closing(sqlite3.connect(root() / STORE / DATABASE)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _describe(self, data_digest: str) -> dict[str, str]:
        # DVC rewrites the two files that follow while it runs: they are results, not causes.
        status = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        commit = _git("rev-parse", "HEAD") or "unknown"
        tags = {
            "study_digest": record.study_digest(self.params, data_digest),
            "data_digest": data_digest,
            "code_digest": record.code_digest(),
            "git_commit": commit,
            "git_dirty": "unknown" if status is None else str(bool(status)).lower(),
            "dvc_exp_name": os.environ.get("DVC_EXP_NAME", ""),
            "mlflow.source.git.commit": commit,
            "mlflow.user": _user(),
        }
        return {key: value for key, value in tags.items() if value}

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self.params.study.name
        location = _place(name)
        with filelock.FileLock(self._lock()):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                try:
                    return self.client.create_experiment(name, artifact_location=location)
                except MlflowException:  # another machine was faster
                    found = self.client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise UserError(
                f"study.name = {name!r} is a deleted experiment in MLflow: restore it there, or choose another name"
            )
        if not self.remote and (place := _elsewhere(found.artifact_location)):
            raise UserError(
                f"study.name = {name!r}: MLflow keeps the files of this experiment in {place}, which is a folder of "
                "another clone, or gone: choose another name, or another MLFLOW_TRACKING_URI"
            )
        return found.experiment_id

    def _lock(self) -> Path:
        folder = root() / STORE
        folder.mkdir(exist_ok=True)  # also used, for its lock alone, when the runs go to a server
        return folder / ".lock"

    def _find_parent(self) -> str | None:
        wanted = f"tags.study_digest = '{self._tags['study_digest']}' and tags.kind = 'study'"
        found = self.client.search_runs([self.experiment_id], wanted, max_results=1)
        return found[0].info.run_id if found else None

    def _make_parent(self, data: dict[str, Any]) -> str:
        values = config.flatten(self.params)
        given = {key: value for key, value in values.items() if value != config.TUNED}
        tuned = " ".join(sorted(values.keys() - given.keys()))
        tags = self._tags | {"kind": "study", "mlflow.source.name": "dvc.yaml", "mlflow.source.type": "LOCAL"}
        tags |= {"tuned": tuned} if tuned else {}
        if changed := self._changed(given, tuned):
            tags["changed"] = changed
        title = ": ".join(filter(None, (os.environ.get("DVC_EXP_NAME") or self.params.study.name, changed)))
        name = f"{title} ({tags['study_digest'][:7]})"
        run_id = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self._log_params(run_id, given)
        self._log_dataset(run_id, data)
        return run_id

    def _changed(self, given: dict[str, Any], tuned: str) -> str:
        """What this state of the study has changed against the one before it, in words; "" for the first."""
        before = self._newest("tags.kind = 'study'")
        if before is None:
            return ""
        was, tags = before.data.params, before.data.tags
        changed = [f"{key}={value}" for key, value in given.items() if was.get(key) != _masked(str(value))]
        changed += [f"{key}={config.TUNED}" for key in tuned.split() if key not in tags.get("tuned", "").split()]
        changed += [f"no {key}" for key in was if key not in given and key not in tuned.split()]
        changed += [
            f"other {name}" for name in ("data", "code") if tags[f"{name}_digest"] != self._tags[f"{name}_digest"]
        ]
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        return ", ".join(cut(_masked(change), 60) for change in changed[:NAMED]) + more

    def _newest(self, condition: str) -> "Run | None":
        """The run of this experiment that began last."""
        order = ["start_time DESC"]
        found = self.client.search_runs([self.experiment_id], condition, max_results=1, order_by=order)
        return found[0] if found else None

    def _interrupted(self) -> dict[str, str]:
        """Tags for the run of a stage whose last run of this study was killed or failed: that this one goes on."""
        of_stage = f"tags.`mlflow.parentRunId` = '{self.parent_id}' and tags.dvc_stage = '{self._stage()}'"
        found = self._newest(f"{of_stage} and tags.kind = 'stage'")
        if found is None or found.info.status == "FINISHED":
            return {}
        last = found.info.run_id
        link = f"[{last}](#/experiments/{self.experiment_id}/runs/{last})"
        ended = "failed" if found.info.status == "FAILED" else "was killed"
        return {"continues": last, NOTE: f"Goes on where run {link} {ended}."}

    def _stage(self) -> str:
        return os.environ.get("DVC_STAGE", self.name)

    def _nested(self, name: str, parent: str, start: int, more: Mapping[str, str]) -> str:
        source = {"mlflow.source.name": f"stages/{self.name}.py", "mlflow.source.type": "LOCAL", SIGN: self.sign.name}
        tags = self._tags | source | {"mlflow.parentRunId": parent, "kind": "stage", "dvc_stage": self._stage()} | more
        return self.client.create_run(self.experiment_id, start, tags, name).info.run_id

    def _log_dataset(self, run_id: str, data: dict[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {key: data[key] for key in ("sizes", "classes", "image_size")}
        dataset = Dataset(
            name=data["source"], digest=data["digest"][:8], source_type="local",
            source=json.dumps({"source": data["source"], "path": self.params.data.path}),
            profile=json.dumps(profile),
        )  # fmt: skip
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", self.name)])])

    def _upload(self, run_id: str, folder: str, place: str = "") -> None:
        """Every file of a folder, as artifacts of a run."""
        if not self.remote:
            self.client.log_artifacts(run_id, folder, place or None)
            return
        found = sorted(path for path in Path(folder).rglob("*") if path.is_file())

        def log(path: Path) -> None:
            within = (Path(place) / path.parent.relative_to(folder)).as_posix()
            self.client.log_artifact(run_id, str(path), None if within == "." else within)

        self._each(log, found)

    def _each(self, log: Callable[[Any], None], items: list[Any]) -> None:
        """Log items that take a request each; of those to a server none waits for the answer to another."""
        if not self.remote:
            for item in items:
                log(item)
            return
        with ThreadPoolExecutor(REQUESTS) as pool:
            list(pool.map(log, items))  # raises the first error

    def _log_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        self._log(run_id, values, [])

    def _log_points(self, run_id: str, values: list[Point]) -> None:
        self._log(run_id, {}, values)

    def _log(self, run_id: str, params: Mapping[str, Any], values: list[Point]) -> None:
        """Parameters and metrics, in as few batches as MLflow's limits allow: 100 parameters, 1000 entries in all."""
        from mlflow.entities import Metric, Param

        given = [Param(key, _masked(str(value))) for key, value in params.items()]
        metrics = [Metric(*point) for point in values]
        while given or metrics:
            first, given = given[:100], given[100:]
            room = 1000 - len(first)
            self.client.log_batch(run_id, metrics=metrics[:room], params=first)
            metrics = metrics[room:]


def _place(experiment: str) -> str | None:
    """Where the files of an experiment to be made are kept; None = where its server keeps them. MLflow itself would
    take the folder in which a stage runs, which may be a temporary copy."""
    where = uri()
    if where == _embedded():
        return f"{SCHEME}:/{experiment}"
    file = database(where)
    if file is None and not _on_server(where):
        return None
    return ((file.parent if file else root() / STORE) / "artifacts" / experiment).as_uri()


def _elsewhere(location: str) -> Path | None:
    """The folder of an experiment's files when it is one that the stage must not write to: in the `mlruns` of another
    clone, or of a folder that is gone."""
    parts = urllib.parse.urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    place = Path(urllib.parse.unquote(parts.path) if parts.scheme else location).resolve()
    owner = next((folder.parent for folder in (place, *place.parents) if folder.name == STORE), None)
    file = database(uri())
    if owner in (None, root().resolve()) or (file and place.is_relative_to(file.parent.resolve())):
        return None
    return place if (owner / config.PARAMS_FILE).exists() or not owner.is_dir() else None


class _Pyfunc:
    """mlflow.pyfunc as a flavor, without the argument that only `Model.log` understands, and with a list of the files
    that it makes: MLflow copies them one by one, and may be killed in between."""

    __name__ = "mlflow.pyfunc"

    @staticmethod
    def save_model(path: str, mlflow_model: Any, validate_serving_input: bool, **options: Any) -> None:
        import mlflow

        assert not validate_serving_input
        mlflow.pyfunc.save_model(path=path, mlflow_model=mlflow_model, **options)
        files.write_json(Path(path) / LISTED, _digests(Path(path)))
        listed = files.sha256(Path(path) / LISTED)
        mlflow.MlflowClient().set_logged_model_tags(mlflow_model.model_id, {LISTED_DIGEST: listed})


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model, by name; Python's caches are no part of it."""
    return {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def fetch_model(client: "MlflowClient", model_id: str, place: str | Path) -> Path | None:
    """Copy a logged model to `place`: where it lies there; None when it is not whole: MLflow has not ended copying it,
    or one of its files is missing, or has not the bytes that it was logged with."""
    from mlflow.artifacts import download_artifacts

    model = client.get_logged_model(model_id)
    if model.status != "READY" or LISTED_DIGEST not in model.tags:
        return None
    if LISTED not in [file.path for file in client.list_logged_model_artifacts(model_id)]:
        return None  # a download of what is not there fails as one from a server that is away
    folder = Path(download_artifacts(artifact_uri=f"models:/{model_id}", dst_path=str(place)))
    if not (folder / LISTED).is_file() or files.sha256(folder / LISTED) != model.tags[LISTED_DIGEST]:
        return None
    found = _digests(folder)
    return folder if files.read_json(folder / LISTED).items() <= found.items() else None


def serve() -> None:
    """Be a recorder: carry out one JSON list [method, arguments...] a line from stdin until it closes.

    A stage that goes without a word was killed. The first failure is told on stdout and ends the process with code 1.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the stage says how it ended
    os.nice(5)
    gc.disable()  # what an import makes stays: looking for garbage in it is a sixth of mlflow's import
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 (most of the time that connecting takes)

    gc.freeze()
    gc.enable()

    recorder, ended = None, False
    try:
        for line in sys.stdin:
            recorder = recorder or Recorder()  # a stage that ended before it had begun leaves no trace
            method, *arguments = json.loads(line)
            ended = method == "end"
            getattr(recorder, method)(*arguments)
        if recorder:
            if not ended:
                recorder.end("KILLED")
            recorder.settle()
    except Exception as error:  # whatever it is, the stage must hear of it
        with suppress(BrokenPipeError):  # unless it is gone
            print(_short(error), flush=True)
        os._exit(1)
    os._exit(0)  # Python would take most of a second to take mlflow apart, and the stage waits


@contextmanager
def stage(name: str) -> Iterator[StageRun]:
    """Track a stage, and end its run as the block ends.

    The block calls `begin` as soon as it knows the data; everything else follows that.

    Raises:
        UserError: before the block, when the store cannot be reached; after it, when something could not be logged.
    """
    tracked = StageRun(name)
    try:
        yield tracked
    except BaseException as error:
        try:
            tracked.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        except UserError as second:  # must not hide the first
            print(f"warning: {second}", file=sys.stderr)
        raise
    tracked.end("FINISHED")


class NoSuchStudy(UserError):
    """No row is called so."""


def find_study(client: "MlflowClient", which: str, argument: str = "RUN") -> "Run":
    """The row of a study.

    Args:
        client: of the store.
        which: the first digits of the study's digest, the row's name or id, the DVC experiment that it is of, or the id
            of a run under it.
        argument: that the user has named it by, for messages.

    Raises:
        NoSuchStudy: there is none.
        UserError: there is more than one, or nothing can be called so.
    """
    from mlflow.exceptions import MlflowException

    if not re.fullmatch(r"[A-Za-z0-9][^'\"\\%\n]*", which):
        raise UserError(f"{argument}={which}: it must be a study digest, or the name or id of a run in MLflow")
    everywhere = _everywhere(client)

    def search(condition: str) -> list["Run"]:
        return client.search_runs(everywhere, f"tags.kind = 'study' and {condition}", max_results=1000)

    called = (
        f"tags.study_digest LIKE '{which}%'",
        f"attributes.run_name = '{which}'",
        f"tags.dvc_exp_name = '{which}'",
    )
    found = next(filter(None, map(search, called)), [])
    if not found:
        with suppress(MlflowException):  # there is none of this id
            run = client.get_run(which)
            while run.data.tags.get("kind") != "study" and "mlflow.parentRunId" in run.data.tags:
                run = client.get_run(run.data.tags["mlflow.parentRunId"])
            found = [run]
    if len(found) != 1:
        names = ", ".join(sorted(run.info.run_name for run in found or search("attributes.run_name != ''"))) or "none"
        kind = UserError if found else NoSuchStudy
        raise kind(f"{argument}={which}: {'several rows are' if found else 'no row is'} called so; there are: {names}")
    return found[0]


def fetch_record(which: str, place: str | Path) -> str:
    """Copy the record of a study and its sources from its row to `place`; the row's id.

    Raises:
        UserError: there is no such row, or it has no record.
    """
    from mlflow.exceptions import MlflowException

    check()
    client = connect()
    run = find_study(client, which)
    for name in (record.RECORD, record.SOURCES):
        try:
            got = client.download_artifacts(run.info.run_id, f"report/{name}", str(place))
            Path(got).replace(Path(place) / name)  # stores differ in whether folders are made
        except (MlflowException, OSError):
            raise UserError(
                f"RUN={which}: the row {run.info.run_name} has no report/{name}: its study did not come to its report"
            ) from None
    return run.info.run_id


def fetch_study(which: str, place: str | Path, argument: str) -> None:
    """Copy params.yaml, reports/ and models/ of a study from its row to `place`.

    Args:
        which, argument: see `find_study`.
        place: a folder.

    Raises:
        NoSuchStudy: no row is called so.
        UserError: several are, or the row is incomplete.
    """
    check()
    client = connect()
    with _told("reading from"):
        row = find_study(client, which, argument)
        place, models = Path(place), [output.model_id for output in row.outputs.model_outputs] if row.outputs else []
        listed = [file.path for file in client.list_artifacts(row.info.run_id)]
        if "summary.json" not in listed or not models:
            raise UserError(
                f"{argument}={which}: the row {row.info.run_name} is of a study that did not come to its report"
            )
        (place / "reports").mkdir(parents=True)
        for name in listed:
            if f"reports/{name}" in FETCHED:
                client.download_artifacts(row.info.run_id, name, str(place / "reports"))
        files.write_bytes(place / config.PARAMS_FILE, record.parameters(place / "reports/report"))
        recorded = record.read(place / "reports/report")
        for one in models:
            found = fetch_model(client, one, place / "logged" / one)
            folder = found and next(found.rglob(SERVING)).parent
            if folder and _weights_digest(folder) == recorded["files"]["models/model.safetensors"]:
                (place / "models").symlink_to(folder.resolve())
                break
    compared = [file for file in record.compare(recorded, place) if file.recorded and _fetched(file.name)]
    if damaged := [file.name for file in compared if not file.agrees]:
        raise UserError(
            f"{argument}={which}: {damaged[0]} of the row {row.info.run_name} is missing in MLflow or is not what was "
            "recorded: run 'dvc repro --force report' where that study was made, to log it again"
        )


def _fetched(name: str) -> bool:
    return any(Path(name).is_relative_to(part) for part in FETCHED)


def log_comparison(
    study: str,
    names: tuple[str, str],
    metrics: Mapping[str, float],
    outcomes: Mapping[str, str],
    sentences: list[str],
    page: str | Path,
) -> None:
    """Log the page that compares two studies, as a run of its own in the experiment of the first one's study.

    Args:
        study: name of the experiment.
        names: of the two.
        metrics: by name.
        outcomes: of the tests, by name: tags.
        sentences: what the page begins with: the run's description.
        page: the file.
    """
    from mlflow.entities import Metric

    check()
    client = connect()
    found = client.get_experiment_by_name(study)
    if found is None or found.lifecycle_stage != "active":
        raise UserError(f"study.name = {study!r} is no experiment in MLflow: its rows were deleted")
    sign = Sign()
    tags = {"kind": "comparison", "a": names[0], "b": names[1], "mlflow.user": _user(), SIGN: sign.name}
    tags |= {NOTE: "\n\n".join(sentences), **outcomes}
    with _told("logging to"):
        sweep(client)
        name = f"{names[0]} against {names[1]}"
        run_id, status = client.create_run(found.experiment_id, tags=tags, run_name=name).info.run_id, "FAILED"
        try:
            client.log_batch(run_id, metrics=[Metric(*point) for point in points(metrics, 0)])
            client.log_artifact(run_id, str(page))
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            client.set_terminated(run_id, status)
    sign.take_down()  # where this is not reached the next sweep looks for a run without an end


def note_verified(study_digest: str, outcome: str) -> None:
    """Show in a study's row, where it has one, how doing it again came out.

    Raises:
        UserError: the store cannot be reached.
    """
    check()
    client = connect()
    of_state = f"tags.kind = 'study' and tags.study_digest = '{study_digest}'"
    with _told("logging to"):
        for row in client.search_runs(_everywhere(client), of_state):
            client.set_tag(row.info.run_id, "verified", f"{time.strftime('%Y-%m-%d')}: {outcome}")


def with_little_patience() -> None:
    """For commands whose end a user waits for: a server that does not answer is given up after seconds, where MLflow
    would try for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", f"{ANSWER_SECONDS}")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """What MLflow raises becomes one sentence."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(f"{doing} MLflow at {_masked(uri())} failed: {_short(error)}") from None


def _weights_digest(folder: str | Path) -> str:
    return files.sha256(Path(folder) / "model.safetensors")


def _requirements() -> list[str]:
    """What the logged model needs, with the versions it was made with."""
    from importlib.metadata import version

    names = (
        "numpy",
        "pandas",
        "pillow",
        "torch",
        "torchvision",
        "safetensors",
        "pydantic",
        "ruamel.yaml",
        "filelock",
        "threadpoolctl",
    )
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def ui() -> None:
    """Serve the runs of this repository on the loopback interface until stopped, and show where to look."""
    name, given = config.load("study.name"), os.environ.get("PORT", "5000")
    if not (given.isdecimal() and 0 < int(given) < 65536):
        raise UserError(f"PORT={given}: it must be a number from 1 to 65535")
    port = int(given)
    check()
    client = connect()
    sweep(client)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        raise UserError(f"there are no runs of the study {name!r} yet: 'make study' makes them")
    page = f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
    where = uri()
    if where.startswith(("http:", "https:")):
        print(f"MLflow: {_masked(where).rstrip('/')}/{page}")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(f"port {port} is in use: choose another one, as in 'make ui PORT={port + 1}'") from None
    address = f"http://127.0.0.1:{port}/{page}"
    print(f"MLflow: {address}\nCtrl-C stops it.", flush=True)
    can_open = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if can_open and sys.stdout.isatty() and os.fork() == 0:
        _open_when_ready(port, address)
        os._exit(0)
    # In this process's place, so that Ctrl-C and kill reach the server itself. Without its background jobs, which
    # glassbox does not use, it is two processes instead of eight.
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--artifacts-destination", (root() / STORE / "artifacts").as_uri()]
    changed = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    changed["MLFLOW_BACKEND_STORE_URI"] = where  # among the arguments every user of the machine could read a password
    command = [sys.executable, "-m", "mlflow", "server", *arguments]
    os.execve(sys.executable, command, os.environ | changed)  # noqa: S606 (no shell has a part in it)


def _open_when_ready(port: int, address: str) -> None:
    import webbrowser

    for _ in range(120):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                webbrowser.open(address)
                return
        except OSError:
            time.sleep(0.5)


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        serve()
    else:
        run(ui)
