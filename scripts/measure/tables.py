"""How fast live tables are folded, and how fast new ones are compared with them."""

from functools import partial
from time import perf_counter
from typing import Final

from refold.infrastructure.group_commit import GroupCommit
from refold.infrastructure.open import open_store
from refold.projections import files
from refold.scripts.measure import groups, workload
from refold.scripts.measure.rebuilds import OF_FILES
from refold.scripts.measure.row import Goal, Measured, Row, seconds
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
        position, table = store.folder.digest(files)
    if not position == table.rows == each * groups.THREADS * site.rounds:
        measured.differences.append(f"{table.rows} files are in the table at position {position}")
    measured.figures["events/s"] = round(sum(folded) / len(folded))
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
