"""Rows of query tables in PostgreSQL: bulk statements, views with comments, GIN for search."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import itemgetter
from typing import Any, ClassVar, Final

import psycopg
import sqlalchemy as sa
from psycopg.errors import (
    DeadlockDetected,
    DependentObjectsStillExist,
    InvalidTableDefinition,
    LockNotAvailable,
    NotNullViolation,
    UndefinedTable,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.exc import InternalError, OperationalError, ProgrammingError
from sqlalchemy.schema import CreateIndex, CreateTable

from refold.infrastructure.address import ORDINARY, Connecting
from refold.infrastructure.folding.generations import Generation
from refold.infrastructure.folding.rows import PLACE, Hits, StillUsed, search_name
from refold.infrastructure.folding.tables import Tables
from refold.infrastructure.patience import Passing
from refold.infrastructure.postgres import searching, tsquery
from refold.infrastructure.postgres.connection import available, connect_to_store
from refold.infrastructure.postgres.searching import WORDS
from refold.projections.projection import Key, Row
from refold.projections.query import Query
from refold.projections.views import View

ANALYST: Final = "refold_analyst"
"""The role of those who may read the query tables and nothing else: see `roles`."""

PROJECTOR: Final = "refold_projector"
"""The role that query tables belong to, where a store was given to roles: see `roles`."""

_AS_PROJECTOR: Final = (
    b"SELECT set_config('role', rolname, false) FROM pg_roles WHERE rolname = %s"
    b" AND pg_has_role(oid, 'USAGE') AND has_schema_privilege(oid, %s, 'CREATE')"
)
"""Whoever may fold does so in one name, so that all may change and drop what one has made."""

_NOW_US: Final = "(extract(epoch FROM now()) * 1000000)::bigint"

REFUSED_CLASSES: Final = frozenset({"22", "54"})
"""Classes of SQLSTATE that say that a row cannot be kept: its data, or its length in an index."""

LOCK_TRIES: Final = 5
"""How often readers are waited for, 200 ms each, before those who fold may go on in between."""

WIDEST_INLINE: Final = 8_160
"""Bytes of a row that stays as it is: compressing documents is half of the work of their COPY."""

ROWS_AT_ONCE: Final = 5_000
"""Rows that are fetched at once when a whole table is read."""


_HOLDERS: Final = """
SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.granted AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relname = ANY(%(names)s)
ORDER BY l.pid
"""

_TAKEN: Final = """
SELECT EXISTS (
    SELECT FROM pg_class WHERE relname = %(name)s AND relnamespace = place
    UNION ALL  -- a table makes a type of its name; that of an array steps aside
    SELECT FROM pg_type WHERE typname = %(name)s AND typnamespace = place AND typcategory <> 'A'
) FROM to_regnamespace(quote_ident(%(schema)s)) AS place
"""


def tables_in(address: str, schema: str, connecting: Connecting = ORDINARY) -> Tables:
    """Return the query tables in `schema` of the database at `address`."""

    def folding() -> psycopg.Connection:
        connection = connect_to_store(address, connecting, autocommit=True)
        connection.execute(_AS_PROJECTOR, (PROJECTOR, schema))
        connection.execute("SET jit TO off")  # it would be compiled for longer than it is run
        connection.autocommit = False
        return connection

    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=folding,
        pool_pre_ping=True,
        pool_size=connecting.max_size,
        max_overflow=0,
        pool_timeout=connecting.silent_seconds,
    )
    return Tables(engine, PostgresRows(address, schema), schema)


class PostgresRows:
    """`Rows` of PostgreSQL."""

    events_a_part: ClassVar[int] = 75_000

    def __init__(self, address: str, schema: str) -> None:
        self._address = address
        self._schema = schema

    @contextmanager
    def writing(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with available(self._address), engine.begin() as connection:
            yield connection

    def make_way(self, engine: sa.Engine) -> None:
        """Do nothing: the server writes back by itself."""

    def exclude(self, connection: sa.Connection, fence: str) -> None:
        _cursor(connection).execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            (f"refold tables {self._schema} {fence}",),
        )

    @contextmanager
    def reading(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with (
            available(self._address),
            engine.connect().execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ) as connection,
            connection.begin(),
        ):
            try:
                yield connection
            except (ProgrammingError, UndefinedTable) as error:
                if not isinstance(getattr(error, "orig", error), UndefinedTable):
                    raise
                raise Passing("the tables were replaced while they were read") from error

    def create(self, connection: sa.Connection, generation: Generation) -> None:
        for table in _tables(generation):
            table.dialect_options["postgresql"]["with"] = {"toast_tuple_target": WIDEST_INLINE}
            connection.execute(CreateTable(table))
            self._describe(connection, "TABLE", table.name, table.comment, _comments(table))

    def drop(self, connection: sa.Connection, generation: Generation) -> None:
        for table in _tables(generation):
            try:
                table.drop(connection, checkfirst=True)  # older versions had one table for both
            except InternalError as error:
                if not isinstance(error.orig, DependentObjectsStillExist):
                    raise
                [what, *_] = (error.orig.diag.message_detail or table.name).splitlines()
                raise StillUsed(f"{table.name} is not dropped: {what}; drop that first") from error

    def create_indexes(self, connection: sa.Connection, generation: Generation) -> None:
        table = generation.table
        for index in generation.indexes():
            connection.execute(CreateIndex(index, if_not_exists=True))
        if generation.projection.SEARCH:
            search = _search(table)
            index = sa.Index(
                f"{search.name}_{WORDS}",
                search.c[WORDS],
                postgresql_using="gin",
                postgresql_with={"fastupdate": "off"},  # or each block reads all that is pending
            )
            connection.execute(CreateIndex(index, if_not_exists=True))
            connection.exec_driver_sql(f"ANALYZE {self._quoted(search.name)} ({PLACE})")
        connection.exec_driver_sql(f"ANALYZE {self._quoted(table.name)}")

    def lock(
        self, connection: sa.Connection, views: Sequence[str], generations: Sequence[Generation]
    ) -> None:
        inspector = sa.inspect(connection)
        tables = [table.name for each in generations for table in _tables(each)]
        there = [
            *(name for name in inspector.get_view_names(self._schema) if name in views),
            *(name for name in inspector.get_table_names(self._schema) if name in tables),
        ]
        names = ", ".join(map(self._quoted, there))
        for _ in range(LOCK_TRIES if names else 0):
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql("SET LOCAL lock_timeout = 200")
                    connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
                    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                    return
            except OperationalError as error:
                if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                    raise
        if names:
            held = {"schema": self._schema, "names": there}
            pids = connection.exec_driver_sql(_HOLDERS, held).scalars()
            who = ", ".join(map(str, pids)) or "gone by now"
            raise Passing(
                f"readers hold the tables that are to be replaced (processes of the server: {who})"
            )

    def show(self, connection: sa.Connection, generation: Generation) -> None:
        """Replace the view, with its comments; the grants on it stay if its columns do."""
        table, name = generation.table, generation.projection.NAME
        names = ", ".join(column.name for column in table.columns)
        self._replace(connection, name, f"SELECT {names} FROM {self._quoted(table.name)}")
        self._describe(connection, "VIEW", name, table.comment, _comments(table))
        self.let_read(connection, name)

    def view(self, connection: sa.Connection, view: View) -> None:
        """Replace the view, with its comments; the grants on it stay if its columns do."""
        names = {name: self._quoted(name) for name in view.tables}
        self._replace(connection, view.name, view.query.format(**names, now_us=_NOW_US))
        self._describe(connection, "VIEW", view.name, view.comment, view.columns)
        self.let_read(connection, view.name)

    def _replace(self, connection: sa.Connection, name: str, query: str) -> None:
        """Make a view, or replace it; what is built on it goes when a column of it does."""
        shown = f"{self._quoted(name)} AS {query}"
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"CREATE OR REPLACE VIEW {shown}")
        except ProgrammingError as error:
            if not isinstance(error.orig, InvalidTableDefinition):  # other columns than before
                raise
            connection.exec_driver_sql(f"DROP VIEW {self._quoted(name)} CASCADE")
            connection.exec_driver_sql(f"CREATE VIEW {shown}")

    def _describe(
        self,
        connection: sa.Connection,
        kind: str,
        name: str,
        comment: str | None,
        columns: Mapping[str, str | None],
    ) -> None:
        """Say what a table or a view is, and its columns: all that waits for one answer."""
        quoted = self._quoted(name)
        said = {f"{kind} {quoted}": comment}
        said |= {f"COLUMN {quoted}.{column}": each for column, each in columns.items()}
        literals = {what: (each or "").replace("'", "''") for what, each in said.items()}
        text = "; ".join(f"COMMENT ON {what} IS '{each}'" for what, each in literals.items())
        connection.connection.cursor().execute(text)  # several go only with a plain cursor

    def is_taken(self, connection: sa.Connection, name: str) -> bool:
        found = connection.exec_driver_sql(_TAKEN, {"schema": self._schema, "name": name})
        return bool(found.scalar())

    def let_read(self, connection: sa.Connection, name: str) -> None:
        """Grant it to analysts, where they may use the schema."""
        usage = sa.func.has_schema_privilege(ANALYST, self._schema, "USAGE")
        roles = sa.table("pg_roles", sa.column("rolname"), schema="pg_catalog")
        if connection.scalar(sa.select(usage).where(roles.c.rolname == ANALYST)):
            connection.exec_driver_sql(f"GRANT SELECT ON {self._quoted(name)} TO {ANALYST}")

    def refuses(self, error: Exception) -> bool:
        if isinstance(error, psycopg.Error) and error.sqlstate:
            return error.sqlstate[:2] in REFUSED_CLASSES or isinstance(error, NotNullViolation)
        return isinstance(error, psycopg.DataError | OverflowError | UnicodeEncodeError)

    def load(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> Iterable[Row]:
        table = generation.table
        names = [column.name for column in table.columns]
        key = [column.name for column in table.primary_key.columns]
        cursor = _cursor(connection)
        cursor.execute(
            f"SELECT {', '.join(f't.{name}' for name in names)} FROM {self._quoted(table.name)} t"
            f" JOIN unnest({_arrays(table, key)}) AS k ({', '.join(key)}) USING ({', '.join(key)})",
            _columns(keys),
        )
        return cursor  # type: ignore[no-any-return]

    def scan(self, connection: sa.Connection, generation: Generation) -> Iterable[Row]:
        table = generation.table
        names = [column.name for column in table.columns]
        key = ", ".join(column.name for column in table.primary_key.columns)
        with _cursor(connection, name="scan") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(
                f"SELECT {', '.join(names)} FROM {self._quoted(table.name)} ORDER BY {key}"
            )
            yield from cursor

    def insert(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        for table, some in _rows(generation, rows):
            self._insert(connection, table, some)

    def _insert(
        self, connection: sa.Connection, table: sa.Table, rows: Iterable[Sequence[object]]
    ) -> None:
        names = ", ".join(column.name for column in table.columns)
        with _cursor(connection).copy(
            f"COPY {self._quoted(table.name)} ({names}) FROM STDIN"
        ) as copy:
            copy.set_types(  # or the driver looks at each value for its type
                "bigint" if isinstance(column.type, sa.BigInteger) else "text"
                for column in table.columns
            )
            for row in rows:
                copy.write_row(row)

    def update(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        for table, some in _rows(generation, rows):
            self._update(connection, table, list(some))

    def _update(
        self, connection: sa.Connection, table: sa.Table, rows: Sequence[Sequence[object]]
    ) -> None:
        names = [column.name for column in table.columns]
        key = [column.name for column in table.primary_key.columns]
        changed = ", ".join(
            f"{name} = n.{name}{'::tsvector' if name == WORDS else ''}"
            for name in names
            if name not in key
        )
        _cursor(connection).execute(
            f"UPDATE {self._quoted(table.name)} t SET {changed}"
            f" FROM unnest({_arrays(table, names)}) AS n ({', '.join(names)})"
            f" WHERE {_same(key, 'n')}",
            _columns(rows),
        )

    def remove(
        self,
        connection: sa.Connection,
        generation: Generation,
        keys: Sequence[Key],
    ) -> None:
        table = generation.table
        key = [column.name for column in table.primary_key.columns]
        removed = (
            f"DELETE FROM {self._quoted(table.name)} t"
            f" USING unnest({_arrays(table, key)}) AS k ({', '.join(key)})"
            f" WHERE {_same(key, 'k')}"
        )
        if generation.projection.SEARCH:
            removed = (
                f"WITH removed AS ({removed} RETURNING t.{PLACE})"
                f" DELETE FROM {self._quoted(_search(table).name)} t"
                f" USING removed r WHERE {_same([PLACE], 'r')}"
            )
        _cursor(connection).execute(removed, _columns(keys))

    def search(
        self,
        connection: sa.Connection,
        generation: Generation,
        query: Query,
        limit: int,
        offset: int,
    ) -> Hits:
        table = self._quoted(generation.table.name)
        words = self._quoted(_search(generation.table).name)
        found = connection.exec_driver_sql(
            searching.statement(table, words), searching.parameters(query, limit, offset)
        )
        return Hits.of(found.all())

    def _quoted(self, name: str) -> str:
        return f'"{self._schema}"."{name}"'


def _comments(table: sa.Table) -> dict[str, str | None]:
    return {column.name: column.comment for column in table.columns}


def _tables(generation: Generation) -> list[sa.Table]:
    """Return the table of a generation and, if it can be searched, that of its words."""
    table = generation.table
    return [table, _search(table)] if generation.projection.SEARCH else [table]


@lru_cache(maxsize=64)
def _search(table: sa.Table) -> sa.Table:
    """Return the table of what a search looks at: narrow, since it reads many rows of it."""
    return sa.Table(
        search_name(table),
        sa.MetaData(),
        sa.Column(
            PLACE,
            sa.BigInteger,
            primary_key=True,
            autoincrement=False,
            comment=f"the file, as in {table.name}",
        ),
        sa.Column(
            WORDS, TSVECTOR, nullable=False, comment="each behind the number of a block of places"
        ),
        schema=table.schema,
        comment=f"What refold search looks at, of {table.name}: its own words.",
    )


def _rows(
    generation: Generation, rows: Sequence[Row]
) -> Iterator[tuple[sa.Table, Iterable[Sequence[object]]]]:
    """Yield each of `_tables` with what is to be in it.

    Words come in the order of their places: a search reads the newest, which then lie together.
    """
    table, search = generation.table, generation.projection.SEARCH
    yield table, rows
    if search:
        at = table.columns.keys().index(PLACE)
        newest_last = sorted(rows, key=itemgetter(at))
        yield (
            _search(table),
            ((row[at], tsquery.vector(search(row), row[at])) for row in newest_last),
        )


def _same(key: Sequence[str], other: str) -> str:
    return " AND ".join(f"t.{name} = {other}.{name}" for name in key)


def _arrays(table: sa.Table, names: Sequence[str]) -> str:
    return ", ".join(
        "%b::bigint[]" if isinstance(table.c[name].type, sa.BigInteger) else "%b::text[]"
        for name in names
    )


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Return rows as one array a column: one statement then carries them all."""
    return [list(column) for column in zip(*rows, strict=True)]


def _cursor(connection: sa.Connection, name: str = "") -> Any:
    """Return a cursor of the driver's; a named one gets its rows a page at a time."""
    return connection.connection.cursor(name, binary=True)
