"""What refold's recorders keep beyond what the library's suites ask: ids, versions, bytes."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.cipher import AESCipher
from eventsourcing.persistence import (
    DataError,
    InfrastructureFactory,
    InfrastructureFactoryError,
    IntegrityError,
    OperationalError,
    StoredEvent,
    Tracking,
)
from eventsourcing.popo import POPOApplicationRecorder, POPOTrackingRecorder
from eventsourcing.utils import Environment, get_topic

from refold.domain.ports import Recorded
from refold.infrastructure import applications, config
from refold.infrastructure.address import Memory, parse
from refold.infrastructure.eventsourcing.factory import Factory
from refold.infrastructure.eventsourcing.recorders import RefoldProcessRecorder
from refold.infrastructure.moving import verifying
from refold.infrastructure.open import open_at
from refold.tests.infrastructure.eventsourcing.examples import DogSchool

IDS: list[UUID | str] = [
    uuid4(),
    str(uuid4()),  # a text that looks like a UUID stays a text
    uuid4().hex,
    "",
    "dog-1",
    "a/b%2F~c",
    "~tilde",
    "%7E",
    "é\U0001f600 \n",
    "long " * 200,
    '{"start":0}',
]


@pytest.fixture
def factory(environment: dict[str, str]) -> Iterator[InfrastructureFactory[Any]]:
    """The infrastructure of an application with an empty store."""
    made = InfrastructureFactory[Any].construct(Environment("Kept", environment))
    yield made
    made.close()


def stored(id: UUID | str, version: int, state: bytes = b"state") -> StoredEvent:
    return StoredEvent(id, version, "topic", state)


# --- ids and versions -------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 1])
def test_ids_and_versions_come_back_as_they_went_in(
    factory: InfrastructureFactory[Any], start: int
) -> None:
    recorder = factory.application_recorder()
    events = [stored(id, start + n, bytes([n, 0, 255])) for id in IDS for n in range(3)]

    positions = recorder.insert_events(events)

    found = recorder.select_notifications(None, 100)
    assert positions == [each.id for each in found] == list(range(1, len(events) + 1))
    assert [stored(it.originator_id, it.originator_version, it.state) for it in found] == events
    for id in IDS:
        own = [each for each in events if each.originator_id == id]
        assert recorder.select_events(id) == own
        assert recorder.select_events(id, gt=start) == own[1:]
        assert recorder.select_events(id, gt=start, lte=start + 1) == own[1:2]
        assert recorder.select_events(id, desc=True, limit=2) == own[:0:-1]


@pytest.mark.parametrize("start", [0, 1])
def test_only_the_last_events_are_read_where_only_those_are_asked_for(
    kept_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    environment = Environment("Kept", kept_environment)
    with (
        closing(InfrastructureFactory[Any].construct(environment)) as factory,
        closing(InfrastructureFactory[Any].construct(environment)) as another,
    ):
        ours, theirs = factory.application_recorder(), another.application_recorder()
        events = [stored("dog", start + n) for n in range(100)]
        ours.insert_events(events[:90])
        read = counted(ours, monkeypatch)

        assert ours.select_events("dog", desc=True, limit=2) == events[89:87:-1]
        theirs.insert_events(events[90:])
        assert ours.select_events("dog", desc=True, limit=1) == events[:98:-1]
        assert ours.select_events("dog", desc=True, limit=1) == events[:98:-1]
        assert ours.select_events("dog", desc=True, limit=0) == []
        assert ours.select_events("dog", desc=True, limit=1_000) == events[::-1]
        assert ours.select_events("nobody", desc=True, limit=1) == []

    assert read == [2, 11, 1, 0, 100, 0]


def counted(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how many events each read of a stream gives."""
    log, counts = recorder.log._log, list[int]()
    stream = log.stream

    def read(*arguments: Any) -> list[Recorded]:
        records: list[Recorded] = stream(*arguments)
        counts.append(len(records))
        return records

    monkeypatch.setattr(log, "stream", read)
    return counts


