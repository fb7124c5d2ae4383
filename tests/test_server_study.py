"""The shrunken study's rows on a server: MLflow's, on PostgreSQL, with artifacts that only it can reach, behind a
password. They must be those of the store in mlruns/."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from conftest import SHRINK, environment, make, ran, shell
from harness import digests
from services import MlflowServer, Postgres, mlflow_server, postgres

from glassbox import record

# Stages that log to the server: the first gives the row its data, train its headline, and report all that is left.
RUN = ["prepare", "tune", "train", "explain", "report"]
# Tags that tell where and when a run was made.
ITS_OWN = ("recorder", "git_commit", "git_dirty", "mlflow.source.git.commit", "continues", "continued_by", "verified")

MEASURED = ("seconds", "images_per_second", "peak_memory")  # how the names of such metrics begin


@dataclass
class Served:
    """A copy of the study, which has logged to the server."""

    folder: Path  # of everything: the copy, artifacts, logs
    project: Path
    before: dict[str, str]  # SHA-256 of its files as the embedded store saw them made
    said: str
    arguments: set[str]  # of every process at work, all the time
    database: Postgres
    server: MlflowServer


@pytest.fixture(scope="module")
def served(made_study, tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("servers")
    with postgres(folder) as database, mlflow_server(folder, database.create("mlflow"), **database.variables) as server:
        project = Path(shutil.copytree(made_study[0], folder / "a study", symlinks=True))
        # As it was made first, whatever other tests have changed since: from DVC's cache.
        shell("python", "-m", "glassbox", "select", "digits", *SHRINK, cwd=project, PYTHONPATH="src")
        shell("dvc", "repro", cwd=project)
        before = digests(project)
        arguments = set()
        with subprocess.Popen(
            ["dvc", "repro", "--force", "--single-item", *RUN], cwd=project, env=environment(**server.variables),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as dvc:  # fmt: skip
            said = ""
            for line in dvc.stdout:
                said += line
                arguments |= {" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])}
        assert dvc.returncode == 0, said
        yield Served(folder, project, before, said, arguments, database, server)


@pytest.fixture
def clients(served, monkeypatch):
    """Of the server, and of the study's own store."""
    import mlflow

    for name, value in served.server.variables.items():
        monkeypatch.setenv(name, value)
    yield (mlflow.MlflowClient(served.server.address),
           mlflow.MlflowClient(f"sqlite:///{served.project / 'mlruns/mlflow.db'}"))  # fmt: skip
    mlflow.set_tracking_uri(None)


def digest(served: Served) -> str:
    return record.read(served.project / "reports/report")["study_digest"]


def rows(client, served: Served) -> dict:
    """The study's row, its newest run of each stage that ran for the server, and the trials of that search, by name."""
    experiment = client.get_experiment_by_name("digits")
    everything = client.search_runs([experiment.experiment_id], max_results=1000, order_by=["start_time DESC"])
    (study,) = (run for run in everything if run.data.tags["kind"] == "study"
                and run.data.tags["study_digest"] == digest(served))  # fmt: skip

    def below(parent, kind: str) -> list:
        wanted = {"kind": kind, "mlflow.parentRunId": parent.info.run_id}
        return [run for run in everything if wanted.items() <= run.data.tags.items()]

    found = {"study": study}
    for name in RUN:
        found[name] = next(run for run in below(study, "stage") if run.data.tags["dvc_stage"] == name)
    return found | {run.info.run_name: run for run in below(found["tune"], "trial")}


def pairs(clients, served: Served) -> list[tuple]:
    """Each run on the server beside the same one in the study's own store."""
    ours, embedded = (rows(client, served) for client in clients)
    assert ours.keys() == embedded.keys() == {"study", *RUN, "trial-000", "trial-001", "trial-002"}
    return [(name, ours[name], embedded[name]) for name in ours]


def told(run) -> dict[str, str]:
    """Tags, with words for the numbers of runs."""
    words = {
        run.info.run_id: "ROW",
        run.info.experiment_id: "EXPERIMENT",
        run.data.tags.get("mlflow.parentRunId"): "UP",
    }
    pattern = "|".join(re.escape(number) for number in words if number and len(number) > 20)
    return {key: re.sub(pattern, lambda found: words[found[0]], value) for key, value in run.data.tags.items()
            if key not in ITS_OWN}  # fmt: skip


def test_the_stages_make_the_same_bytes(served):
    assert ran(served.said) == RUN
    assert digests(served.project) == served.before
    assert len(served.before) > 30


def test_runs_have_the_same_parameters_metrics_tags_and_data(clients, served):
    for name, ours, embedded in pairs(clients, served):
        assert ours.info.run_name == embedded.info.run_name
        assert ours.info.status == embedded.info.status == "FINISHED"
        assert ours.data.params == embedded.data.params, name
        assert told(ours) == told(embedded), name
        assert ours.data.metrics.keys() == embedded.data.metrics.keys(), name
        differing = {key for key, value in ours.data.metrics.items() if embedded.data.metrics[key] != value}
        assert [key for key in differing if not key.startswith(MEASURED)] == [], name
        for mine, other in itertools.zip_longest(ours.inputs.dataset_inputs, embedded.inputs.dataset_inputs):
            assert (mine.dataset, mine.tags) == (other.dataset, other.tags)


