"""The log cannot be changed, not even by those who may do everything else to the database."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import RestrictViolation

from refold.domain.ports import Appended, Command, NewEvent, Write
from refold.infrastructure.open import open_store

COLUMNS = (
    "partition, position, stream, version, type, schema, data, metadata, recorded_at,"
    " command_id, command_no"
)
UPSERT = f"INSERT INTO {{events}} ({COLUMNS}) SELECT {COLUMNS} FROM {{events}} WHERE position = 1"
CHANGES = {
    "update of one": "UPDATE {events} SET data = 'forged' WHERE position = 2",
    "update of all": "UPDATE {events} SET recorded_at = 0",
    "update of nothing new": "UPDATE {events} SET type = type",
    "delete of one": "DELETE FROM {events} WHERE position = 3",
    "delete of all": "DELETE FROM {events}",
    "upsert": f"{UPSERT} ON CONFLICT (partition, position) DO UPDATE SET data = 'forged'",
    "upsert by stream": f"{UPSERT} ON CONFLICT (stream, version) DO UPDATE SET data = 'forged'",
    "upsert by command": f"{UPSERT} ON CONFLICT (command_id) WHERE command_no = 0"
    " DO UPDATE SET data = 'forged'",
}

# Each row stands in the way of another by one unique key alone.
IN_THE_WAY = {
    "position": (0, 3, "user-new", 1, "new", 0),
    "first position": (0, 1, "user-new", 1, "new", 0),
    "stream and version": (0, 4, "user-ada", 1, "new", 0),
    "command id": (0, 4, "user-new", 1, "first", 0),
    "everything": (0, 1, "user-ada", 1, "first", 0),
}
IN_PLACE = COLUMNS.replace("partition, position", "place")
INTO = f"INTO events ({IN_PLACE}) VALUES (? << 48 | ?, ?, ?, 'x', 1, x'00', x'00', 0, ?, ?)"


# --- SQLite -----------------------------------------------------------------------------


@pytest.fixture
def sqlite_log(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A plain connection to the file of a log of three events."""
    path = tmp_path / "store"
    fill(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize("change", [*CHANGES.values()], ids=[*CHANGES])
def test_sqlite_refuses_to_change_an_event(sqlite_log: sqlite3.Connection, change: str) -> None:
    before = sqlite_log.execute("SELECT * FROM events").fetchall()

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite_log.execute(
            change.format(events="events")
            .replace("'forged'", "x'00'")
            .replace("partition, position", "place")
        )

    assert sqlite_log.execute("SELECT * FROM events").fetchall() == before


@pytest.mark.parametrize("recursive_triggers", ["OFF", "ON"])
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE", "INSERT", "INSERT OR IGNORE"])
@pytest.mark.parametrize("row", [*IN_THE_WAY.values()], ids=[*IN_THE_WAY])
def test_sqlite_refuses_to_put_an_event_in_anothers_place(
    sqlite_log: sqlite3.Connection, row: tuple[Any, ...], verb: str, recursive_triggers: str
) -> None:
    sqlite_log.execute(f"PRAGMA recursive_triggers = {recursive_triggers}")
    before = sqlite_log.execute("SELECT * FROM events").fetchall()

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite_log.execute(f"{verb} {INTO}", row)

    assert sqlite_log.execute("SELECT * FROM events").fetchall() == before


@pytest.mark.parametrize("place", [None, -1, 0, 2**48, 2**48 + 2, 2**63 - 1])
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "INSERT OR IGNORE"])
def test_sqlite_refuses_an_event_that_is_nowhere(
    sqlite_log: sqlite3.Connection, place: int | None, verb: str
) -> None:
    before = sqlite_log.execute("SELECT * FROM events").fetchall()

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite_log.execute(
            f"{verb} {INTO.replace('? << 48 | ?', '?')}", (place, "user-new", 1, "new", 0)
        )

    assert sqlite_log.execute("SELECT * FROM events").fetchall() == before


