"""How fast events go into the log on PostgreSQL, one caller."""

from collections.abc import Iterator
from itertools import islice
from time import perf_counter, sleep
from typing import Final

from refold.domain import file, streams
from refold.domain.ports import Appended, Command, EventLog, Write
from refold.infrastructure.open import open_store
from refold.scripts.measure import pgbench, workload
from refold.scripts.measure.row import Goal, Measured, Row, paired
from refold.scripts.measure.site import Site

BATCH: Final = 100


def batches(site: Site) -> Measured:
    """Append 100 commands with one commit, against 100 rows of one INSERT … SELECT.

    Each command is a new file: one event, one stream, one command id. The time of refold holds the
    encoding; the reference writes rows of the same size that it makes up itself, into a table with
    the same three indexes, but gives no outcomes, checks no version and takes no lock.
    """
    commits = min(max(site.events // 1_000, 3), 200 if site.quick else 500)
    new = workload.files(seed=3)
    with (
        site.schema() as ours,
        site.schema() as theirs,
        open_store(site.store(ours), create=True) as store,
        site.connect(theirs) as server,
    ):
        server.execute(f"CREATE TABLE events (LIKE {ours}.events INCLUDING ALL)".encode())
        sample = workload.encoded(next(new), 0)
        sizes = {"data_bytes": len(sample.data), "metadata_bytes": len(sample.metadata)}

        def refold() -> float:
            made = list(islice(new, commits * BATCH))
            site.settle()
            started = perf_counter()
            for first in range(0, len(made), BATCH):
                _append(store.log, made[first : first + BATCH])
            return len(made) / (perf_counter() - started)

        def reference() -> float:
            [(before,)] = server.execute("SELECT count(*) FROM events").fetchall()
            site.settle()
            found = {"before": int(str(before)), **sizes}
            return BATCH * pgbench.rate(site, theirs, "append_100", commits, **found)

        measured = paired(site, refold, reference, "events")
        appended = store.log.heads()[0].position
    expected = commits * BATCH * site.rounds
    if appended != expected:
        measured.differences.append(f"the log holds {appended} events instead of {expected}")
    measured.figures |= {"commits a round": commits, **sizes}
    return measured


def under_a_snapshot(site: Site) -> Measured:
    """Append one event a commit while another session keeps one snapshot open, against without.

    What cannot be vacuumed away meanwhile must not slow appends down.
    """
    seconds = min(10.0 if site.quick else 60.0, site.events / 1_000)
    new = workload.files(seed=4)
    with site.schema() as schema, open_store(site.store(schema), create=True) as store:

        def with_snapshot() -> float:
            with site.connect(schema) as other:
                other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                other.execute("SELECT count(*) FROM heads")
                return _rate(store.log, new, seconds)

        def without() -> float:
            return _rate(store.log, new, seconds)

        _rate(store.log, new, min(seconds, 1.0))
        measured = paired(site, with_snapshot, without, "appends")
    measured.figures["seconds a side"] = seconds
    return measured


def _rate(log: EventLog, new: Iterator[file.Registered], seconds: float) -> float:
    sleep(0.1)  # let the session of the other side end
    started = perf_counter()
    appended = 0
    while (taken := perf_counter() - started) < seconds:
        _append(log, [next(new)])
        appended += 1
    return appended / taken


def _append(log: EventLog, new: list[file.Registered]) -> None:
    commands = [
        Command(
            f"register-{each.sha256}",
            (Write(streams.name("file", each.sha256), 0, (workload.encoded(each, number),)),),
        )
        for number, each in enumerate(new)
    ]
    for outcome in log.append(commands):
        if not isinstance(outcome, Appended):
            raise outcome


ROWS: Final = (
    Row(
        "append-100",
        "PostgreSQL: append 100 events a commit, one caller, against INSERT … SELECT by pgbench.",
        Goal("at least", 0.5),
        batches,
    ),
    Row(
        "append-snapshot",
        "PostgreSQL: append while another session keeps a snapshot open, against without.",
        Goal("at least", 0.8),
        under_a_snapshot,
    ),
)
