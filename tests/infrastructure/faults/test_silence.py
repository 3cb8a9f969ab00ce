"""A network that swallows everything: nobody waits for ever, and a command is in the log once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Final

import psycopg
import pytest

from refold.domain import file
from refold.domain.errors import Unavailable
from refold.domain.ports import Appended
from refold.infrastructure import chain
from refold.infrastructure.address import Connecting, parse
from refold.infrastructure.open import open_at, open_store
from refold.infrastructure.postgres.silence import Asking
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults.events import command
from refold.tests.infrastructure.faults.proxy import Proxy, Silence, proxy

CONNECTING: Final = Connecting(connect_seconds=2, silent_seconds=1.0)
THREADS: Final = 3
IN_TIME: Final = 12.0
"""Two batches, each of them silent for a second, and for two more when the server is asked."""


@pytest.mark.parametrize("silence", Silence)
def test_every_thread_is_told_in_time_and_its_command_is_in_the_log_once(
    postgres_url: str, silence: Silence
) -> None:
    open_store(postgres_url, create=True).close()
    with proxy(postgres_url) as silent, _through(silent.url) as store:
        _append(store, "before")
        silent.fall_silent(silence)
        began = monotonic()
        with ThreadPoolExecutor(THREADS) as threads:
            told = list(threads.map(lambda number: _outcome(store, f"{number}"), range(THREADS)))
        took = monotonic() - began
        silent.speak()
        for number in range(THREADS):
            _append(store, f"{number}")
        kept = [each.command_id for each in store.log.page(0, 0, 99)]

    assert [type(each) for each in told] == [Unavailable] * THREADS
    assert took < IN_TIME
    assert sorted(kept) == [*map(str, range(THREADS)), "before"]


@pytest.mark.parametrize("silence", Silence)
def test_reads_and_tables_are_told_in_time(postgres_url: str, silence: Silence) -> None:
    open_store(postgres_url, create=True).close()
    with proxy(postgres_url) as silent, _through(silent.url) as store:
        store.folder.catch_up()
        silent.fall_silent(silence)
        began = monotonic()
        with pytest.raises(Unavailable):
            store.log.heads()
        with pytest.raises(Unavailable), store.tables.reading():
            pass

        assert monotonic() - began < IN_TIME
        silent.speak()
        assert store.log.heads()[0].position == 0


@pytest.fixture
def asked_elsewhere(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is asked whether it is at work by another way than that which is silent."""
    connect = Asking.connect
    monkeypatch.setattr(Asking, "connect", lambda _, **given: connect(postgres_url, **given))


@pytest.mark.usefixtures("asked_elsewhere")
def test_a_transaction_is_told_in_time(postgres_url: str) -> None:
    open_store(postgres_url, create=True).close()
    with proxy(postgres_url) as silent, _through(silent.url) as store:
        store.folder.catch_up()
        began = monotonic()
        with pytest.raises(Unavailable):
            _read_twice(store, silent)

        assert monotonic() - began < IN_TIME
        silent.speak()


def _read_twice(store: Store, silent: Proxy) -> None:
    with store.tables.reading() as connection:
        connection.exec_driver_sql("SELECT 1")
        silent.fall_silent(Silence.REQUESTS)
        connection.exec_driver_sql("SELECT 1")


@pytest.mark.usefixtures("asked_elsewhere")
def test_an_answer_that_comes_slowly_is_waited_for(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store:
        for number in range(30):
            _append(store, f"{number}")
    with proxy(postgres_url) as slow, _through(slow.url) as store:
        began = monotonic()
        slow.pause_seconds = 0.1
        page = store.log.page(0, 0, 99)

        assert monotonic() - began > 2 * CONNECTING.silent_seconds
        assert len(page) == 30


def test_a_server_that_is_at_work_is_waited_for(postgres_url: str) -> None:
    open_store(postgres_url, create=True).close()
    with _through(postgres_url) as store, psycopg.connect(postgres_url) as other:
        other.execute("SELECT FROM refold.heads FOR UPDATE")
        free = threading.Timer(3 * CONNECTING.silent_seconds, other.rollback)
        free.start()
        began = monotonic()
        _append(store, "1")

        assert monotonic() - began > 2 * CONNECTING.silent_seconds
        free.join()


def test_what_the_network_takes_no_more_of_is_told_in_time(postgres_url: str) -> None:
    open_store(postgres_url, create=True).close()
    large = file.Changed(name="x" * 1_000_000)
    commands = [command(f"{number}", f"file-{number}", 0, large) for number in range(20)]
    with proxy(postgres_url) as silent, _through(silent.url) as store:
        _append(store, "before")
        silent.fall_silent(Silence.REQUESTS)
        with pytest.raises(Unavailable):
            store.commits.append(commands)
        silent.speak()
        again = store.commits.append(commands)
        kept = chain.read(store.log, 0, 1, 99)

    assert all(isinstance(each, Appended) for each in again)
    assert [each.command_id for each in kept] == [each.id for each in commands]


@contextmanager
def _through(url: str) -> Iterator[Store]:
    with open_at(parse(url, None, CONNECTING)) as store:
        yield store


def _append(store: Store, id: str) -> Appended:
    [outcome] = store.commits.append([command(id, f"file-{id}", 0, file.Changed(name="n"))])
    assert isinstance(outcome, Appended)
    return outcome


def _outcome(store: Store, id: str) -> Appended | Unavailable:
    try:
        return _append(store, id)
    except Unavailable as error:
        return error
