"""Rows of query tables in SQLite: bulk statements, views, and FTS5 for search."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from time import sleep
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.event import listens_for
from sqlalchemy.pool import QueuePool
from sqlalchemy.schema import CreateIndex

from refold.infrastructure.folding.generations import Generation
from refold.infrastructure.folding.rows import FIELDS_BY_RANK, PLACE, Hits, search_name
from refold.infrastructure.folding.tables import Tables
from refold.infrastructure.sqlite import match
from refold.infrastructure.sqlite.connection import (
    BUSY_SECONDS,
    available,
    connect,
    tables_unavailable,
)
from refold.projections.projection import Key, Row
from refold.projections.query import Query
from refold.projections.views import View

REFUSED: Final = frozenset(
    {
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT_NOTNULL,
        sqlite3.SQLITE_CONSTRAINT | 12 << 8,  # SQLITE_CONSTRAINT_DATATYPE
    }
)
"""SQLite's codes of errors that say that a row cannot be kept."""

KEYS_AT_ONCE: Final = 500

LONGEST_WAL: Final = 64 * 1024 * 1024
"""Bytes of the write-ahead log from which on it is emptied before a part is saved."""

EMPTYING_TRIES: Final = 25
"""How often that is tried, for five seconds at most in which nobody writes."""

EMPTYING_MS: Final = 100
"""How long each attempt waits for who reads, and the next one comes after that."""

_NOW_US: Final = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


def tables_in(path: Path) -> Tables:
    """Return the query tables in the file at `path`."""
    connecting = partial(connect, path, told=tables_unavailable)
    return _tables(_engine(connecting), path)


def tables_in_memory() -> Tables:
    """Return query tables that are gone with this object; one thread uses them at a time."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    return _tables(_engine(lambda: connection, pool_size=1, max_overflow=0), Path(":memory:"))


def _engine(creator: Callable[[], sqlite3.Connection], **pool: int) -> sa.Engine:
    """Return an engine whose texts take their values by name, as PostgreSQL's do."""
    return sa.create_engine(
        "sqlite://", creator=creator, poolclass=QueuePool, paramstyle="named", **pool
    )


def _tables(engine: sa.Engine, path: Path) -> Tables:
    # The driver is in autocommit mode: transactions begin here, and only here.
    @listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        deferred = connection.get_execution_options().get("snapshot")
        connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")

    return Tables(engine, SqliteRows(path))