def test_artifacts_come_through_the_server_and_are_the_same_files(clients, served, tmp_path):
    for name, ours, embedded in pairs(clients, served):
        kept = []
        for client, run in zip(clients, (ours, embedded), strict=True):
            place = tmp_path / f"{name}-{len(kept)}"
            place.mkdir()
            client.download_artifacts(run.info.run_id, "", str(place))
            kept.append({re.sub(r"\+timestamp\+.*?(\+compressed)?\.", r"\1.", path.relative_to(place).as_posix()): path
                         for path in place.rglob("*") if path.is_file()})  # fmt: skip
        assert kept[0].keys() == kept[1].keys(), name
        differing = {path for path in kept[0] if kept[0][path].read_bytes() != kept[1][path].read_bytes()}
        assert {path for path in differing if Path(path).name != "timing.yaml"} == set(), name
    assert not (served.project / "mlruns" / "artifacts" / "digits" / pairs(clients, served)[0][1].info.run_id).exists()


def test_the_model_is_registered(clients, served, tmp_path):
    import mlflow

    found = []
    for client, name in zip(clients, ("ours", "embedded"), strict=True):
        study = rows(client, served)["study"]
        (output,) = study.outputs.model_outputs
        versions = client.search_model_versions("name = 'glassbox-digits'", order_by=["version_number DESC"])
        version = next(one for one in versions if one.run_id == study.info.run_id)
        assert version.source == f"models:/{output.model_id}"
        mlflow.set_tracking_uri(client.tracking_uri)
        place = Path(mlflow.artifacts.download_artifacts(artifact_uri=version.source, dst_path=str(tmp_path / name)))
        model = client.get_logged_model(output.model_id)
        found.append((version.description, version.tags, {metric.key: metric.value for metric in model.metrics},
                      {path.relative_to(place): path.read_bytes() for path in place.rglob("*.safetensors")},
                      {path.relative_to(place) for path in place.rglob("*") if path.is_file()}))  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0][3]) == 1


def test_commands_work_with_the_server(clients, served, tmp_path):
    variables, row = served.server.variables, rows(clients[0], served)["study"]
    experiment = row.info.experiment_id
    said = make(served.project, "ui", **variables).stdout
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=glassbox"
    assert said == f"MLflow: {served.server.address}/{page}\n"

    make(served.project, "compare", f"A={row.info.run_id}", "B=.", **variables)
    (compared,) = clients[0].search_runs([experiment], "tags.kind = 'comparison'")
    assert compared.data.metrics["difference/accuracy"] == 0
    (page,) = clients[0].list_artifacts(compared.info.run_id)
    assert (served.project / "reports/compare" / page.path).stat().st_size == page.file_size

    # `make verify RUN=...`, without the minute in which the study is made again: as if that had made these files.
    place = tmp_path / "again"
    place.mkdir()
    shell(
        "python",
        "-m",
        "glassbox",
        "restore",
        row.info.run_id,
        str(place),
        cwd=served.project,
        PYTHONPATH="src",
        **variables,
    )
    for folder in ("data/prepared", "models", "reports"):
        shutil.copytree(served.project / folder, place / folder)
    said = shell(
        "python", "-m", "glassbox", "verify", str(place), cwd=served.project, PYTHONPATH="src", **variables
    ).stdout
    outcome = re.search(r"(\d+) of \1 files agree", said)[0]
    assert clients[0].get_run(row.info.run_id).data.tags["verified"].endswith(outcome)


def test_a_password_in_the_address_is_masked_and_a_wrong_one_is_said(served):
    server = served.server
    host = server.address.removeprefix("http://")
    shown = make(served.project, "ui", MLFLOW_TRACKING_URI=f"http://{server.user}:{server.password}@{host}").stdout
    assert shown.startswith(f"MLflow: http://{server.user}:***@{host}/#/experiments/")
    wrong = make(served.project, "ui", check=False, **(server.variables | {"MLFLOW_TRACKING_PASSWORD": "wrong-1"}))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: the MLflow store {server.address} cannot be opened: ")
    assert "wrong-1" not in wrong.stderr


def test_the_database_itself_may_be_the_store(served):
    code = (
        "import mlflow.store.db.utils as utils; utils.MAX_RETRY_COUNT = 1; from glassbox import errors, tracking; "
        "errors.run(lambda: print(*(one.name for one in tracking.connect().search_experiments())))"
    )
    address, right = served.database.uri("mlflow"), served.database.variables

    def ask(uri: str, **changes: str) -> subprocess.CompletedProcess:
        where = changes | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": "src"}
        return shell("python", "-c", code, cwd=served.project, check=False, **where)

    assert "digits" in ask(address, **right).stdout.split()
    refused = ask(address.replace("@", ":wrong-1@"))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: the MLflow store {address.replace('@', ':***@')} cannot be opened: ")
    assert "password authentication failed" in refused.stderr
    assert "wrong-1" not in refused.stderr
    assert ask("oracle://me@db").stderr.startswith("error: the MLflow store oracle://***@db cannot be opened: ")


def test_no_password_is_kept_or_shown(served):
    secrets = [served.database.password, served.server.password]
    dump = served.database.dump("mlflow")
    files = {path: path.read_bytes() for path in served.folder.rglob("*") if path.is_file()}
    assert "test_accuracy" in dump
    assert any(
        b"test_accuracy" in content for path, content in files.items() if served.server.artifacts in path.parents
    )
    assert any("stages.tune" in line for line in served.arguments)
    assert any("mlflow" in line for line in served.arguments)
    for secret in secrets:
        assert secret not in dump
        assert secret not in served.said
        assert [str(path) for path, content in files.items() if secret.encode() in content] == []
        assert [line for line in served.arguments if secret in line] == []
