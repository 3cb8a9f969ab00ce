"""How fast many callers in one process append, each an event a commit, by group commit."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Final

from refold.domain import file
from refold.infrastructure.group_commit import GroupCommit
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import connect, immediate
from refold.infrastructure.statements import statements
from refold.infrastructure.store import Store
from refold.scripts.measure import pgbench, workload
from refold.scripts.measure.row import Goal, Measured, Row, paired
from refold.scripts.measure.site import Site

TASKS: Final = 64
THREADS: Final = 8
CLIENTS: Final = 8
"""Sessions of pgbench."""

Shares = list[list[file.Registered]]
"""What each caller appends."""

Work = Callable[[GroupCommit, Shares], None]


def by_tasks(site: Site) -> Measured:
    """Append from 64 tasks of one event loop, against 8 sessions of pgbench, all durable.

    Each caller waits for its outcome before it makes the next command: a new file, one event, one
    stream, one command id. The time of refold holds the encoding. The reference inserts rows of the
    same size into a table with the same indexes; it gives no outcomes, checks no version, and its
    positions have no order.
    """
    return _on_postgres(site, TASKS, _run_tasks, each=site.events // 6_400, seed=6)


def by_threads(site: Site) -> Measured:
    """Append from 8 threads, against 8 sessions of pgbench; else as above."""
    return _on_postgres(site, THREADS, run_threads, each=site.events // 1_600, seed=7)


def on_sqlite(site: Site) -> Measured:
    """Append from 8 threads into a SQLite file, against one writer that inserts by hand.

    Both commit to a file in WAL mode with synchronous = FULL and the same indexes. The reference
    has its rows ready and inserts one a commit: no version is checked, no trigger runs.
    """
    each = min(max(site.events // 1_600, 20), 500)
    new = workload.files(seed=8)
    inserted = 0
    with (
        open_store(f"sqlite:///{site.folder / 'grouped.db'}", create=True) as store,
        closing(_raw(site.folder)) as connection,
    ):
        group = GroupCommit(store.log)

        def refold() -> float:
            return rate(group, shares(new, THREADS, each), run_threads)

        def reference() -> float:
            nonlocal inserted
            rows = list(_rows(islice(new, each * THREADS), inserted))
            inserted += len(rows)
            return _insert(connection, rows)

        measured = paired(site, refold, reference, "events")
        return _checked(measured, store, each * THREADS * site.rounds)


def _on_postgres(site: Site, callers: int, work: Work, *, each: int, seed: int) -> Measured:
    each = min(max(each, 5), 500)
    new = workload.files(seed)
    sample = workload.encoded(next(new), 0)
    sizes = {"data_bytes": len(sample.data), "metadata_bytes": len(sample.metadata)}
    with (
        site.database() as url,
        open_store(url, create=True) as store,
        site.connect(url) as server,
    ):
        server.execute("CREATE TABLE reference.events (LIKE refold.events INCLUDING ALL)")
        group = GroupCommit(store.log)
        inserted = 0

        def refold() -> float:
            given = shares(new, callers, each)
            site.settle()
            return rate(group, given, work)

        def reference() -> float:
            nonlocal inserted
            commits = each * callers // CLIENTS
            found = {"before": inserted, **sizes}
            inserted += commits
            site.settle()
            return pgbench.rate(site, url, "append_1", commits, clients=CLIENTS, **found)

        measured = paired(site, refold, reference, "events")
        measured.figures |= {"callers": callers, **sizes}
        return _checked(measured, store, each * callers * site.rounds)


def _checked(measured: Measured, store: Store, expected: int) -> Measured:
    appended = store.log.heads()[0].position
    if appended != expected:
        measured.differences.append(f"the log holds {appended} events instead of {expected}")
    return measured


# --- callers ----------------------------------------------------------------------


def shares(new: Iterator[file.Registered], callers: int, each: int) -> Shares:
    """Return what each of so many callers appends."""
    return [list(islice(new, each)) for _ in range(callers)]


def rate(group: GroupCommit, shares: Shares, work: Work) -> float:
    """Return how many events a second are appended."""
    started = perf_counter()
    work(group, shares)
    return sum(map(len, shares)) / (perf_counter() - started)


def _run_tasks(group: GroupCommit, shares: Shares) -> None:
    async def call(share: list[file.Registered]) -> None:
        for number, each in enumerate(share):
            workload.check(await group.append_async([workload.command(each, number)]))

    async def call_all() -> None:
        await asyncio.gather(*map(call, shares))

    asyncio.run(call_all())


def run_threads(group: GroupCommit, shares: Shares) -> None:
    """Append from a thread for each caller, an event a command."""

    def call(share: list[file.Registered]) -> None:
        for number, each in enumerate(share):
            workload.check(group.append([workload.command(each, number)]))

    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(call, shares))


# --- one writer on SQLite ---------------------------------------------------------


def _raw(folder: Path) -> sqlite3.Connection:
    """Return a connection to a file that has the log's table and indexes alone."""
    with closing(connect(folder / "grouped.db")) as original:
        made = original.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'events'"
            " AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type DESC"
        ).fetchall()
    connection = connect(folder / "reference.db")
    for (sql,) in made:
        connection.execute(sql)
    return connection


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
        Goal("at least", 2.0),
        by_tasks,
    ),
    Row(
        "append-8-threads",
        "PostgreSQL: append from 8 threads, each an event a commit, against pgbench -c8.",
        Goal("at least", 0.6),
        by_threads,
    ),
    Row(
        "append-sqlite-8-threads",
        "SQLite: append from 8 threads, each an event a commit, against one raw writer.",
        Goal("at least", 1.7),
        on_sqlite,
    ),
)
