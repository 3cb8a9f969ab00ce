"""Processes that fold together, each with the store open for itself.

A worker is this module run as a program. It takes pickles on its stdin, an address with what holds
the vault's key and then jobs, and answers each job on its stdout with None or with an error. It
ends with its stdin: none outlives the process that it works for.
"""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from os import cpu_count
from queue import SimpleQueue
from typing import IO, Final, NamedTuple, cast

from refold.domain.errors import Unavailable
from refold.infrastructure.address import Address, Memory
from refold.infrastructure.folding.building import CatchUp, Job, Piece
from refold.infrastructure.garbage import without_collection
from refold.infrastructure.open import open_at
from refold.infrastructure.store import Store
from refold.infrastructure.vault_key import KeyHolder

ENOUGH: Final = 1_000
"""Events that were appended while others were folded, and are worth another round."""


class Place(NamedTuple):
    """Where a store is, and what holds the key of its vault."""

    address: Address
    key: KeyHolder


class ProcessWorkers:
    """`Workers` that are processes of their own, but for this one; they start with the first job.

    Starting one takes most of a second, in which this process has begun.
    """

    def __init__(self, place: Place, number: int) -> None:
        """`number`, at least 2, counts this process too."""
        self.number = number
        self._place = place
        self._started: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()

    def do(self, jobs: Iterable[Piece], here: Callable[[Piece], None]) -> Iterator[None]:
        """Let the others do `jobs` from the first on, and `here` from the last; yield for each.

        Raises what a worker raised, and `Unavailable` when one was killed.
        """
        self._start(self.number - 1)
        threads = ThreadPoolExecutor(self.number - 1)
        doing = {threads.submit(self._do, job): job for job in jobs}
        try:
            for waiting, job in reversed(doing.items()):
                if waiting.cancel():  # no other has begun it
                    here(job)
                    yield
            for done in as_completed(each for each in doing if not each.cancelled()):
                yield done.result()
        except BaseException:
            self.close()  # or the others would go on, in files that are about to go
            threads.shutdown(cancel_futures=True)
            self._started, self._idle = [], SimpleQueue()
            raise
        threads.shutdown()

    def begin(self, job: Job) -> Future[None]:
        """Let another process do `job`, and return at once."""
        self._start(1)
        thread = ThreadPoolExecutor(1)
        doing = thread.submit(self._do, job)
        thread.shutdown(wait=False)
        return doing

    def _start(self, number: int) -> None:
        while len(self._started) < number:
            self._started.append(_Worker(self._place))
            self._idle.put(self._started[-1])

    def _do(self, job: Job) -> None:
        worker = self._idle.get()
        try:
            worker.do(job)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the workers, whatever they are at."""
        for worker in self._started:
            worker.end()


class _Worker:
    """A process, and the pipes to and from it."""

    def __init__(self, place: Place) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this module itself
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # what a person types at the terminal is for the process that waits
        )
        self._jobs = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)
        self._send(place)

    def do(self, job: Job) -> None:
        try:
            self._send(job)
            error = pickle.load(self._answers)  # noqa: S301 - from our own process
        except (OSError, EOFError) as broken:
            code = self._process.wait()
            raise Unavailable(f"a worker ended with exit code {code}") from broken
        if error is not None:
            raise error

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._jobs.close()
        self._answers.close()

    def _send(self, message: Place | Job) -> None:
        pickle.dump(message, self._jobs)
        self._jobs.flush()


@contextmanager
def helping(store: Store, number: int | None = None) -> Iterator[None]:
    """Let that many processes build the tables of `store` within the block, this one among them.

    By default that is one for each processor. Those of a store in memory are built here alone.
    """
    number = number or cpu_count() or 1
    if number < 2 or isinstance(store.address, Memory):
        yield
        return
    store.workers = workers = ProcessWorkers(Place(store.address, store.vault.holder), number)
    try:
        yield
    finally:
        store.workers = None
        workers.close()


def _work(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Answer jobs until there are no more."""
    ended = suppress(EOFError, BrokenPipeError)  # who it works for, somehow
    with ended, _opened(pickle.load(jobs)) as store:  # noqa: S301 - from our parent
        while True:
            job = pickle.load(jobs)  # noqa: S301
            error = None
            try:
                _do(store, job)
            except Exception as raised:
                error = raised
            pickle.dump(error, answers)
            answers.flush()


def _opened(place: Place) -> Store:
    store = open_at(place.address)
    store.vault.holder = place.key
    return store


def _do(store: Store, job: Job) -> None:
    match job:
        case CatchUp():
            before, reached = 0, ENOUGH
            with without_collection():
                while reached - before >= ENOUGH:
                    before, reached = reached, store.folder.catch_up().total
        case _:
            store.rebuilder.builder.do(job)


if __name__ == "__main__":
    _work(sys.stdin.buffer, sys.stdout.buffer)
