"""Errors that pass are waited for, rows that are refused are parked, and neither is taken for it.

The errors here come from PostgreSQL and SQLite themselves, while a page is being folded.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from refold.domain.errors import Unavailable
from refold.domain.positions import Positions
from refold.infrastructure import commands
from refold.infrastructure.open import open_store
from refold.infrastructure.patience import Passing, patiently
from refold.infrastructure.postgres.connection import available
from refold.infrastructure.postgres.rows import PostgresRows
from refold.infrastructure.sqlite import connection as sqlite_connection
from refold.infrastructure.sqlite.connection import unavailable
from refold.infrastructure.sqlite.rows import SqliteRows
from refold.infrastructure.store import Store
from refold.projections import catalog

ADDRESS: Final = "postgresql://ada@localhost/files"

# --- what each error says -----------------------------------------------------------------

STATES: Final = sorted(
    {
        error.sqlstate
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, psycopg.Error) and error.sqlstate
    }
)
"""Every SQLSTATE that the driver knows."""

TRANSIENT: Final = {
    "08000 08001 08003 08004 08006 08007 08P01": "connections",
    "40000 40001 40002 40003 40P01": "rolled back: deadlocks, serialization failures",
    "53000 53100 53200 53300 53400": "out of resources",
    "55P03": "a lock is not to be had",
    "57000 57014 57P01 57P02 57P03 57P04 57P05": "somebody intervened, or time was up",
    "58000 58030 58P01 58P02 58P03": "outside PostgreSQL",
    "25P03 25P04": "a transaction took too long",
}
REFUSED: Final = {"23502"}
"""Besides class 22, the errors of data."""


def verdict(error: Exception) -> str:
    """Return what refold makes of an error that comes while a page is folded."""
    if PostgresRows(ADDRESS, "refold").refuses(error):
        return "refused row"
    try:
        with available(ADDRESS):
            raise error
    except Passing:
        return "transient"
    except (Unavailable, psycopg.Error):
        return "neither"


def expected(state: str) -> str:
    if any(state in states.split() for states in TRANSIENT):
        return "transient"
    return "refused row" if state in REFUSED or state[:2] in ("22", "54") else "neither"


@pytest.mark.parametrize("state", STATES)
def test_every_sqlstate_says_what_is_to_be_done(state: str) -> None:
    error = errors.lookup(state)()

    assert verdict(error) == expected(state)


def test_the_drivers_list_holds_all_that_is_named_here() -> None:
    named = {state for states in TRANSIENT for state in states.split()} | REFUSED

    assert named <= set(STATES)
    assert len(STATES) > 250


@pytest.mark.parametrize("state", ["40001", "57P01"])
def test_an_error_that_comes_through_sqlalchemy_says_the_same(state: str) -> None:
    error = errors.lookup(state)()

    with pytest.raises(Passing), available(ADDRESS):
        raise DBAPIError.instance("SELECT 1", None, error, psycopg.Error)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.OperationalError("the connection is lost"), "transient"),
        (psycopg.InterfaceError("the connection is closed"), "transient"),
        (psycopg.DataError("a value that cannot be sent"), "refused row"),
        (psycopg.ProgrammingError("a mistake of ours"), "neither"),
        (OverflowError("a number of 65 bits"), "refused row"),
    ],
)
def test_errors_of_the_driver_itself_have_no_sqlstate(error: Exception, said: str) -> None:
    assert verdict(error) == said


SQLITE_TRANSIENT: Final = {5, 6, 10, 13, 15}  # BUSY, LOCKED, IOERR, FULL, PROTOCOL
SQLITE_REFUSED: Final = {18, 19 | 5 << 8, 19 | 12 << 8}  # TOOBIG, NOTNULL, DATATYPE


@pytest.mark.parametrize("primary", range(1, 27))  # ERROR to NOTADB
def test_every_code_of_sqlite_says_what_is_to_be_done(primary: int) -> None:
    for code in (primary | extension << 8 for extension in range(40)):
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = code

        refused = SqliteRows(Path("files.db")).refuses(error)
        is_passing = isinstance(unavailable(Path("files.db"), error), Passing)

        assert refused == (code in SQLITE_REFUSED)
        assert is_passing == (primary in SQLITE_TRANSIENT)


# --- trying again -------------------------------------------------------------------------


def test_what_passes_is_tried_again_until_time_is_up() -> None:
    tried = []

    def work() -> str:
        tried.append(time.monotonic())
        if len(tried) < 3:
            raise Passing("not yet")
        return "done"

    assert patiently(work) == "done"
    assert len(tried) == 3
    assert tried[2] - tried[0] >= 0.15  # 0.05 s, and then twice that


def test_what_does_not_pass_in_time_is_an_error_that_nobody_tries_again() -> None:
    def work() -> None:
        raise Passing("SQLSTATE 53300")

    began = time.monotonic()
    with pytest.raises(Unavailable, match="53300") as refusal:
        patiently(lambda: patiently(work, 0.2), 30)

    assert not isinstance(refusal.value, Passing)
    assert 0.1 < time.monotonic() - began < 5


def test_another_error_comes_out_at_once() -> None:
    tried = []

    def work() -> None:
        tried.append(1)
        raise Unavailable("SQLSTATE 42501")

    with pytest.raises(Unavailable, match="42501"):
        patiently(work, 30)

    assert tried == [1]


# --- while a page is folded ---------------------------------------------------------------


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    """A store on PostgreSQL whose tables are one file behind."""
    with open_store(postgres_url, create=True) as store:
        behind(store)
    yield from opened(postgres_url)


def opened(url: str) -> Iterator[Store]:
    with open_store(url) as store:
        yield store


def behind(store: Store) -> None:
    register(store, 1)
    store.folder.catch_up()
    register(store, 2)


def register(store: Store, number: int) -> None:
    fields = {"sha256": f"{number:064x}", "cid": "bafy", "name": "a"}
    commands.run(store, "file.register", fields, command_id=str(number), actor="ada")


def outcome(store: Store) -> tuple[int, dict[str, int]]:
    """Return how many files the table has, and how many keys of each table are parked."""
    with store.tables.reading() as connection:
        parked = {
            name: len(keys)
            for name, generation in store.tables.current(connection).items()
            if (keys := store.tables.parked(connection, generation))
        }
        listed = connection.exec_driver_sql(
            f"SELECT count(*) FROM {store.tables.current(connection)['files'].table.fullname}"
        )
        return listed.scalar_one(), parked


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
def test_a_lock_that_is_not_to_be_had_in_time_is_waited_for(
    postgres_url: str, setting: str
) -> None:
    with open_store(postgres_url, create=True) as store:
        behind(store)
    database = postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {database} SET {setting} = '100ms'".encode())
    with (
        psycopg.connect(postgres_url) as other,
        open_store(postgres_url) as store,
        ThreadPoolExecutor(1) as pool,
    ):
        lock(other, store, "files")
        folding = pool.submit(store.folder.catch_up)
        rolled_back = rollbacks(postgres_url, at_least=2)
        other.rollback()

        assert folding.result(30) == Positions((2,))
        assert outcome(store) == (2, {})
        assert rolled_back


def test_a_session_that_an_operator_ended_is_replaced(store: Store, postgres_url: str) -> None:
    with (
        psycopg.connect(postgres_url) as other,
        psycopg.connect(postgres_url, autocommit=True) as owner,
        ThreadPoolExecutor(1) as pool,
    ):
        lock(other, store, "files")
        folding = pool.submit(store.folder.catch_up)
        owner.execute("SELECT pg_terminate_backend(%s)", (waiting(owner),))
        until(lambda: waiting(owner))
        other.rollback()

        assert folding.result(30) == Positions((2,))
        assert outcome(store) == (2, {})


def test_a_page_that_a_deadlock_rolled_back_is_folded_again(
    store: Store, postgres_url: str
) -> None:
    first, second = [each.NAME for each in catalog.ALL if each.NAME in ("files", "file_counts")]
    with (
        psycopg.connect(postgres_url) as other,
        psycopg.connect(postgres_url, autocommit=True) as owner,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("SET deadlock_timeout = '20s'")  # so that the folder is the victim
        lock(other, store, second)
        folding = pool.submit(store.folder.catch_up)
        waiting(owner)
        lock(other, store, first)  # returns once the folder gave way
        deadlocks = until(lambda: counter(owner, "deadlocks"))
        other.rollback()

        assert folding.result(30) == Positions((2,))
        assert outcome(store) == (2, {})
        assert deadlocks == 1


def test_a_busy_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'files.db'}"
    with open_store(url, create=True) as store:
        behind(store)
    monkeypatch.setattr(sqlite_connection, "BUSY_SECONDS", 0.05)
    with (
        open_store(url) as store,
        closing(sqlite3.connect(tmp_path / "files.db-tables", isolation_level=None)) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("BEGIN IMMEDIATE")
        folding = pool.submit(store.folder.catch_up)
        time.sleep(0.5)  # many times as long as the folder waits for a lock
        was_waiting = not folding.done()
        other.execute("ROLLBACK")

        assert was_waiting
        assert folding.result(30) == Positions((2,))
        assert outcome(store) == (2, {})


# --- the other session --------------------------------------------------------------------


def lock(other: psycopg.Connection, store: Store, name: str) -> None:
    with store.tables.reading() as connection:
        table = store.tables.current(connection)[name].table.fullname
    other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())


def until(found: Callable[[], int | None]) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.02)
    raise TimeoutError


def waiting(owner: psycopg.Connection) -> int:
    """Return the process that waits for a lock, once there is one."""
    return until(lambda: _waiting(owner))


def _waiting(owner: psycopg.Connection) -> int | None:
    row = owner.execute(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return row[0] if row else None


def rollbacks(url: str, at_least: int) -> int:
    """Wait until so many more transactions were rolled back."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("SET statement_timeout = 0")
        before = counter(owner, "xact_rollback")
        return until(lambda: max(0, counter(owner, "xact_rollback") - before - at_least + 1))


def counter(owner: psycopg.Connection, name: str) -> int:
    row = owner.execute(
        f"SELECT {name} FROM pg_stat_database WHERE datname = current_database()".encode()
    ).fetchone()
    return int(row[0]) if row else 0
