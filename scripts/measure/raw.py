"""SQLite past refold: files with the same tables and indexes, without its triggers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from refold.infrastructure.sqlite.connection import connect

CACHE: Final = 64_000
"""Kilobytes of pages that a connection holds: more than refold's."""


@contextmanager
def opened(path: Path, **others: Path) -> Iterator[Connection]:
    """Give a connection to a file, as durable as refold's, that sees others by these names."""
    with closing(connect(path, CACHE)) as connection:
        connection.set_authorizer(None)  # refold looks into no other file
        for name, other in others.items():
            connection.execute(f"ATTACH ? AS {name}", (str(other),))
        yield connection


def declare(connection: Connection, place: str, table: str) -> None:
    """Make a table of the attached file `place` in the file itself."""
    _create(connection, place, table, "table")


def index(connection: Connection, place: str, table: str) -> None:
    """Make the indexes of a table of the attached file `place` in the file itself."""
    _create(connection, place, table, "index")


def _create(connection: Connection, place: str, table: str, type: str) -> None:
    declared = connection.execute(
        f"SELECT sql FROM {place}.sqlite_master"
        " WHERE tbl_name = ? AND type = ? AND sql IS NOT NULL",
        (table, type),
    )
    for (sql,) in declared.fetchall():
        connection.execute(sql)


def copy(connection: Connection, place: str, table: str) -> None:
    """Insert all rows of a table of the attached file `place` into the one of that name here."""
    names = connection.execute(f"PRAGMA {place}.table_info({table})").fetchall()  # none computed
    columns = ", ".join(name for _, name, *_ in names)
    connection.execute(
        f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM {place}.{table}"
    )


def remove(path: Path) -> None:
    """Remove a file, and the files that stand beside it."""
    for each in path.parent.glob(f"{path.name}*"):
        if each.is_file():
            each.unlink()


def is_same(one: Path, other: Path, table: str) -> bool:
    """Tell whether two files hold the same rows of a table, in the same order of their rowids."""
    query = f"SELECT * FROM {table} ORDER BY rowid"
    with opened(one) as here, opened(other) as there:
        try:
            pairs = zip(here.execute(query), there.execute(query), strict=True)
            return all(ours == theirs for ours, theirs in pairs)
        except ValueError:  # one has more rows
            return False
