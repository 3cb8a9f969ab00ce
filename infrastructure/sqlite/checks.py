"""What `refold doctor` asks of SQLite: guards, settings, who may read the files, and locks."""

import shlex
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from refold.domain.errors import DamagedTables, NoSuchStore, Unavailable
from refold.domain.ports import State
from refold.infrastructure import schema
from refold.infrastructure.address import Sqlite
from refold.infrastructure.checking.finding import Finding
from refold.infrastructure.checking.mends import sentence
from refold.infrastructure.patience import Passing
from refold.infrastructure.sqlite import guards
from refold.infrastructure.sqlite.connection import (
    Told,
    available,
    connect,
    damaged_tables,
    tables_unavailable,
    unavailable,
)

LOCK_SECONDS: Final = 2.0
"""A writer who does not come to an end within that time is told of."""

_FULL: Final = 2


class SqliteChecks:
    """`Checks` of a store in a SQLite file."""

    def __init__(self, place: Sqlite) -> None:
        """Raise `NoSuchStore`: no file is made."""
        if not place.path.exists():
            raise NoSuchStore(place.public)
        self._place = place

    def schema(self) -> str | None:
        with self._reading(self._place.path) as connection:
            return schema.found(connection, None)

    def has_tables(self) -> bool:
        path = self._place.tables
        if not path.exists() or self._fault_of_tables:
            return False
        with self._reading(path) as connection:
            return sa.inspect(connection).has_table("parked")

    def findings(self) -> Iterator[Finding]:
        with self._reading(self._place.path) as connection:
            query = "SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger')"
            there: dict[str, str | None] = dict(map(tuple, connection.exec_driver_sql(query)))
            heads = connection.exec_driver_sql("SELECT state FROM heads").scalars()
            are_to_come = guards.BY_PLACE in there and State.OPEN.value not in heads
        yield from self._guards(there, guards.WHILE_FILLED if are_to_come else guards.WANTED)
        with closing(connect(self._place.path)) as driver:
            yield from unsafe(driver)
        yield from self._open_to_others()
        yield from self._lock(self._place.path)
        if fault := self._fault_of_tables:
            yield fault
        else:
            yield from self._lock(self._place.tables)

    def is_locked(self) -> bool:
        return False  # readers never wait for writers

    def typed(self, sql: str) -> str:
        return shlex.join(["sqlite3", str(self._place.path), " ".join(sql.split())])

    @cached_property
    def _fault_of_tables(self) -> Finding | None:
        """Look at all pages of the query tables, which nothing needs but themselves."""
        path = self._place.tables
        if not path.exists():
            return None
        try:
            with self._reading(path, tables_unavailable) as connection:
                told: str = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if told != "ok":
                raise damaged_tables(path, " ".join(told.split()))
        except DamagedTables as error:
            mend = f"{error.mend} (while nobody uses the store; they are folded again)"
            return Finding("tables", "problem", sentence(error), mend)
        except Passing:
            raise
        except Unavailable as error:
            return Finding(
                "tables", "problem", sentence(error), shlex.join(["ls", "-ld", str(path)])
            )
        return None

    @contextmanager
    def _reading(self, path: Path, told: Told = unavailable) -> Iterator[sa.Connection]:
        address = f"{path.absolute().as_uri()}?mode=rw"  # one that may write takes -wal away again
        engine = sa.create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=sa.NullPool
        )
        try:
            with engine.connect() as connection:
                yield connection
        except DatabaseError as error:
            raise told(path, error.orig) from error

    def _guards(
        self, there: Mapping[str, str | None], wanted: Mapping[str, str]
    ) -> Iterator[Finding]:
        for name, sql in wanted.items():
            if " ".join((there.get(name) or "").split()) != " ".join(sql.split()):
                kind = "index" if name in guards.INDEXES else "trigger"
                what = "was changed" if name in there else "is missing"
                yield Finding(
                    "guards",
                    "problem",
                    f"the {kind} {name}, which keeps events from being changed, {what}",
                    self.typed(f"DROP {kind.upper()} IF EXISTS {name}; {sql};"),
                )

    def _open_to_others(self) -> Iterator[Finding]:
        place = self._place
        key = place.vault_key
        if key.exists() and (key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)):
            yield Finding(
                "settings",
                "warning",
                f"the vault's key {key} is not for its owner alone (mode {_mode(key)})",
                f"chmod 600 {shlex.quote(str(key))}",
            )
        for path in (place.path, place.tables, place.blobs):
            if path.exists() and _others_can_read(path):
                mode = "700" if path.is_dir() else "600"
                yield Finding(
                    "settings",
                    "warning",
                    f"every user of this machine can read {path} (mode {_mode(path)})",
                    f"chmod {mode} {shlex.quote(str(path))}",
                )

    def _lock(self, path: Path) -> Iterator[Finding]:
        if not path.exists():
            return
        address = f"{path.absolute().as_uri()}?mode=rw"
        with (
            available(path),
            closing(
                sqlite3.connect(address, LOCK_SECONDS, isolation_level=None, uri=True)
            ) as driver,
        ):
            try:
                driver.execute("BEGIN IMMEDIATE")
                driver.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                yield Finding(
                    "lock",
                    "problem",
                    f"another process has been writing to {path} for more than {LOCK_SECONDS:g} s,"
                    " and all others wait for it",
                    f"fuser --verbose {shlex.quote(str(path))}",
                )


def unsafe(driver: sqlite3.Connection) -> Iterator[Finding]:
    """Yield what makes a connection lose commits."""
    [level] = driver.execute("PRAGMA synchronous").fetchone()
    if level < _FULL:
        yield Finding(
            "settings",
            "warning",
            f"connections are made with synchronous = {level}: a crash may lose commands that were"
            " acknowledged",
            "pip install --force-reinstall refold",
        )


def _others_can_read(path: Path) -> bool:
    """Tell whether its mode and that of all folders above lets everybody read it."""
    folders = path.absolute().parents
    return bool(path.stat().st_mode & stat.S_IROTH) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in folders
    )


def _mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"
