"""Brings the log's schema of a store up to date, or says that it is newer than this refold."""

from pathlib import Path
from threading import Lock
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import refold.migrations
from refold.domain.errors import NewerSchema, Refused

_SCRIPTS: Final = Path(next(iter(refold.migrations.__path__)))
NEWEST: Final = max(path.name[:4] for path in (_SCRIPTS / "versions").glob("[0-9]*.py"))
"""The version of the log's schema that this refold works with."""

LOG_TABLES: Final = (
    *("alembic_version", "claims", "events", "heads", "keys", "seals", "snapshots", "store"),
    "trackings",
)
"""The tables of the log, which the migrations make, on every engine."""

_ALEMBIC: Final = Lock()
"""Held while Alembic runs: where it is lies in variables of its modules."""


def found(connection: sa.Connection, schema: str | None) -> str | None:
    """Return the version of the schema in the store, None when there is none.

    Raises `NewerSchema` for one that this refold does not know.
    """
    if not sa.inspect(connection).has_table("alembic_version", schema=schema):
        return None
    versions = sa.table("alembic_version", sa.column("version_num"), schema=schema)
    version = connection.scalar(sa.select(versions.c.version_num))
    if version is not None and version > NEWEST:
        raise NewerSchema(version, NEWEST)
    return str(version) if version else None


def upgrade(connection: sa.Connection, schema: str | None) -> None:
    """Run what is missing inside the transaction of `connection`, which holds the store's lock."""
    if found(connection, schema) == NEWEST:
        return
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes.update(connection=connection, schema=schema)
    with _ALEMBIC:
        command.upgrade(config, "head")


def partition(
    connection: sa.Connection, schema: str | None, partitions: int, public: str, *, is_new: bool
) -> None:
    """Give a store that `is_new` so many partitions. Raises `Refused` where another has others."""
    heads = sa.table("heads", sa.column("partition"), sa.column("state"), schema=schema)
    there = connection.scalar(sa.select(sa.func.count()).select_from(heads)) or 0
    if is_new:
        more = [{"partition": each, "state": "open"} for each in range(there, partitions)]
        if more:
            connection.execute(heads.insert(), more)
    elif there != partitions:
        raise Refused(
            f"{public} has {there} partitions, not {partitions}, and keeps them;"
            " refold move --partitions numbers a log anew, in another store"
        )
