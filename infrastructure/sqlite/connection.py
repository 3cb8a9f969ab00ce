"""Connections to SQLite files, and what the driver's errors mean."""

import os
import shlex
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from pathlib import Path
from tempfile import mkstemp
from time import monotonic, sleep
from types import TracebackType
from typing import Final

from sqlalchemy.exc import DBAPIError

from refold.domain.errors import DamagedTables, Refused, Unavailable
from refold.infrastructure.patience import Passing

BUSY_SECONDS: Final = 30.0
"""How long a connection waits for another's lock."""

WAL_PAGES: Final = 2_000
"""Length of the write-ahead log, 8 MB, from which it is written back: a page once for many.

Until then it grows with each commit after opening, which costs half as much again as writing over
what is there; from then on it is written over.
"""

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

_LASTING: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Those of other errors that are about a file, not about what was asked of it."""


class OpenToAll(Refused):
    """A store lies where every user of the machine could change it."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"every user of this machine can write to {path}: chmod o-w {shlex.quote(str(path))}"
        )


def connect(path: Path, cache: int = 2_000, told: "Told | None" = None) -> sqlite3.Connection:
    """Return a connection in WAL mode that loses no commit, in the driver's autocommit mode.

    It may be used by any thread, one at a time. `cache` is how many kB of pages it holds at most,
    by default as many as SQLite would. A file that is made is for its owner alone. Raises
    `OpenToAll`, and `Unavailable` when there is no such file to be had, or it is no database;
    that is `told` of it.
    """
    with suppress(OSError):  # SQLite says which
        _check_closed(path)
        if not path.exists():
            _make(path)
            _check_closed(path)  # another may have been faster
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
        connection.set_authorizer(authorize)
    except sqlite3.DatabaseError as error:
        raise (told or unavailable)(path, error) from error
    return connection


def _make(path: Path) -> None:
    """Make an empty file for its owner alone, unless there is one.

    Nothing of it is open once others see it: closing that would let go of SQLite's locks.
    """
    handle, name = mkstemp(dir=path.parent, prefix=".refold-")
    os.close(handle)
    try:
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def _check_closed(path: Path) -> None:
    """Raise `OpenToAll` where every user of the machine can change the file or take its place.

    In a folder with the sticky bit, as /tmp has it, only owners may.
    """
    real = path.resolve()
    for file in (real.with_name(real.name + suffix) for suffix in ("", "-wal", "-shm")):
        if file.exists() and file.stat().st_mode & stat.S_IWOTH:
            raise OpenToAll(file)
    for folder in {real.parent, path.absolute().parent}:
        if folder.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise OpenToAll(folder)


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


def authorize(
    action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
) -> int:
    """Say whether a statement that is being prepared is one that refold may make."""
    denied = (
        (action, first) in _NEVER
        or action == sqlite3.SQLITE_ATTACH
        or (action == sqlite3.SQLITE_FUNCTION and second == "load_extension")
    )
    return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK


_NEVER: Final = frozenset(
    {
        *product(
            (sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_TABLE),
            ("events", "seals"),
        ),
        *product(
            (sqlite3.SQLITE_DROP_TRIGGER,),
            (
                *("events_are_not_deleted", "events_are_not_replaced", "events_are_not_updated"),
                "events_are_not_replaced_by_place",
            ),
        ),
        *product((sqlite3.SQLITE_DROP_INDEX,), ("events_command_id", "events_stream_version")),
        *product(
            (sqlite3.SQLITE_PRAGMA,),
            ("writable_schema", "ignore_check_constraints", "journal_mode"),
        ),
    }
)
"""What refold does to no store: actions of SQLite, and the table, trigger, index or pragma."""


class immediate:  # noqa: N801 - as `available`, it is entered for every commit
    """Run a block as one writing transaction: a deferred one could not wait for its lock."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:  # a signal that came while it waited is raised behind it
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


class available:  # noqa: N801 - reads like contextlib.suppress; a generator takes four times as long
    """Raise `Unavailable` for what the driver says of the file at `path`, also through SQLAlchemy.

    What it says of a statement or a row comes out as it is: that would be a mistake of ours.
    """

    __slots__ = ("_path", "_told")

    def __init__(self, path: Path, told: "Told | None" = None) -> None:
        """`told` makes the error that is raised, by default `unavailable`."""
        self._path, self._told = path, told or unavailable

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        said = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(said, sqlite3.DatabaseError) and _is_about_the_file(said):
            raise self._told(self._path, said) from error


def _is_about_the_file(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # the driver's own, for a text that is no UTF-8
        return isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in _PASSING | _LASTING


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


def tables_unavailable(path: Path, error: BaseException | None) -> Unavailable:
    """Return what is told of `error` where the file has query tables, which may be deleted."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        return damaged_tables(path, getattr(error, "sqlite_errorname", ""))
    return unavailable(path, error)


def damaged_tables(path: Path, why: str) -> DamagedTables:
    """Return what is told of a file of query tables that is damaged, with what deletes it."""
    real = path.resolve()
    beside = [real.with_name(real.name + suffix) for suffix in ("-wal", "-shm")]
    files = [path, *(file for file in beside if file.exists())]
    return DamagedTables(str(path), why, shlex.join(["rm", *map(str, files)]))


_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Told = Callable[[Path, BaseException | None], Unavailable]
"""Makes what the caller is told of a file and of the driver's error."""
