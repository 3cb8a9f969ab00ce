"""`refold import eventsourcing`: what applications kept in the library's own tables goes on."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import InfrastructureFactory, StoredEvent, Tracking
from eventsourcing.system import SingleThreadedRunner
from eventsourcing.utils import Environment

from refold.domain.errors import BadInput
from refold.domain.ports import Command, Outcome, Snapshot
from refold.infrastructure import applications
from refold.infrastructure.address import parse
from refold.infrastructure.legacy.eventsourcing.importing import import_eventsourcing
from refold.infrastructure.moving import verifying
from refold.infrastructure.open import open_at
from refold.infrastructure.sqlite.log import SqliteLog
from refold.tests.infrastructure.eventsourcing.examples import SYSTEM, Counters, DogSchool
from refold.tests.infrastructure.eventsourcing.test_faults import library

New = Callable[[str], dict[str, str]]


@contextmanager
def running(environment: dict[str, str]) -> Iterator[tuple[DogSchool, Counters]]:
    with SingleThreadedRunner[UUID](SYSTEM, env=environment) as runner:
        yield runner.get(DogSchool), runner.get(Counters)


def filled(environment: dict[str, str]) -> tuple[UUID, UUID]:
    """Run the system on its own tables for a while; return two dogs."""
    with running(environment) as (school, counters):
        fido, rex = school.register("Fido"), school.register("Rex")
        for trick in ("sit", "roll", "fetch"):
            school.teach(fido, trick)
        school.teach(rex, "sit")
        assert counters.count("sit") == 2
    return fido, rex


@pytest.fixture(params=["sqlite", "postgres"])
def there(request: pytest.FixtureRequest, new_environment: New) -> dict[str, str]:
    """An environment with an empty place on refold."""
    return new_environment(request.param)


# --- PostgreSQL: several applications in one database -------------------------------------


def test_applications_go_on_where_their_own_tables_ended(
    postgres_url: str, there: dict[str, str]
) -> None:
    own = library(postgres_url)
    fido, rex = filled(dict(own))
    with psycopg.connect(postgres_url) as server:  # numbers get lost when a transaction fails
        server.execute("UPDATE dogschool_events SET notification_id = notification_id * 10")
        server.execute(
            "UPDATE counters_tracking SET notification_id = notification_id * 10"
            " WHERE application_name = 'DogSchool'"
        )

    below, source = parse(there["REFOLD_STORE"]), parse(postgres_url)
    first = import_eventsourcing(below, source)
    again = import_eventsourcing(below, source)

    assert [each.name for each in first] == ["counters", "dogschool"]
    counters, school = (each.document() for each in first)
    assert (school["records"], school["imported"], school["refused"]) == (6, 6, [])
    assert (school["snapshots"], school["trackings"]) == (3, {})
    assert (counters["imported"], counters["trackings"]) == (7, {"DogSchool": 6})
    for each in again:
        assert (each.report.imported, each.report.unchanged) == (0, each.report.records)
        assert each.snapshots == 0
    assert again[0].trackings == {"DogSchool": 6}
    for name in ("counters", "dogschool"):
        with open_at(applications.place(below, name)) as store:
            assert verifying.verify(store).ok
    with running(there) as (school_here, counters_here):
        assert school_here.tricks(fido) == ["sit", "roll", "fetch"]
        school_here.teach(rex, "roll")
        assert counters_here.count("roll") == 2
        assert [each.id for each in school_here.notification_log.select(1, 9)] == list(range(1, 8))


def test_what_was_appended_meanwhile_is_imported_by_the_next_run(
    postgres_url: str, new_environment: New
) -> None:
    environment = new_environment("sqlite")
    own, below = dict(library(postgres_url)), parse(environment["REFOLD_STORE"])
    fido, _ = filled(own)
    import_eventsourcing(below, parse(postgres_url))
    with running(own) as (school, _):
        school.teach(fido, "jump")

    counters, school_again = import_eventsourcing(below, parse(postgres_url))

    assert (school_again.report.imported, school_again.report.unchanged) == (1, 6)
    assert counters.trackings == {"DogSchool": 7}


def test_trackings_of_what_has_no_events_are_noted_in_positions(
    postgres_url: str, tmp_path: Path
) -> None:
    for name, trackings in ("Orders", {}), ("View", {"Orders": 20, "Elsewhere": 7}):
        environment = library(postgres_url)
        environment.name = name
        with closing(InfrastructureFactory[Any].construct(environment)) as factory:
            if not trackings:
                events = [StoredEvent(uuid4(), 1, "t", b"") for _ in range(3)]
                factory.process_recorder().insert_events(events)
            for upstream, number in trackings.items():
                factory.tracking_recorder().insert_tracking(Tracking(upstream, number))
    with psycopg.connect(postgres_url) as server:
        server.execute("UPDATE orders_events SET notification_id = notification_id * 10")
        server.execute("CREATE TABLE parcel_tracking (courier text, seen_at date)")

    [orders] = import_eventsourcing(parse(f"sqlite:///{tmp_path / 'all'}"), parse(postgres_url))

    assert orders.document()["notes"] == [
        {"key": "view_tracking", "note": f"is not imported: it stands at {where}"}
        for where in (
            "event 7 of Elsewhere, which is not in this database",
            "event 20 of Orders, which is position 2 here",
        )
    ]


def test_ids_that_are_texts_stay_so_and_odd_ones_too(
    postgres_url: str, new_environment: New
) -> None:
    ids = ["a/b", "", str(uuid4()), "x" * 999]
    kept = [
        StoredEvent(id, start + n, "t", bytes([0, n]))
        for id in ids
        for start in (0,)
        for n in (0, 1)
    ]
    environment = library(postgres_url, ORIGINATOR_ID_TYPE="text")
    environment.name = "Odd"
    with closing(InfrastructureFactory.construct(environment)) as factory:
        factory.application_recorder().insert_events(kept)

    there = new_environment("sqlite")
    import_eventsourcing(parse(there["REFOLD_STORE"]), parse(postgres_url))

    with closing(InfrastructureFactory.construct(Environment("Odd", there))) as factory:
        found = factory.application_recorder().select_notifications(1, 100)
    assert [
        StoredEvent(it.originator_id, it.originator_version, it.topic, it.state) for it in found
    ] == kept


def test_two_applications_that_would_have_one_name_are_refused(
    postgres_url: str, tmp_path: Path
) -> None:
    for name in ("", "Shop"):
        environment = library(postgres_url)
        environment.name = name
        with closing(InfrastructureFactory.construct(environment)) as factory:
            factory.application_recorder().insert_events([StoredEvent(uuid4(), 1, "t", b"")])
    place, source = parse(f"sqlite:///{tmp_path / 'stores'}"), parse(postgres_url)

    with pytest.raises(BadInput, match=r"shop_events and stored_events .* application 'Shop'"):
        import_eventsourcing(place, source, named="Shop")
    assert not (tmp_path / "stores").exists()
    assert len(import_eventsourcing(place, source, named="Till")) == 2


# --- SQLite: one application in a file ----------------------------------------------------


def test_a_file_is_one_application_whose_name_is_given(
    tmp_path: Path, there: dict[str, str]
) -> None:
    own = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(tmp_path / "own.db")}
    with closing(DogSchool(own)) as school:
        fido = school.register("Fido")
        school.teach(fido, "sit")

    [imported] = import_eventsourcing(
        parse(there["REFOLD_STORE"]), parse(f"sqlite:///{tmp_path / 'own.db'}"), named="DogSchool"
    )

    assert (imported.report.imported, imported.snapshots) == (2, 1)
    with closing(DogSchool(there)) as school:
        assert school.tricks(fido) == ["sit"]
        school.teach(fido, "roll")


def test_each_record_is_accounted_for(tmp_path: Path) -> None:
    own = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(tmp_path / "own.db")}
    a, b, c = uuid4(), uuid4(), uuid4()
    with closing(InfrastructureFactory.construct(Environment("", own))) as factory:
        recorder = factory.process_recorder()
        recorder.insert_events(
            [
                StoredEvent(a, 1, "t", b"1"),
                StoredEvent(b, 7, "t", b"7"),
                StoredEvent(a, 3, "t", b"3"),
                StoredEvent(c, 1, "t", b"1"),
            ],
            tracking=Tracking("Elsewhere", 12),
        )
        factory.aggregate_recorder("snapshots").insert_events(
            [
                StoredEvent(a, 3, "t", b"3"),
                StoredEvent(b, 7, "t", b"7"),
                StoredEvent(c, 1, "t", b""),
            ]
        )
    place = parse(f"sqlite:///{tmp_path / 'stores'}")

    [imported] = import_eventsourcing(place, parse(f"sqlite:///{tmp_path / 'own.db'}"))

    with open_at(applications.place(place, "")) as store:
        kept = [store.log.snapshots(f"aggregate-{id}", -1, 9, 9) for id in (a, b, c)]
    assert list(map(len, kept)) == [0, 0, 1]  # none of an aggregate that is not whole
    assert imported.snapshots == 1
    report = imported.report
    assert (report.records, report.imported, report.unchanged) == (4, 2, 0)
    assert [(each.key, each.line) for each in report.refused] == [
        (f"{b} version 7", 2),
        (f"{a} version 3", 3),
    ]
    assert report.notes == [
        ("Elsewhere", "is not in this database: 12 events are taken as processed")
    ]
    assert imported.trackings == {"Elsewhere": 12}


def test_an_import_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    own = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(tmp_path / "own.db")}
    id = uuid4()
    with closing(InfrastructureFactory[Any].construct(Environment("", own))) as factory:
        recorder = factory.process_recorder()
        recorder.insert_events([StoredEvent(id, version, "t", b"") for version in range(2_500)])
        recorder.insert_tracking(Tracking("stored", 2_499))
    place, source = (
        parse(f"sqlite:///{tmp_path / 'all'}"),
        parse(f"sqlite:///{tmp_path / 'own.db'}"),
    )

    def break_off(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_eventsourcing(place, source, progress=break_off)
    [imported] = import_eventsourcing(place, source)

    report = imported.report
    assert (report.records, report.imported, report.unchanged) == (2_500, 1_500, 1_000)
    assert imported.trackings == {"stored": 2_499}
    with open_at(applications.place(place, "")) as store:
        assert [each.position for each in store.log.seals(0)] == [1_000, 2_000]
        assert verifying.verify(store).ok


def test_a_row_that_holds_no_event_or_snapshot_is_refused_alone(tmp_path: Path) -> None:
    path, snapshot = tmp_path / "own.db", StoredEvent("a", 1, "t\0", b"")
    keep(path, [StoredEvent(id, 1, "t", b"") for id in "abcd"], [snapshot])
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE stored_events SET state = NULL WHERE originator_id = 'b'")
        file.execute("UPDATE stored_events SET state = 'text' WHERE originator_id = 'c'")

    [imported] = import_eventsourcing(
        parse(f"sqlite:///{tmp_path}/all"), parse(f"sqlite:///{path}")
    )

    assert [(each.key, each.reason) for each in imported.report.refused] == [
        ("b version 1", "its state is NoneType, not bytes"),
        ("c version 1", "its state is str, not bytes"),
    ]
    assert (imported.report.imported, imported.snapshots) == (2, 0)
    [(key, note)] = imported.report.notes
    assert (key, "its snapshot of version 1 is left out" in note) == ("a", True)


def test_large_events_and_snapshots_go_in_by_16_mib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = uuid4().hex
    large = [StoredEvent(id, version, "t", bytes(6 << 20)) for version in (1, 2, 3)]
    large += [StoredEvent(id, 4, "t", bytes(17 << 20)), StoredEvent(id, 5, "t", b"")]
    keep(tmp_path / "own.db", large, large)
    appended, kept = list[int](), list[int]()
    append, keep_snapshots = SqliteLog.append, SqliteLog.keep_snapshots

    def counted(log: SqliteLog, commands: Sequence[Command]) -> list[Outcome]:
        appended.append(len(commands))
        return append(log, commands)

    def counted_snapshots(log: SqliteLog, snapshots: Sequence[Snapshot]) -> bool:
        kept.append(len(snapshots))
        return keep_snapshots(log, snapshots)

    monkeypatch.setattr(SqliteLog, "append", counted)
    monkeypatch.setattr(SqliteLog, "keep_snapshots", counted_snapshots)
    place, source = parse(f"sqlite:///{tmp_path}/all"), parse(f"sqlite:///{tmp_path}/own.db")
    [imported] = import_eventsourcing(place, source)

    assert (imported.report.imported, imported.snapshots) == (5, 5)
    assert appended == kept == [2, 1, 1, 1]


@pytest.mark.parametrize("text_ids", [False, True])
def test_texts_that_look_like_uuids_are_texts_where_that_is_said(
    tmp_path: Path, text_ids: bool
) -> None:
    id = uuid4()
    own = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(tmp_path / "own.db")}
    with closing(InfrastructureFactory.construct(Environment("", own))) as factory:
        factory.application_recorder().insert_events([StoredEvent(id, 1, "t", b"")])
    place = parse(f"sqlite:///{tmp_path / 'stores'}")

    import_eventsourcing(place, parse(f"sqlite:///{tmp_path / 'own.db'}"), text_ids=text_ids)

    with open_at(applications.place(place, "")) as store:
        [record] = store.log.page(0, 0, 9)
    assert record.stream == f"aggregate-{id.hex if text_ids else id}"


@pytest.mark.parametrize("odd", ["an event", "a snapshot"])
def test_ids_are_of_one_kind_in_events_and_snapshots(tmp_path: Path, odd: str) -> None:
    id, place = uuid4().hex, parse(f"sqlite:///{tmp_path / 'stores'}")
    events, snapshots = [StoredEvent(id, 1, "t", b"")], [StoredEvent(id, 1, "t", b"")]
    (events if odd == "an event" else snapshots).append(StoredEvent("dog-1", 1, "t", b""))
    keep(tmp_path / "own.db", events, snapshots)

    [imported] = import_eventsourcing(place, parse(f"sqlite:///{tmp_path / 'own.db'}"))

    with open_at(applications.place(place, "")) as store:
        [record, *_] = store.log.page(0, 0, 9)
        [snapshot] = store.log.snapshots(record.stream, -1, 9, 9)
    assert record.stream == snapshot.stream == f"aggregate-{id}"
    assert imported.snapshots == len(snapshots)


def test_ids_that_are_no_longer_what_they_were_taken_for_are_refused(tmp_path: Path) -> None:
    place, source = parse(f"sqlite:///{tmp_path}/stores"), parse(f"sqlite:///{tmp_path}/own.db")
    keep(tmp_path / "own.db", [StoredEvent(uuid4().hex, version, "t", b"") for version in (9, 1)])
    import_eventsourcing(place, source)
    keep(tmp_path / "own.db", [StoredEvent("dog-1", 1, "t", b"")])

    with pytest.raises(BadInput, match=r"are texts, .* with UUIDs .* empty store"):
        import_eventsourcing(place, source)

    with open_at(applications.place(place, "")) as store:
        assert store.log.heads()[0].position == 1


def test_texts_that_are_no_longer_said_to_be_texts_are_refused(tmp_path: Path) -> None:
    place, source = parse(f"sqlite:///{tmp_path}/stores"), parse(f"sqlite:///{tmp_path}/own.db")
    keep(tmp_path / "own.db", [StoredEvent(uuid4().hex, 1, "t", b"")])
    import_eventsourcing(place, source, text_ids=True)
    keep(tmp_path / "own.db", [StoredEvent(uuid4().hex, 1, "t", b"")])

    with pytest.raises(BadInput, match=r"look like UUIDs, .* with texts .* say --text-ids"):
        import_eventsourcing(place, source)
    [imported] = import_eventsourcing(place, source, text_ids=True)

    assert (imported.report.imported, imported.report.unchanged) == (1, 1)


def keep(path: Path, events: list[StoredEvent], snapshots: Sequence[StoredEvent] = ()) -> None:
    """Insert into the library's own tables in a file, whose ids are texts."""
    own = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(path),
        "ORIGINATOR_ID_TYPE": "text",
    }
    with closing(InfrastructureFactory[Any].construct(Environment("", own))) as factory:
        factory.application_recorder().insert_events(events)
        factory.aggregate_recorder("snapshots").insert_events(snapshots)


@pytest.mark.parametrize("made", ["nothing", "text", "empty", "other"])
def test_what_is_none_of_the_librarys_databases_is_refused(tmp_path: Path, made: str) -> None:
    path = tmp_path / "other.db"
    match made:
        case "text":
            path.write_text("no database at all, but long enough to be one " * 9)
        case "empty":
            path.touch()
        case "other":
            with closing(sqlite3.connect(path)) as file:
                file.execute(
                    "CREATE TABLE stored_events (originator_id) WITHOUT ROWID".replace(
                        "(originator_id)", "(originator_id PRIMARY KEY)"
                    )
                )

    with pytest.raises(BadInput):
        import_eventsourcing(parse(f"sqlite:///{tmp_path / 'stores'}"), parse(f"sqlite:///{path}"))

    assert not (tmp_path / "stores").exists()
