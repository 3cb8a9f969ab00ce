"""A database of decentcom with its media: every generation of the schema, table by table."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from refold.domain.errors import BadInput
from refold.infrastructure.legacy.decentcom import rows, snapshot
from refold.infrastructure.legacy.decentcom.media import Folder, MediaFile
from refold.infrastructure.legacy.decentcom.records import (
    Attachment,
    Device,
    Media,
    Refusal,
    Session,
    User,
)
from refold.infrastructure.legacy.decentcom.rows import R, Row
from refold.infrastructure.legacy.decentcom.snapshot import NotDecentcom, Snapshot, errors_of


@dataclass(frozen=True, slots=True)
class Generation:
    """Which of the schemas a database has.

    `last_migration` is the highest that succeeded, 0 when none did; `failed` are those that did
    not. `has_categories`: from before migration 005, or stuck there. `reactions_key` is empty
    when there are no reactions yet.
    """

    last_migration: int
    failed: tuple[int, ...]
    has_categories: bool
    channel_name_unique: bool
    reactions_key: tuple[str, ...]


class Dangling(NamedTuple):
    """A row that refers to one of `parent` that is not there; once for each such reference."""

    table: str
    rowid: int | None
    parent: str


@contextmanager
def read(path: Path, media: Path | None = None) -> Iterator["Source"]:
    """Open the database at `path`, unpacked if it is a `.gz`, with its folder of media.

    Nothing is written beside the original. Raises `BadInput` when the file is truncated, damaged,
    no database of decentcom or cannot be opened, and when `media` is no folder.
    """
    folder = Folder(media) if media is not None else None
    with snapshot.opened(path) as opened:
        with errors_of(path):
            source = Source(opened, folder)
        yield source


class Source:
    """One state of a database.

    `rows` counts the rows of each table that is imported, as far as the generation has it, `chat`
    those of all others except decentcom's list of migrations. `unknown_columns` are those of
    imported tables that no record has a field for.

    Each iterator reads its table anew, in the order of rowids, one row at a time. It yields a
    `Refusal` where a row is not what it should be, and nothing when there is no such table yet. It
    raises `BadInput` when the file was changed meanwhile.
    """

    def __init__(self, opened: Snapshot, folder: Folder | None) -> None:
        self._opened = opened
        self._connection = opened.connection
        self._folder = folder
        tables = self._tables()
        if not {"users", _MIGRATIONS} <= tables:
            raise NotDecentcom(
                f"{opened.path} is no database of decentcom: it lacks users or {_MIGRATIONS}"
            )
        counts = {table: self._count(table) for table in sorted(tables - {_MIGRATIONS})}
        self.rows = {table: n for table, n in counts.items() if table in rows.REQUIRED}
        self.chat = {table: n for table, n in counts.items() if table not in rows.REQUIRED}
        self.unknown_columns = self._unknown_columns()
        self.generation = self._generation(tables)

    @property
    def has_media(self) -> bool:
        """Tell whether a folder of media was given."""
        return self._folder is not None

    def users(self) -> Iterator[User | Refusal]:
        return self._records(User.table, rows.user)

    def devices(self) -> Iterator[Device | Refusal]:
        return self._records(Device.table, rows.device)

    def sessions(self) -> Iterator[Session | Refusal]:
        """Live and expired ones alike; a session lives before `expires_at.micros`."""
        return self._records(Session.table, rows.session)

    def media_rows(self) -> Iterator[Media | Refusal]:
        """Rows only; `media_file` tells what the bytes are."""
        return self._records(Media.table, rows.media)

    def attachments(self) -> Iterator[Attachment | Refusal]:
        return self._records(Attachment.table, rows.attachment)

    def dangling(self) -> Iterator[Dangling]:
        """Yield the rows of all tables whose references lead nowhere; they are not refused."""
        with errors_of(self._opened.path):
            for table, rowid, parent, _ in self._connection.execute("PRAGMA foreign_key_check"):
                yield Dangling(table, rowid, parent)

    def media_file(self, hash: str) -> MediaFile:
        """Read the file of that SHA-256 and tell what it is; `chunks` reads it once more.

        Raises `NotASha256`, `Unavailable` when it is there and cannot be read, and `BadInput`
        when no folder was given.
        """
        return self._media().file(hash)

    def files_without_row(self) -> list[str]:
        """Return what is in the folder of media and has no row, whatever it is called, sorted."""
        known = set()
        if Media.table in self.rows:
            with errors_of(self._opened.path):
                query = "SELECT content_hash FROM media NOT INDEXED"
                known = {hash for (hash,) in self._connection.execute(query)}
        return sorted(name for name in self._media().names() if name not in known)

    def _media(self) -> Folder:
        if self._folder is None:
            raise BadInput(f"no folder of media is named for {self._opened.path}")
        return self._folder

    def _records(self, table: str, make: Callable[[Row], R]) -> Iterator[R | Refusal]:
        if table not in self.rows:
            return
        with errors_of(self._opened.path):
            cursor = self._connection.execute(
                f"SELECT rowid, * FROM {_quoted(table)} NOT INDEXED ORDER BY rowid"
            )
            names = [column[0] for column in cursor.description][1:]
            for rowid, *values in cursor:
                yield rows.read(table, make, rowid, names, values)
        self._opened.check_unchanged()

    # --- the schema -------------------------------------------------------------------

    def _tables(self) -> set[str]:
        """Return the names of the tables that hold rows of their own, as search indexes do not."""
        return {
            name
            for schema, name, type, *_ in self._connection.execute("PRAGMA table_list")
            if schema == "main" and type == "table" and not name.startswith("sqlite_")
        }

    def _count(self, table: str) -> int:
        query = f"SELECT count(*) FROM {_quoted(table)} NOT INDEXED"
        [(count,)] = self._connection.execute(query)
        return int(count)

    def _unknown_columns(self) -> Mapping[str, tuple[str, ...]]:
        unknown = {}
        for table in self.rows:
            columns = [name for name, _ in self._columns(table)]
            required, optional = rows.REQUIRED[table], rows.OPTIONAL[table]
            if missing := sorted(required - set(columns)):
                raise NotDecentcom(
                    f"{self._opened.path} is no database of decentcom:"
                    f" {table} lacks {', '.join(missing)}"
                )
            if beyond := [name for name in columns if name not in required | optional.keys()]:
                unknown[table] = tuple(beyond)
        return unknown

    def _generation(self, tables: set[str]) -> Generation:
        migrations = self._connection.execute(f"SELECT version, success FROM {_MIGRATIONS}")
        succeeded = {version: bool(success) for version, success in migrations}
        if not all(isinstance(version, int) for version in succeeded):
            raise NotDecentcom(
                f"{self._opened.path} is no database of decentcom: {_MIGRATIONS} has a version that"
                " is no number"
            )
        keys = [(place, name) for name, place in self._columns("reactions") if place]
        return Generation(
            last_migration=max((v for v, success in succeeded.items() if success), default=0),
            failed=tuple(sorted(v for v, success in succeeded.items() if not success)),
            has_categories="categories" in tables,
            channel_name_unique=["name"] in self._unique_keys("channels"),
            reactions_key=tuple(name for _, name in sorted(keys)),
        )

    def _columns(self, table: str) -> list[tuple[str, int]]:
        """Return the columns with their 1-based places in the primary key, 0 outside of it."""
        found = self._connection.execute("SELECT name, pk FROM pragma_table_info(?)", (table,))
        return [(name, place) for name, place in found]

    def _unique_keys(self, table: str) -> list[list[str]]:
        query = 'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial'
        indexes = self._connection.execute(query, (table,)).fetchall()
        columns = "SELECT name FROM pragma_index_info(?) ORDER BY seqno"
        return [[name for (name,) in self._connection.execute(columns, each)] for each in indexes]


_MIGRATIONS: Final = "_sqlx_migrations"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
