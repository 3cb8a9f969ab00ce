"""What the library's own recorders get wrong is right here.

Where it is cheap, a test first shows the fault: with the library's own recorder on PostgreSQL.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from threading import Thread, Timer
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    OperationalError,
    PersistenceError,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
)
from eventsourcing.popo import POPOProcessRecorder
from eventsourcing.utils import Environment

from refold.domain.errors import Unavailable
from refold.domain.ports import State
from refold.infrastructure import applications, config
from refold.infrastructure.eventsourcing.factory import Factory
from refold.infrastructure.eventsourcing.log import ApplicationLog
from refold.infrastructure.postgres.cluster import throwaway
from refold.infrastructure.postgres.log import PostgresLog
from refold.infrastructure.sqlite.connection import immediate
from refold.tests.infrastructure.faults.proxy import Cut, proxy

New = Callable[[str], dict[str, str]]

WRITERS = 8
STARTS = 32


def stored(version: int = 1, id: UUID | None = None) -> StoredEvent:
    return StoredEvent(id or uuid4(), version, "topic", b"state")


def library(url: str, **more: str) -> Environment:
    """An environment of the library's own recorders on a PostgreSQL server."""
    parts = urlsplit(url)
    named = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "POSTGRES_HOST": parts.hostname or "localhost",
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": parts.username or os.environ.get("PGUSER", "postgres"),
        "POSTGRES_PASSWORD": parts.password or "none",
    }
    return Environment("Tried", named | more)


@contextmanager
def made(environment: Environment) -> Iterator[InfrastructureFactory]:
    factory = InfrastructureFactory.construct(environment)
    try:
        yield factory
    finally:
        factory.close()


# --- a tailing reader -------------------------------------------------------------------


def test_a_tailing_reader_misses_nothing_under_writers(kept_environment: dict[str, str]) -> None:
    each = 40
    with made(Environment("Tailed", kept_environment)) as factory:
        recorder = factory.application_recorder()
        expected = WRITERS * each * 2

        def write(_: int) -> None:
            with made(Environment("Tailed", kept_environment)) as own:  # else they share commits
                writer = own.application_recorder()
                for _ in range(each):
                    id = uuid4()
                    writer.insert_events([stored(1, id), stored(2, id)])

        with ThreadPoolExecutor(WRITERS) as pool, recorder.subscribe(gt=0) as subscription:
            writing = [pool.submit(write, number) for number in range(WRITERS)]
            ids = [next(subscription).id for _ in range(expected)]
            for each_writer in writing:
                each_writer.result()

    assert ids == list(range(1, expected + 1))


def test_a_reader_at_rest_sees_an_event_at_once_and_another_process_s_soon(
    kept_environment: dict[str, str],
) -> None:
    """A factory of its own is to this one what another process is."""
    with (
        made(Environment("Tailed", kept_environment)) as factory,
        made(Environment("Tailed", kept_environment)) as elsewhere,
    ):
        here, there = factory.application_recorder(), elsewhere.application_recorder()
        with here.subscribe(gt=0) as subscription:
            at_once = sorted(_seen_after(subscription, here) for _ in range(5))
            soon = sorted(_seen_after(subscription, there) for _ in range(5))

    assert at_once[2] < 0.02
    assert soon[2] < 0.2


def _seen_after(subscription: Iterator[object], writer: ApplicationRecorder) -> float:
    """Return how long after an event was appended a reader at rest has it."""
    seen: list[float] = []

    def read() -> None:
        next(subscription)
        seen.append(monotonic())

    thread = Thread(target=read)
    thread.start()
    sleep(0.3)
    writer.insert_events([stored()])
    appended = monotonic()
    thread.join()
    return seen[0] - appended


# --- a store that moved, or was put back ------------------------------------------------


def test_who_follows_a_store_that_moved_is_told_so_behind_its_last_event(
    kept_environment: dict[str, str],
) -> None:
    below = config.of_environment().address(kept_environment["REFOLD_STORE"])
    with made(Environment("Moved", kept_environment)) as factory:
        recorder = factory.application_recorder()
        recorder.insert_events([stored(), stored()])
        with closing(applications.opened(applications.place(below, "Moved"), create=False)) as log:
            log.change_state(State.SEALED, successor="sqlite:///there")

        with _following(recorder, 0) as subscription:
            assert [next(subscription).id for _ in range(2)] == [1, 2]
            with pytest.raises(OperationalError, match="has moved to sqlite:///there"):
                next(subscription)
        assert [each.id for each in recorder.select_notifications(1, 9)] == [1, 2]
        assert [each.id for each in recorder.select_notifications(1, 2, topics=["topic"])] == [1, 2]
        assert recorder.select_notifications(1, 9, topics=["other"]) == []
        with pytest.raises(OperationalError, match="has moved to sqlite:///there"):
            recorder.select_notifications(3, 9)


