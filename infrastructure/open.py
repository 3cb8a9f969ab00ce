"""Opens a store at an address, and makes it where that is asked for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from refold.domain.errors import BadInput, NoPlaceForBlobs, NoSuchStore, OlderSchema
from refold.domain.ports import Blobs, Log
from refold.infrastructure import config, schema
from refold.infrastructure.address import Address, Memory, Postgres, Sqlite, with_user
from refold.infrastructure.appending.group_commit import GroupCommit, PartitionedCommit
from refold.infrastructure.blobs.disk import DiskBlobs
from refold.infrastructure.blobs.memory import MemoryBlobs
from refold.infrastructure.codec import EVENTS
from refold.infrastructure.config import Settings
from refold.infrastructure.folding.tables import Tables
from refold.infrastructure.limits import MOST_PARTITIONS
from refold.infrastructure.memory.log import MemoryLog
from refold.infrastructure.postgres import rows as postgres_rows
from refold.infrastructure.postgres.connection import available, check, check_encoding
from refold.infrastructure.postgres.connection import connect_to_store as connect_postgres
from refold.infrastructure.postgres.log import PostgresLog
from refold.infrastructure.sqlite import rows as sqlite_rows
from refold.infrastructure.sqlite.connection import available as sqlite_available
from refold.infrastructure.sqlite.connection import connect as connect_sqlite
from refold.infrastructure.sqlite.log import SqliteLog
from refold.infrastructure.store import Store
from refold.infrastructure.vault import Vault
from refold.infrastructure.vault_key import GivenKey, KeyFile, KeyHolder, KeyInMemory, NoKey


def open_store(
    url: str,
    *,
    create: bool = False,
    settings: Settings | None = None,
    follow_moves: bool = False,
    partitions: int | None = None,
) -> Store:
    """Return the store at `url`; with `create`, make it and bring its schema up to date.

    One that is made has so many `partitions`, or as many as the settings say, or one. Raises
    `Refused` for a store that is to have others than it has.

    With `follow_moves`, commands go on where the store has moved to, and the store with them; an
    address of PostgreSQL tells no password, so that comes from the environment. The user is the one
    of this store's address or of `settings`, if there is one, and else who moved it.

    What `settings` say holds; without them, what the environment says, and no file is read. Safe
    to call from eight processes at once. Raises `NoSuchStore` where there is none and none
    is to be made, `Unavailable` when it cannot be reached, `NewerSchema` or `OlderSchema` when
    another refold made it, `BadInput` for an address that cannot be read or is not safe. It never
    falls back to another store.
    """
    settings = settings or config.of_environment()
    place = settings.address(url)
    store = open_at(place, create=create, settings=settings, partitions=partitions)
    if follow_moves:
        user = (place.user if isinstance(place, Postgres) else None) or settings.storage.user

        def open_successor(address: str) -> Store:
            return open_store(with_user(address, user), settings=settings, follow_moves=True)

        store.open_successor = open_successor
    return store


class Made(NamedTuple):
    """Whether a store is to be made, and of how many partitions; None for one, or as it is."""

    create: bool
    partitions: int | None = None


def open_at(
    place: Address,
    *,
    create: bool = False,
    settings: Settings | None = None,
    partitions: int | None = None,
) -> Store:
    """Return the store at an address that was read; see `open_store`."""
    settings = settings or config.of_environment()
    if not 1 <= (partitions or 1) <= MOST_PARTITIONS:
        raise BadInput(f"a log has 1 to {MOST_PARTITIONS} partitions, not {partitions}")
    made = Made(create, partitions or settings.partitions)
    match place:
        case Memory():
            tables = sqlite_rows.tables_in_memory()
            log = MemoryLog(made.partitions or 1)
            return assembled(place, log, tables, KeyInMemory(), MemoryBlobs(), settings)
        case Sqlite():
            return _open_sqlite(place, settings, made)
        case Postgres():
            return _open_postgres(place, settings, made)


def open_log(place: Address, *, create: bool = False) -> Log:
    """Return the log of the store at an address, and nothing beside it; see `open_store`."""
    match place:
        case Memory():
            return MemoryLog()
        case Sqlite():
            return _sqlite_log(place, Made(create))
        case Postgres():
            return _postgres_log(place, Made(create))


def _sqlite_log(place: Sqlite, made: Made) -> SqliteLog:
    if not made.create and not place.path.exists():
        raise NoSuchStore(place.public)
    engine = sa.create_engine("sqlite://", creator=lambda: connect_sqlite(place.path))
    with sqlite_available(place.path), _transaction(engine) as connection:
        if made.create:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        _prepare(connection, place, None, made)
    return SqliteLog(place.path)


def _postgres_log(place: Postgres, made: Made) -> PostgresLog:
    way = place.connecting
    check(place.url, way)
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect_postgres(place.url, way, autocommit=False),
    )
    with available(place.url), _transaction(engine) as connection:
        check_encoding(connection, place.public)
        if made.create:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(724100)")
            if not sa.inspect(connection).has_schema(place.schema):
                connection.execute(sa.schema.CreateSchema(place.schema))
        _prepare(connection, place, place.schema, made)
    return PostgresLog(place.url, place.schema, way)


def _open_sqlite(place: Sqlite, settings: Settings, made: Made) -> Store:
    with ExitStack() as unless_opened:
        log = _sqlite_log(place, made)
        unless_opened.callback(log.close)
        tables = sqlite_rows.tables_in(place.tables)
        unless_opened.callback(tables.close)
        key = given_key(settings) or KeyFile(place.vault_key)
        blobs = place_for_blobs(settings, place.blobs)
        store = assembled(place, log, tables, key, blobs, settings)
        unless_opened.pop_all()
    return store


def _open_postgres(place: Postgres, settings: Settings, made: Made) -> Store:
    with ExitStack() as unless_opened:
        log = _postgres_log(place, made)
        unless_opened.callback(log.close)
        tables = postgres_rows.tables_in(place.url, place.schema, place.connecting)
        unless_opened.callback(tables.close)
        key = given_key(settings) or NoKey()
        blobs = place_for_blobs(settings, None)
        store = assembled(place, log, tables, key, blobs, settings)
        unless_opened.pop_all()
    return store


def assembled(
    place: Address,
    log: Log,
    tables: Tables,
    key: KeyHolder,
    blobs: Blobs | None,
    settings: Settings,
) -> Store:
    """Return the store that these parts make."""
    vault = Vault(log, key)
    codec = EVENTS.opening(vault.open_all, settings.payload_bytes)
    step, most = settings.touch_step, settings.media.upload_bytes
    return Store(place, log, _commits(place, log), tables, vault, codec, blobs, step, most)


def _commits(place: Address, log: Log) -> GroupCommit | PartitionedCommit:
    """Return what appends for all callers; where one writes at a time, one does for all."""
    if log.partitions > 1 and isinstance(place, Postgres):
        return PartitionedCommit(log, log.partitions)
    return GroupCommit(log)


def given_key(settings: Settings) -> GivenKey | None:
    """Return the vault's key that the environment gives, None when it gives none."""
    given = settings.vault_key
    return GivenKey(given.get_secret_value()) if given else None


