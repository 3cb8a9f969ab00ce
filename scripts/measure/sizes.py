"""How much room an event takes in the database, against its bytes."""

from typing import Final, cast

from refold.infrastructure.address import Sqlite
from refold.infrastructure.open import open_store
from refold.scripts.measure import raw
from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

NUMBERS: Final = 36
"""Bytes of an event's six numbers, as PostgreSQL declares them: 4, 8, 8, 4, 8, 4."""

_RAW: Final = (  # the workload's texts are ASCII
    f"SELECT avg({NUMBERS} + length(stream) + length(type) + length(data) + length(metadata)"
    " + length(command_id)) FROM "
)


def on_postgres(site: Site) -> Measured:
    """Compare the table of events, its free space and TOAST included, with what is in it."""
    with site.connect(site.postgres) as server:
        [(raw_bytes,)] = server.execute(f"{_RAW}refold.events".encode()).fetchall()
        [sizes] = server.execute(
            "SELECT pg_table_size('refold.events'), pg_indexes_size('refold.events')"
        ).fetchall()
    table, indexes = (float(str(size)) / site.events for size in sizes)
    return _measured(float(str(raw_bytes)), table, indexes)


def on_sqlite(site: Site) -> Measured:
    """Compare the pages of the table of events with what is in them."""
    with open_store(site.sqlite) as store:
        path = cast("Sqlite", store.address).path
    with raw.opened(path) as server:
        [(raw_bytes,)] = server.execute(f"{_RAW}events").fetchall()
        [(table, indexes)] = server.execute(
            "SELECT sum(pgsize) FILTER (WHERE name = 'events'),"
            " sum(pgsize) FILTER (WHERE name <> 'events') FROM dbstat WHERE name IN"
            " (SELECT name FROM sqlite_master WHERE tbl_name = 'events')"
        ).fetchall()
    return _measured(raw_bytes, table / site.events, indexes / site.events)


def _measured(raw_bytes: float, table: float, indexes: float) -> Measured:
    figures = {"raw": raw_bytes, "table": table, "indexes": indexes}
    return Measured(
        [table / raw_bytes],
        {f"{what}, bytes an event": round(size) for what, size in figures.items()},
    )


ROWS: Final = (
    Row(
        "size",
        "PostgreSQL: room that the table of events takes, without indexes, against its bytes.",
        Goal("at most", 1.6),
        on_postgres,
    ),
    Row(
        "size-sqlite",
        "SQLite: the same.",
        Goal("at most", 1.6),
        on_sqlite,
    ),
)