def test_who_follows_from_behind_the_end_is_told_that_the_log_went_back(
    environment: dict[str, str],
) -> None:
    with made(Environment("Restored", environment)) as factory:
        recorder = factory.application_recorder()
        recorder.insert_events([stored()])

        with (
            _following(recorder, 100) as subscription,
            pytest.raises(OperationalError, match="the log ends at 1, before 100: it went back"),
        ):
            next(subscription)
        with _following(recorder, 1) as subscription:
            Timer(0.3, lambda: recorder.insert_events([stored()])).start()
            assert next(subscription).id == 2


@contextmanager
def _following(recorder: ApplicationRecorder, after: int) -> Iterator[Subscription[Any]]:
    """Subscribe, for ten seconds at most."""
    with recorder.subscribe(gt=after) as subscription:
        late = Timer(10, subscription.stop)
        late.start()
        yield subscription
        late.cancel()


# --- an acknowledgement that was lost ---------------------------------------------------


@pytest.mark.parametrize("cut", [Cut.APPEND_LOST, Cut.APPEND_UNANSWERED])
def test_a_commit_whose_acknowledgement_was_lost_is_no_conflict(
    postgres_url: str, cut: Cut
) -> None:
    _make(postgres_url)
    with proxy(postgres_url) as cutting:
        log = PostgresLog(cutting.url, "refold_stored")
        recording = ApplicationLog(log)
        recording.append([stored()], None)
        cutting.cut_next(cut)
        positions = recording.append([stored(), stored()], None)
        recording.close()

    assert cutting.struck == {cut: 1}
    assert positions == [2, 3]


@pytest.mark.parametrize("cut", [Cut.APPEND_LOST, Cut.APPEND_UNANSWERED])
@pytest.mark.parametrize("events", [0, 1])
def test_a_tracking_whose_acknowledgement_was_lost_is_no_conflict(
    postgres_url: str, cut: Cut, events: int
) -> None:
    _make(postgres_url)
    with proxy(postgres_url) as cutting:
        recording = ApplicationLog(PostgresLog(cutting.url, "refold_stored"))
        cutting.cut_next(cut)
        positions = recording.append([stored() for _ in range(events)], Tracking("up", 5))
        tracked = recording.tracked("up")
        with pytest.raises(IntegrityError):
            recording.append([], Tracking("up", 5))
        recording.close()

    assert cutting.struck == {cut: 1}
    assert (positions, tracked) == ([1][:events], 5)


@pytest.mark.parametrize("cut", [Cut.APPEND_LOST, Cut.APPEND_UNANSWERED])
def test_snapshots_whose_acknowledgement_was_lost_are_no_conflict(
    postgres_url: str, cut: Cut
) -> None:
    _make(postgres_url)
    kept = [stored(1), stored(2)]
    with proxy(postgres_url) as cutting:
        recording = ApplicationLog(PostgresLog(cutting.url, "refold_stored"))
        cutting.cut_next(cut)
        recording.keep_snapshots(kept)
        cutting.cut_next(cut)
        with pytest.raises(IntegrityError):
            recording.keep_snapshots([stored(3), replace(kept[0], state=b"another")])
        found = [recording.snapshots(each.originator_id, -1, 9, 9) for each in kept]
        recording.close()

    assert cutting.struck[cut] >= 1
    assert found == [[each] for each in kept]


