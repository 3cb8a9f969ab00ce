"""PostgreSQL ends sessions and statements under load: writers and a folder go on by themselves."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import sleep
from typing import Final

import psycopg
import pytest
from psycopg.errors import SerializationFailure

from refold.domain.ports import Appended
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.cluster import Cluster, throwaway
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults import forks
from refold.tests.infrastructure.faults.events import registration
from refold.tests.infrastructure.faults.forks import wait
from refold.tests.infrastructure.faults.invariant import acknowledged, check
from refold.tests.infrastructure.faults.lengths import LONG
from refold.tests.infrastructure.faults.processes import PATIENCE

WRITERS: Final = 4
LOGGER: Final = logging.getLogger(__name__)
TIMES: Final = 100 if LONG else 10
END_ALL: Final = (
    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database() OFFSET 0) AS others"
)

Record = Callable[[str, object], None]
Session = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server whose log tells what it did to sessions and statements."""
    with throwaway() as cluster:
        yield cluster


@pytest.fixture
def address(cluster: Cluster) -> str:
    """The address of an empty store on that server."""
    with psycopg.connect(cluster.url, autocommit=True) as owner:
        owner.execute("ALTER DATABASE postgres RESET ALL")
        owner.execute("DROP SCHEMA IF EXISTS refold CASCADE")
    open_store(cluster.url, create=True).close()
    return cluster.url


def test_writers_go_on_when_an_operator_ends_all_sessions(
    address: str, record_property: Record
) -> None:
    ended = 0
    with (
        open_store(address) as store,
        _loaded(store) as done,
        psycopg.connect(address, autocommit=True) as operator,
    ):
        while ended < WRITERS * TIMES:
            ended += operator.execute(END_ALL).fetchall().count((True,))
            _wait_for_more(done)

    with open_store(address) as store:
        check(store, _all(done))
    record_property("session ended by pg_terminate_backend", ended)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("lock_timeout", "canceling statement due to lock timeout"),
        ("statement_timeout", "canceling statement due to statement timeout"),
    ],
)
def test_writers_go_on_when_a_lock_is_held_for_longer_than_a_timeout(
    cluster: Cluster, address: str, record_property: Record, setting: str, told: str
) -> None:
    before = _said(cluster, told)
    with psycopg.connect(address) as other:
        other.execute(f"ALTER DATABASE postgres SET {setting} = '30ms'".encode())
        other.commit()
        with open_store(address) as store, _loaded(store) as done:
            for _ in range(TIMES // 2):
                other.execute("SELECT * FROM refold.heads FOR UPDATE")
                seen = _said(cluster, told)
                wait(lambda seen=seen: _said(cluster, told) > seen)  # type: ignore[misc]
                other.rollback()
                _wait_for_more(done)
        other.execute("ALTER DATABASE postgres RESET ALL")

    with open_store(address) as store:
        check(store, _all(done))
    record_property(setting, _said(cluster, told) - before)


def test_a_writer_that_stops_in_a_transaction_holds_nobody_up(
    cluster: Cluster, address: str, tmp_path: Path, record_property: Record
) -> None:
    told = "terminating connection due to idle-in-transaction timeout"
    before = _said(cluster, told)
    with psycopg.connect(address, autocommit=True) as owner:
        owner.execute("ALTER DATABASE postgres SET idle_in_transaction_session_timeout = '20ms'")
    with forks.forked(tmp_path, forks.append_anywhere, address, "writer") as writer:
        wait(lambda: "done" in writer.stdout)
        for _ in range(10 * TIMES):
            os.kill(writer.pid, signal.SIGSTOP)
            sleep(0.03)
            writer.go_on()
            if _said(cluster, told) - before >= TIMES // 3:
                break
            sleep(0.01)
        more = writer.stdout.count("\n") + 5
        wait(lambda: writer.stdout.count("\n") > more)

    struck = _said(cluster, told) - before
    assert struck >= TIMES // 3
    with open_store(address) as store:
        printed = writer.stdout.rpartition("\n")[0]
        check(store, acknowledged(printed))
    record_property("session ended in an idle transaction", struck)


def test_writers_meet_no_serialization_failure_where_that_is_the_servers_default(
    address: str, record_property: Record
) -> None:
    with psycopg.connect(address, autocommit=True) as owner:
        owner.execute("ALTER DATABASE postgres SET default_transaction_isolation = serializable")
        owner.execute("CREATE TABLE IF NOT EXISTS skew (who int)")
    struck = 0
    with open_store(address) as store, _loaded(store) as done:
        while struck < TIMES:
            struck += _write_skew(address)
        _wait_for_more(done)

    with open_store(address) as store:
        check(store, _all(done))
    record_property("serialization failure beside the writers", struck)


def _write_skew(address: str) -> int:
    """Let two sessions read what the other writes, and return how many of them failed."""
    with psycopg.connect(address) as one, psycopg.connect(address) as other:
        for number, session in enumerate((one, other)):
            session.execute("SELECT count(*) FROM skew")
            session.execute("INSERT INTO skew VALUES (%s)", (number,))
        one.commit()
        try:
            other.commit()
        except SerializationFailure:
            return 1
    return 0


# --- the load -------------------------------------------------------------------------


@contextmanager
def _loaded(store: Store) -> Iterator[list[dict[str, int]]]:
    """Append from several threads, on the fast and the locked path, and fold beside them.

    Yields where each writer's commands went. Nobody here tries again.
    """
    done: list[dict[str, int]] = [{} for _ in range(WRITERS)]
    enough = Event()
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        work = [pool.submit(_write, store, f"w{n}", own, enough) for n, own in enumerate(done)]
        work.append(pool.submit(_fold, store, enough))
        try:
            _wait_for_more(done)
            yield done
        finally:
            enough.set()
    _succeed(work)


def _write(store: Store, name: str, done: dict[str, int], enough: Event) -> None:
    while not enough.is_set():
        id = f"{name}-{len(done)}"
        exact = None if len(done) % 2 else 0
        try:
            [outcome] = store.commits.append([registration(id, id, expected=exact)])
        except Exception:
            LOGGER.exception("writer %s ended", name)  # or nobody knows why one waits for it
            raise
        assert isinstance(outcome, Appended)
        done[id] = outcome.position


def _fold(store: Store, enough: Event) -> None:
    while not enough.is_set():
        store.folder.catch_up()


def _succeed(work: "list[Future[None]]") -> None:
    for each in work:
        each.result(PATIENCE)


def _wait_for_more(done: list[dict[str, int]]) -> None:
    """Return once each writer was acknowledged twice more."""
    before = [len(own) for own in done]
    wait(lambda: all(len(own) > old + 1 for own, old in zip(done, before, strict=True)))


def _all(done: list[dict[str, int]]) -> dict[str, int]:
    return {id: position for own in done for id, position in own.items()}


def _said(cluster: Cluster, told: str) -> int:
    """Count how often the server has told something."""
    return (cluster.home / "log").read_text(errors="replace").count(told)
