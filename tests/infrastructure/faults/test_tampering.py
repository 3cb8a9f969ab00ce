"""Somebody changes a store behind its back: what is sealed or copied gives it away.

The tamperer here owns the database: triggers do not stop them.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from refold.domain.ports import Identity, Recorded
from refold.domain.positions import PARTITION
from refold.infrastructure import address
from refold.infrastructure.open import open_store
from refold.tests.infrastructure.faults.events import registration
from refold.tests.infrastructure.faults.processes import refold

RECORDS: Final = 2_500
SEALED: Final = 2_000
"""Import seals full blocks of 1 000."""
TRUNCATED: Final = 1_990


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A metadata.json that makes one event a record."""
    path = tmp_path_factory.mktemp("legacy") / "metadata.json"
    keys = [sha256(str(number).encode()).hexdigest() for number in range(RECORDS)]
    path.write_text(json.dumps({key: _record(key) for key in keys}))
    return path


def _record(key: str) -> dict[str, Any]:
    time = "2025-11-01T05:48:55.99324Z"
    return {
        "fileSHA256": key, "ipfsCID": f"Qm{key[:20]}", "fileName": f"holiday {key[:8]}.jpg",
        "fileType": "jpg", "lastUpdated": time, "addedAt": time, "moderationVotes": 0,
        "tags": {"pdf": 2}, "banSet": 0,
    }  # fmt: skip


@pytest.fixture
def imported(url: str, metadata: Path) -> str:
    """The address of a store that only import has touched."""
    assert refold("import", "pinshare", metadata, "--store", url).code == 0
    return url