def check_key(place: Address, settings: Settings) -> None:
    """Make sure that there is a key for a store at `place`, where it is yet to be made.

    Of a store that is there, its vault tells. Raises `NoVaultKey` or `WrongVaultKey`, and
    `Unavailable` when it cannot be reached.
    """
    try:
        open_log(place).close()
    except OlderSchema:
        return
    except NoSuchStore:
        key = given_key(settings) or (NoKey() if isinstance(place, Postgres) else None)
        if key:
            key.make()


def check_blobs(place: Address, settings: Settings) -> None:
    """Raise `NoPlaceForBlobs` unless a store at `place` has a place for large contents."""
    if isinstance(place, Postgres) and place_for_blobs(settings, None) is None:
        raise NoPlaceForBlobs


def place_for_blobs(settings: Settings, beside: Path | None) -> Blobs | None:
    """Return the place of large contents that is named, or else the folder beside the store."""
    media = settings.media
    if media.provider == "s3":
        from refold.infrastructure.blobs.s3 import S3Blobs
        from refold.infrastructure.blobs.s3_place import S3Place

        return S3Blobs(S3Place(**media.model_dump(exclude={"provider", "folder"})))
    folder = media.folder or beside
    return DiskBlobs(folder) if folder else None


def _prepare(
    connection: sa.Connection,
    place: Sqlite | Postgres,
    namespace: str | None,
    made: Made,
) -> None:
    if made.create:
        is_new = schema.found(connection, namespace) is None
        schema.upgrade(connection, namespace)
        if made.partitions:
            schema.partition(connection, namespace, made.partitions, place.public, is_new=is_new)
    found = schema.found(connection, namespace)
    if found is None:
        raise NoSuchStore(place.public)
    if found < schema.NEWEST:
        raise OlderSchema(found, schema.NEWEST)


@contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
