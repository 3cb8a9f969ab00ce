"""Reads the eventsourcing library's own tables, in PostgreSQL and SQLite, in one snapshot.

PostgreSQL names tables after the application: `orders_events`, `orders_snapshots` and
`orders_tracking`. Without a name they are `stored_events`, `stored_snapshots` and
`notification_tracking`. In SQLite nothing has a name: `stored_events`, `stored_snapshots` and
`tracking`.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from refold.domain.errors import BadInput
from refold.infrastructure.address import Address, Memory, Postgres, Sqlite
from refold.infrastructure.applications import NAMELESS
from refold.infrastructure.limits import PAGE_BYTES
from refold.infrastructure.postgres.connection import available, connect

MIGRATION: Final = "__migration__"
"""The library's own mark among the trackings."""

ROWS: Final = 100
"""Rows that are fetched at once, unless those before would have more than `PAGE_BYTES`."""


class Row(NamedTuple):
    """A stored event; `number` is its notification id, for a snapshot 0."""

    number: int
    id: UUID | str
    version: int
    topic: str
    state: bytes

    @property
    def size(self) -> int:
        """Return the bytes of its state, 0 where that is none: `check` tells."""
        return len(self.state) if isinstance(self.state, bytes) else 0

    def check(self) -> None:
        """Raise `BadInput` for what a table without a schema can hold, and an event cannot."""
        for name, value, kind in (
            ("version", self.version, int),
            ("topic", self.topic, str),
            ("state", self.state, bytes),
        ):
            if not isinstance(value, kind):
                raise BadInput(f"its {name} is {type(value).__name__}, not {kind.__name__}")


class Tables(Protocol):
    """The tables of a database, as they stood at one instant."""

    def applications(self) -> list[str]:
        """Return the names of applications that have a table of events, in order."""
        ...

    def events(self, application: str) -> Iterator[Row]:
        """Yield an application's events in the order of their notification ids."""
        ...

    def snapshots(self, application: str) -> Iterator[Row]:
        """Yield an application's snapshots."""
        ...

    def trackings(self, application: str) -> dict[str, int]:
        """Return up to which notification ids it has processed other applications' events."""
        ...

    def trackings_alone(self) -> Iterator[tuple[str, str, int]]:
        """Yield (table, application, notification id) of tables that no application has."""
        ...


@contextmanager
def opened(place: Address, *, has_schema: bool, text_ids: bool) -> Iterator[Tables]:
    """Give the tables at an address. Raises `BadInput` where there are none, and `Unavailable`.

    Without a schema in the address, those of PostgreSQL are in `public`. With `text_ids`, ids that
    SQLite keeps are texts even where all of them look like UUIDs.
    """
    match place:
        case Postgres():
            schema = place.schema if has_schema else "public"
            with (
                available(place.url),
                connect(place.url, place.connecting, autocommit=False) as connection,
            ):
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.read_only = True
                yield _InPostgres(connection, schema)
        case Sqlite():
            with closing(_read_only(place.path)) as file:
                try:
                    file.execute("BEGIN")
                    yield _InSqlite(file, text_ids)
                except sqlite3.DatabaseError as error:
                    raise BadInput(
                        f"{place.path} cannot be read as SQLite: {error.sqlite_errorname}"
                    ) from error
        case Memory():
            raise BadInput("the library's tables are in PostgreSQL or SQLite, never in memory")


