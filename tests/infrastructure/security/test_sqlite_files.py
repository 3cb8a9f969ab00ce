"""SQLite's files: who may change them, what refold never does to them, and what an error means."""

import os
import shlex
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.exc import DatabaseError, OperationalError

from refold.domain.errors import Unavailable
from refold.domain.positions import Positions
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import OpenToAll, available, connect
from refold.tests.infrastructure.security.conftest import CID, SHA, do

# --- what refold never does ---------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a store with an event and a seal."""
    path = tmp_path / "store.db"
    with open_store(f"sqlite:///{path}", create=True) as store:
        do(store, "file.register", sha256=SHA, cid=CID)
    return path


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH 'other.db' AS other",
        "UPDATE events SET type = 'x'",
        "DELETE FROM events",
        "DROP TABLE events",
        "UPDATE seals SET chain = x'00'",
        "DELETE FROM seals",
        "DROP TABLE seals",
        "DROP TRIGGER events_are_not_updated",
        "DROP TRIGGER events_are_not_deleted",
        "DROP TRIGGER events_are_not_replaced",
        "PRAGMA writable_schema = ON",
        "PRAGMA ignore_check_constraints = ON",
        "PRAGMA journal_mode = OFF",
        "SELECT load_extension('x')",
    ],
)
def test_a_connection_of_refold_refuses_what_refold_never_does(path: Path, statement: str) -> None:
    with closing(connect(path)) as connection, pytest.raises(sqlite3.DatabaseError) as refused:
        connection.execute(statement)

    assert refused.value.sqlite_errorname in ("SQLITE_AUTH", "SQLITE_ERROR")
    assert "not authorized" in str(refused.value)


def test_the_connections_of_an_open_store_are_guarded(path: Path) -> None:
    with (
        open_store(f"sqlite:///{path}") as store,
        store.tables.writing() as connection,
        pytest.raises(DatabaseError, match="not authorized"),
    ):
        connection.exec_driver_sql(f"ATTACH '{path}' AS log")


# --- who may read and change --------------------------------------------------------------


@pytest.fixture
def umask_of_the_careless() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_all_files_of_a_store_are_for_their_owner_alone(
    umask_of_the_careless: None, tmp_path: Path
) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db", create=True) as store:
        do(store, "session.set", sid="s", body="{}", expires_at="2999-01-01T00:00:00Z")
        store.folder.catch_up()
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}

    assert modes == dict.fromkeys(
        [
            *("store.db", "store.db-wal", "store.db-shm", "store.db-vault-key"),
            *("store.db-tables", "store.db-tables-wal", "store.db-tables-shm"),
        ],
        0o600,
    )


@pytest.mark.parametrize(
    "name", ["store.db", "store.db-wal", "store.db-shm", "store.db-tables", ""]
)
def test_a_store_that_everybody_may_change_is_refused_with_what_mends_it(
    tmp_path: Path, name: str
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    place = tmp_path / name
    with open_store(url, create=True), open_store(url):
        place.chmod(place.stat().st_mode | stat.S_IWOTH)

        with pytest.raises(OpenToAll) as refused:
            open_store(url)

        sentence, _, command = str(refused.value).partition(": ")
        assert sentence == f"every user of this machine can write to {place}"
        subprocess.run(shlex.split(command), check=True)
        open_store(url).close()


def test_a_link_to_a_folder_of_everybody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "open" / "store.db")
    open_store(f"sqlite:///{tmp_path}/link.db", create=True).close()
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(OpenToAll, match="/open: chmod o-w"):
        open_store(f"sqlite:///{tmp_path}/link.db")


def test_nothing_is_made_in_a_folder_of_everybody(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(OpenToAll):
        open_store(f"sqlite:///{tmp_path}/store.db", create=True)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_like_tmp_may_hold_a_store(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)

    with open_store(f"sqlite:///{tmp_path}/shared/store.db", create=True) as store:
        assert store.advance.head() == Positions((0,))


def test_a_store_in_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="SQLITE_CANTOPEN"):
        open_store(f"sqlite:///{tmp_path}/not/there.db", create=True)


# --- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["SELECT nothing FROM events", "SELECT", "SELECT * FROM no"])
def test_a_mistake_in_a_statement_does_not_make_a_store_unavailable(
    path: Path, statement: str
) -> None:
    with (
        closing(connect(path)) as connection,
        pytest.raises(sqlite3.OperationalError),
        available(path),
    ):
        connection.execute(statement)
    with (
        open_store(f"sqlite:///{path}") as store,
        pytest.raises(OperationalError),
        store.tables.writing() as writing,
    ):
        writing.exec_driver_sql(statement)


ABOUT_A_FILE: Final = {3, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 22, 26}


@pytest.mark.parametrize("primary", range(1, 27))
def test_codes_of_sqlite_that_are_about_a_file_say_that_it_is_unavailable(primary: int) -> None:
    for code in primary, primary | 1 << 8:
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = code

        with (
            pytest.raises((Unavailable, sqlite3.OperationalError)) as raised,
            available(Path("files.db")),
        ):
            raise error

        assert isinstance(raised.value, Unavailable) == (primary in ABOUT_A_FILE)


def test_a_text_that_is_no_utf_8_is_damage_of_the_file(path: Path) -> None:
    with (
        closing(connect(path)) as connection,
        pytest.raises(Unavailable, match="OperationalError"),
        available(path),
    ):
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()
