"""Real servers for tests, on loopback and ports of their own, gone with the block that started them: PostgreSQL,
OpenSSH's sshd. Where Debian's package is missing the test is skipped, and says which."""

import base64
import getpass
import http.server
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from conftest import environment

SECONDS = 60  # after which a server that does not answer is an error
AS_ROOT = os.geteuid() == 0
POSTGRES = Path("/usr/lib/postgresql")  # where Debian keeps its versions


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(ready: Callable[[], bool], server: subprocess.Popen, log: Path) -> None:
    """Until a server answers; one that ends first, or never answers, fails the test with its log."""
    deadline = time.monotonic() + SECONDS
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{server.args[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def wait_for_page(address: str, log: Path) -> None:
    """Until a server of HTTP on another machine answers; one that never does fails the test with its log."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                pytest.fail(f"{address} does not answer ({error}): {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


class Watch(threading.Thread):
    """Within its block, the arguments of every process that is at work at any time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.arguments: set[str] = set()
        self._over = threading.Event()

    def run(self) -> None:
        looked: Counter = Counter()  # a process may become another program soon after it began, and later does not
        while not self._over.wait(0.2):
            new = [one for one in psutil.process_iter() if looked[one] < 10]
            for one in new:
                looked[one] += 1
                with suppress(psutil.Error):
                    self.arguments.add(" ".join(one.cmdline()))

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def end(server: subprocess.Popen, how: int = signal.SIGTERM) -> None:
    """Stop a server and all that it has started, whatever session that is in."""
    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if server.poll() is None:
        server.send_signal(how)
    _, left = psutil.wait_procs(family, timeout=20)
    for process in left:
        process.kill()
    server.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Postgres:
    """A PostgreSQL server that asks for a password (SCRAM). Made by `postgres`."""

    user = "glassbox"

    def __init__(self, programs: Path, place: Path, log: Path, host: str) -> None:
        self.host, self.port, self.password, self.log = host, free_port(), secrets.token_urlsafe(16), log
        self._programs, self._place = programs, place
        # It refuses to be root. Debian's package has made a user for it.
        self._who = {"user": "postgres", "group": "postgres", "extra_groups": []} if AS_ROOT else {}
        self._server: subprocess.Popen | None = None
        if AS_ROOT:
            shutil.chown(place, "postgres", "postgres")
        secret = place / "password"
        secret.write_text(self.password)
        secret.chmod(0o600)
        if AS_ROOT:
            shutil.chown(secret, "postgres", "postgres")
        self._run("initdb", "--pgdata=data", f"--username={self.user}", "--auth=scram-sha-256", f"--pwfile={secret}",
                  "--encoding=UTF8", "--locale=C", "--no-sync")  # fmt: skip
        secret.unlink()
        with (place / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {host}/24 scram-sha-256\n")
        self._where = ("--host", self.host, "--port", str(self.port), "--username", self.user, "--no-password")

    def _run(self, program: str, *arguments: str, **changes: str) -> str:
        done = subprocess.run([self._programs / program, *arguments], cwd=self._place, env=environment(**changes),
                              capture_output=True, text=True, **self._who)  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def variables(self) -> dict[str, str]:
        """What clients need in their environment."""
        return {"PGPASSWORD": self.password}

    def uri(self, database: str) -> str:
        """SQLAlchemy's address of a database, for psycopg 3; without the password."""
        return f"postgresql+psycopg://{self.user}@{self.host}:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make a database; its address."""
        self._run("createdb", *self._where, database, **self.variables)
        return self.uri(database)

    def dump(self, database: str) -> str:
        """Everything in a database, as SQL."""
        return self._run("pg_dump", *self._where, database, **self.variables)

    def start(self) -> None:
        """Begin to serve, on the same port as before, and wait until it does."""
        # Without fsync a commit outlives the server, killed or not, though not the machine.
        options = {"listen_addresses": self.host, "port": self.port, "unix_socket_directories": "", "fsync": "off",
                   "max_connections": 300}  # fmt: skip
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("a") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *settings], cwd=self._place, env=environment(), stdout=log,
                stderr=log, start_new_session=True, **self._who,
            )  # fmt: skip
        asked = [self._programs / "pg_isready", "-q", "-h", self.host, "-p", str(self.port)]
        wait_until(lambda: subprocess.run(asked).returncode == 0, self._server, self.log)

    def stop(self, immediate: bool = False) -> None:
        """End the server and its connections: in order, or as a crash would, after which it must recover."""
        if self._server is not None:
            end(self._server, signal.SIGQUIT if immediate else signal.SIGINT)
            self._server = None


@contextmanager
def postgres(folder: Path, host: str = "127.0.0.1") -> Iterator[Postgres]:
    """A PostgreSQL server without databases of one's own, for this machine and others of the same network of 256
    addresses. Its log is FOLDER/postgres.log."""
    found = sorted(POSTGRES.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip("there is no PostgreSQL to work with: apt-get install postgresql")
    # Not in the folder: pytest's are closed to every other user, as the server's must be.
    with tempfile.TemporaryDirectory(prefix="glassbox-postgres-") as place:
        server = Postgres(found[-1].parent, Path(place), folder / "postgres.log", host)
        try:
            server.start()
            yield server
        finally:
            server.stop()


class Sshd:
    """An sshd that serves files (SFTP) to this user, who shows a key. Made by `sshd`."""

    host, user = "127.0.0.1", getpass.getuser()

    def __init__(self, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.key, self.known_hosts = folder / "user_key", folder / "known_hosts"

    def uri(self, path: str | Path) -> str:
        """Address of a folder, as DVC takes it."""
        return f"ssh://{self.user}@{self.host}:{self.port}{path}"


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """OpenSSH's server with new keys for itself and for this user. Its log is FOLDER/sshd.log."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no sshd to work with: apt-get install openssh-server")
    served, log = Sshd(folder), folder / "sshd.log"
    for key in (served.key, folder / "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key], check=True)
    host_key = (folder / "host_key.pub").read_text()
    served.known_hosts.write_text(f"[{served.host}]:{served.port} {host_key}")
    if AS_ROOT:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it insists; Debian makes it when the system starts
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
        server = subprocess.Popen([program, "-D", "-e", "-f", folder / "sshd_config"], stdout=file, stderr=file,
                                  start_new_session=True)  # fmt: skip
    try:
        wait_until(lambda: listens(served.port), server, log)
        yield served
    finally:
        end(server)


class Gate(http.server.BaseHTTPRequestHandler):
    """Lets through to another server what comes with the right name and password, and counts it."""

    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/health" and self.headers.get("Authorization") != self.server.wanted:
            self._answer(401, {"WWW-Authenticate": 'Basic realm="MLflow"'}, b"")
            return
        self.server.requests.append(f"{self.command} {self.path}")
        sent = {key: value for key, value in self.headers.items() if key not in ("Authorization", "Connection")}
        asked = urllib.request.Request(f"{self.server.behind}{self.path}", body or None, sent, method=self.command)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                self._answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            self._answer(answer.code, dict(answer.headers), answer.read())

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


class Guarded:
    """A server of HTTP behind a gate that asks for a name and a password. Made by `guard`."""

    user = "glassbox"

    def __init__(self, port: int) -> None:
        self.password, self.address = secrets.token_urlsafe(16), f"http://127.0.0.1:{port}"
        self.requests: list[str] = []  # method and path of each that was let through

    @property
    def variables(self) -> dict[str, str]:
        """What MLflow's clients need in their environment."""
        names = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        return dict(zip(names, (self.address, self.user, self.password), strict=True))


@contextmanager
def guard(behind: str) -> Iterator[Guarded]:
    """A gate of this process before the server at an address."""
    gate = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    made = Guarded(gate.server_port)
    gate.daemon_threads, gate.behind, gate.requests = True, behind, made.requests
    gate.wanted = "Basic " + base64.b64encode(f"{made.user}:{made.password}".encode()).decode()
    threading.Thread(target=gate.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        gate.shutdown()
        gate.server_close()
