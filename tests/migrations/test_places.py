"""A SQLite store of version 0003, whose table of events version 0004 writes again."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import refold.migrations
from refold.domain.ports import Appended, Command, NewEvent, Write
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import connect

VERSIONS: Final = Path(refold.migrations.__path__[0])

FIELDS: Final = (
    "partition, position, stream, version, type, schema, data, metadata, recorded_at,"
    " command_id, command_no"
)

EVENTS: Final = 5_000
"""Of each partition: more than a cache holds, so a migration that is killed has written some."""

KILLED: Final = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from refold.infrastructure import schema
from refold.infrastructure.sqlite.connection import connect

engine = sa.create_engine("sqlite://", creator=lambda: connect(Path(sys.argv[1])))
with engine.begin() as connection:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    schema.upgrade(connection, None)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The file of a store of version 0003, with events in two of three partitions."""
    path = tmp_path / "store"
    engine = sa.create_engine("sqlite://", creator=lambda: connect(path))
    config = Config()
    config.set_main_option("script_location", str(VERSIONS))
    with engine.begin() as connection:
        config.attributes.update(connection=connection, schema=None)
        command.upgrade(config, "0003")
        connection.exec_driver_sql("INSERT INTO heads VALUES (1, 'open', NULL), (2, 'open', NULL)")
    engine.dispose()
    with closing(connect(path)) as driver:
        driver.execute("BEGIN")
        for position in range(1, EVENTS + 1):
            for partition in (1, 0):
                driver.execute(
                    f"INSERT INTO events ({FIELDS})"
                    " VALUES (?, ?, ?, 1, 'sample.made', 1, ?, x'7b7d', ?, ?, 0)",
                    (
                        *(partition, position, f"sample-{partition}-{position}"),
                        *(b"x" * 400, position, f"{partition} {position}"),
                    ),
                )
        driver.execute("COMMIT")
    return path


def test_the_events_of_an_older_store_stay_as_they_are(old: Path) -> None:
    before = events(old)

    with open_store(f"sqlite:///{old}", create=True) as store:
        pages = [store.log.page(partition, 0, EVENTS + 1) for partition in range(3)]
        heads = [head.position for head in store.log.heads()]
        [outcome] = store.log.append(
            [Command("new", (Write("sample-new", 0, (NewEvent("sample.made", 1, b"", b"{}"),)),))]
        )

    assert [tuple(each) for page in pages for each in page] == before
    assert heads == [EVENTS, EVENTS, 0]
    assert isinstance(outcome, Appended)
    assert outcome.position == heads[outcome.partition] + 1
    assert tables(old) == tables(made(old.parent / "new"))


def test_a_migration_that_is_killed_leaves_the_older_store(old: Path) -> None:
    before = events(old), tables(old)

    ended = subprocess.run([sys.executable, "-c", KILLED, str(old)], check=False, timeout=60)

    assert ended.returncode == -9
    assert (events(old), tables(old)) == before
    open_store(f"sqlite:///{old}", create=True).close()
    assert events(old) == before[0]


def made(path: Path) -> Path:
    open_store(f"sqlite:///{path}", create=True).close()
    return path


def events(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        query = f"SELECT {FIELDS} FROM events ORDER BY partition, position"
        return file.execute(query).fetchall()


def tables(path: Path) -> list[Any]:
    """Return tables, indexes and triggers, and what the file itself finds wrong with them."""
    with closing(sqlite3.connect(path)) as file:
        found = file.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        return [*found, *file.execute("PRAGMA integrity_check")]