class SqliteRows:
    """`Rows` of SQLite."""

    events_a_part: ClassVar[int] = 50_000  # it has one writer: others wait while a part is saved

    def __init__(self, path: Path) -> None:
        self._path = path
        real = path.resolve()
        self._wal = real.with_name(f"{real.name}-wal")
        self._longest_wal = LONGEST_WAL

    @contextmanager
    def writing(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with available(self._path, tables_unavailable), engine.begin() as connection:
            yield connection

    def make_way(self, engine: sa.Engine) -> None:
        """Empty a write-ahead log that has grown long, unless others are at work for long.

        SQLite writes over it once a commit finds nobody else at work. Processes that save parts in
        turn always are: two of them left a log of 20 GB beside tables of 1.6.
        """
        if self._wal_bytes() <= self._longest_wal:
            return
        for _ in range(EMPTYING_TRIES):
            if self._empty_wal(engine):
                self._longest_wal = LONGEST_WAL
                return
            sleep(EMPTYING_MS / 1_000)
        self._longest_wal = 2 * self._wal_bytes()

    def _empty_wal(self, engine: sa.Engine) -> bool:
        """Write back what is in the write-ahead log, and empty it; tell whether that was done."""
        with (
            available(self._path, tables_unavailable),
            closing(engine.raw_connection()) as connection,
        ):
            cursor = connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")  # others may write beside this one
            cursor.execute("BEGIN IMMEDIATE")  # who saves a part is done
            cursor.execute("COMMIT")
            try:
                cursor.execute(f"PRAGMA busy_timeout = {EMPTYING_MS}")
                [is_busy, *_] = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {round(1_000 * BUSY_SECONDS)}")
        return not is_busy

    def _wal_bytes(self) -> int:
        with suppress(OSError):
            return self._wal.stat().st_size
        return 0

    def exclude(self, connection: sa.Connection, fence: str) -> None:
        """Wait for nobody: a transaction that may write is the only one."""

    @contextmanager
    def reading(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with (
            available(self._path, tables_unavailable),
            engine.connect().execution_options(snapshot=True) as connection,
            connection.begin(),
        ):
            yield connection

    def create(self, connection: sa.Connection, generation: Generation) -> None:
        table = generation.table
        table.create(connection)
        if generation.projection.SEARCH:
            connection.exec_driver_sql(match.create(search_name(table)))

    def drop(self, connection: sa.Connection, generation: Generation) -> None:
        table = generation.table
        table.drop(connection, checkfirst=True)
        if generation.projection.SEARCH:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {search_name(table)}")

    def create_indexes(self, connection: sa.Connection, generation: Generation) -> None:
        table = generation.table
        for index in generation.indexes():
            connection.execute(CreateIndex(index, if_not_exists=True))
        if generation.projection.SEARCH:
            name = search_name(table)
            connection.exec_driver_sql(f"INSERT INTO {name} ({name}) VALUES ('optimize')")

    def lock(
        self,
        connection: sa.Connection,
        views: Sequence[str],
        generations: Sequence[Generation],
    ) -> None:
        """Wait for nobody: a reader goes on in the snapshot that it began with."""

    def show(self, connection: sa.Connection, generation: Generation) -> None:
        table = generation.table
        columns = ", ".join(_names(table))
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {generation.projection.NAME}")
        connection.exec_driver_sql(
            f"CREATE VIEW {generation.projection.NAME} AS SELECT {columns} FROM {table.name}"
        )

    def view(self, connection: sa.Connection, view: View) -> None:
        names = {name: name for name in view.tables}
        query = view.query.format(**names, now_us=_NOW_US)
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view.name}")
        connection.exec_driver_sql(f"CREATE VIEW {view.name} AS {query}")

    def is_taken(self, connection: sa.Connection, name: str) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = :name COLLATE NOCASE)"
        return bool(connection.exec_driver_sql(query, {"name": name}).scalar())

    def let_read(self, connection: sa.Connection, name: str) -> None:
        """Do nothing: who may read the file may read all of it."""

    def refuses(self, error: Exception) -> bool:
        code = getattr(error, "sqlite_errorcode", None)
        return code in REFUSED or isinstance(error, OverflowError | UnicodeEncodeError)

    def load(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> Iterable[Row]:
        table = generation.table
        cursor = _cursor(connection)
        key = [column.name for column in table.primary_key.columns]
        one = f"({', '.join('?' * len(key))})"
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            cursor.execute(
                f"SELECT {', '.join(_names(table))} FROM {table.name}"
                f" WHERE ({', '.join(key)}) IN (VALUES {', '.join([one] * len(some))})",
                [value for key in some for value in key],
            )
            yield from cursor

    def scan(self, connection: sa.Connection, generation: Generation) -> Iterable[Row]:
        table = generation.table
        key = ", ".join(column.name for column in table.primary_key.columns)
        cursor: Iterable[Row] = _cursor(connection).execute(
            f"SELECT {', '.join(_names(table))} FROM {table.name} ORDER BY {key}"
        )
        return cursor

    def insert(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        self._write("INSERT", connection, generation, rows)

    def update(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        self._write("REPLACE", connection, generation, rows)

    def _write(
        self, verb: str, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        table = generation.table
        names = _names(table)
        cursor = _cursor(connection)
        cursor.executemany(
            f"{verb} INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            rows,
        )
        search = generation.projection.SEARCH
        if search:
            at = names.index(PLACE)
            # FTS5 begins a segment wherever row ids step back.
            newest_first = sorted(rows, key=itemgetter(at), reverse=True)
            cursor.executemany(
                f"{verb} INTO {search_name(table)} (rowid, words, pairs) VALUES (?, ?, ?)",
                ((-row[at], *match.texts(search(row))) for row in newest_first),
            )

    def remove(
        self,
        connection: sa.Connection,
        generation: Generation,
        keys: Sequence[Key],
    ) -> None:
        table = generation.table
        cursor = _cursor(connection)
        where = " AND ".join(f"{column.name} = ?" for column in table.primary_key.columns)
        if generation.projection.SEARCH:
            cursor.executemany(
                f"DELETE FROM {search_name(table)}"
                f" WHERE rowid = (SELECT -{PLACE} FROM {table.name} WHERE {where})",
                keys,
            )
        cursor.executemany(f"DELETE FROM {table.name} WHERE {where}", keys)

    def search(
        self,
        connection: sa.Connection,
        generation: Generation,
        query: Query,
        limit: int,
        offset: int,
    ) -> Hits:
        table = generation.table
        begun = match.tokens(_cursor(connection), search_name(table))
        found = f"SELECT rowid FROM {search_name(table)} WHERE {search_name(table)} MATCH"
        in_name, in_name_or_tags, anywhere = (
            f"{found} :{name} AND rowid < (SELECT untold FROM counted)" for name in FIELDS_BY_RANK
        )
        newest = "ORDER BY rowid LIMIT -1"
        rows = connection.exec_driver_sql(
            f"""
            WITH counted AS MATERIALIZED (
                SELECT count(*) AS total, iif(count(*) > {Hits.MOST}, max(rowid), 0) AS untold
                FROM ({found} :anywhere ORDER BY rowid LIMIT {Hits.MOST + 1})
            ), page AS MATERIALIZED (  -- rank after rank, and none behind its end
                SELECT 0 AS rank, rowid FROM ({in_name} {newest})
                UNION ALL
                SELECT 1, rowid FROM ({in_name_or_tags} AND rowid NOT IN ({in_name}) {newest})
                UNION ALL
                SELECT 2, rowid FROM ({anywhere} AND rowid NOT IN ({in_name_or_tags}) {newest})
                LIMIT (
                    SELECT max(0, min(:limit, min(total, {Hits.MOST}) - :offset)) FROM counted
                ) OFFSET :offset
            )
            SELECT total, key, name
            FROM counted LEFT JOIN page LEFT JOIN {table.name} ON {PLACE} = -page.rowid
            ORDER BY rank, page.rowid
            """,
            {
                **{
                    name: match.render(query, fields, begun)
                    for name, fields in FIELDS_BY_RANK.items()
                },
                "limit": limit,
                "offset": offset,
            },
        ).all()
        return Hits.of(rows)


def _names(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns]


def _cursor(connection: sa.Connection) -> Any:
    return connection.connection.cursor()
