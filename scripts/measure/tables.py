"""How fast live tables are folded, and how fast new ones are compared with them."""

from functools import partial
from itertools import chain, islice
from time import perf_counter
from typing import Final

from refold.infrastructure.appending.group_commit import GroupCommit
from refold.infrastructure.open import open_store
from refold.projections import files
from refold.scripts.measure import groups, peers, rebuilds, workload
from refold.scripts.measure.rebuilds import OF_FILES
from refold.scripts.measure.row import Goal, Measured, Row, paired, seconds
from refold.scripts.measure.site import Site

A_MILLION: Final = 1_000_000


def live(site: Site) -> Measured:
    """Fold what 8 threads have appended into the live tables, against the rate of their appends.

    All tables and their indexes are there; each event is a new file, its own commit, and a row of
    `files` with its words for the search.
    """
    each = min(max(site.events // 1_600, 5), 500)
    new = workload.files(seed=9)
    measured, folded = Measured(figures={"callers": groups.THREADS}), list[float]()
    with site.database() as url, open_store(url, create=True) as store:
        store.folder.catch_up()
        group = GroupCommit(store.log)
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            given = groups.shares(new, groups.THREADS, each)
            site.settle()
            appended = groups.rate(group, given, groups.run_threads)
            folded.append(each * groups.THREADS / seconds(store.folder.catch_up))
            measured.values.append(folded[-1] / appended)
        positions, table = store.folder.digest(files)
    if not positions.total == table.rows == each * groups.THREADS * site.rounds:
        measured.differences.append(f"{table.rows} files are in the table at position {positions}")
    measured.figures["events/s"] = round(sum(folded) / len(folded))
    return measured


def live_by_sql(site: Site) -> Measured:
    """Fold events into live tables, against SQL that does the same with sets, from the same log.

    A tenth of the log is in the tables before. In each round as many follow as are one page of the
    fold. The rows of both are compared in the end, but for the words of the search.
    """
    before, each = site.events // 10, max(site.events // 40, 50)
    records = chain.from_iterable(workload.pages(before + each * site.rounds))
    with (
        peers.eventsourcing(site, lambda library: library.projection(site)) as others,
        site.database() as url,
        open_store(url, create=True) as store,
        site.connect(url) as server,
    ):
        workload.receive(store.log, list(islice(records, before)))
        store.folder.catch_up()
        server.execute(rebuilds.script("rebuild.sql"))
        server.execute("ANALYZE")
        ours = theirs = before

        def arrive(end: int) -> None:
            if store.log.heads()[0].position < end:
                workload.receive(store.log, list(islice(records, each)))
            site.settle()

        def refold() -> float:
            nonlocal ours
            ours += each
            arrive(ours)
            return each / seconds(store.folder.catch_up)

        def reference() -> float:
            nonlocal theirs
            theirs += each
            arrive(theirs)
            span = f"position > {theirs - each} AND position <= {theirs}"
            arrived = f"SELECT * FROM refold.events WHERE {span}"
            server.execute(f"CREATE OR REPLACE VIEW reference.arrived AS {arrived}".encode())
            return each / seconds(lambda: server.execute(rebuilds.script("live.sql")))

        measured = paired(site, refold, reference, "events", others)
        measured.differences += rebuilds.differences(server)
    measured.figures |= {"events in the tables before": before, "events a round": each}
    return measured


def compare(site: Site, *, on_sqlite: bool) -> Measured:
    """Compare new tables of files with the live ones, which are equal, by SQL, row by row."""
    measured = Measured()
    with open_store(site.sqlite if on_sqlite else site.postgres) as store:
        shadows = store.rebuilder.fill(OF_FILES)
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            began = perf_counter()
            compared = store.rebuilder.compare(shadows)
            taken = perf_counter() - began
            rows = sum(each.rows for each in compared)
            measured.values.append(taken * A_MILLION / rows)
            measured.figures["rows"] = rows
            measured.differences += [
                f"{each.name} differs" for each in compared if not each.is_equal
            ]
        store.rebuilder.drop(OF_FILES, "building")
    return measured


ROWS: Final = (
    Row(
        "live",
        "PostgreSQL: fold new files into the live tables, against 8 threads that append them.",
        Goal("at least", 5),
        live,
    ),
    Row(
        "live-sql",
        "PostgreSQL: fold events into the live tables, against set-based SQL on the same tables.",
        Goal("at least", 0.4),
        live_by_sql,
    ),
    Row(
        "diff",
        "PostgreSQL: compare rebuilt tables with the live ones, a million rows.",
        Goal("at most", 10, "seconds"),
        partial(compare, on_sqlite=False),
    ),
    Row(
        "diff-sqlite",
        "SQLite: the same.",
        Goal("at most", 10, "seconds"),
        partial(compare, on_sqlite=True),
    ),
)
