"""The roles of stores in PostgreSQL: who owns, who appends, who folds, who reads, who puts right.

None has a login: grant them to the logins of services and people. The log belongs to
`refold_owner`; the query tables belong to `refold_projector`, in whose name all its members fold. A
member of `refold_operator` may do nothing before `PGOPTIONS='-c role=refold_owner'`.
"""

import re
from functools import partial
from typing import Any, Final

import psycopg
from psycopg.errors import DuplicateObject, InternalError_, UniqueViolation

from refold.infrastructure.address import Postgres
from refold.infrastructure.folding.registry import REGISTRY
from refold.infrastructure.patience import Passing, patiently
from refold.infrastructure.postgres.connection import available, connect_to_store
from refold.infrastructure.postgres.rows import ANALYST, PROJECTOR
from refold.infrastructure.schema import LOG_TABLES
from refold.projections import catalog, views

OWNER: Final = "refold_owner"
WRITER: Final = "refold_writer"
OPERATOR: Final = "refold_operator"

ANALYSTS_SECONDS: Final = 60
"""How long a statement of `refold_analyst` may take. It holds for who logs in as that role: of a
member, PostgreSQL asks the member's own settings."""

_ATTRIBUTES: Final = {
    OWNER: "NOLOGIN",
    WRITER: "NOLOGIN",
    PROJECTOR: "NOLOGIN",
    ANALYST: "NOLOGIN",
    OPERATOR: "NOLOGIN NOINHERIT",
}

_MEMBERS: Final = (
    (PROJECTOR, OWNER),  # who may change the log may replace what is folded from it
    (OWNER, OPERATOR),
    (PROJECTOR, OPERATOR),
    (WRITER, OPERATOR),
)
"""Roles, and those who are members of them."""

_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "statement_timeout": f"{ANALYSTS_SECONDS}s",
}
"""What holds for a session of `refold_analyst`."""

_EXACT: Final = (
    "int, bigint, text[], bigint[], text[], bigint[], text[], int[], bytea[], bytea[], text[],"
    " int[]"
)
_APPENDS: Final = (
    f"append_exact({_EXACT})",
    f"track_and_append_exact({_EXACT}, text[], bigint[], text[])",
)
_FUNCTIONS: Final = (*_APPENDS, "refuse_change()")

_GRANTS: Final = (
    *(("SELECT", table, (WRITER, PROJECTOR)) for table in LOG_TABLES),
    ("INSERT", "events", (WRITER,)),
    ("UPDATE (partition)", "heads", (WRITER,)),  # a lock needs it: see _POLICIES
    ("INSERT, DELETE", "claims", (WRITER,)),
    ("INSERT, UPDATE (key, erased_at)", "keys", (WRITER,)),
    ("INSERT", "seals", (PROJECTOR,)),
    ("INSERT", "snapshots", (WRITER,)),
    ("INSERT, UPDATE (position, command_id)", "trackings", (WRITER,)),
)
"""What the roles may do that own nothing of the log."""

_POLICIES: Final = {
    "heads_are_read": "FOR SELECT USING (true)",
    "heads_are_locked": f"FOR UPDATE TO {WRITER} USING (true) WITH CHECK (false)",
}
"""An append locks the head of its partition, and may not change it."""


def make_roles(place: Postgres) -> list[str]:
    """Make the roles, and hand a store over to them; again, it mends what is not so.

    Whoever made the store and is no superuser becomes a member of `refold_owner`. Returns the SQL
    that is left for the owner of the database, who alone may keep all from making temporary tables.
    Raises `Unavailable` when this user may not make roles or does not own the store.
    """
    return patiently(partial(_make, place))


def _make(place: Postgres) -> list[str]:
    with (
        available(place.url),
        connect_to_store(place.url, place.connecting, autocommit=False) as connection,
    ):
        connection.execute("SELECT pg_advisory_xact_lock(724100)")  # as who makes a store
        connection.execute("SET LOCAL lock_timeout = '10s'")
        try:
            _roles(connection)
        except (DuplicateObject, UniqueViolation, InternalError_) as error:
            raise Passing("the roles are being made by somebody else") from error
        store = _Store(connection, place.schema)
        store.hand_over()
        store.guard()
        store.grant()
        return store.keep_out_temporary_tables()


def _roles(connection: psycopg.Connection) -> None:
    """Make the roles and their members; they belong to all databases of the server."""
    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    for name, attributes in _ATTRIBUTES.items():
        if name not in there:
            _run(connection, f"CREATE ROLE {name} {attributes}")
    members = {
        *connection.execute(
            "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members"
        )
    }
    for name, member in _MEMBERS:
        if (name, member) not in members:
            _run(connection, f"GRANT {name} TO {member}")
    [is_member] = _row(connection, "SELECT pg_has_role(%s, 'MEMBER')", OWNER)
    if not is_member:  # as a superuser is of all
        _run(connection, f"GRANT {OWNER} TO CURRENT_USER")
    settings = {
        setting
        for (setting,) in connection.execute(
            "SELECT unnest(setconfig) FROM pg_db_role_setting"
            " WHERE setdatabase = 0 AND setrole = %s::regrole",
            (ANALYST,),
        )
    }
    for name, value in _SETTINGS.items():
        if f"{name}={value}" not in settings:
            _run(connection, f"ALTER ROLE {ANALYST} SET {name} = '{value}'")


