"""The query tables of a SQLite store: a file beside the log, which nobody needs to keep."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from refold.domain import file
from refold.domain.errors import LogWentBack
from refold.domain.ports import Command, Write
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite import rows
from refold.infrastructure.sqlite.rows import SqliteRows
from refold.infrastructure.store import Store
from refold.projections import catalog


def test_query_tables_lie_in_a_file_beside_the_log(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/files.db", create=True) as store:
        register(store, "one")
        store.folder.catch_up()

    assert {path.name for path in tmp_path.iterdir()} == {"files.db", "files.db-tables"}
    assert names_in(tmp_path / "files.db-tables") == ["one"]
    assert "events" in tables_in(tmp_path / "files.db")
    assert not tables_in(tmp_path / "files.db") & tables_in(tmp_path / "files.db-tables")


def test_query_tables_may_be_deleted_and_are_folded_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/files.db"
    with open_store(url, create=True) as store:
        register(store, "one")
        store.folder.catch_up()
        before = [store.folder.digest(each) for each in catalog.ALL]

    (tmp_path / "files.db-tables").unlink()
    with open_store(url) as store:
        store.folder.catch_up()
        after = [store.folder.digest(each) for each in catalog.ALL]

    assert after == before
    assert names_in(tmp_path / "files.db-tables") == ["one"]


def test_query_tables_beside_another_log_are_refused_until_they_are_rebuilt(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/files.db"
    with open_store(url, create=True) as store:
        register(store, "old")
        store.folder.catch_up()
    (tmp_path / "files.db").unlink()

    with open_store(url, create=True) as store:
        register(store, "new")
        with pytest.raises(LogWentBack, match="refold rebuild") as refusal:
            store.folder.catch_up()
        refused = names_in(tmp_path / "files.db-tables")
        store.rebuilder.rebuild(catalog.ALL)
        store.folder.catch_up()

    assert refusal.value.position == "1"
    assert refused == ["old"]
    assert names_in(tmp_path / "files.db-tables") == ["new"]


# --- what a search looks through ----------------------------------------------------------


def test_a_rebuilt_table_is_searched_in_one_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteRows, "events_a_part", 1)
    with open_store(f"sqlite:///{tmp_path}/files.db", create=True) as store:
        for name in "abcdefgh":
            register(store, name)
        store.folder.catch_up()
    assert segments(tmp_path / "files.db-tables") == 1


def test_files_that_are_folded_together_are_one_segment_more(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/files.db", create=True) as store:
        register(store, "a")
        store.folder.catch_up()
        for name in "bcd":
            register(store, name)
        store.folder.catch_up()
    assert segments(tmp_path / "files.db-tables") == 2


def segments(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(DISTINCT segid) FROM files_1_search_idx"
        return int(connection.execute(query).fetchone()[0])


# --- a write-ahead log that has grown long ------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """One whose write-ahead log is soon long, with a file in it."""
    monkeypatch.setattr(rows, "LONGEST_WAL", 1_000)
    monkeypatch.setattr(rows, "EMPTYING_TRIES", 2)
    with open_store(f"sqlite:///{tmp_path}/files.db", create=True) as store:
        register(store, "one")
        store.folder.catch_up()
        yield store


def test_a_long_write_ahead_log_is_emptied(store: Store, tmp_path: Path) -> None:
    assert wal_bytes(tmp_path) > 1_000
    store.tables.make_way()
    assert wal_bytes(tmp_path) == 0
    assert names_in(tmp_path / "files.db-tables") == ["one"]


def test_a_short_write_ahead_log_is_left_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = wal_bytes(tmp_path)
    monkeypatch.setattr(store.tables.rows, "_longest_wal", before)
    store.tables.make_way()
    assert wal_bytes(tmp_path) == before


def test_who_writes_is_waited_for(store: Store, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.tables.writing():
            making = pool.submit(store.tables.make_way)
            wait([making], 0.6)  # longer than for readers
            assert not making.done()
        making.result(5)
    assert wal_bytes(tmp_path) == 0


def test_who_reads_for_long_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    with store.tables.reading() as reading:
        store.tables.current(reading)
        store.tables.make_way()
        assert wal_bytes(tmp_path) > 1_000
    assert names_in(tmp_path / "files.db-tables") == ["one"]


def test_after_a_reader_it_is_tried_again_when_the_log_is_twice_as_long(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    with store.tables.reading() as reading:
        store.tables.current(reading)
        store.tables.make_way()
        there = wal_bytes(tmp_path)
        register(store, "two")
        store.folder.catch_up()
        with monkeypatch.context() as patch:
            patch.setattr(SqliteRows, "_empty_wal", lambda *_: tried.append(True))
            store.tables.make_way()
    assert not tried
    grown = 2
    while wal_bytes(tmp_path) <= 2 * there:
        register(store, f"{(grown := grown + 1)}")
        with store.tables.reading() as reading:
            store.tables.current(reading)
            store.folder.catch_up()
    store.tables.make_way()
    assert wal_bytes(tmp_path) == 0


def test_each_part_finds_the_write_ahead_log_short(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    make_way = SqliteRows.make_way

    def watched(self: SqliteRows, engine: sa.Engine) -> None:
        make_way(self, engine)
        found.append(wal_bytes(tmp_path))

    monkeypatch.setattr(SqliteRows, "make_way", watched)
    monkeypatch.setattr(SqliteRows, "events_a_part", 1)
    register(store, "two")
    store.rebuilder.rebuild(catalog.ALL)
    assert found == [0, 0]


def wal_bytes(folder: Path) -> int:
    return (folder / "files.db-tables-wal").stat().st_size


def register(store: Store, name: str) -> None:
    event = store.codec.encode(file.Registered(name, "cid", name, "pdf"), b"{}")
    store.log.append([Command(name, (Write(f"file-{name}", 0, (event,)),))])


def names_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM files ORDER BY name")]


def tables_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {name for (name,) in connection.execute(query)}