class _InPostgres:
    def __init__(self, connection: psycopg.Connection, schema: str) -> None:
        self._connection, self._schema = connection, schema
        rows = connection.execute(
            "SELECT table_name, array_agg(column_name::text)"
            " FROM information_schema.columns WHERE table_schema = %s GROUP BY table_name",
            (schema,),
        )
        self._columns: dict[str, set[str]] = {name: set(columns) for name, columns in rows}

    def applications(self) -> list[str]:
        return [
            name.removesuffix("_events")
            for name, columns in sorted(self._columns.items())
            if name.endswith("_events") and columns >= _EVENTS | {"notification_id"}
        ]

    def events(self, application: str) -> Iterator[Row]:
        return self._rows(f"{application}_events", _EVENTS_IN_ORDER)

    def snapshots(self, application: str) -> Iterator[Row]:
        return self._rows(f"{application}_snapshots", _SNAPSHOTS)

    def trackings(self, application: str) -> dict[str, int]:
        return self._trackings(_tracking(application))

    def trackings_alone(self) -> Iterator[tuple[str, str, int]]:
        known = set(map(_tracking, self.applications()))
        for table, columns in sorted(self._columns.items()):
            if table.endswith("_tracking") and columns >= _TRACKINGS and table not in known:
                for application, number in sorted(self._trackings(table).items()):
                    yield table, application, number

    def _trackings(self, table: str) -> dict[str, int]:
        if table not in self._columns:
            return {}
        rows = self._connection.execute(
            SQL("SELECT application_name, max(notification_id) FROM {} GROUP BY 1").format(
                Identifier(self._schema, table)
            )
        )
        return {name: number for name, number in rows if name != MIGRATION}

    def _rows(self, table: str, statement: SQL) -> Iterator[Row]:
        if table not in self._columns:
            return
        with self._connection.cursor(name="refold_import", binary=True) as cursor:
            cursor.execute(statement.format(Identifier(self._schema, table)))
            number = 1
            while rows := list(map(Row._make, cursor.fetchmany(number))):
                yield from rows
                largest = max(row.size for row in rows)
                number = min(max(PAGE_BYTES // (largest + 1), 1), ROWS)


class _InSqlite:
    def __init__(self, file: sqlite3.Connection, text_ids: bool) -> None:
        self._file, self._text_ids = file, text_ids
        self._tables: Mapping[str, str] = dict(
            file.execute("SELECT name, upper(sql) FROM sqlite_master WHERE type = 'table'")
        )

    def applications(self) -> list[str]:
        table = self._tables.get("stored_events")
        if table and "WITHOUT ROWID" in table:
            raise BadInput("the table stored_events has no order: it is one of aggregates alone")
        return [NAMELESS] if table else []

    def events(self, application: str) -> Iterator[Row]:  # noqa: ARG002 - there is one
        return self._rows("stored_events", "rowid", "rowid")

    def snapshots(self, application: str) -> Iterator[Row]:  # noqa: ARG002 - there is one
        return self._rows("stored_snapshots", "0", "originator_version")

    def trackings(self, application: str) -> dict[str, int]:  # noqa: ARG002 - there is one
        if "tracking" not in self._tables:
            return {}
        rows = self._file.execute(
            "SELECT application_name, max(notification_id) FROM tracking GROUP BY 1"
        )
        return {name: number for name, number in rows if name != MIGRATION}

    def trackings_alone(self) -> Iterator[tuple[str, str, int]]:
        return iter(())

    def _rows(self, table: str, number: str, order: str) -> Iterator[Row]:
        if table not in self._tables:
            return
        rows = self._file.execute(
            f"SELECT {number}, originator_id, originator_version, topic, state"
            f" FROM {table} ORDER BY {order}"
        )
        for found, id, *rest in rows:
            yield Row(found, id if self._keeps_texts else UUID(id), *rest)

    @cached_property
    def _keeps_texts(self) -> bool:
        """Tell whether ids are texts, those of events and of snapshots alike."""
        return self._text_ids or any(
            self._file.execute(
                f"SELECT 1 FROM {table} WHERE length(originator_id) <> 32"
                " OR originator_id GLOB '*[^0-9a-f]*' LIMIT 1"
            ).fetchone()
            for table in ("stored_events", "stored_snapshots")
            if table in self._tables
        )


def _tracking(application: str) -> str:
    return f"{'notification' if application == NAMELESS else application}_tracking"


def _read_only(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


_EVENTS_IN_ORDER: Final = SQL(
    "SELECT notification_id, originator_id, originator_version, topic, state FROM {}"
    " ORDER BY notification_id"
)
_SNAPSHOTS: Final = SQL(
    "SELECT 0, originator_id, originator_version, topic, state FROM {} ORDER BY originator_version"
)
_EVENTS: Final = frozenset({"originator_id", "originator_version", "topic", "state"})
_TRACKINGS: Final = frozenset({"application_name", "notification_id"})
