"""docs/cluster.md, typed on machines of their own: head, worker, laptop. What the study makes there, its files and its
rows on the MLflow server, must be what one machine makes."""

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
from conftest import NAMES, ROOT, SHRINK, clone, environment, first_made, make, ran, shell
from harness import differing, digests
from machines import Machine

from glassbox.provenance import record

pytestmark = NODES_OF_RAYS_OWN

# Set, the study is not shrunken, and this takes minutes more.
PARAMETERS = [] if os.environ.get("GLASSBOX_WHOLE_STUDY") else SHRINK
# Parameters of the one that the other has not.
ELSEWHERE = ("compute.engine", "compute.address")
# Tags that tell where and when a run was made, and of what state of parameters and code.
ITS_OWN = (
    "recorder",
    "git_commit",
    "git_dirty",
    "mlflow.source.git.commit",
    "continues",
    "continued_by",
    "verified",
    "study_digest",
    "changed",
    "mlflow.note.content",
    "mlflow.runName",
)
MEASURED = ("seconds", "images_per_second", "peak_memory")  # how the names of such metrics begin


def steps() -> dict[str, list[str]]:
    """What the page tells to type, by heading: scripts, each to be typed at a time."""
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    parts = re.split(r"^###? (.*)\n", page, flags=re.MULTILINE)[1:]
    found = [re.findall(r"^```sh\n(.*?)^```", part, re.DOTALL | re.MULTILINE) for part in parts[1::2]]
    return {title: scripts for title, scripts in zip(parts[::2], found, strict=True) if scripts}


@dataclass
class Walked:
    """A study whose stages were done by a cluster, and the same one made by this machine.

    Attributes:
        folder: of all that was written by anybody.
        project, here: the one and the other.
        said: what was printed by the study, by what keeps it, elsewhere, and at the end.
        arguments: of every process that was at work meanwhile.
        server: MLflow's address.
        database: that of its database.
        password: of this one.
        token_file: where the head keeps the cluster's token.
        dump: all that is in its server, as SQL.
    """

    folder: Path
    project: Path
    here: Path
    said: dict[str, str]
    arguments: set[str]
    server: str
    database: str
    password: str
    token_file: Path
    dump: Callable[[], str]


@pytest.fixture(scope="module")
def walked(made_study, tmp_path_factory) -> Iterator[Walked]:
    if not (
        shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") and any(services.POSTGRES.glob("*/bin/initdb"))
    ):
        pytest.skip("there is no sshd or no PostgreSQL: apt-get install openssh-server postgresql")
    folder = tmp_path_factory.mktemp("cluster")
    here = first_made(made_study, folder / "a study", *PARAMETERS)
    for of_the_user in ("photos", "compare"):
        shutil.rmtree(here / "reports" / of_the_user, ignore_errors=True)
    with machines.network(folder) as network:
        yield walk(folder, here, *(network.machine() for _ in range(3)))


