"""Real servers for tests: PostgreSQL, OpenSSH's sshd, a password gate. They listen on ports of the loopback interface,
and end with the block that started them. A test is skipped, with its name, if Debian's package is missing."""

import base64
import getpass
import http.server
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

SECONDS = 120  # for which tests wait
POSTGRES = Path("/usr/lib/postgresql")  # where Debian keeps its versions


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(ready: Callable[[], object], log: Path | None = None, server: subprocess.Popen | None = None) -> None:
    """Wait for something; if it does not come, or a server ends first, the test fails with the log."""
    deadline = time.monotonic() + SECONDS
    while not ready():
        if (server and server.poll() is not None) or time.monotonic() > deadline:
            pytest.fail(f"waited in vain: {log.read_text(errors='replace')[-2000:] if log else ''}")
        time.sleep(0.02)


def wait_for_page(address: str, log: Path) -> None:
    """Wait until an HTTP server answers."""

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return True
        return False

    wait_until(answers, log)


class Watch(threading.Thread):
    """Collects the arguments of every process that runs during its block."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.arguments: set[str] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.2):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    self.arguments.add(" ".join(process.cmdline()))

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def end(server: subprocess.Popen) -> None:
    """Stop a server and all processes that it has started, in whatever session."""
    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if server.poll() is None:
        server.terminate()
    _, left = psutil.wait_procs(family, timeout=20)
    for process in left:
        process.kill()
    server.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def postgres(folder: Path, database: str) -> Iterator[tuple[str, str]]:
    """A PostgreSQL server with an empty database: its address for SQLAlchemy and psycopg 3, and the password that the
    server requires. The server's log is FOLDER/postgres.log."""
    if shutil.which("pg_virtualenv") is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql")
    # Without fsync a commit survives the end of the server, but not that of the machine.
    options = ["-t", "-c", f"--port {free_port()}", "-o", "fsync=off", "-o", "max_connections=300"]
    command = ["pg_virtualenv", *options, "sh", "-c", f"createdb {database} && env | grep ^PG; echo ready; read end"]
    log = folder / "postgres.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True)
    lines = list(itertools.takewhile(lambda line: line != "ready\n", server.stdout))
    variables = dict(line.strip().split("=", 1) for line in lines if line.startswith("PG"))
    try:
        if not variables:
            pytest.fail(f"PostgreSQL did not start: {log.read_text()}")
        address = "postgresql+psycopg://{PGUSER}@{PGHOST}:{PGPORT}/{database}".format(**variables, database=database)
        yield address, variables["PGPASSWORD"]
    finally:
        server.communicate()  # closes its input, and it ends


AUTHOR = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def make_key(file: Path) -> None:
    """An SSH key without a password, and the public one beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", file], check=True)


class Sshd:
    """An sshd that serves files (SFTP) to this user's key. Made by `sshd`."""

    host, user = "127.0.0.1", getpass.getuser()

    def __init__(self, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.key, self.known_hosts = folder / "user_key", folder / "known_hosts"

    def uri(self, path: str | Path) -> str:
        """Address of a folder, as DVC takes it."""
        return f"ssh://{self.user}@{self.host}:{self.port}{path}"


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """OpenSSH's server with new keys for the host and for this user. Its log is FOLDER/sshd.log."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no sshd: apt-get install openssh-server")
    served, log = Sshd(folder), folder / "sshd.log"
    for key in (served.key, folder / "host_key"):
        make_key(key)
    host_key = (folder / "host_key.pub").read_text()
    served.known_hosts.write_text(f"[{served.host}]:{served.port} {host_key}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd needs it; Debian creates it when the system starts
    (folder / "sshd_config").write_text(
        f"""ListenAddress {served.host}:{served.port}
HostKey "{folder}/host_key"
AuthorizedKeysFile "{served.key}.pub"
AuthenticationMethods publickey
PermitRootLogin prohibit-password
AllowUsers {served.user}
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""
    )
    with log.open("w") as file:
        command = [program, "-D", "-e", "-f", folder / "sshd_config"]
        server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_until(lambda: listens(served.port), log, server)
        yield served
    finally:
        end(server)


class Gate(http.server.BaseHTTPRequestHandler):
    """Forwards requests with the right name and password to another server, and records them."""

    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/health" and self.headers.get("Authorization") != self.server.authorization:
            self._answer(401, {"WWW-Authenticate": 'Basic realm="MLflow"'}, b"")
            return
        self.server.requests.append(f"{self.command} {self.path}")
        sent = {key: value for key, value in self.headers.items() if key not in ("Authorization", "Connection")}
        request = urllib.request.Request(f"{self.server.behind}{self.path}", body or None, sent, method=self.command)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self._answer(answer.status, dict(answer.headers), answer.read())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Guarded(http.server.ThreadingHTTPServer):
    """A gate in this process, which asks for a name and a password, before the server at an address. It answers until
    its block ends."""

    user = "glassbox"

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Gate)
        self.behind, self.address = behind, f"http://127.0.0.1:{self.server_port}"
        self.password = secrets.token_urlsafe(16)
        self.authorization = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        self.requests: list[str] = []  # method and path of each that was forwarded

    def __enter__(self) -> "Guarded":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def variables(self) -> dict[str, str]:
        """What MLflow's clients need in their environment."""
        names = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        return dict(zip(names, (self.address, self.user, self.password), strict=True))
