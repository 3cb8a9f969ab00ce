"""A SQLite log that is filled gets its indexes at the end, and is guarded all along."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from refold.domain.errors import Filling, Refused
from refold.domain.ports import Command, Log, NewEvent, Recorded, State, Write
from refold.domain.positions import Positions
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import filling, writing
from refold.infrastructure.checking.doctor import examine
from refold.infrastructure.config import of_environment
from refold.infrastructure.moving import cutover, renumbering
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import connect
from refold.infrastructure.sqlite.log import SqliteLog
from refold.infrastructure.store import Store
from refold.tests.contract.test_cutover import until
from refold.tests.contract.two_stores import states

KIND = "aggregate"  # no table is made of it
INDEXES = {"events_command_id", "events_stream_version"}

SAME_VERSION = Recorded(0, 3, f"{KIND}-1", 1, "t", 1, b"{}", b"{}", 3, "c-3", 0)
"""An event like the first of `records`, but for its command."""

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


def test_a_store_is_never_open_without_them(path: Path, log: Log) -> None:
    new = schema(path)
    log.receive(records(1, 3))

    log.change_state(State.OPEN, at=Positions((3,)))

    assert schema(path) == new


def test_a_store_is_sealed_at_once_and_without_them(path: Path, log: Log) -> None:
    new = schema(path)
    log.receive(records(1, 3))

    log.change_state(State.SEALED, successor="s")
    sealed = schema(path)
    missed = guards_missed(path)
    log.change_state(State.FILLING)
    log.receive(records(4, 5))
    log.change_state(State.OPEN)

    assert not INDEXES & sealed.keys()
    assert not missed
    assert schema(path) == new


def test_an_empty_page_leaves_nothing_out(path: Path, log: Log) -> None:
    new = schema(path)

    log.receive([])

    assert schema(path) == new


def test_commands_are_refused_without_looking_for_their_streams(log: Log) -> None:
    log.receive(records(1, 2_000))

    one, fifty = steps(log, some_commands(1)), steps(log, some_commands(50))

    assert fifty < 3 * one  # it goes over all events once for the commands, not for each stream


@pytest.mark.parametrize(
    ("again", "what"),
    [
        (SAME_VERSION, "stream and version"),
        (SAME_VERSION._replace(stream=f"{KIND}-3", command_id="c-1"), "command_id"),
    ],
)
@pytest.mark.parametrize(
    "finish", [lambda log: log.create_indexes(), lambda log: log.change_state(State.OPEN)]
)
def test_a_log_with_a_version_or_command_id_twice_is_refused_and_stays_closed(
    log: Log, again: Recorded, what: str, finish: Callable[[Log], None]
) -> None:
    log.receive([*records(1, 2), again])

    with pytest.raises(Refused, match=rf"is no log: events 0:1 and 0:3 have the same {what}$"):
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


@pytest.mark.parametrize(
    ("indexed", "statement"),
    [
        (True, "DROP TRIGGER events_are_not_replaced"),
        (True, "DROP INDEX events_command_id"),
        (True, "DROP INDEX events_stream_version"),
        (False, "DROP TRIGGER events_are_not_replaced_by_place"),
    ],
)
def test_the_connection_that_left_them_out_is_as_guarded_as_before(
    log: Log, indexed: bool, statement: str
) -> None:
    log.receive(records(1, 3))
    if indexed:
        log.create_indexes()

    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        writer(log).execute(statement)


def test_a_move_makes_them_before_it_seals_its_source(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target.db"
    at: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(cutover, "reach", lambda step: at.update({step: schema(target)}))

    with open_store(f"sqlite:///{target}", create=True) as there:
        new = schema(target)
        differences = cutover.move(source, there).differences

    assert not differences
    assert at["cutover: closed"] == at["cutover: sealed"] == schema(target) == new


def test_a_follower_makes_them_once_it_is_level_with_its_source(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutover, "FOLLOWED_AT_ONCE", 2)
    target, stopped, at = tmp_path / "target.db", Event(), dict[int, dict[str, str]]()

    def note(_what: str, done: int, _total: int | None) -> None:
        at[done] = schema(target)

    with open_store(f"sqlite:///{target}", create=True) as there:
        new = schema(target)
        following = Thread(target=cutover.follow, args=(source, there, stopped, note))
        following.start()
        until(lambda: 5 in at and schema(target) == new)
        stopped.set()
        following.join()

    assert not any(INDEXES & at[done].keys() for done in (2, 4, 5))


def test_a_move_to_other_partitions_makes_them_before_it_seals_its_source(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutover, "SHORT", 1)
    target = tmp_path / "target.db"
    at: dict[str, dict[str, str]] = {}

    def note(step: str) -> None:
        at.setdefault(step, schema(target))

    monkeypatch.setattr(renumbering, "reach", note)

    with open_store(f"sqlite:///{target}", create=True, partitions=2) as there:
        new = schema(target)
        differences = renumbering.move(source, there).differences

    assert not differences
    assert not INDEXES & at["renumbering: page carried"].keys()
    assert at["renumbering: sealed"] == schema(target) == new


@pytest.mark.parametrize("way", ["copy", "archive"])
def test_a_copy_makes_them_before_its_tables(source: Store, tmp_path: Path, way: str) -> None:
    place, target = Archive(tmp_path / "backup.zst"), tmp_path / "target.db"
    at: dict[str, dict[str, str]] = {}

    def note(what: str, _done: int, _total: int | None) -> None:
        at.setdefault(what, schema(target))

    with open_store(f"sqlite:///{target}", create=True) as there:
        new = schema(target)
        if way == "copy":
            copy(source, there, note)
        else:
            writing.write(source, place)
            filling.fill(filling.survey(place), there, progress=note)

    assert at["fold"] == schema(target) == new


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_log_with_a_version_twice_is_not_moved_and_its_store_goes_on(
    tmp_path: Path, partitions: int
) -> None:
    """With two partitions of which one is empty, all events come after the source is sealed."""
    url, moving = f"sqlite:///{tmp_path / 'damaged.db'}", (cutover, renumbering)[partitions - 1]
    with open_store(url, create=True, partitions=partitions) as source:
        home = source.partition(SAME_VERSION.stream)
        source.log.change_state(State.FILLING)
        twice = [*records(1, 2), SAME_VERSION]
        source.log.receive([each._replace(partition=home) for each in twice])
    with closing(sqlite3.connect(tmp_path / "damaged.db")) as connection:
        connection.execute("DROP TRIGGER events_are_not_replaced_by_place")  # nor are there indexes
        connection.execute("UPDATE heads SET state = 'open'")
        connection.commit()

    with open_store(url) as source, open_store(f"{url}-2", create=True) as target:
        with pytest.raises(Refused, match="the same stream and version"):
            moving.move(source, target)
        after = states(source, target)
        if partitions == 1:
            cutover.abort(source, target)
        called_off = states(source, target)

    assert after[0] is State.OPEN
    assert called_off == [State.OPEN, State.SEALED]


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


@pytest.fixture
def source(path: Path) -> Iterator[Store]:
    """A store with five events."""
    with open_store(f"sqlite:///{path}") as source:
        source.log.change_state(State.FILLING)
        source.log.receive(records(1, 5))
        source.log.change_state(State.OPEN)
        yield source


def some_commands(number: int) -> list[Command]:
    event = NewEvent("t", 1, b"{}", b"{}")
    return [Command(f"new-{n}", (Write(f"{KIND}-{n}", 0, (event,)),)) for n in range(number)]


def steps(log: Log, commands: list[Command]) -> int:
    """Return how many hundreds of steps SQLite takes to refuse commands."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    writer(log).set_progress_handler(count, 100)
    outcomes = log.append(commands)
    assert {type(outcome) for outcome in outcomes} == {Filling}
    return taken


def writer(log: Log) -> sqlite3.Connection:
    assert isinstance(log, SqliteLog)
    assert log._writer
    return log._writer


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