def test_who_did_not_see_where_an_aggregate_begins_can_go_on(
    kept_environment: dict[str, str],
) -> None:
    one, other = (Factory(Environment("Kept", kept_environment)) for _ in range(2))
    id = uuid4()
    one.application_recorder().insert_events([stored(id, 0), stored(id, 1)])

    other.application_recorder().insert_events([stored(id, 2)])
    with pytest.raises(IntegrityError):
        other.application_recorder().insert_events([stored(id, 2)])
    one.application_recorder().insert_events([stored(id, 3)])

    found = other.application_recorder().select_events(id)
    one.close()
    other.close()
    assert [each.originator_version for each in found] == [0, 1, 2, 3]


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("left_out", [1, 2])
def test_who_did_not_see_where_an_aggregate_begins_cannot_leave_a_version_out(
    kept_environment: dict[str, str], start: int, left_out: int
) -> None:
    one, other = (Factory(Environment("Kept", kept_environment)) for _ in range(2))
    id = uuid4()
    events = [stored(id, version) for version in range(start, start + 4)]
    one.application_recorder().insert_events(events[:3])

    recorder = other.application_recorder()
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(id, start + 3 + left_out)])
    recorder.insert_events(events[3:])

    assert recorder.select_events(id) == events
    one.close()
    other.close()


def test_several_aggregates_go_in_together_in_the_order_given(
    factory: InfrastructureFactory[Any],
) -> None:
    recorder = factory.application_recorder()
    events = [stored("a", 1), stored("b", 0), stored("a", 2), stored("b", 1), stored("c", 1)]

    assert recorder.insert_events(events) == [1, 2, 3, 4, 5]
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored("c", 2), stored("a", 2)])

    assert [
        (each.originator_id, each.originator_version)
        for each in recorder.select_notifications(1, 9)
    ] == [("a", 1), ("b", 0), ("a", 2), ("b", 1), ("c", 1)]


@pytest.mark.parametrize("versions", [[3], [1, 3], [1, 1], [2, 1], [-1]])
def test_a_version_that_does_not_go_on_by_one_is_a_conflict(
    factory: InfrastructureFactory[Any], versions: list[int]
) -> None:
    recorder = factory.application_recorder()

    with pytest.raises(IntegrityError):
        recorder.insert_events([stored("a", version) for version in versions])

    assert recorder.max_notification_id() is None


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_of_more_than_64_bits_is_refused(
    factory: InfrastructureFactory[Any], number: int
) -> None:
    recorder, snapshots = factory.process_recorder(), factory.aggregate_recorder("snapshots")
    refused: list[Callable[[], object]] = [
        lambda: recorder.insert_events([stored("a", number)]),
        lambda: recorder.insert_tracking(Tracking("up", number)),
        lambda: snapshots.insert_events([stored("a", number)]),
    ]
    for insert in refused:
        with pytest.raises(DataError, match="is not within 64 bits"):
            insert()


def test_a_save_that_not_every_engine_can_keep_is_refused_before_it_is_sent(
    factory: InfrastructureFactory[Any],
) -> None:
    half = stored("a", 1, bytes(500_000_000))
    for recorder in (factory.application_recorder(), factory.aggregate_recorder("snapshots")):
        with pytest.raises(DataError, match="1000000000 bytes is larger than the limit"):
            recorder.insert_events([half, stored("a", 2, half.state)])


def test_a_subscription_from_before_the_first_event_begins_with_it(
    factory: InfrastructureFactory[Any],
) -> None:
    recorder = factory.application_recorder()
    recorder.insert_events([stored("a", 1), stored("a", 2)])

    with recorder.subscribe(gt=-1) as subscription:
        late = Timer(10, subscription.stop)
        late.start()
        assert [next(subscription).id for _ in range(2)] == [1, 2]
        late.cancel()


