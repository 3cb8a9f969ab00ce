"""What `refold doctor` asks of PostgreSQL: guards, settings, and who holds locks."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from refold.infrastructure import schema
from refold.infrastructure.address import Postgres
from refold.infrastructure.checking.finding import Finding
from refold.infrastructure.folding.generations import BUILDING, CURRENT
from refold.infrastructure.postgres.connection import available, check, connect, is_here

HELD_SECONDS: Final = 5.0
"""A lock that is held for longer is told of when somebody waits for it, or its holder is idle."""

TRIGGER: Final = "events_are_not_changed"

_UNSAFE: Final = {
    "fsync": "a crash of the machine may damage the whole database",
    "full_page_writes": "a crash of the machine may leave pages that are half written",
    "synchronous_commit": "a crash may lose commands that were acknowledged",
    "data_checksums": "PostgreSQL does not notice when the disk alters its pages",
}
"""Settings that are to be on, and what may happen otherwise."""

_VERBS: Final = re.compile(
    r"\s*(ALTER|ANALYZE|BEGIN|CALL|CLUSTER|COMMIT|COPY|CREATE|DECLARE|DELETE|DO|DROP|EXECUTE|FETCH"
    r"|GRANT|INSERT|LOCK|MERGE|REFRESH|REINDEX|RELEASE|REVOKE|ROLLBACK|SAVEPOINT|SELECT|SET|SHOW"
    r"|TRUNCATE|UPDATE|VACUUM|VALUES|WITH)\b",
    re.IGNORECASE,
)
"""First words of statements: nothing else of a query is shown, it may hold values."""


class PostgresChecks:
    """`Checks` of a store in PostgreSQL."""

    def __init__(self, place: Postgres) -> None:
        """Raise `BadInput` for an address that is not safe."""
        check(place.url, place.connecting)
        self._place = place
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(place.url, place.connecting, autocommit=False),
            poolclass=sa.NullPool,
        )

    def schema(self) -> str | None:
        with self._reading() as connection:
            return schema.found(connection, self._place.schema)

    def has_tables(self) -> bool:
        with self._reading() as connection:
            return sa.inspect(connection).has_table("parked", self._place.schema)

    def findings(self) -> Iterator[Finding]:
        with self._reading() as connection:
            yield from self._guards(connection)
            yield from self._settings(connection)
            yield from self._plain_text(connection)
            yield from self._locks(connection)

    def is_locked(self) -> bool:
        with self._reading() as connection:
            return any(each.excludes_readers for each in self._holders(connection))

    def typed(self, sql: str) -> str:
        return self._psql(f"SET search_path = {self._place.schema}", " ".join(sql.split()))

    def _psql(self, *statements: str) -> str:
        address = self._place.public.partition("?schema=")[0]
        said = [word for statement in statements for word in ("-c", statement)]
        return shlex.join(["psql", address, *said])

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with (
            available(self._place.url),
            self._engine.connect().execution_options(postgresql_readonly=True) as connection,
        ):
            connection.exec_driver_sql("SET search_path = ''")  # so that all names are qualified
            yield connection

    # --- guards ---------------------------------------------------------------------

    def _guards(self, connection: sa.Connection) -> Iterator[Finding]:
        [namespace] = _row(connection, "SELECT quote_ident(%(name)s)", name=self._place.schema)
        wanted = _guards(f"{namespace}.")
        found = connection.exec_driver_sql(
            "SELECT tgenabled::text, pg_get_triggerdef(t.oid), prosrc"
            " FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid"
            " WHERE tgrelid = to_regclass(%(events)s) AND tgname = %(trigger)s",
            {"events": f"{namespace}.events", "trigger": TRIGGER},
        ).first()
        anew = f"DROP TRIGGER IF EXISTS {TRIGGER} ON events; {wanted.trigger}; {wanted.enable}"
        if found is None:
            yield self._guard("is missing", anew)
            return
        enabled, definition, body = found
        if definition != wanted.trigger:
            yield self._guard("is not the one that refold made", anew)
        elif enabled != "A":
            state = "disabled" if enabled == "D" else "not enabled for every session"
            yield self._guard(f"is {state}", wanted.enable)
        if body.split() != wanted.body.split():  # typed in, it is one line
            yield self._guard("calls a function that was changed", wanted.function)

    def _guard(self, what: str, mend: str) -> Finding:
        return Finding(
            "guards",
            "problem",
            f"the trigger {TRIGGER}, which keeps events from being changed, {what}",
            self.typed(mend),
        )

    # --- settings -------------------------------------------------------------------

    def _settings(self, connection: sa.Connection) -> Iterator[Finding]:
        rows = connection.exec_driver_sql(
            "SELECT name, source, quote_ident(current_database()), quote_ident(current_user)"
            " FROM pg_settings WHERE name = ANY(%(names)s) AND setting = 'off' ORDER BY name",
            {"names": list(_UNSAFE)},
        )
        for name, source, database, user in rows.all():
            match source:
                case _ if name == "data_checksums":
                    mend = "pg_checksums --enable --pgdata DIRECTORY (while the server is stopped)"
                case "database":
                    mend = self.typed(f"ALTER DATABASE {database} RESET {name}")
                case "user":
                    mend = self.typed(f"ALTER ROLE {user} RESET {name}")
                case "database user":
                    mend = self.typed(f"ALTER ROLE {user} IN DATABASE {database} RESET {name}")
                case "client":
                    mend = f"export PGOPTIONS='-c {name}=on'"
                case _:
                    mend = self._psql(f"ALTER SYSTEM SET {name} = on", "SELECT pg_reload_conf()")
            yield Finding("settings", "warning", f"{name} is off: {_UNSAFE[name]}", mend)

    def _plain_text(self, connection: sa.Connection) -> Iterator[Finding]:
        driver: Any = connection.connection.driver_connection
        [by_kerberos] = _row(
            connection,
            "SELECT coalesce(bool_or(encrypted), false) FROM pg_stat_gssapi"
            " WHERE pid = pg_backend_pid()",
        )
        host = driver.info.host
        if not is_here(host) and not driver.pgconn.ssl_in_use and not by_kerberos:
            yield Finding(
                "settings",
                "warning",
                f"the connection to {host} is not encrypted: who is on the way can read the"
                " password's exchange and all data",
                "export REFOLD_SSLMODE=verify-full REFOLD_SSLROOTCERT=FILE",
            )

    # --- locks ----------------------------------------------------------------------

    def _locks(self, connection: sa.Connection) -> Iterator[Finding]:
        for each in self._holders(connection):
            waiting = f" and keeps {each.waiting} waiting" if each.waiting else ""
            yield Finding(
                "lock",
                "problem",
                f"process {each.pid} ({_verb(each.query)}, {each.state}) has been in a transaction"
                f" for {each.seconds:.0f} s{waiting}; it holds {each.held}",
                self._psql(f"SELECT pg_terminate_backend({each.pid})"),
            )

    def _holders(self, connection: sa.Connection) -> list["_Holder"]:
        """Return who has held a lock for long that others wait for, or while being idle."""
        fences = [f"refold tables {self._place.schema} {state}" for state in (BUILDING, CURRENT)]
        rows = connection.exec_driver_sql(
            _HOLDERS, {"schema": self._place.schema, "fences": fences, "seconds": HELD_SECONDS}
        )
        return [_Holder._make(row) for row in rows.all()]


class _Holder(NamedTuple):
    pid: int
    state: str
    query: str
    seconds: float
    waiting: int
    held: str
    excludes_readers: bool


_HOLDERS: Final = """
WITH ours AS (
    SELECT l.pid, l.granted, l.mode, l.locktype, c.relname
    FROM pg_locks l LEFT JOIN pg_class c ON l.locktype = 'relation' AND c.oid = l.relation
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (
            c.relnamespace = to_regnamespace(quote_ident(%(schema)s))
            OR l.locktype = 'advisory' AND l.objsubid = 1
                AND (l.classid::bigint << 32 | l.objid::bigint) IN (
                    SELECT hashtextextended(name, 0) FROM unnest(%(fences)s::text[]) AS name)
        )
), waiters AS (
    SELECT DISTINCT pid, pg_blocking_pids(pid) AS blockers FROM pg_locks
    WHERE NOT granted AND pid IN (SELECT pid FROM ours)
), strong AS (
    SELECT pid,
        string_agg(DISTINCT coalesce(relname || ' in ' || mode, 'the fence of folding'), ', ')
            AS held,
        bool_or(mode = 'AccessExclusiveLock' AND locktype = 'relation') AS excludes_readers
    FROM ours
    WHERE granted AND (locktype = 'advisory' OR mode IN (
        'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
    GROUP BY pid
), holders AS (
    SELECT pid FROM strong UNION SELECT unnest(blockers) FROM waiters
), counted AS (
    SELECT a.pid, coalesce(a.state, 'hidden') AS state, coalesce(a.query, '') AS query,
        coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), %(seconds)s)::float8
            AS seconds,
        (SELECT count(*) FROM waiters w WHERE a.pid = ANY(w.blockers)) AS waiting,
        coalesce(held, 'a lock on rows') AS held,
        coalesce(excludes_readers, false) AS excludes_readers
    FROM holders JOIN pg_stat_activity a USING (pid) LEFT JOIN strong USING (pid)
    WHERE a.pid <> pg_backend_pid() AND a.pid NOT IN (SELECT pid FROM waiters)
)
SELECT * FROM counted
WHERE seconds >= %(seconds)s AND (waiting > 0 OR state LIKE 'idle%%') ORDER BY seconds DESC
"""


def _verb(query: str) -> str:
    """Return the first word of a statement and nothing that may be a value."""
    word = _VERBS.match(query)
    return word[1].upper() if word else "a statement"


class _Guards(NamedTuple):
    """The statements that make the guards in a schema, and the body of their function."""

    trigger: str
    enable: str
    function: str
    body: str


def _guards(namespace: str) -> _Guards:
    path = resources.files("refold.migrations").joinpath("postgres", "schema.sql")
    text = path.read_text(encoding="utf-8").replace("refold.", namespace)

    def found(pattern: str) -> str:
        match = re.search(pattern, text, re.DOTALL)
        if match is None:
            raise LookupError(pattern)
        return match[1]

    return _Guards(
        found(rf"(CREATE TRIGGER {TRIGGER} [^;]*);"),
        found(rf"(ALTER TABLE \S+ ENABLE ALWAYS TRIGGER {TRIGGER});"),
        found(r"(CREATE OR REPLACE FUNCTION \S+refuse_change\(\).*?\$function\$.*?\$function\$)"),
        found(r"refuse_change\(\)\n.*?\$function\$(.*?)\$function\$"),
    )


def _row(connection: sa.Connection, sql: str, **parameters: object) -> Any:
    return connection.exec_driver_sql(sql, parameters).one()
