"""A SQLite log that is filled gets its indexes at the end, and is guarded all along."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from refold.domain.errors import Refused
from refold.domain.ports import Log, Recorded, State
from refold.domain.positions import Positions
from refold.infrastructure.checking.doctor import examine
from refold.infrastructure.config import of_environment
from refold.infrastructure.moving import cutover
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import connect
from refold.infrastructure.sqlite.log import SqliteLog

KIND = "aggregate"  # no table is made of it
INDEXES = {"events_command_id", "events_stream_version"}

INTO = """
    INTO events (place, stream, version, type, schema, data, metadata, recorded_at, command_id,
        command_no)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a new store."""
    path = tmp_path / "store.db"
    with open_store(f"sqlite:///{path}", create=True):
        return path


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    """Its log, which is to be filled."""
    with closing(SqliteLog(path)) as log:
        log.change_state(State.FILLING)
        yield log


def test_indexes_come_last_and_then_all_is_as_in_a_new_store(path: Path, log: Log) -> None:
    new = schema(path)

    log.receive(records(1, 3))
    there = schema(path)
    log.receive(records(4, 5))
    log.create_indexes()

    assert not INDEXES & there.keys()
    assert new.keys() >= INDEXES
    assert schema(path) == new
    assert [each.position for each in log.stream(f"{KIND}-2")] == [2]
    log.create_indexes()
    assert schema(path) == new


def test_a_log_that_has_events_keeps_its_indexes(path: Path, log: Log) -> None:
    new = schema(path)
    log.receive(records(1, 3))
    log.create_indexes()

    log.receive(records(4, 5))

    assert schema(path) == new


def test_what_somebody_made_by_hand_is_made_again(path: Path, log: Log) -> None:
    new = schema(path)
    log.receive(records(1, 3))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE INDEX events_command_id ON events (stream)")
        connection.execute(new["events_are_not_replaced"])

    log.create_indexes()

    assert schema(path) == new


def test_filling_goes_on_without_them_where_it_broke_off(path: Path, log: Log) -> None:
    new = schema(path)
    log.receive(records(1, 3))

    with closing(SqliteLog(path)) as again:
        again.receive(records(3, 3))
        again.receive(records(4, 5))
        there = schema(path)
        again.create_indexes()

    assert not INDEXES & there.keys()
    assert schema(path) == new


@pytest.mark.parametrize("state", [State.OPEN, State.SEALED])
def test_a_store_is_never_open_or_sealed_without_them(path: Path, log: Log, state: State) -> None:
    new = schema(path)
    log.receive(records(1, 3))

    log.change_state(state, at=Positions((3,)))

    assert schema(path) == new


@pytest.mark.parametrize(
    "again",
    [
        Recorded(0, 3, f"{KIND}-1", 1, "t", 1, b"{}", b"{}", 3, "c-3", 0),
        Recorded(0, 3, f"{KIND}-3", 1, "t", 1, b"{}", b"{}", 3, "c-1", 0),
    ],
    ids=["version", "command id"],
)
@pytest.mark.parametrize(
    "finish", [lambda log: log.create_indexes(), lambda log: log.change_state(State.OPEN)]
)
def test_a_log_with_a_version_or_command_id_twice_is_refused_and_stays_closed(
    log: Log, again: Recorded, finish: Callable[[Log], None]
) -> None:
    log.receive([*records(1, 2), again])

    with pytest.raises(Refused, match=r"is no log: UNIQUE constraint failed: events\."):
        finish(log)

    assert [head.state for head in log.heads()] == [State.FILLING]


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT OR REPLACE {INTO} VALUES (2, 's', 1, 't', 1, x'', x'', 1, 'c', 0)",
        f"INSERT {INTO} VALUES (5, 's', 1, 't', 1, x'', x'', 1, 'c', 0)",
        "DELETE FROM events",
        "UPDATE events SET type = 'x'",
    ],
)
def test_events_are_guarded_while_there_are_no_indexes(
    path: Path, log: Log, statement: str
) -> None:
    log.receive(records(1, 3))

    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="the log is append-only"),
    ):
        connection.execute(statement)

    assert len(log.page(0, 0, 10)) == 3


def test_the_connection_that_left_them_out_is_as_guarded_as_before(path: Path, log: Log) -> None:
    assert isinstance(log, SqliteLog)
    log.receive(records(1, 3))
    log.create_indexes()

    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        log._writer.execute("DROP TRIGGER events_are_not_replaced")  # type: ignore[union-attr]


def test_a_move_makes_them_before_it_seals_its_source(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteLog(path)) as log:
        log.change_state(State.FILLING)
        log.receive(records(1, 5))
        log.change_state(State.OPEN)
    target = tmp_path / "target.db"
    at: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(cutover, "reach", lambda step: at.update({step: schema(target)}))

    with (
        open_store(f"sqlite:///{path}") as source,
        open_store(f"sqlite:///{target}", create=True) as there,
    ):
        new = schema(target)
        differences = cutover.move(source, there).differences

    assert not differences
    assert at["cutover: closed"] == at["cutover: sealed"] == schema(target) == new


def test_a_doctor_misses_them_in_an_open_store_alone(path: Path, log: Log) -> None:
    log.receive(records(1, 3))
    while_filled = guards_missed(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE heads SET state = 'open'")
        connection.commit()
    while_open = guards_missed(path)
    with closing(connect(path)) as connection:
        connection.set_authorizer(None)
        connection.execute("DROP TRIGGER events_are_not_replaced_by_place")
        connection.execute("UPDATE heads SET state = 'filling'")
    unguarded = guards_missed(path)

    assert not while_filled
    assert while_open == unguarded == {*INDEXES, "events_are_not_replaced"}


def records(first: int, last: int) -> list[Recorded]:
    return [
        Recorded(0, n, f"{KIND}-{n}", 1, "t", 1, b"{}", b"{}", n, f"c-{n}", 0)
        for n in range(first, last + 1)
    ]


def schema(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"))


def guards_missed(path: Path) -> set[str]:
    """Return the names of what a doctor says is missing."""
    settings = of_environment()
    findings = examine(settings.address(f"sqlite:///{path}"), settings).findings
    return {each.what.split()[2].strip(",") for each in findings if each.check == "guards"}