def walk(folder: Path, here: Path, head: Machine, worker: Machine, laptop: Machine) -> Walked:
    page, password = steps(), secrets.token_urlsafe(16)
    who = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    known = environment(HEAD=head.address, PGPASSWORD=password, MLFLOW_WORKERS="1", **who)  # one server, not four
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    make_known(folder, head, worker, laptop)
    for machine in (head, worker, laptop):
        machine.run("rm -rf ~/.ray")  # a token of this machine's user, which would be that of all

    def type_in(machine: Machine, script: str, cwd: Path = folder, user: str | None = None) -> str:
        script = script.replace("10.0.0.10", head.address)
        return machine.run(script, user, input=f"{password}\n", env=known, cwd=cwd)

    database, tracking, ray = page.pop("On the head")
    type_in(head, database, Path("/"), "postgres")
    type_in(head, tracking)
    type_in(head, ray)
    for script in page.pop("On each worker"):
        type_in(worker, script)
    server = f"http://{head.address}:5000"
    services.wait_for_page(f"{server}/health", head.home / "mlflow.log")

    project = clone(folder / "laptop" / "glass box")
    (project / ".venv").symlink_to(folder / ".venv")
    shell("python", "-m", "glassbox", "select", "digits", *PARAMETERS, cwd=project, PYTHONPATH="src")
    said = {}
    with services.Watch() as watch:
        study, keep = page.pop("On your laptop")
        said["study"], said["kept"] = type_in(laptop, study, project), type_in(laptop, keep, project)
    (elsewhere,) = page.pop("Elsewhere")
    said["elsewhere"] = type_in(worker, elsewhere)
    (end,) = page.pop("At the end, on each worker and on the head")
    said["end"] = type_in(worker, end) + type_in(head, end)
    assert not page, "all of the page was typed"
    dump = "$(ls /usr/lib/postgresql/*/bin/pg_dumpall | tail -n 1) -h $HEAD -U glassbox --no-role-passwords"
    database, token_file = f"postgresql+psycopg://glassbox@{head.address}/mlflow", head.home / ".ray/auth_token"
    return Walked(
        folder,
        project,
        here,
        said,
        watch.arguments,
        server,
        database,
        password,
        token_file,
        lambda: type_in(head, dump),
    )


