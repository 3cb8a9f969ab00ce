"""Rewrites a SQLite file without its free pages, and empties its write-ahead log."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import mkstemp

from refold.infrastructure.patience import Passing, patiently
from refold.infrastructure.sqlite.connection import BUSY_SECONDS, available


def compact(path: Path) -> None:
    """Leave nothing in a file and its write-ahead log but what its tables hold now.

    Others may have the file open. It takes room for the file twice. Raises `Unavailable` when
    somebody reads or writes for so long that it cannot be done.
    """
    with available(path), closing(_connect(path)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("VACUUM")

        def truncate() -> None:
            [busy, *_] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise Passing(f"the write-ahead log of {path} is being read")

        patiently(truncate)


@contextmanager
def pages(path: Path) -> Iterator[mmap]:
    """Give all pages of a file as they are, free ones too, from a copy that has no name.

    The file itself must not be opened: closing it would let go of SQLite's locks in this process.
    """
    descriptor, name = mkstemp(dir=path.parent, prefix=".refold-")
    with os.fdopen(descriptor, "rb") as file:
        try:
            copy = sqlite3.connect(name)
        finally:
            Path(name).unlink()  # killed from here on, it leaves nothing
        with closing(copy), available(path), closing(_connect(path)) as connection:
            copy.execute("PRAGMA journal_mode = OFF")  # which would need the name
            connection.backup(copy)
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            yield data


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection that may do what VACUUM does: attach a file of its own."""
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
