"""One state of an SQLite file, read without writing anything beside it.

A file alone is read where it is. One with a write-ahead log or a rollback journal is copied with
it and settled in the copy, because SQLite would do that in place; a `.gz` file is unpacked.
"""

import gzip
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from refold.domain.errors import BadInput, NoSpace
from refold.infrastructure.legacy.large_object import Truncated, stamp


class NotDecentcom(BadInput):
    """A file is no database of decentcom."""


class Damaged(BadInput):
    """A file is a database, and some of its pages make no sense."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`connection` reads one state of the file at `path`, as long as that is not changed."""

    path: Path
    connection: sqlite3.Connection
    _state: object

    def check_unchanged(self) -> None:
        """Raise `BadInput` when what was read may be of more than one state of the file."""
        if self._state is not None:
            _check_unchanged(self.path, self._state)


@contextmanager
def opened(path: Path) -> Iterator[Snapshot]:
    """Open the database at `path` for reading, after all its pages were looked at.

    Raises `BadInput` when it cannot be opened or changes meanwhile, as `Truncated` or `Damaged`
    when it is broken, as `NotDecentcom` when it is no SQLite database; `NoSpace` when there is no
    room for a copy.
    """
    path = path.resolve()  # what belongs to a file stands beside it, not beside a link to it
    state = _state(path)
    with errors_of(path):
        if path.suffix == ".gz" or any(state[f"{path}{suffix}"] for suffix in _COMPANIONS):
            snapshot = Snapshot(path, _copied(path, state), None)
        else:
            _check_length(path, path)
            snapshot = Snapshot(path, _connection(path), state)
    with closing(snapshot.connection):
        with errors_of(path):
            _check_pages(path, snapshot.connection)
        yield snapshot


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn what the driver and the system raise in the block into errors that name `path`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if name == "SQLITE_NOTADB":
            raise NotDecentcom(f"{path} is no SQLite database") from error
        if name.startswith("SQLITE_CORRUPT"):
            raise Damaged(f"{path} is damaged: {name}") from error
        if name == "SQLITE_FULL":
            raise NoSpace(f"there is no room for a copy of {path}") from error
        raise BadInput(f"{path} cannot be read: {name}") from error
    except UnicodeDecodeError as error:  # the driver's own message, which repeats what it read
        raise Damaged(f"{path} is damaged: names in it are no UTF-8") from error
    except OSError as error:
        if error.errno == ENOSPC:
            raise NoSpace(f"there is no room for a copy of {path}") from error
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


_COMPANIONS: Final = ("-wal", "-journal")
"""What SQLite calls the files in which a part of the database may be."""


def _state(path: Path) -> Mapping[str, object]:
    """Return what tells one state of a file and its companions from another."""
    return {str(path): stamp(path)} | {
        f"{path}{suffix}": _stamp_if_filled(Path(f"{path}{suffix}")) for suffix in _COMPANIONS
    }


def _stamp_if_filled(path: Path) -> Mapping[str, int] | None:
    found = stamp(path) if path.exists() else {"size": 0}
    return found if found["size"] else None


def _check_unchanged(path: Path, state: object) -> None:
    if _state(path) != state:
        raise BadInput(f"{path} was changed while it was read; stop decentcom and read it again")


def _connection(path: Path) -> sqlite3.Connection:
    """Return a connection that has the file open, takes no locks and makes no files."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        connection.close()
        raise
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    return connection


def _check_pages(path: Path, connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Damaged(f"{path} is damaged: {' '.join(verdict.split())}")


# --- copies ---------------------------------------------------------------------------


def _copied(path: Path, state: Mapping[str, object]) -> sqlite3.Connection:
    """Return a connection to a copy that is gone from its folder already: it holds secrets."""
    with TemporaryDirectory(prefix="refold-") as folder:
        copy = Path(folder) / "copy"
        if path.suffix == ".gz":
            _unpack(path, copy)
        else:
            for name in filter(state.get, state):
                shutil.copyfile(name, f"{copy}{name.removeprefix(str(path))}")
        _check_unchanged(path, state)
        if path.suffix != ".gz":
            _settle(copy, path)
        _check_length(copy, path)
        return _connection(copy)


def _unpack(path: Path, copy: Path) -> None:
    try:
        with gzip.open(path) as packed, copy.open("wb") as out:
            shutil.copyfileobj(packed, out)
    except EOFError as error:
        raise Truncated(f"{path} is cut off: its gzip stream has no end") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise NotDecentcom(f"{path} cannot be unpacked: {error}") from error


def _settle(copy: Path, path: Path) -> None:
    """Bring what the write-ahead log or the rollback journal holds into the copied file."""
    size = copy.stat().st_size
    logged = _logged_pages(Path(f"{copy}-wal"))
    with closing(sqlite3.connect(copy)) as connection:
        [(pages,)] = connection.execute("PRAGMA page_count")
        [(page_size,)] = connection.execute("PRAGMA page_size")
        beyond = range(size // page_size + 1, pages + 1)
        if logged and not all(page in logged for page in beyond):  # settled, they would be blank
            raise Truncated(f"{path} is cut off: it has {size} bytes of {pages * page_size}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _logged_pages(wal: Path) -> set[int]:
    """Return the numbers of the pages in a write-ahead log, up to its last commit."""
    committed: set[int] = set()
    if not wal.exists():
        return committed
    pages: set[int] = set()
    with wal.open("rb") as log:
        header = log.read(32)
        page_size = int.from_bytes(header[8:12])
        while (frame := log.read(24)) and frame[8:16] == header[16:24]:
            pages.add(int.from_bytes(frame[:4]))
            if any(frame[4:8]):  # the length of the database, which only a commit has
                committed |= pages
            log.seek(page_size, os.SEEK_CUR)
    return committed


_MAGIC: Final = b"SQLite format 3\0"


def _check_length(file: Path, path: Path) -> None:
    """Raise `Truncated` unless `file` has all pages that it says it has, to the last byte.

    SQLite itself takes the missing end of the last page for zeros.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        header = stream.read(100)
    if header[: len(_MAGIC)] != _MAGIC[: len(header)]:
        raise NotDecentcom(f"{path} is no SQLite database")
    if len(header) < 100:
        raise Truncated(f"{path} is cut off: it has {size} bytes, less than a header")
    page_size = int.from_bytes(header[16:18])
    whole = int.from_bytes(header[28:32]) * (65_536 if page_size == 1 else page_size)
    if size < whole:
        raise Truncated(f"{path} is cut off: it has {size} bytes of {whole}")