def test_snapshots_that_went_into_a_file_before_an_error_are_no_conflict(
    new_environment: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit succeeds, and then says that it did not."""

    @contextmanager
    def failing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        with immediate(connection):
            yield connection
        monkeypatch.undo()
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error

    kept = [stored(1), stored(2)]
    with made(Environment("Kept", new_environment("sqlite"))) as factory:
        snapshots = factory.aggregate_recorder("snapshots")
        monkeypatch.setattr("refold.infrastructure.sqlite.log.immediate", failing)
        snapshots.insert_events(kept)

        with pytest.raises(IntegrityError):
            snapshots.insert_events(kept)
        assert [snapshots.select_events(each.originator_id) for each in kept] == [
            [each] for each in kept
        ]


# --- many applications at once ----------------------------------------------------------


def test_the_librarys_own_recorders_fail_when_many_start_at_once(postgres_url: str) -> None:
    def start(name: str) -> bool:
        environment = library(postgres_url)
        environment.name = name
        try:
            with made(environment) as factory:
                factory.process_recorder()
        except PersistenceError:
            return False
        return True

    with ThreadPoolExecutor(STARTS) as pool:
        rounds = (all(pool.map(start, [f"App{number}"] * STARTS)) for number in range(5))
        assert not all(rounds)


def test_many_applications_may_start_at_once(kept_environment: dict[str, str]) -> None:
    def start(number: int) -> int:
        with made(Environment(f"App{number % 4}", kept_environment)) as factory:
            factory.process_recorder().insert_events([stored()])
            return 1

    with ThreadPoolExecutor(STARTS) as pool:
        assert sum(pool.map(start, range(STARTS))) == STARTS


# --- a server that restarts -------------------------------------------------------------


def test_a_subscription_survives_a_restart_of_the_database() -> None:
    with throwaway() as cluster, ExitStack() as stack:
        environment = {"REFOLD_STORE": cluster.url}
        ours = stack.enter_context(_factory(environment)).application_recorder()
        theirs = stack.enter_context(made(library(cluster.url))).application_recorder()
        own, other = ours.subscribe(gt=0), theirs.subscribe(gt=0)
        for recorder in (ours, theirs):
            recorder.insert_events([stored()])
        assert (next(own).id, next(other).id) == (1, 1)

        cluster.restart("immediate")
        got = Thread(target=lambda: found.extend([next(own).id]), daemon=True)
        found: list[int] = []
        got.start()
        sleep(0.2)
        ours.insert_events([stored()])
        _again(lambda: theirs.insert_events([stored()]))

        got.join(20)
        assert found == [2]
        with pytest.raises((PersistenceError, StopIteration)):
            next(other)
        other.stop()
        own.stop()


def _make(url: str) -> None:
    with _factory({"REFOLD_STORE": url}) as factory:
        factory.process_recorder()


@contextmanager
def _factory(environment: dict[str, str]) -> Iterator[Factory]:
    factory = Factory(Environment("", environment))
    try:
        yield factory
    finally:
        factory.close()


def _again(work: Callable[[], object]) -> None:
    """Do what a pool of broken connections refuses, until it goes well."""
    for _ in range(20):
        try:
            work()
        except PersistenceError:
            sleep(0.1)
        else:
            return


# --- a store that is closed -------------------------------------------------------------


def test_what_is_used_after_the_store_was_closed_says_so_at_once(
    environment: dict[str, str],
) -> None:
    factory = Factory(Environment("Closed", environment))
    recorder, snapshots = factory.process_recorder(), factory.aggregate_recorder("snapshots")
    factory.close()
    factory.close()

    uses: list[Callable[[], object]] = [
        lambda: recorder.insert_events([stored()]),
        lambda: recorder.insert_events([], tracking=Tracking("up", 1)),
        lambda: recorder.select_events(uuid4()),
        lambda: recorder.select_events(uuid4(), desc=True, limit=1),
        lambda: recorder.select_notifications(1, 9),
        lambda: recorder.max_tracking_id("up"),
        lambda: recorder.wait("up", 1),
        lambda: next(recorder.subscribe(gt=0)),
        lambda: snapshots.insert_events([stored()]),
        lambda: snapshots.select_events(uuid4()),
    ]
    for use in uses:
        with pytest.raises(OperationalError, match="this application's store is closed"):
            use()


def test_who_waits_while_the_store_is_closed_is_told_so(environment: dict[str, str]) -> None:
    factory = Factory(Environment("Closed", environment))
    recorder = factory.process_recorder()

    with _following(recorder, 0) as subscription, ThreadPoolExecutor(2) as pool:
        waiting: list[Future[object]] = [
            pool.submit(next, subscription),
            pool.submit(recorder.wait, "up", 1, timeout=10),
        ]
        sleep(0.2)
        factory.close()
        for each in waiting:
            with pytest.raises(OperationalError, match="is closed"):
                each.result()


def test_a_closed_log_is_not_waited_for(postgres_url: str) -> None:
    _make(postgres_url)
    log = PostgresLog(postgres_url, "refold_stored")
    log.close()

    with pytest.raises(Unavailable, match="this log is closed"):
        log.heads()


def test_who_is_at_work_while_the_store_is_closed_is_told_so(
    kept_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = Factory(Environment("Closed", kept_environment))
    recorder, log = factory.application_recorder(), factory._log._log
    heads = log.heads

    def close_before() -> object:
        factory.close()
        return heads()

    monkeypatch.setattr(log, "heads", close_before)
    with pytest.raises(OperationalError, match="is closed"):
        recorder.max_notification_id()


# --- waiting ----------------------------------------------------------------------------


def test_wait_returns_within_20_ms_of_an_event_being_processed(
    kept_environment: dict[str, str],
) -> None:
    with (
        made(Environment("Waited", kept_environment)) as factory,
        made(Environment("Waited", kept_environment)) as elsewhere,
    ):
        here, there = factory.process_recorder(), elsewhere.process_recorder()
        late = sorted(_lateness(here, there, number) for number in range(1, 12))

    assert late[len(late) // 2] < 0.02


def test_the_librarys_own_wait_looks_after_100_ms() -> None:
    recorder = POPOProcessRecorder()

    assert min(_lateness(recorder, recorder, number) for number in range(1, 4)) > 0.04


def _lateness(here: ProcessRecorder, there: ProcessRecorder, number: int) -> float:
    """Return how long after an event was processed somebody who waits for it knows."""
    done: list[float] = []

    def waiting() -> None:
        here.wait("up", number, timeout=5)
        done.append(monotonic())

    thread = Thread(target=waiting)
    thread.start()
    sleep(0.03)
    there.insert_tracking(Tracking("up", number))
    processed = monotonic()
    thread.join()
    return done[0] - processed
