"""The commands of docs/cluster.md, run on three machines: head, worker, laptop. The files of the study and its rows on
the MLflow server must be those that one machine makes."""

import itertools
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import machines
import pytest
import services
from clusters import NODES_OF_RAYS_OWN
from conftest import NAMES, ROOT, SHRINK, clone, environment, first_made, make, nightly, ran, shell
from harness import differing, digests
from machines import Machine

from glassbox.provenance import record

pytestmark = [nightly, NODES_OF_RAYS_OWN]

# With this variable the study is not reduced, which takes minutes more.
PARAMETERS = [] if os.environ.get("GLASSBOX_WHOLE_STUDY") else SHRINK
PLACE_PARAMETERS = {"compute.engine", "compute.address"}  # in which the two studies differ
# Tags of the time and place of a run, and of the state of parameters and code.
STATE_TAGS = {"recorder", "git_commit", "git_dirty", "mlflow.source.git.commit", "mlflow.note.content"}
STATE_TAGS |= {"continues", "continued_by", "verified", "study_digest", "changed", "mlflow.runName"}
MEASURED = ("seconds", "images_per_second", "peak_memory")  # prefixes of measured metrics


def scripts_of_the_page() -> dict[str, list[str]]:
    """The blocks of commands of docs/cluster.md by heading."""
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    parts = re.split(r"^###? (.*)\n", page, flags=re.MULTILINE)[1:]
    scripts = [re.findall(r"^```sh\n(.*?)^```", part, re.DOTALL | re.MULTILINE) for part in parts[1::2]]
    return {title: blocks for title, blocks in zip(parts[::2], scripts, strict=True) if blocks}


@dataclass
class Walked:
    """A study made on a cluster, and the same one made by this machine."""

    folder: Path  # everything that the three machines wrote
    project: Path  # the study made on the cluster
    here: Path  # the other one
    output: dict[str, str]  # of the commands, by part of the page
    arguments: set[str]  # command lines of all processes meanwhile
    server: str  # MLflow's address
    database: str  # that of its database
    password: str  # of the database
    token_file: Path  # the head's file with the cluster's token
    dump: Callable[[], str]  # returns the database as SQL


@pytest.fixture(scope="module")
def walked(made_study, tmp_path_factory) -> Iterator[Walked]:
    has_sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not has_sshd or not any(services.POSTGRES.glob("*/bin/initdb")):
        pytest.skip("there is no sshd or no PostgreSQL: apt-get install openssh-server postgresql")
    folder = tmp_path_factory.mktemp("cluster")
    here = first_made(made_study, folder / "a study", *PARAMETERS)
    for name in ("photos", "compare"):
        shutil.rmtree(here / "reports" / name, ignore_errors=True)
    with machines.network(folder) as network:
        yield walk(folder, here, *(network.machine() for _ in range(3)))


def walk(folder: Path, here: Path, head: Machine, worker: Machine, laptop: Machine) -> Walked:
    page, password = scripts_of_the_page(), secrets.token_urlsafe(16)
    variables = environment(HEAD=head.address, PGPASSWORD=password, MLFLOW_WORKERS="1", **services.AUTHOR)
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    allow_ssh(folder, head, worker, laptop)
    for machine in (head, worker, laptop):
        machine.run("rm -rf ~/.ray")  # with a token of this machine's user

    def type_in(machine: Machine, script: str, cwd: Path = folder, user: str | None = None) -> str:
        script = script.replace("10.0.0.10", head.address)
        return machine.run(script, user, input=f"{password}\n", env=variables, cwd=cwd)

    database, *others = page.pop("On the head")
    type_in(head, database, Path("/"), "postgres")
    for script in others:  # MLflow's server and Ray
        type_in(head, script)
    for script in page.pop("On each worker"):
        type_in(worker, script)
    server = f"http://{head.address}:5000"
    services.wait_for_page(f"{server}/health", head.home / "mlflow.log")

    project = clone(folder / "laptop" / "glass box")
    (project / ".venv").symlink_to(folder / ".venv")
    shell("python", "-m", "glassbox", "select", "digits", *PARAMETERS, cwd=project, PYTHONPATH="src")
    with services.Watch() as watch:
        study, push = page.pop("On your laptop")
        output = {"study": type_in(laptop, study, project), "push": type_in(laptop, push, project)}
    (elsewhere,) = page.pop("Elsewhere")
    output["elsewhere"] = type_in(worker, elsewhere)
    (end,) = page.pop("At the end, on each worker and on the head")
    output["end"] = type_in(worker, end) + type_in(head, end)
    assert not page, "all commands of the page were run"
    dump = "$(ls /usr/lib/postgresql/*/bin/pg_dumpall | tail -n 1) -h $HEAD -U glassbox --no-role-passwords"
    return Walked(
        folder=folder,
        project=project,
        here=here,
        output=output,
        arguments=watch.arguments,
        server=server,
        database=f"postgresql+psycopg://glassbox@{head.address}/mlflow",
        password=password,
        token_file=head.home / ".ray/auth_token",
        dump=lambda: type_in(head, dump),
    )


