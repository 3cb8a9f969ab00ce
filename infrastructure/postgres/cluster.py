"""A throw-away PostgreSQL from the binaries at hand: real durability, gone after use.

The server runs from a fresh temporary directory, listens on loopback only and asks for a
random password. As root everything is done as an unprivileged user, as PostgreSQL demands.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import psycopg

from refold.domain.errors import Unavailable
from refold.infrastructure.postgres.binaries import Binaries, at_hand, binaries_in

PATIENCE: Final = 60  # seconds to start or to stop
OWNER: Final = "refold"
ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C"}  # no PGPORT; English messages

# fsync stays on: surviving a crash is what this cluster is asked for.
SETTINGS: Final = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 100
shared_buffers = 128MB
"""

SIGNALS: Final = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
Mode = Literal["fast", "immediate"]


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server; None is whoever we are."""

    user: int | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None


@dataclass(slots=True)
class Cluster:
    """One server with its data, reachable by `url` whenever it runs."""

    url: str = field(repr=False)
    version: str
    command: tuple[str | Path, ...]
    home: Path
    account: Account
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once connections are accepted."""
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 (composed here)
                self.command,
                cwd=self.home,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop the server
                user=self.account.user,
                group=self.account.group,
                extra_groups=self.account.extra_groups,
            )
        _wait_until_accepting(self)

    def restart(self, mode: Mode = "immediate") -> None:
        """Stop and start again under the same url; immediate is a crash and recovery."""
        self.stop(mode)
        self.start()

    def stop(self, mode: Mode = "fast") -> None:
        """Return once the server and its sessions are gone; nothing to do if it does not run."""
        if self.process is None:
            return
        self.process.send_signal(SIGNALS[mode])
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()  # its sessions notice and end themselves
            self.process.wait()
        self.process = None


@contextmanager
def throwaway(binaries: Path | None = None) -> Iterator[Cluster]:
    """Run a cluster from the directory `binaries`, or from the first of `find_binaries`.

    Raises Unavailable if there are no binaries or they do not run here.
    """
    found = at_hand() if binaries is None else binaries_in(binaries)
    with TemporaryDirectory(prefix="refold-postgres-") as home:
        cluster = _create(found, Path(home))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop("immediate")


def _create(binaries: Binaries, home: Path) -> Cluster:
    account = _account()
    try:
        _give(home, account)
        directory = _reachable(binaries.directory, home, account)
        url = _initialise(directory, home, account)
    except OSError as error:
        raise Unavailable(f"a throw-away PostgreSQL cannot be made here: {error}") from error
    command = (directory / "postgres", "-D", home / "data")
    return Cluster(url, binaries.version, command, home, account)


def _account() -> Account:
    if os.geteuid() != 0:
        return Account()
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, extra_groups=())
    raise Unavailable("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _give(path: Path, account: Account) -> None:
    if account.user is not None and account.group is not None:
        os.chown(path, account.user, account.group, follow_symlinks=False)


def _reachable(directory: Path, home: Path, account: Account) -> Path:
    """Return where the account can run the binaries: in place, or else in a copy of them."""
    if _runs(directory, account):
        return directory
    installation = directory.parent
    package = home / "binaries" / installation.parent.name
    unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a")
    shutil.copytree(installation, package / installation.name, symlinks=True, ignore=unneeded)
    libraries = Path(f"{installation.parent}.libs")  # a wheel keeps them beside its package
    if libraries.is_dir():
        shutil.copytree(libraries, Path(f"{package}.libs"))
    for path in (home / "binaries", *(home / "binaries").rglob("*")):
        _give(path, account)
    return package / installation.name / directory.name


def _runs(directory: Path, account: Account) -> bool:
    try:
        return _run([directory / "initdb", "--version"], Path("/"), account).returncode == 0
    except PermissionError:
        return False


def _run(
    command: list[str | Path], place: Path, account: Account
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (composed here)
        command,
        cwd=place,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        user=account.user,
        group=account.group,
        extra_groups=account.extra_groups,
    )


def _initialise(directory: Path, home: Path, account: Account) -> str:
    """Make home/data and return the url that it will be served at."""
    password, port = secrets.token_urlsafe(16), _free_port()
    password_file = home / "password"  # home is closed to others
    password_file.write_text(password)
    _give(password_file, account)
    command: list[str | Path] = [
        directory / "initdb",
        f"--pgdata={home / 'data'}",
        f"--username={OWNER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
        "--no-sync",  # what initdb wrote need not survive the machine
    ]
    made = _run(command, home, account)
    if made.returncode != 0:
        raise Unavailable(f"initdb could not make a PostgreSQL cluster: {made.stderr.strip()}")
    password_file.unlink()
    with (home / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write(SETTINGS.format(port=port))
    return f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/postgres"


def _free_port() -> int:
    """Pick a port below those that outgoing connections get.

    A client that retries during a restart could be given the server's port as its own.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _wait_until_accepting(cluster: Cluster) -> None:
    deadline = time.monotonic() + PATIENCE
    while cluster.process and cluster.process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(cluster.url, connect_timeout=PATIENCE).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    log = (cluster.home / "log").read_text(errors="replace").strip()
    raise Unavailable(f"PostgreSQL {cluster.version} did not start: {log.rpartition(chr(10))[2]}")