def make_known(folder: Path, head: Machine, *others: Machine) -> None:
    """The head has an SSH server, at which everybody has a key."""
    for name in ("user", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", folder / name], check=True)
    (folder / "sshd").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nAuthenticationMethods publickey\n"
        "PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    head.run(f"PATH=$PATH:/usr/sbin; $(which sshd) -f {folder}/sshd -E {folder}/sshd.log")
    for machine in others:
        machine.run(
            f"mkdir -p ~/.ssh; cp {folder}/user ~/.ssh/id_ed25519; echo '{head.address} '$(cat {folder}/host.pub) > "
            f"~/.ssh/known_hosts"
        )


def test_it_ends_with_the_summary_of_a_study(walked):
    assert ran(walked.said["study"]) == NAMES
    assert "Which explanation to believe" in walked.said["study"]
    assert re.search(r"MLflow +make ui", walked.said["study"])


def test_both_machines_worked(walked):
    """Ray unpacks the code of a stage where it begins a worker."""
    for name in ("machine2", "machine3"):
        assert list((walked.folder / name / "ray").glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*"))


def test_the_files_are_those_of_one_machine(walked):
    """All numbers, tables, maps and weights, but for what says of what parameters they are."""
    found, wanted = digests(walked.project), digests(walked.here)
    assert found.keys() == wanted.keys()
    for name in ("evaluate/metrics.json", "explain/attributions.npz", "score/values.csv", "tune/trials.csv"):
        assert f"reports/{name}" in found
    assert differing(found, wanted) == ["reports/report/record.json"]
    ours, others = (record.read(project / "reports/report") for project in (walked.project, walked.here))
    assert {key for key in ours if ours[key] != others[key]} == {"study_digest", "sources_sha256"}


def test_elsewhere_nothing_is_left_to_do(walked):
    for name in NAMES:
        assert f"Stage '{name}' didn't change, skipping" in walked.said["elsewhere"]
    assert "Data and pipelines are up to date." in walked.said["elsewhere"]
    assert "files pushed" in walked.said["kept"]


@pytest.fixture
def clients(walked, monkeypatch):
    """Of the server, and of the other study's store."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", walked.server)
    yield mlflow.MlflowClient(walked.server), mlflow.MlflowClient(f"sqlite:///{walked.here / 'mlruns/mlflow.db'}")
    mlflow.set_tracking_uri(None)


def rows(client, project: Path) -> dict:
    """The study's row, its run of each stage, and the trials of its search, by name."""
    experiment = client.get_experiment_by_name("digits")
    everything = client.search_runs([experiment.experiment_id], max_results=1000, order_by=["start_time DESC"])
    digest = record.read(project / "reports/report")["study_digest"]
    (study,) = (
        run for run in everything if run.data.tags["kind"] == "study" and run.data.tags["study_digest"] == digest
    )

    def below(parent, kind: str) -> list:
        wanted = {"kind": kind, "mlflow.parentRunId": parent.info.run_id}
        return [run for run in everything if wanted.items() <= run.data.tags.items()]

    found = {"study": study}
    for name in NAMES:
        found[name] = next(run for run in below(study, "stage") if run.data.tags["dvc_stage"] == name)
    return found | {run.info.run_name: run for run in below(found["tune"], "trial")}


def pairs(clients, walked: Walked) -> list[tuple]:
    """Each run on the server beside the same one of the other study."""
    ours, others = (
        rows(client, project) for client, project in zip(clients, (walked.project, walked.here), strict=True)
    )
    trials = {f"trial-{number:03}" for number in range(int(ours["tune"].data.params["tune.n_trials"]))}
    assert ours.keys() == others.keys() == {"study", *NAMES, *trials}
    return [(name, ours[name], others[name]) for name in ours]


def told(run) -> dict[str, str]:
    """Tags, with words for the numbers of runs."""
    words = {
        run.info.run_id: "ROW",
        run.info.experiment_id: "EXPERIMENT",
        run.data.tags.get("mlflow.parentRunId"): "UP",
    }
    pattern = "|".join(re.escape(number) for number in words if number and len(number) > 20)
    return {
        key: re.sub(pattern, lambda found: words[found[0]], value)
        for key, value in run.data.tags.items()
        if key not in ITS_OWN
    }


def test_runs_have_the_same_parameters_metrics_tags_and_data(clients, walked):
    for name, ours, other in pairs(clients, walked):
        assert ours.info.status == other.info.status == "FINISHED"
        assert ours.data.params.keys() == other.data.params.keys()
        changed = {key for key, value in ours.data.params.items() if other.data.params[key] != value}
        assert changed <= {*ELSEWHERE}, name
        assert told(ours) == told(other), name
        assert ours.data.metrics.keys() == other.data.metrics.keys(), name
        changed = {key for key, value in ours.data.metrics.items() if other.data.metrics[key] != value}
        assert [key for key in changed if not key.startswith(MEASURED)] == [], name
        for mine, theirs in itertools.zip_longest(ours.inputs.dataset_inputs, other.inputs.dataset_inputs):
            assert (mine.dataset, mine.tags) == (theirs.dataset, theirs.tags)


def test_artifacts_come_through_the_server_and_are_the_same_files(clients, walked, tmp_path):
    for name, ours, other in pairs(clients, walked):
        kept = []
        for client, run in zip(clients, (ours, other), strict=True):
            place = tmp_path / f"{name}-{len(kept)}"
            place.mkdir()
            client.download_artifacts(run.info.run_id, "", str(place))
            kept.append(
                {
                    re.sub(r"\+timestamp\+.*?(\+compressed)?\.", r"\1.", path.relative_to(place).as_posix()): path
                    for path in place.rglob("*")
                    if path.is_file()
                }
            )
        assert kept[0].keys() == kept[1].keys(), name
        changed = {path for path in kept[0] if kept[0][path].read_bytes() != kept[1][path].read_bytes()}
        of_the_report = {f"report/{kept}" for kept in ("sources.zip", "record.json", "files.sha256")}
        of_the_state = {"index.html", *of_the_report} if name == "study" else set()
        assert {path for path in changed if Path(path).name != "timing.yaml"} == of_the_state, name
    assert not (walked.project / "mlruns" / "artifacts").exists(), "only the server reached them"


def test_the_model_is_registered(clients, walked, tmp_path):
    import mlflow

    found = []
    for client, project in zip(clients, (walked.project, walked.here), strict=True):
        study = rows(client, project)["study"]
        (output,) = study.outputs.model_outputs
        versions = client.search_model_versions("name = 'glassbox-digits'", order_by=["version_number DESC"])
        version = next(one for one in versions if one.run_id == study.info.run_id)
        assert version.source == f"models:/{output.model_id}"
        mlflow.set_tracking_uri(client.tracking_uri)
        place = tmp_path / project.name
        place = Path(mlflow.artifacts.download_artifacts(artifact_uri=version.source, dst_path=str(place)))
        model = client.get_logged_model(output.model_id)
        assert version.tags.pop("study_digest") == study.data.tags["study_digest"]
        found.append(
            (
                version.description,
                version.tags,
                {metric.key: metric.value for metric in model.metrics},
                {path.relative_to(place): path.read_bytes() for path in place.rglob("*.safetensors")},
                {path.relative_to(place) for path in place.rglob("*") if path.is_file()},
            )
        )
    assert found[0] == found[1]
    assert len(found[0][3]) == 1


@pytest.fixture(scope="module")
def guarded(walked) -> Iterator[services.Guarded]:
    """The same server, which now asks for a name and a password."""
    with services.guard(walked.server) as made:
        yield made


def test_commands_work_with_the_server(clients, walked, guarded, tmp_path):
    variables, row = guarded.variables, rows(clients[0], walked.project)["study"]
    experiment = row.info.experiment_id
    said = make(walked.project, "ui", **variables).stdout
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=glassbox"
    assert said == f"MLflow: {guarded.address}/{page}\n"

    make(walked.project, "compare", f"A={row.info.run_id}", "B=.", **variables)
    (compared,) = clients[0].search_runs([experiment], "tags.kind = 'comparison'")
    assert compared.data.metrics["difference/accuracy"] == 0
    (page,) = clients[0].list_artifacts(compared.info.run_id)
    assert (walked.project / "reports/compare" / page.path).stat().st_size == page.file_size

    # `make verify RUN=...`, without the minute in which the study is made again: as if that had made these files.
    place = tmp_path / "again"
    place.mkdir()
    glassbox = ("python", "-m", "glassbox")
    where = {"cwd": walked.project, "PYTHONPATH": "src"} | variables
    shell(*glassbox, "restore", row.info.run_id, str(place), **where)
    for folder in ("data/prepared", "models", "reports"):
        shutil.copytree(walked.project / folder, place / folder)
    outcome = re.search(r"(\d+) of \1 files agree", shell(*glassbox, "verify", str(place), **where).stdout)[0]
    assert clients[0].get_run(row.info.run_id).data.tags["verified"].endswith(outcome)


def test_a_password_in_the_address_is_masked_and_a_wrong_one_is_said(walked, guarded):
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
        "errors.run(lambda: print(*(one.name for one in store.connect().search_experiments())))"
    )

    def ask(uri: str, **changes: str) -> subprocess.CompletedProcess:
        where = changes | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": "src"}
        return shell("python", "-c", code, cwd=walked.project, check=False, **where)

    address = walked.database
    assert "digits" in ask(address, PGPASSWORD=walked.password).stdout.split()
    refused = ask(address.replace("@", ":wrong-1@"))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: the MLflow store {address.replace('@', ':***@')} cannot be opened: ")
    assert "password authentication failed" in refused.stderr
    assert "wrong-1" not in refused.stderr
    assert ask("oracle://me@db").stderr.startswith("error: the MLflow store oracle://***@db cannot be opened: ")


def test_no_password_is_kept_or_shown(walked, guarded):
    """Those of the database, the cluster and MLflow's server: in files of any machine, rows, arguments, output."""
    with services.Watch() as watch:
        command = ["dvc", "repro", "--force", "--single-item", "report"]
        said = [*walked.said.values(), shell(*command, cwd=walked.project, **guarded.variables).stdout]
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
        assert [text for text in said if secret in text] == []
        assert [str(path) for path, content in files.items() if secret.encode() in content] == []
        assert [line for line in arguments if secret in line] == []
