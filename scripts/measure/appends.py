"""How fast events go into the log on PostgreSQL, one caller."""

from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import Final

from refold.domain import file
from refold.domain.ports import EventLog
from refold.infrastructure.open import open_store
from refold.scripts.measure import peers, pgbench, workload
from refold.scripts.measure.row import Goal, Measured, Row, paired
from refold.scripts.measure.site import Site

BATCH: Final = 100
"""Events of one commit."""

SNAPSHOT_SECONDS: Final = 60.0

TURN: Final = 50
"""Appends to one log before it is the other one's turn."""


def batches(site: Site) -> Measured:
    """Append 100 commands with one commit, against 100 rows of one INSERT … SELECT.

    Each command is a new file: one event, one stream, one command id. The time of refold holds the
    encoding; the reference writes rows of the same size that it makes up itself, into a table with
    the same three indexes, but gives no outcomes, checks no version and takes no lock.
    """
    return _against_pgbench(site, BATCH, "append_100", min(max(site.events // 1_000, 3), 500))


def single(site: Site) -> Measured:
    """Append one command a commit, against one row of an INSERT; else as above."""
    return _against_pgbench(site, 1, "append_1", min(site.events // 100, 1_000))


def _against_pgbench(site: Site, batch: int, script: str, commits: int) -> Measured:
    new = workload.files(seed=3)
    with (
        peers.eventsourcing(
            site, lambda library: library.recorder(site, "postgresql", commits=commits, batch=batch)
        ) as others,
        site.database() as url,
        open_store(url, create=True) as store,
        site.connect(url) as server,
    ):
        server.execute("CREATE TABLE reference.events (LIKE refold.events INCLUDING ALL)")
        sample = workload.encoded(next(new), 0)
        sizes = {"data_bytes": len(sample.data), "metadata_bytes": len(sample.metadata)}

        def refold() -> float:
            made = list(islice(new, commits * batch))
            site.settle()
            started = perf_counter()
            for first in range(0, len(made), batch):
                _append(store.log, made[first : first + batch])
            return len(made) / (perf_counter() - started)

        def reference() -> float:
            [(before,)] = server.execute("SELECT count(*) FROM reference.events").fetchall()
            site.settle()
            found = {"before": int(str(before)), **sizes}
            return batch * pgbench.rate(site, url, script, commits, **found)

        measured = paired(site, refold, reference, "events", others)
        appended = store.log.heads()[0].position
    expected = commits * batch * site.rounds
    if appended != expected:
        measured.differences.append(f"the log holds {appended} events instead of {expected}")
    measured.figures |= {"commits a round": commits, **sizes}
    return measured


def under_a_snapshot(site: Site) -> Measured:
    """Append one event a commit while another session keeps a snapshot open, against without.

    What cannot be vacuumed away meanwhile must not slow appends down. A snapshot holds on to the
    rows of its own database only: so two stores, each in one, take turns while it lasts, which is
    for all rounds.
    """
    lasts = min(SNAPSHOT_SECONDS / (10 if site.quick else 1), site.events / 1_000)
    new = workload.files(seed=4)
    measured = Measured(figures={"seconds of a snapshot": lasts})
    with (
        site.database() as one,
        site.database() as other,
        open_store(one, create=True) as held,
        open_store(other, create=True) as free,
        site.connect(one) as session,
    ):
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM refold.heads")
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            with_it, without = _take_turns(held.log, free.log, new, lasts / site.rounds)
            measured.values.append(with_it / without)
            measured.figures |= {
                "refold, appends a second": round(with_it),
                "reference, appends a second": round(without),
            }
    return measured


def _take_turns(
    one: EventLog, other: EventLog, new: Iterator[file.Registered], seconds: float
) -> tuple[float, float]:
    """Append to each log for half of the time, and return the appends a second of both."""
    taken, appended = [0.0, 0.0], [0, 0]
    while sum(taken) < seconds:
        for side, log in enumerate((one, other)):
            started = perf_counter()
            for _ in range(TURN):
                _append(log, [next(new)])
            taken[side] += perf_counter() - started
            appended[side] += TURN
    return appended[0] / taken[0], appended[1] / taken[1]


def _append(log: EventLog, new: list[file.Registered]) -> None:
    workload.check(log.append([workload.command(each, number) for number, each in enumerate(new)]))


ROWS: Final = (
    Row(
        "append-1",
        "PostgreSQL: append an event a commit, one caller, against INSERT by pgbench.",
        Goal("at least", 0.8),
        single,
    ),
    Row(
        "append-100",
        "PostgreSQL: append 100 events a commit, one caller, against INSERT … SELECT by pgbench.",
        Goal("at least", 0.65),
        batches,
    ),
    Row(
        "append-snapshot",
        "PostgreSQL: append while another session keeps a snapshot open, against without.",
        Goal("at least", 0.8),
        under_a_snapshot,
    ),
)