def allow_ssh(folder: Path, head: Machine, *others: Machine) -> None:
    """Start an SSH server on the head, with keys for the other machines."""
    for name in ("user", "host"):
        services.make_key(folder / name)
    (folder / "sshd").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nAuthenticationMethods publickey\n"
        "PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    head.run(f"PATH=$PATH:/usr/sbin; $(which sshd) -f {folder}/sshd -E {folder}/sshd.log")
    for machine in others:
        machine.run(f"mkdir -p ~/.ssh; cp {folder}/user ~/.ssh/id_ed25519")
        machine.run(f"echo '{head.address} '$(cat {folder}/host.pub) > ~/.ssh/known_hosts")


def test_the_commands_print_what_a_study_prints_and_both_machines_worked(walked):
    assert ran(walked.output["study"]) == NAMES
    assert "Which explanation to believe" in walked.output["study"]
    assert re.search(r"MLflow +make ui", walked.output["study"])
    for name in ("machine2", "machine3"):  # Ray unpacks the code of a stage where it starts a worker
        assert list((walked.folder / name / "ray").glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*"))
    assert "files pushed" in walked.output["push"]
    for name in NAMES:
        assert f"Stage '{name}' didn't change, skipping" in walked.output["elsewhere"]
    assert "Data and pipelines are up to date." in walked.output["elsewhere"]


def test_the_files_are_those_of_one_machine(walked):
    """All numbers, tables, maps and weights; only the record of parameters differs."""
    cluster, local = digests(walked.project), digests(walked.here)
    assert cluster.keys() == local.keys()
    for name in ("evaluate/metrics.json", "explain/attributions.npz", "score/values.csv", "tune/trials.csv"):
        assert f"reports/{name}" in cluster
    assert differing(cluster, local) == ["reports/report/record.json"]
    cluster, local = (record.read(project / "reports/report") for project in (walked.project, walked.here))
    assert {key for key in cluster if cluster[key] != local[key]} == {"study_digest", "sources_sha256"}


@pytest.fixture
def clients(walked, monkeypatch):
    """Clients of the server, and of the other study's store."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", walked.server)
    yield mlflow.MlflowClient(walked.server), mlflow.MlflowClient(f"sqlite:///{walked.here / 'mlruns/mlflow.db'}")
    mlflow.set_tracking_uri(None)


def rows(client, project: Path) -> dict:
    """By name: the study's run, those of its stages, and those of the trials."""
    experiment = client.get_experiment_by_name("digits")
    everything = client.search_runs([experiment.experiment_id], max_results=1000, order_by=["start_time DESC"])
    digest = record.read(project / "reports/report")["study_digest"]
    (study,) = (
        run for run in everything if run.data.tags["kind"] == "study" and run.data.tags["study_digest"] == digest
    )

    def below(parent, kind: str) -> list:
        wanted = {"kind": kind, "mlflow.parentRunId": parent.info.run_id}
        return [run for run in everything if wanted.items() <= run.data.tags.items()]

    stages = {name: next(run for run in below(study, "stage") if run.data.tags["dvc_stage"] == name) for name in NAMES}
    trials = {run.info.run_name: run for run in below(stages["tune"], "trial")}
    return {"study": study} | stages | trials


def pairs(clients, walked: Walked) -> list[tuple]:
    """Name, run on the server, and the same run of the other study."""
    ours, others = (
        rows(client, project) for client, project in zip(clients, (walked.project, walked.here), strict=True)
    )
    trials = {f"trial-{number:03}" for number in range(int(ours["tune"].data.params["tune.n_trials"]))}
    assert ours.keys() == others.keys() == {"study", *NAMES, *trials}
    return [(name, ours[name], others[name]) for name in ours]


def tags_of(run) -> dict[str, str]:
    """Tags, with words in place of the ids of runs."""
    words = {run.info.run_id: "ROW", run.data.tags.get("mlflow.parentRunId"): "UP"}
    pattern = "|".join(number for number in words if number)
    tags = {key: value for key, value in run.data.tags.items() if key not in STATE_TAGS}
    return {key: re.sub(pattern, lambda match: words[match[0]], value) for key, value in tags.items()}


def test_runs_have_the_same_parameters_metrics_tags_and_data(clients, walked):
    for name, ours, other in pairs(clients, walked):
        assert ours.info.status == other.info.status == "FINISHED"
        assert ours.data.params.keys() == other.data.params.keys()
        changed = {key for key, value in ours.data.params.items() if other.data.params[key] != value}
        assert changed <= PLACE_PARAMETERS, name
        assert tags_of(ours) == tags_of(other), name
        assert ours.data.metrics.keys() == other.data.metrics.keys(), name
        changed = {key for key, value in ours.data.metrics.items() if other.data.metrics[key] != value}
        assert [key for key in changed if not key.startswith(MEASURED)] == [], name
        for mine, theirs in itertools.zip_longest(ours.inputs.dataset_inputs, other.inputs.dataset_inputs):
            assert (mine.dataset, mine.tags) == (theirs.dataset, theirs.tags)


def contents(folder: Path) -> dict[str, bytes]:
    """Files by path, without the times in MLflow's names of images."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"\+timestamp\+.*?(\+compressed)?\.", r"\1.", name): content for name, content in files.items()}


def test_artifacts_come_through_the_server_and_are_the_same_files(clients, walked, tmp_path):
    of_the_state = {"index.html", "report/sources.zip", "report/record.json", "report/files.sha256"}
    for name, *both in pairs(clients, walked):
        downloaded = []
        for client, run in zip(clients, both, strict=True):
            place = tmp_path / f"{name}-{len(downloaded)}"
            place.mkdir()
            client.download_artifacts(run.info.run_id, "", str(place))
            downloaded.append(contents(place))
        ours, others = downloaded
        assert ours.keys() == others.keys(), name
        changed = {path for path in ours if ours[path] != others[path] and Path(path).name != "timing.yaml"}
        assert changed == (of_the_state if name == "study" else set()), name
    assert not (walked.project / "mlruns" / "artifacts").exists(), "only the server wrote them"


def test_the_model_is_registered(clients, walked, tmp_path):
    import mlflow

    registered = []
    for client, project in zip(clients, (walked.project, walked.here), strict=True):
        study = rows(client, project)["study"]
        (output,) = study.outputs.model_outputs
        versions = client.search_model_versions("name = 'glassbox-digits'", order_by=["version_number DESC"])
        version = next(version for version in versions if version.run_id == study.info.run_id)
        assert version.source == f"models:/{output.model_id}"
        assert version.tags.pop("study_digest") == study.data.tags["study_digest"]
        mlflow.set_tracking_uri(client.tracking_uri)
        folder = mlflow.artifacts.download_artifacts(artifact_uri=version.source, dst_path=str(tmp_path / project.name))
        files = contents(Path(folder))
        (weights,) = [content for name, content in files.items() if name.endswith(".safetensors")]
        metrics = {metric.key: metric.value for metric in client.get_logged_model(output.model_id).metrics}
        registered.append((version.description, version.tags, metrics, weights, files.keys()))
    assert registered[0] == registered[1]


@pytest.fixture(scope="module")
def guarded(walked) -> Iterator[services.Guarded]:
    """The same server behind one that requires a name and a password."""
    with services.Guarded(walked.server) as server:
        yield server


def test_commands_work_with_the_server(clients, walked, guarded, tmp_path):
    variables, row = guarded.variables, rows(clients[0], walked.project)["study"]
    experiment = row.info.experiment_id
    printed = make(walked.project, "ui", **variables).stdout
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=glassbox"
    assert printed == f"MLflow: {guarded.address}/{page}\n"

    make(walked.project, "compare", f"A={row.info.run_id}", "B=.", **variables)
    (compared,) = clients[0].search_runs([experiment], "tags.kind = 'comparison'")
    assert compared.data.metrics["difference/accuracy"] == 0
    (page,) = clients[0].list_artifacts(compared.info.run_id)
    assert (walked.project / "reports/compare" / page.path).stat().st_size == page.file_size

    # `make verify RUN=...` without the minute in which it repeats the study.
    place = tmp_path / "again"
    place.mkdir()
    glassbox = ("python", "-m", "glassbox")
    where = {"cwd": walked.project, "PYTHONPATH": "src"} | variables
    shell(*glassbox, "restore", row.info.run_id, str(place), **where)
    for folder in ("data/prepared", "models", "reports"):
        shutil.copytree(walked.project / folder, place / folder)
    outcome = re.search(r"(\d+) of \1 files agree", shell(*glassbox, "verify", str(place), **where).stdout)[0]
    assert clients[0].get_run(row.info.run_id).data.tags["verified"].endswith(outcome)


def test_a_password_in_the_address_is_masked_and_a_wrong_one_refused(walked, guarded):
    host = guarded.address.removeprefix("http://")
    shown = make(walked.project, "ui", MLFLOW_TRACKING_URI=f"http://{guarded.user}:{guarded.password}@{host}").stdout
    assert shown.startswith(f"MLflow: http://{guarded.user}:***@{host}/#/experiments/")
    wrong = make(walked.project, "ui", check=False, **(guarded.variables | {"MLFLOW_TRACKING_PASSWORD": "wrong-1"}))
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"error: the MLflow store {guarded.address} cannot be opened: ")
    assert "wrong-1" not in wrong.stderr


def test_the_database_itself_may_be_the_store(walked):
    code = (
        "import mlflow.store.db.utils as utils; utils.MAX_RETRY_COUNT = 1; "
        "from glassbox.tracking import store; from glassbox.core import errors; "
        "errors.run(lambda: print(*(found.name for found in store.connect().search_experiments())))"
    )

    def connect(uri: str, **variables: str) -> subprocess.CompletedProcess:
        variables |= {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": "src"}
        return shell("python", "-c", code, cwd=walked.project, check=False, **variables)

    address = walked.database
    assert "digits" in connect(address, PGPASSWORD=walked.password).stdout.split()
    refused = connect(address.replace("@", ":wrong-1@"))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: the MLflow store {address.replace('@', ':***@')} cannot be opened: ")
    assert "password authentication failed" in refused.stderr
    assert "wrong-1" not in refused.stderr
    assert connect("oracle://me@db").stderr.startswith("error: the MLflow store oracle://***@db cannot be opened: ")


def test_no_password_is_kept_or_shown(walked, guarded):
    """Those of the database, the cluster and MLflow's server, in files, rows, command lines and output."""
    with services.Watch() as watch:
        command = ["dvc", "repro", "--force", "--single-item", "report"]
        output = [*walked.output.values(), shell(*command, cwd=walked.project, **guarded.variables).stdout]
    assert guarded.requests
    arguments, dump = walked.arguments | watch.arguments, walked.dump()
    keys = [path for path in walked.folder.rglob("auth_token") if path.read_bytes() == walked.token_file.read_bytes()]
    assert len(keys) == 3, "each machine has the cluster's token, in one place"
    files = {path: path.read_bytes() for path in walked.folder.rglob("*") if path.is_file() and path not in keys}
    assert "test_accuracy" in dump
    assert any(b"test_accuracy" in content for path, content in files.items() if "artifacts" in path.parts)
    assert any(path.name.startswith("worker-") and path.suffix == ".out" for path in files), "Ray's logs are here"
    assert any("stages.tune" in line for line in arguments)
    assert any("mlflow" in line for line in arguments)
    for secret in (walked.password, walked.token_file.read_text().strip(), guarded.password):
        assert len(secret) > 20
        assert secret not in dump
        assert [text for text in output if secret in text] == []
        assert [str(path) for path, content in files.items() if secret.encode() in content] == []
        assert [line for line in arguments if secret in line] == []