def test_sqlite_counts_each_partition_for_itself(sqlite_log: sqlite3.Connection) -> None:
    for partition, position in [(1, 1), (1, 2), (3, 1), (0, 4)]:
        command = f"{partition} {position}"
        row = (partition, position, f"user-{command}", 1, command, 0)
        sqlite_log.execute(f"INSERT {INTO}", row)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            sqlite_log.execute(f"INSERT OR REPLACE {INTO}", (*row[:2], "user-new", 1, "new", 0))

    found = sqlite_log.execute("SELECT partition, position FROM events ORDER BY place").fetchall()
    assert found == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (3, 1)]


@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "INSERT"])
def test_sqlite_takes_nothing_of_a_statement_or_transaction_that_would_replace_an_event(
    sqlite_log: sqlite3.Connection, verb: str
) -> None:
    before = sqlite_log.execute("SELECT * FROM events").fetchall()
    row = "({}, 'user-new', {}, 'x', 1, x'00', x'00', 0, 'new {}', 0)"
    rows = ", ".join(
        row.format(position, version, version) for position, version in [(5, 2), (1, 3)]
    )

    sqlite_log.execute("BEGIN")
    sqlite_log.execute(f"INSERT {INTO}", (0, 4, "user-new", 1, "new", 0))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite_log.execute(f"{verb} INTO events ({IN_PLACE}) VALUES {rows}")

    assert not sqlite_log.in_transaction
    assert sqlite_log.execute("SELECT * FROM events").fetchall() == before


def test_sqlite_refuses_to_leave_a_hole(sqlite_log: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite_log.execute(f"INSERT {INTO}", (0, 5, "user-new", 1, "new", 0))

    sqlite_log.execute(f"INSERT {INTO}", (0, 4, "user-new", 1, "new", 0))
    assert sqlite_log.execute("SELECT count(*) FROM events").fetchone() == (4,)


# --- PostgreSQL -------------------------------------------------------------------------


@pytest.fixture
def postgres_log(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to a log of three events."""
    fill(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert connection.info.parameter_status("is_superuser") == "on"
        yield connection


MERGE = (
    "MERGE INTO {events} e USING (SELECT 1 AS position) n ON e.position = n.position"
    " WHEN MATCHED THEN UPDATE SET data = 'forged'"
)
PIPED = "WITH gone AS (DELETE FROM {events} RETURNING *) SELECT count(*) FROM gone"
ON_POSTGRES = {
    **CHANGES,
    "truncate": "TRUNCATE {events}",
    "truncate with others": "TRUNCATE refold.seals, {events} RESTART IDENTITY CASCADE",
    "merge": MERGE,
    "delete inside a query": PIPED,
}


@pytest.mark.parametrize("role", ["origin", "replica", "local"])
def test_postgresql_refuses_even_a_superuser_to_change_an_event(
    postgres_log: psycopg.Connection[Any], role: str
) -> None:
    postgres_log.execute(f"SET session_replication_role = {role}".encode())
    before = postgres_log.execute("SELECT * FROM refold.events ORDER BY position").fetchall()

    for change in ON_POSTGRES.values():  # together, because making a database takes longer
        with pytest.raises(RestrictViolation, match="append-only"):
            postgres_log.execute(change.format(events="refold.events").encode())

    after = postgres_log.execute("SELECT * FROM refold.events ORDER BY position").fetchall()
    assert after == before
    assert len(before) == 3


def test_postgresql_lets_no_other_role_touch_the_log(
    postgres_log: psycopg.Connection[Any],
) -> None:
    [granted] = postgres_log.execute(
        "SELECT count(*) FROM pg_class, aclexplode(relacl) AS entry"
        " WHERE relnamespace = 'refold'::regnamespace AND grantee = 0"
    ).fetchall()

    assert granted == (0,)


# --- a log ------------------------------------------------------------------------------


def fill(url: str) -> None:
    """Append a command of two events and one of one event to a new store."""
    event = NewEvent("user.registered", 1, b"{}", b"{}")
    with open_store(url, create=True) as store:
        outcomes = store.log.append(
            [
                Command("first", (Write("user-ada", 0, (event, event)),)),
                Command("second", (Write("user-bob", 0, (event,)),)),
            ]
        )
    assert outcomes == [Appended(0, 2, "user-ada", 2), Appended(0, 3, "user-bob", 1)]
