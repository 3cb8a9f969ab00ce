"""How fast all query tables are folded again from the first event."""

from collections.abc import Callable
from functools import partial
from importlib import resources
from os import cpu_count
from typing import Final, cast

from refold.infrastructure.address import Sqlite
from refold.infrastructure.folding import workers
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.projections import file_counts, file_tags, files, tag_votes
from refold.projections.projection import Projection
from refold.scripts.measure import peers, raw
from refold.scripts.measure.row import Goal, Measured, Peers, Row, paired, seconds
from refold.scripts.measure.site import Connection, Site

OF_FILES: Final[tuple[Projection, ...]] = (files, file_counts, file_tags, tag_votes)


def rebuild(site: Site, processes: int | None = None) -> Measured:
    """Fold new generations of the tables of files, as `refold rebuild` does, against set-based SQL.

    The rows of both are compared, outside the time that is measured. The reference knows the events
    of the workload and no others, cannot go on after a crash, and makes its search vector of
    PostgreSQL's own words (not compared); it makes all indexes last, while refold has its primary
    keys from the start.
    """
    with (
        peers.eventsourcing(site, lambda library: library.projection(site)) as others,
        open_store(site.postgres) as store,
        site.connect(site.postgres) as server,
    ):

        def reference() -> float:
            for projection in OF_FILES:
                server.execute(f"DROP TABLE IF EXISTS reference.{projection.NAME}".encode())
            site.settle()
            return site.events / seconds(lambda: server.execute(script("rebuild.sql")))

        measured = _measured(site, store, reference, processes, others)
        measured.differences += differences(server)
    return measured


def differences(server: Connection) -> list[str]:
    """Compare the tables of files in schema refold with those in schema reference."""
    found = []
    for projection in OF_FILES:
        ours, theirs = (f"{schema}.{projection.NAME}" for schema in ("refold", "reference"))
        query = (
            f"SELECT count(*) FROM (({_rows(projection, ours)} EXCEPT ALL"
            f" {_rows(projection, theirs)}) UNION ALL ({_rows(projection, theirs)}"
            f" EXCEPT ALL {_rows(projection, ours)})) AS differing"
        )
        [(differing,)] = server.execute(query.encode()).fetchall()
        found += _told(projection, differing)
    return found


def rebuild_sqlite(site: Site) -> Measured:
    """Do the same on SQLite, in whose file one process writes at a time; FTS5 takes its own words.

    The reference writes into a file of its own, as durably as refold does.
    """
    path = site.folder / "reference.db"
    with open_store(site.sqlite) as store:
        address = cast("Sqlite", store.address)

        def reference() -> float:
            raw.remove(path)
            with raw.opened(path, log=address.path) as server:
                return site.events / seconds(
                    lambda: server.executescript(script("rebuild-sqlite.sql").decode())
                )

        measured = _measured(site, store, reference)
        with raw.opened(path, refold=address.tables) as server:
            for projection in OF_FILES:
                ours, theirs = (f"{schema}.{projection.NAME}" for schema in ("refold", "main"))
                for one, other in ((ours, theirs), (theirs, ours)):
                    query = f"{_rows(projection, one)} EXCEPT {_rows(projection, other)}"
                    measured.differences += _told(projection, len(server.execute(query).fetchall()))
        raw.remove(path)
    return measured


def _measured(
    site: Site,
    store: Store,
    reference: Callable[[], float],
    processes: int | None = None,
    others: Peers | None = None,
) -> Measured:
    """Take the rates of a rebuild, by default with a process for each processor, and the others."""

    def build() -> None:
        with workers.helping(store, processes):
            store.rebuilder.build(OF_FILES)

    def refold() -> float:
        site.settle()
        return site.events / seconds(build)

    measured = paired(site, refold, reference, "events", others)
    measured.figures |= {"events": site.events, "processes": processes or cpu_count() or 1}
    return measured


def script(name: str) -> bytes:
    """Return the statements of a file beside this module."""
    return (resources.files("refold.scripts.measure") / name).read_bytes()


def _rows(projection: Projection, table: str) -> str:
    """Return a query for the columns that the projection declares."""
    return f"SELECT {', '.join(column.name for column in projection.TABLE.columns)} FROM {table}"


def _told(projection: Projection, differing: object) -> list[str]:
    name = projection.NAME
    return [f"{differing} rows of {name} differ from those of the reference"] if differing else []


ROWS: Final = (
    Row(
        "rebuild",
        "PostgreSQL: fold all tables again, against set-based INSERT … SELECT, indexes after.",
        Goal("at least", 1.0),
        rebuild,
    ),
    Row(
        "rebuild-1-process",
        "PostgreSQL: fold all tables again in one process, against the same SQL.",
        Goal("at least", 0.85),
        partial(rebuild, processes=1),
    ),
    Row(
        "rebuild-sqlite",
        "SQLite: fold all tables again, against set-based INSERT … SELECT, indexes after.",
        Goal("at least", 0.9),
        rebuild_sqlite,
    ),
)
