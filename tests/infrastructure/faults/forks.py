"""Processes forked from one that has imported everything: starting Python takes longer than they.

What they print on stdout and stderr goes to files.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep
from typing import Final

from refold.domain.errors import Failure
from refold.domain.ports import Appended
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.scripts import cli
from refold.tests.infrastructure.faults.events import open_log, registration
from refold.tests.infrastructure.faults.processes import PATIENCE, pages_of

_FORKS: Final = get_context("forkserver")  # `processes` says what it has imported
_OUTPUT: Final = ("stdout", "stderr")


@dataclass(frozen=True)
class Forked:
    """A process under way, and what it prints."""

    process: BaseProcess
    _folder: Path

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")

    @property
    def tracer(self) -> int:
        """Return who traces it; 0 is nobody."""
        return int(self._status("TracerPid"))

    def wait_until_stopped(self) -> None:
        """Return once it waits to be told to go on."""
        wait(lambda: self._status("State") == "T")

    def go_on(self) -> None:
        """Tell it to go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _status(self, name: str) -> str:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(line for line in text.splitlines() if line.startswith(f"{name}:")).split()[1]

    def ended(self) -> int:
        """Wait for its end, and return its exit code; that of one killed is below 0."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None
        return self.process.exitcode


@contextmanager
def forked(
    folder: Path,
    work: Callable[..., None],
    *arguments: object,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Forked]:
    """Run a function of a module that can be imported; at the end of the block it is killed.

    It has this process's environment, and `environment` besides. What it prints is kept in a new
    folder in `folder`.
    """
    own = Path(mkdtemp(dir=folder))
    for name in _OUTPUT:
        (own / name).touch()
    process = _FORKS.Process(
        target=_work, args=(own, {**os.environ, **(environment or {})}, work, arguments)
    )
    process.start()
    try:
        yield Forked(process, own)
    finally:
        process.kill()
        process.join()


def _work(
    folder: Path,
    environment: Mapping[str, str],
    work: Callable[..., None],
    arguments: Sequence[object],
) -> None:
    os.environ.update(environment)
    for number, name in enumerate(_OUTPUT, 1):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    work(*arguments)
    sys.stdout.flush()


def wait(until: Callable[[], object]) -> None:
    """Return once `until` is true."""
    deadline = monotonic() + PATIENCE
    while not until():
        assert monotonic() < deadline
        sleep(0.005)


# --- what they do -----------------------------------------------------------------


def refold(*arguments: str) -> None:
    """Run the command line."""
    sys.argv = ["refold", *arguments]
    cli.main()


def refold_reading(stdin: Path, *arguments: str) -> None:
    """Run the command line with a file as its stdin."""
    with stdin.open() as sys.stdin:
        refold(*arguments)


def in_pages(events: int, work: Callable[..., None], *arguments: object) -> None:
    """Do `work`, with pages and parts of so many events."""
    with pages_of(events):
        work(*arguments)


def when_told(work: Callable[..., None], *arguments: object) -> None:
    """Stop, and do `work` once this process is told to go on."""
    os.kill(os.getpid(), signal.SIGSTOP)
    work(*arguments)


def register(url: str, name: str, number: int) -> None:
    """Register `number` files, fold them into the tables, and let go of the store.

    It prints `done ID POSITION` for each that was acknowledged, and ends with exit code 4 and a
    sentence when it is refused. Without a number it goes on until it is killed.
    """
    try:
        with open_store(url) as store:
            for each in range(number) if number else count():
                _register(store, f"{name}-{each}")
            store.folder.catch_up()
    except Failure as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        sys.exit(4)


def append_anywhere(url: str, name: str) -> None:
    """Append to streams of any version, in transactions of several round trips, until killed.

    It prints `done ID POSITION` for each command.
    """
    log = open_log(url)
    for number in count():
        id = f"{name}-{number}"
        [outcome] = log.append([registration(id, id, expected=None)])
        assert isinstance(outcome, Appended)
        print("done", id, outcome.position, flush=True)


def register_despite(url: str, tries: int) -> None:
    """Register files in one store that stays open: while no file may grow, and after that.

    It prints `refused ID SENTENCE` for each of `tries` that fail, and then `done ID POSITION`.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open_store(url) as store:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        for number in range(tries):
            refusal = ""
            try:
                _register(store, f"despite-{number}")
            except Failure as failure:
                refusal = f"refused despite-{number} {failure}"
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            print(refusal, flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        for number in range(tries):
            _register(store, f"despite-{number}")
        store.folder.catch_up()


def _register(store: Store, id: str) -> None:
    data = {"sha256": sha256(id.encode()).hexdigest(), "cid": "cid", "name": f"holiday {id}"}
    done = run(store, "file.register", data, command_id=id, actor="ada")
    print("done", id, done.position, flush=True)
