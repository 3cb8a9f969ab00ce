"""The query tables of a SQLite store: a file beside the log, which nobody needs to keep."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from refold.domain import file
from refold.domain.errors import LogWentBack
from refold.domain.ports import Command, Write
from refold.infrastructure.open import open_store
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