def test_who_learns_meanwhile_where_an_aggregate_begins_can_go_on(
    kept_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Factory(Environment("Kept", kept_environment)) for _ in range(2))
    one.application_recorder().insert_events([stored("dog", 0)])
    recorder, commits = other.application_recorder(), other._log._commits
    append = commits.append

    def learn_before(commands: Any) -> Any:
        recorder.select_events("dog")  # as another thread does
        return append(commands)

    monkeypatch.setattr(commits, "append", learn_before)
    recorder.insert_events([stored("dog", 1)])

    assert recorder.select_events("dog") == [stored("dog", 0), stored("dog", 1)]
    one.close()
    other.close()


@pytest.mark.parametrize(
    "event",
    [stored("a\0", 1), StoredEvent("a", 1, "\ud800", b""), StoredEvent("a", 1, "t\0", b"")],
)
def test_a_text_that_cannot_be_kept_is_refused_by_name(
    factory: InfrastructureFactory[Any], event: StoredEvent
) -> None:
    for recorder in (factory.application_recorder(), factory.aggregate_recorder("snapshots")):
        with pytest.raises(DataError):
            recorder.insert_events([event])


def test_an_event_of_any_topic_and_size_is_kept(factory: InfrastructureFactory[Any]) -> None:
    event = StoredEvent("a", 1, "m:é" * 100, os.urandom(3 << 20))

    factory.application_recorder().insert_events([event])

    assert factory.application_recorder().select_events("a") == [event]


@pytest.mark.parametrize("topic", ["user.contents_removed", "push.recorded"])
def test_a_topic_that_is_one_of_refolds_types_refers_to_no_blobs(
    new_environment: Callable[..., Any], topic: str
) -> None:
    environment = new_environment("sqlite")
    factory = Factory(Environment("Kept", environment))
    factory.application_recorder().insert_events([StoredEvent("a", 1, topic, b'{"a":1}')])
    factory.close()

    below = config.of_environment().address(environment["REFOLD_STORE"])
    with open_at(applications.place(below, "Kept")) as store:
        assert verifying.verify(store).ok


# --- trackings and snapshots ------------------------------------------------------------


def test_a_tracking_is_kept_by_whichever_recorder_is_given_it(
    factory: InfrastructureFactory[Any],
) -> None:
    factory.application_recorder().insert_events([stored("a", 1)], tracking=Tracking("up", 7))

    assert factory.process_recorder().max_tracking_id("up") == 7


@pytest.mark.parametrize("application", ["up\0", "\ud800"])
def test_a_tracking_of_a_name_that_cannot_be_kept_is_refused(
    factory: InfrastructureFactory[Any], application: str
) -> None:
    recorder = factory.process_recorder()

    with pytest.raises(DataError, match="application"):
        recorder.insert_events([stored("a", 1)], tracking=Tracking(application, 7))
    with pytest.raises(DataError, match="application"):
        recorder.max_tracking_id(application)

    assert recorder.max_notification_id() is None


def test_snapshots_are_apart_from_events(factory: InfrastructureFactory[Any]) -> None:
    snapshots = factory.aggregate_recorder("snapshots")
    kept = [stored("a", version) for version in (0, 10, 20)]

    snapshots.insert_events(kept)

    assert snapshots.select_events("a") == kept
    assert snapshots.select_events("a", limit=2) == kept[:2]
    assert snapshots.select_events("a", gt=0, lte=20, desc=True, limit=1) == kept[2:]
    assert factory.aggregate_recorder().select_events("a") == []
    with pytest.raises(InfrastructureFactoryError, match="no secrets"):
        factory.aggregate_recorder("secrets")


# --- cipher and compressor --------------------------------------------------------------


