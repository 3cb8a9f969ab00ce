"""The PostgreSQL tables of git-proxy's own adapter, read by the address of the database."""

import re
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg.rows import scalar_row
from psycopg.sql import SQL, Composed, Identifier

from refold.domain.errors import BadInput
from refold.infrastructure.address import SCHEMA, Postgres
from refold.infrastructure.codec import parse
from refold.infrastructure.legacy.git_proxy.documents import (
    COLLECTIONS,
    Document,
    Json,
    Survey,
    document,
)
from refold.infrastructure.legacy.importing import Refusal
from refold.infrastructure.postgres.connection import available, check, connect


class Tables:
    """The tables at `place`, counted when it is made and read in one snapshot afterwards.

    Columns are fields by git-proxy's names, unknown ones too; a null is an absent field, save that
    of a password. Raises `Unavailable`, `InsecureServer`, or `BadInput` where git-proxy's tables
    are not.
    """

    def __init__(self, place: Postgres) -> None:
        self._url, self._connecting, self._place = place.url, place.connecting, place.public
        if place.schema != SCHEMA:
            raise BadInput(f"{self._place}: git-proxy's tables are in none that can be named")
        check(self._url, self._connecting)
        with (
            available(self._url),
            connect(self._url, self._connecting, autocommit=True) as connection,
        ):
            self.surveys = tuple(self._surveys(connection))
        if not self.surveys:
            raise BadInput(f"{self._place} holds none of git-proxy's tables")

    def __iter__(self) -> Iterator[Document | Refusal]:
        """Yield documents and refusals, those of a table by its key; lines are row numbers."""
        with (
            available(self._url),
            connect(self._url, self._connecting, autocommit=False) as connection,
        ):
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            for survey in self.surveys:
                for line, row in enumerate(self._rows(connection, survey.collection), 1):
                    yield document(survey.collection, row, survey.file, line)

    def _surveys(self, connection: psycopg.Connection) -> Iterator[Survey]:
        for collection in COLLECTIONS:
            table = _TABLES.get(collection, collection)
            if _exists(connection, table):
                [count] = _row(connection, SQL("SELECT count(*) FROM {}").format(Identifier(table)))
                file = f"{self._place}#{table}"
                yield Survey(file, collection, "postgresql", count, count, count)

    def _rows(self, connection: psycopg.Connection, collection: str) -> Iterator[Json]:
        statement = _STATEMENTS[collection]
        if collection == "repos" and not _exists(connection, "repo_users"):
            statement = _REPOS_OF_OLD
        with connection.cursor(name="refold_import", row_factory=scalar_row) as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            try:
                cursor.execute(statement)
            except psycopg.errors.UndefinedColumn:
                raise BadInput(f"{self._place} has a table {collection} of others") from None
            for text in cursor:
                row: Json = parse(text.encode())
                yield _fields(row) if collection in _IN_COLUMNS else row


def _exists(connection: psycopg.Connection, table: str) -> bool:
    return _row(connection, SQL("SELECT to_regclass({})").format(table))[0] is not None


def _row(connection: psycopg.Connection, statement: Composed) -> tuple[Any, ...]:
    return connection.execute(statement).fetchone() or ()


def _fields(row: Json) -> Json:
    """Return a row as a document: git-proxy's names, and nothing where there is null."""
    return {
        _UNDERSCORE.sub(lambda found: found[1].upper(), column): value
        for column, value in row.items()
        if value is not None or column == "password"
    }


_IN_COLUMNS: Final = ("users", "repos")
"""What is kept in columns; the other tables have git-proxy's own JSON."""
_UNDERSCORE: Final = re.compile("(?<!^)_([a-z])")
_ROWS_AT_ONCE: Final = 50
"""Rows that are in memory at once: a push may have megabytes."""
_TABLES: Final = {"user_session": "session"}
_REPOS_OF_OLD: Final = SQL("SELECT to_jsonb(r)::text FROM repos r ORDER BY _id")
_STATEMENTS: Final = {
    "users": SQL("SELECT to_jsonb(u)::text FROM users u ORDER BY _id"),
    "repos": SQL(
        """
        SELECT (to_jsonb(r) || jsonb_build_object('users', jsonb_build_object(
            'canPush', (
                SELECT coalesce(jsonb_agg(username ORDER BY username COLLATE "C"), '[]')
                  FROM repo_users WHERE repo_id = r._id AND role = 'canPush'),
            'canAuthorise', (
                SELECT coalesce(jsonb_agg(username ORDER BY username COLLATE "C"), '[]')
                  FROM repo_users WHERE repo_id = r._id AND role = 'canAuthorise')
        )))::text
          FROM repos r ORDER BY _id
        """
    ),
    # The other columns only repeat what is in data, with defaults where it says nothing. Data that
    # is no object gets a name that makes it one to be refused.
    "pushes": SQL(
        """
        SELECT (CASE jsonb_typeof(data) WHEN 'object' THEN data
                ELSE jsonb_build_object('$data', data) END || jsonb_build_object('_id', id))::text
          FROM pushes ORDER BY id COLLATE "C"
        """
    ),
    # The session as text, which is how connect-mongo keeps it. Its expiry was written in the zone
    # of a connection, taken to be the server's default as it is here.
    "user_session": SQL(
        """
        SELECT jsonb_build_object(
            '_id', sid,
            'session', sess::text,
            'expires', jsonb_build_object(
                '$date', floor(extract(epoch FROM expire::timestamptz) * 1000))
        )::text
          FROM session ORDER BY sid COLLATE "C"
        """
    ),
    "migrations": SQL(
        """
        SELECT jsonb_build_object('_id', id, 'id', id)::text
          FROM migrations ORDER BY id COLLATE "C"
        """
    ),
}
