"""How fast many processes append to one log on PostgreSQL, each an event a commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any, Final

from refold.domain.errors import Unavailable
from refold.infrastructure.open import open_store
from refold.scripts.measure import groups, workload
from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

PROCESSES: Final = 8


def by_processes(site: Site, partitions: int = 1) -> Measured:
    """Append from 8 processes to so many partitions, against 8 sessions of pgbench.

    Each process has the store open and appends by itself, a new file a commit: they share nothing
    but the heads of the log. The reference has no head, and its positions no order.
    """
    each = groups.share(site, PROCESSES)
    with (
        site.database() as url,
        open_store(url, create=True, partitions=partitions) as store,
        _processes(url) as processes,
    ):

        def refold() -> float:
            _ask(processes, each)
            site.settle()
            times: list[tuple[float, float]] = _ask(processes, None)
            first, last = min(start for start, _ in times), max(end for _, end in times)
            return each * PROCESSES / (last - first)

        measured = groups.against_pgbench(site, url, refold, each * PROCESSES, {})
        measured.figures["processes"] = PROCESSES
        return groups.checked(measured, store, each * PROCESSES * site.rounds)


@contextmanager
def _processes(url: str) -> Iterator[list[Connection]]:
    """Give pipes to processes that have the store at `url` open."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])  # else each imports it all
    pipes, started = [], []
    try:
        for number in range(PROCESSES):
            here, there = context.Pipe()
            process = context.Process(target=_append, args=(url, 100 + number, there), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            started.append(process)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()  # they end with it
        for process in started:
            process.join()


def _ask(processes: list[Connection], what: int | None) -> list[Any]:
    try:
        for process in processes:
            process.send(what)
        return [process.recv() for process in processes]
    except (OSError, EOFError) as error:
        raise Unavailable("a process that appends ended before its time") from error


def _append(url: str, seed: int, orders: Connection) -> None:
    """Make ready to append so many files, append them when told to, and answer when that was."""
    new = workload.files(seed)
    with open_store(url) as store:
        while True:
            try:
                given = list(islice(new, orders.recv()))
                orders.send(len(given))
                orders.recv()
            except EOFError:
                return
            started = perf_counter()  # the same clock in all processes
            for number, each in enumerate(given):
                workload.check(store.log.append([workload.command(each, number)]))
            orders.send((started, perf_counter()))


ROWS: Final = (
    Row(
        "append-8-processes",
        "PostgreSQL: append from 8 processes, each an event a commit, against pgbench -c8.",
        Goal("at least", 0.4),
        by_processes,
    ),
    Row(
        "append-8-processes-8-partitions",
        "PostgreSQL: the same on a log of 8 partitions, against pgbench -c8.",
        Goal("at least", 0.65),
        partial(by_processes, partitions=8),
    ),
)
