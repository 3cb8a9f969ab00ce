"""What guards the log in SQLite, and how its indexes come last where it is filled by a copy.

An event has its places all over two indexes, and to put it there takes four fifths of the time of
filling a log; sorted at the end they take a tenth. Until they are there, a trigger of its own keeps
events from being replaced, since only their places are unique.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Final

from refold.domain.errors import Refused
from refold.infrastructure.sqlite.connection import authorize
from refold.infrastructure.statements import statements

BY_INDEX: Final = "events_are_not_replaced"
"""The trigger that asks the indexes."""

BY_PLACE: Final = "events_are_not_replaced_by_place"
"""The trigger that stands for it until they are there."""


def _declared(pattern: str, text: str) -> dict[str, str]:
    return {name: sql for sql, name in re.findall(pattern, text, re.DOTALL)}


_TRIGGER: Final = r"(CREATE TRIGGER (\w+).*?\nEND);"
_SCHEMA: Final = (
    resources.files("refold.migrations").joinpath("sqlite", "schema.sql").read_text("utf-8")
)

INDEXES: Final = _declared(r"(CREATE UNIQUE INDEX (\w+) ON events .*?);", _SCHEMA)
"""The statements that make the indexes of a log, by their names."""

WANTED: Final = {**INDEXES, **_declared(_TRIGGER, _SCHEMA)}
"""The statements that make what guards a log."""

WHILE_FILLED: Final = {
    **{name: sql for name, sql in WANTED.items() if name not in {BY_INDEX, *INDEXES}},
    **_declared(_TRIGGER, statements(__package__ or "")["guard_places"].decode()),
}
"""The same for a log whose indexes are still to come."""


def are_left_out(connection: sqlite3.Connection) -> bool:
    """Tell whether the indexes of a log are still to come."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = ?"
    return connection.execute(query, (BY_PLACE,)).fetchone() is not None


def leave_out_indexes(writer: sqlite3.Connection) -> None:
    """Drop the indexes of a log that is empty, in the transaction that begins to fill it."""
    with _unauthorized(writer):
        writer.execute(f"DROP TRIGGER IF EXISTS {BY_PLACE}")  # where they were made by hand
        writer.execute(WHILE_FILLED[BY_PLACE])
        writer.execute(f"DROP TRIGGER IF EXISTS {BY_INDEX}")
        for name in INDEXES:
            writer.execute(f"DROP INDEX IF EXISTS {name}")


def create_indexes(writer: sqlite3.Connection) -> None:
    """Create what was left out; nothing else that is missing.

    Raises `Refused` where two events have what only one may have.
    """
    if not are_left_out(writer):
        return
    with _unauthorized(writer):
        for name, sql in INDEXES.items():
            writer.execute(f"DROP INDEX IF EXISTS {name}")  # somebody made it by hand
            try:
                writer.execute(sql)
            except sqlite3.IntegrityError as error:
                raise Refused(
                    f"the log that was filled is no log: {_twice(writer, sql)}"
                ) from error
        writer.execute(f"DROP TRIGGER IF EXISTS {BY_INDEX}")
        writer.execute(WANTED[BY_INDEX])
        writer.execute(f"DROP TRIGGER {BY_PLACE}")


def _twice(writer: sqlite3.Connection, index: str) -> str:
    """Return what is told of two events of which an index may have one."""
    [(columns, where)] = re.findall(r"\((.*?)\)(.*)", index)
    first, again = writer.execute(
        f"SELECT min(place), max(place) FROM events {where} GROUP BY {columns} HAVING count(*) > 1"
    ).fetchone()
    same = columns.replace(", ", " and ")
    return f"events {_told(first)} and {_told(again)} have the same {same}"


def _told(place: int) -> str:
    return f"{place >> 48}:{place & (1 << 48) - 1}"


@contextmanager
def _unauthorized(writer: sqlite3.Connection) -> Iterator[None]:
    """Let a connection do what refold does nowhere else."""
    writer.set_authorizer(None)
    try:
        yield
    finally:
        writer.set_authorizer(authorize)
