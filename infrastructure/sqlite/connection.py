"""Connections to SQLite files, and what the driver's errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from refold.domain.errors import Unavailable
from refold.infrastructure.patience import Passing

BUSY_SECONDS: Final = 30.0
"""How long a connection waits for another's lock."""

WAL_PAGES: Final = 4_000
"""Length of the write-ahead log, 16 MB, from which it is written back: a page once for many."""

_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""SQLite's primary codes of errors that may be over in a moment."""


def connect(path: Path, cache: int = 2_000) -> sqlite3.Connection:
    """Return a connection in WAL mode that loses no commit, in the driver's autocommit mode.

    It may be used by any thread, one at a time. `cache` is how many kB of pages it holds at most,
    by default as many as SQLite would. Raises `Unavailable` when there is no such file to be had,
    or it is no database.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        _into_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{cache}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # an erased key is to leave the file
    except sqlite3.DatabaseError as error:
        raise unavailable(path, error) from error
    return connection


def _into_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; the switch itself does not wait for locks, so it is tried again here."""
    deadline = monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or monotonic() > deadline:
                raise
            sleep(0.01)


@contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run a block as one writing transaction: a deferred one could not wait for its lock."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_passing(error: BaseException | None) -> bool:
    """Tell whether the same may go well when tried again: a lock, no room, a failed read."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING


def unavailable(path: Path, error: BaseException | None) -> Unavailable:
    """Return what the caller is told of `error`: the file and SQLite's own name for it.

    It is `Passing` where it may help to try again.
    """
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = Passing if is_passing(error) else Unavailable
    return kind(f"the SQLite file {path} cannot be used: {name}")