@pytest.fixture
def elsewhere(imported: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The address of a place on the other engine, where there is no store yet."""
    if imported.startswith("sqlite"):
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'elsewhere.db'}"


# --- a source that only import has touched ----------------------------------------


def test_a_byte_changed_in_a_sealed_block_is_named_by_its_block(
    imported: str, elsewhere: str
) -> None:
    _flip(imported, "events", "data", "position = 1234", after=b'"name":"')

    verified = refold("verify", imported, "--json")
    copied = refold("copy", imported, elsewhere)

    block = verified.document["bad_block"]
    assert (verified.code, verified.document["ok"]) == (3, False)
    assert (block["first"], block["last"]) == (1_001, 2_000)
    assert copied.code == 1
    assert "between positions 1001 and 2000" in copied.stderr
    assert copied.stderr.count("\n") == 1


def test_what_was_changed_above_the_last_seal_is_never_called_proven(
    imported: str, elsewhere: str
) -> None:
    _flip(imported, "events", "metadata", f"position = {SEALED + 1}", after=b'"hash":"')

    verified = refold("verify", imported)
    verified_as_json = refold("verify", imported, "--json")
    copied = refold("copy", imported, elsewhere)

    warning = f"not sealed before this run behind position {SEALED}"
    assert verified_as_json.document["sealed_before"] == SEALED
    assert warning in verified.stdout
    assert warning in copied.stdout


@pytest.mark.parametrize("position", [1_500, SEALED + 200])
def test_an_event_that_was_removed_leaves_a_hole(
    imported: str, elsewhere: str, position: int
) -> None:
    _execute(imported, f"DELETE FROM events WHERE position = {position}")

    verified = refold("verify", imported, "--json")
    copied = refold("copy", imported, elsewhere)

    block = verified.document["bad_block"]
    assert verified.code == 3
    assert (block["first"], block["last"]) == (position, position)
    assert copied.code == 1
    assert "events are missing" in copied.stderr


@pytest.mark.parametrize("url", ["postgres-3"], indirect=True)
def test_a_hole_in_one_of_several_partitions_is_named_with_it(url: str) -> None:
    with open_store(url) as store:
        store.log.append([registration(f"{number}", f"{number}") for number in range(60)])
    _execute(url, "DELETE FROM events WHERE partition = 2 AND position = 3")

    verified = refold("verify", url, "--json")

    block = verified.document["bad_block"]
    assert verified.code == 3
    assert (block["partition"], block["first"], block["last"]) == (2, 3, 3)


def test_a_tail_cut_off_below_a_seal_is_noticed(imported: str, elsewhere: str) -> None:
    _execute(imported, f"DELETE FROM events WHERE position > {TRUNCATED}")

    verified = refold("verify", imported, "--json")
    copied = refold("copy", imported, elsewhere)

    block = verified.document["bad_block"]
    assert verified.code == 3
    assert (block["first"], block["last"]) == (TRUNCATED + 1, SEALED)
    assert copied.code == 1
    assert f"between positions {TRUNCATED + 1} and {SEALED}" in copied.stderr


# --- a target ---------------------------------------------------------------------


def test_one_byte_of_a_proven_copy_makes_it_unequal(imported: str, elsewhere: str) -> None:
    assert refold("copy", imported, elsewhere).code == 0
    first_file = f"sha256 = '{sha256(b'0').hexdigest()}'"
    changes: list[Callable[[], None]] = [
        lambda: _flip(elsewhere, "events", "data", "position = 1234", after=b'"name":"'),
        lambda: _flip(elsewhere, "events", "metadata", f"position = {RECORDS}", after=b'"hash":"'),
        lambda: _flip(elsewhere, _generation(elsewhere, "files"), "name", first_file),
        lambda: _flip(elsewhere, _generation(elsewhere, "file_tags"), "tag", first_file),
        lambda: _flip(elsewhere, "seals", "chain", "position = 1000"),
    ]

    for change in changes:
        change()
        results = [
            refold("verify", imported, elsewhere, "--json"),
            refold("copy", imported, elsewhere, "--json"),
        ]
        change()  # the same bit again: as it was

        assert [result.document["equal"] for result in results] == [False, False]
        assert [result.code for result in results] == [3, 3]
    assert refold("verify", imported, elsewhere).code == 0


def test_a_target_that_holds_other_events_is_refused_and_left_as_it_was(
    imported: str, elsewhere: str
) -> None:
    with open_store(elsewhere, create=True) as other:
        other.log.append([registration("other", "other")])
    before = _held(elsewhere)

    results = [refold("copy", imported, elsewhere), refold("move", imported, elsewhere)]

    assert [result.code for result in results] == [1, 1]
    assert all("holds 1 events of another history" in result.stderr for result in results)
    assert _held(elsewhere) == before
    assert refold("status", "--store", imported, "--json").document["state"] == "open"


def _held(url: str) -> tuple[Identity, object, list[Recorded]]:
    with open_store(url) as store:
        return store.log.identity(), store.log.heads(), store.log.page(PARTITION, 0, RECORDS)


# --- the tamperer -----------------------------------------------------------------


def _flip(url: str, table: str, column: str, where: str, after: bytes = b"") -> None:
    """Change one bit of a value: the lowest of the byte behind `after`."""
    [[value]] = _execute(url, f"SELECT {column} FROM {table} WHERE {where}")
    changed = bytearray(value.encode() if isinstance(value, str) else value)
    changed[changed.index(after) + len(after)] ^= 1
    kept = changed.decode() if isinstance(value, str) else bytes(changed)
    _execute(url, f"UPDATE {table} SET {column} = ? WHERE {where}", kept)


def _generation(url: str, table: str) -> str:
    """Return the table behind the view of that name."""
    with open_store(url) as store, store.tables.reading() as connection:
        return str(store.tables.current(connection)[table].table.name)


def _execute(url: str, statement: str, *parameters: object) -> list[Any]:
    """Run `statement` as the owner of the database, without triggers."""
    match address.parse(url):
        case address.Sqlite() as place:
            of_log = any(f" {table} " in statement for table in ("events", "seals"))
            path = place.path if of_log else place.tables
            with closing(sqlite3.connect(path)) as connection, _without_triggers(connection):
                return connection.execute(statement, parameters).fetchall()
        case address.Postgres(server, schema):
            with psycopg.connect(server) as session:
                session.execute(f"SET search_path = {schema}".encode())
                session.execute("ALTER TABLE events DISABLE TRIGGER USER")
                cursor = session.execute(statement.replace("?", "%s").encode(), parameters)
                rows = cursor.fetchall() if cursor.description else []
                session.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_not_changed")
                return rows
        case other:
            raise ValueError(other.public)


@contextmanager
def _without_triggers(connection: sqlite3.Connection) -> Iterator[None]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    triggers = connection.execute(query).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
