"""How fast many callers append, each an event a commit: tasks and threads by group commit."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Final, Protocol

from refold.domain import file
from refold.domain.ports import Command, Outcome
from refold.infrastructure.appending.group_commit import GroupCommit
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import immediate
from refold.infrastructure.statements import statements
from refold.infrastructure.store import Store
from refold.scripts.measure import peers, pgbench, raw, workload
from refold.scripts.measure.row import Goal, Measured, Peers, Row, paired
from refold.scripts.measure.site import Site

TASKS: Final = 64
THREADS: Final = 8
CLIENTS: Final = 8
"""Sessions of pgbench."""

Shares = list[list[file.Registered]]
"""What each caller appends."""


class Commits(Protocol):
    """What callers append to: a `GroupCommit`."""

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        """Append and wait."""
        ...

    async def append_async(self, commands: Sequence[Command]) -> list[Outcome]:
        """Append and await."""
        ...


Work = Callable[[Commits, Shares], None]


def by_tasks(site: Site, callers: int) -> Measured:
    """Append from tasks of one event loop, against 8 sessions of pgbench, all durable.

    Each caller waits for its outcome before it makes the next command: a new file, one event, one
    stream, one command id. The time of refold holds the encoding. The reference inserts rows of the
    same size into a table with the same indexes; it gives no outcomes, checks no version, and its
    positions have no order.
    """
    return _on_postgres(site, callers, run_tasks, {})


def by_threads(site: Site) -> Measured:
    """Append from 8 threads, against 8 sessions of pgbench; else as above."""
    each = share(site, THREADS)
    with peers.eventsourcing(
        site, lambda library: library.recorder(site, "postgresql", commits=each, threads=THREADS)
    ) as others:
        return _on_postgres(site, THREADS, run_threads, others)


def on_sqlite(site: Site) -> Measured:
    """Append from 8 threads into a SQLite file, against one writer that inserts by hand.

    Both commit to a file in WAL mode with synchronous = FULL and the same indexes. The reference
    has its rows ready and inserts one a commit: no version is checked, no trigger runs.
    """
    each = share(site, THREADS)
    new = workload.files(seed=8)
    inserted = 0
    folder = site.new_folder()
    with (
        peers.eventsourcing(
            site, lambda library: library.recorder(site, "sqlite", commits=each, threads=THREADS)
        ) as others,
        open_store(f"sqlite:///{folder / 'grouped.db'}", create=True) as store,
        raw.opened(folder / "reference.db", log=folder / "grouped.db") as connection,
    ):
        raw.declare(connection, "log", "events")
        raw.index(connection, "log", "events")
        connection.execute("DETACH log")
        group = GroupCommit(store.log)

        def refold() -> float:
            return rate(group, shares(new, THREADS, each), run_threads)

        def reference() -> float:
            nonlocal inserted
            rows = list(_rows(islice(new, each * THREADS), inserted))
            inserted += len(rows)
            return _insert(connection, rows)

        measured = paired(site, refold, reference, "events", others)
        return checked(measured, store, each * THREADS * site.rounds)


def _on_postgres(site: Site, callers: int, work: Work, others: Peers) -> Measured:
    each = share(site, callers)
    new = workload.files(seed=6)
    with site.database() as url, open_store(url, create=True) as store:
        group = GroupCommit(store.log)

        def refold() -> float:
            given = shares(new, callers, each)
            site.settle()
            return rate(group, given, work)

        measured = against_pgbench(site, url, refold, each * callers, others)
        measured.figures["callers"] = callers
        return checked(measured, store, each * callers * site.rounds)


def against_pgbench(
    site: Site, url: str, refold: Callable[[], float], appended: int, others: Peers
) -> Measured:
    """Measure what appends so many events in each round, against as many by 8 sessions."""
    sample = workload.encoded(next(workload.files(seed=6)), 0)
    sizes = {"data_bytes": len(sample.data), "metadata_bytes": len(sample.metadata)}
    with site.connect(url) as server:
        server.execute("CREATE TABLE reference.events (LIKE refold.events INCLUDING ALL)")
    inserted = 0

    def reference() -> float:
        nonlocal inserted
        commits = appended // CLIENTS
        found = {"before": inserted, **sizes}
        inserted += commits
        site.settle()
        return pgbench.rate(site, url, "append_1", commits, clients=CLIENTS, **found)

    measured = paired(site, refold, reference, "events", others)
    measured.figures |= sizes
    return measured


def checked(measured: Measured, store: Store, expected: int) -> Measured:
    """Compare how many events there are with how many there should be."""
    appended = store.advance.head().total
    if appended != expected:
        measured.differences.append(f"the log holds {appended} events instead of {expected}")
    return measured


# --- callers ----------------------------------------------------------------------


def share(site: Site, callers: int) -> int:
    """Return how many events each caller appends in a round."""
    return min(max(site.events // (50 * callers), 5), 500)


def shares(new: Iterator[file.Registered], callers: int, each: int) -> Shares:
    """Return what each of so many callers appends."""
    return [list(islice(new, each)) for _ in range(callers)]


def rate(group: Commits, shares: Shares, work: Work) -> float:
    """Return how many events a second are appended."""
    started = perf_counter()
    work(group, shares)
    return sum(map(len, shares)) / (perf_counter() - started)


def run_tasks(group: Commits, shares: Shares) -> None:
    """Append from a task for each caller, all of one event loop, an event a command."""

    async def call(share: list[file.Registered]) -> None:
        for number, each in enumerate(share):
            workload.check(await group.append_async([workload.command(each, number)]))

    async def call_all() -> None:
        await asyncio.gather(*map(call, shares))

    asyncio.run(call_all())


def run_threads(group: Commits, shares: Shares) -> None:
    """Append from a thread for each caller, an event a command."""

    def call(share: list[file.Registered]) -> None:
        for number, each in enumerate(share):
            workload.check(group.append([workload.command(each, number)]))

    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(call, shares))


# --- one writer on SQLite ---------------------------------------------------------


def _rows(new: Iterator[file.Registered], before: int) -> Iterator[tuple[object, ...]]:
    for number, each in enumerate(new, 1):
        [write] = workload.command(each, number).writes
        [event] = write.events
        yield (
            *(0, before + number, write.stream, 1, event.type, event.schema),
            *(event.data, event.metadata, workload.BEGINNING, f"register-{each.sha256}", 0),
        )


def _insert(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> float:
    sql = statements("refold.infrastructure.sqlite")["append_event"].decode()
    started = perf_counter()
    for row in rows:
        with immediate(connection):
            connection.execute(sql, row)
    return len(rows) / (perf_counter() - started)


ROWS: Final = (
    Row(
        "append-64-async",
        "PostgreSQL: append from 64 tasks, each an event a commit, against pgbench -c8.",
        Goal("at least", 3.0),
        partial(by_tasks, callers=TASKS),
    ),
    Row(
        "append-8-async",
        "PostgreSQL: append from 8 tasks, each an event a commit, against pgbench -c8.",
        Goal("at least", 1.0),
        partial(by_tasks, callers=CLIENTS),
    ),
    Row(
        "append-8-threads",
        "PostgreSQL: append from 8 threads, each an event a commit, against pgbench -c8.",
        Goal("at least", 0.7),
        by_threads,
    ),
    Row(
        "append-sqlite-8-threads",
        "SQLite: append from 8 threads, each an event a commit, against one raw writer.",
        Goal("at least", 2.0),
        on_sqlite,
    ),
)