def test_what_the_library_seals_and_packs_is_kept_so(new_environment: Callable[..., Any]) -> None:
    environment = new_environment("sqlite") | {
        "COMPRESSOR_TOPIC": "zlib",
        "CIPHER_TOPIC": get_topic(AESCipher),
        "CIPHER_KEY": AESCipher.create_key(16),
    }
    with DogSchool(environment) as school:
        fido = school.register("Fido the secretive")
        school.teach(fido, "hide")
        assert school.tricks(fido) == ["hide"]

    below = config.of_environment().address(environment["REFOLD_STORE"])
    with open_at(applications.place(below, "DogSchool")) as store:
        records = store.log.page(0, 0, 10)
    assert [each.type.rpartition(":")[2] for each in records] == [
        "Dog.Registered",
        "Dog.TrickAdded",
    ]
    assert not any(b"Fido" in each.data or b"hide" in each.data for each in records)


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "given", "make"),
    [
        ("APPLICATION_RECORDER_TOPIC", POPOApplicationRecorder, "application_recorder"),
        ("PROCESS_RECORDER_TOPIC", POPOApplicationRecorder, "process_recorder"),
        ("TRACKING_RECORDER_TOPIC", POPOTrackingRecorder, "tracking_recorder"),
    ],
)
def test_recorders_of_other_databases_are_refused(
    new_environment: Callable[..., Any], key: str, given: type, make: str
) -> None:
    factory = Factory(Environment("Kept", new_environment("memory") | {key: get_topic(given)}))

    with pytest.raises(InfrastructureFactoryError, match="cannot stand on a refold store"):
        getattr(factory, make)()


def test_a_recorder_of_ones_own_may_build_on_refolds(new_environment: Callable[..., Any]) -> None:
    named = {"PROCESS_RECORDER_TOPIC": get_topic(OwnRecorder)}
    factory = Factory(Environment("Kept", new_environment("memory") | named))

    assert type(factory.process_recorder()) is OwnRecorder


class OwnRecorder(RefoldProcessRecorder):
    pass


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({}, "REFOLD_STORE names no store"),
        ({"REFOLD_STORE": ""}, "REFOLD_STORE names no store"),
        ({"REFOLD_STORE": "oracle://x"}, "a store's address starts with"),
        ({"REFOLD_STORE": f"sqlite:///{__file__}"}, "applications need a folder"),
        ({"REFOLD_STORE": f"sqlite:///{__file__}/sub"}, "applications need a folder"),
    ],
)
def test_an_environment_without_a_place_is_told_so(named: dict[str, str], sentence: str) -> None:
    with pytest.raises(InfrastructureFactoryError, match=sentence):
        Factory(Environment("Kept", named))


def test_a_store_is_not_made_where_that_is_not_wanted(kept_environment: dict[str, str]) -> None:
    without = kept_environment | {"CREATE_TABLE": "n"}

    with pytest.raises(OperationalError, match="there is no store"):
        Factory(Environment("Kept", without)).process_recorder()

    for named in (kept_environment, without):
        factory = Factory(Environment("Kept", named))
        assert factory.application_recorder().max_notification_id() is None
        factory.close()


def test_a_store_of_several_partitions_is_refused(
    new_environment: Callable[..., Any], tmp_path: Path
) -> None:
    environment = Environment("Kept", new_environment("sqlite"))
    made = Factory(environment)
    made.application_recorder()
    made.close()
    [path] = tmp_path.glob("*/kept.db")
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO heads VALUES (1, 'open', NULL)")

    with pytest.raises(InfrastructureFactoryError, match="has several partitions"):
        Factory(environment).application_recorder()


# --- names ------------------------------------------------------------------------------


def test_each_application_has_a_store_of_its_own() -> None:
    postgres, sqlite = parse("postgresql:///db"), parse("sqlite:///shop")

    assert applications.place(postgres, "Orders").public == "postgresql:///db?schema=refold_orders"
    assert applications.place(sqlite, "Orders").public.endswith("/shop/orders.db")
    assert applications.place(sqlite, "").public.endswith("/shop/stored.db")
    assert applications.place(Memory(), "Orders") == Memory()


@pytest.mark.parametrize("name", ["a-b", "../x", "é", "x" * 41])
def test_a_name_that_names_no_store_is_refused(name: str) -> None:
    with pytest.raises(InfrastructureFactoryError, match="application's name"):
        Factory(Environment(name, {"REFOLD_STORE": "memory:"}))