class _Store:
    """A store that is given to the roles that there are."""

    def __init__(self, connection: psycopg.Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._at = f'"{schema}"'

    def hand_over(self) -> None:
        """Let the log belong to the owner, and what is folded from it to the projector.

        What belongs to the projector already stays so: a table of the past that somebody keeps.
        """
        [owner] = _row(
            self._connection,
            "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = %s",
            self._schema,
        )
        if owner != OWNER:
            self._do(f"ALTER SCHEMA {self._at} OWNER TO {OWNER}")
        self._do(f"REVOKE ALL ON SCHEMA {self._at} FROM {_ALL_OTHERS}")
        self._do(f"GRANT USAGE ON SCHEMA {self._at} TO {WRITER}, {PROJECTOR}, {ANALYST}")
        self._do(f"GRANT CREATE ON SCHEMA {self._at} TO {PROJECTOR}")
        for name, owner in self._relations():
            if owner not in (wanted := _owner(name), PROJECTOR):
                self._do(f"ALTER TABLE {self._named(name)} OWNER TO {wanted}")
        for function in _FUNCTIONS:
            self._do(f"ALTER FUNCTION {self._at}.{function} OWNER TO {OWNER}")

    def guard(self) -> None:
        """Let writers lock heads without changing them, and functions call PostgreSQL's own."""
        self._do(f"ALTER TABLE {self._at}.heads ENABLE ROW LEVEL SECURITY")
        there = {
            name
            for (name,) in self._connection.execute(
                "SELECT policyname FROM pg_policies WHERE schemaname = %s AND tablename = 'heads'",
                (self._schema,),
            )
        }
        for name, policy in _POLICIES.items():
            if name not in there:
                self._do(f"CREATE POLICY {name} ON {self._at}.heads {policy}")
        for function in _FUNCTIONS:
            self._do(f"ALTER FUNCTION {self._at}.{function} SET search_path = pg_catalog, pg_temp")

    def grant(self) -> None:
        """Grant what `_GRANTS` says of the log and nothing else, and reading what is folded."""
        for table in LOG_TABLES:
            self._do(f"REVOKE ALL ON {self._at}.{table} FROM {_ALL_OTHERS}")
        for right, table, roles in _GRANTS:
            self._do(f"GRANT {right} ON {self._at}.{table} TO {', '.join(roles)}")
        for function in _FUNCTIONS:
            self._do(f"REVOKE ALL ON FUNCTION {self._at}.{function} FROM {_ALL_OTHERS}")
        for function in _APPENDS:
            self._do(f"GRANT EXECUTE ON FUNCTION {self._at}.{function} TO {WRITER}")
        self._do(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {PROJECTOR} IN SCHEMA {self._at}"
            f" GRANT SELECT ON TABLES TO {WRITER}"
        )
        for name, owner in self._relations():
            if owner == PROJECTOR:
                readers = f"{WRITER}, {ANALYST}" if name in _SHOWN else WRITER
                self._do(f"GRANT SELECT ON {self._named(name)} TO {readers}")

    def keep_out_temporary_tables(self) -> list[str]:
        """Let nobody make temporary tables; return the SQL of it where this user may not."""
        database, is_open, is_own = _row(
            self._connection,
            "SELECT quote_ident(datname), EXISTS ("
            "     SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))"
            "     WHERE grantee = 0 AND privilege_type = 'TEMPORARY'),"
            "   pg_has_role(datdba, 'USAGE')"
            " FROM pg_database WHERE datname = current_database()",
        )
        revoke = f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"
        if is_open and is_own:
            self._do(revoke)
        return [revoke] if is_open and not is_own else []

    def _relations(self) -> list[tuple[str, str]]:
        """Return the names of tables and views, and whose they are."""
        return self._connection.execute(
            "SELECT relname, relowner::regrole::text FROM pg_class"
            " WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'm')",
            (self._at,),
        ).fetchall()

    def _named(self, relation: str) -> str:
        quoted = relation.replace('"', '""')
        return f'{self._at}."{quoted}"'

    def _do(self, statement: str) -> None:
        _run(self._connection, statement)


_ALL_OTHERS: Final = f"PUBLIC, {WRITER}, {PROJECTOR}, {ANALYST}, {OPERATOR}"
_SHOWN: Final = {each.NAME for each in catalog.ALL} | {view.name for view in views.ALL}
_QUERY_TABLE: Final = re.compile(
    rf"({'|'.join(sorted(_SHOWN))})(_\d+(_search)?)?|{'|'.join(REGISTRY)}"
)


def _owner(relation: str) -> str:
    return PROJECTOR if _QUERY_TABLE.fullmatch(relation) else OWNER


def _run(connection: psycopg.Connection, statement: str) -> None:
    connection.execute(statement.encode())


def _row(connection: psycopg.Connection, query: str, *parameters: object) -> Any:
    return connection.execute(query.encode(), parameters).fetchone()
