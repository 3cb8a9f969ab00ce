"""What ANALYSTS.md says runs on both engines, and the role sees the tables and nothing else."""

import re
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Identifier

from refold.domain.errors import BadInput
from refold.infrastructure.address import Postgres
from refold.infrastructure.legacy.git_proxy.importing import import_git_proxy
from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.roles import make_roles
from refold.infrastructure.store import Store
from refold.infrastructure.table_files import write_csv
from refold.projections import catalog, views

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "ANALYSTS.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
METADATA = HERE.parents[1] / "scripts" / "demo-data" / "metadata.small.json"
GIT_PROXY = HERE.parent / "data" / "git-proxy" / "small" / "nedb"


@pytest.fixture(autouse=True)
def vault_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))


def test_the_page_names_every_table_and_view() -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGE))

    assert {each.NAME for each in catalog.ALL} <= named
    assert {view.name for view in views.ALL} <= named
    assert len(QUERIES) == 5


def test_the_queries_of_the_page_give_the_same_on_every_engine(
    new_store: Callable[[], Store],
) -> None:
    store = new_store()
    import_git_proxy(store, [GIT_PROXY])
    import_pinshare(store, METADATA)
    with store.tables.reading() as connection:
        if store.address.engine == "postgresql":
            schema = store.tables.current(connection)["pushes"].table.schema
            connection.exec_driver_sql(f"SET LOCAL search_path TO {schema}")
        found = [connection.execute(sa.text(query)).all() for query in QUERIES]

    assert found[0][:2] == [("role::program", 36, 64), ("devel::library", 30, 65)]
    assert [tuple(row[:2]) for row in found[1][:2]] == [("indecent", 3), ("unknown ban code", 2)]
    assert found[2][:2] == [
        ("github.com/finos/demo", 6, 0, 0),
        ("github.com/encode/httpx", 4, 5, 0),
    ]
    assert [(name, n, round(float(hours), 2)) for name, n, hours in found[3][:3]] == [
        ("admin", 5, 26.55),
        ("pgrau", 4, 44.45),
        ("user", 3, 40.51),
    ]
    assert found[4] == [("admin", 3), ("pperez", 2), ("zohara", 2)]


# --- the role -----------------------------------------------------------------------


@pytest.fixture
def place(shared_database: str) -> Iterator[str]:
    """A store of its own in PostgreSQL, with the role of analysts."""
    name = f"t_{secrets.token_hex(6)}"
    url = f"{shared_database}?schema={name}"
    with open_store(url, create=True) as store:
        store.folder.catch_up()
        assert isinstance(store.address, Postgres)
        make_roles(store.address)
        make_roles(store.address)
    yield url
    with psycopg.connect(shared_database, autocommit=True) as server:
        server.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(name)))


def test_an_analyst_reads_every_table_and_view_and_nothing_else(place: str) -> None:
    [schema] = parse_qs(urlsplit(place).query)["schema"]
    shown = [*(each.NAME for each in catalog.ALL), *(view.name for view in views.ALL)]
    with psycopg.connect(place.partition("?")[0], autocommit=True) as connection:
        connection.execute("SET ROLE refold_analyst")
        for name in shown:
            connection.execute(SQL("SELECT * FROM {}").format(Identifier(schema, name)))
        for hidden in ("events", "keys", "claims", "store"):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(SQL("SELECT * FROM {}").format(Identifier(schema, hidden)))
        with pytest.raises(InsufficientPrivilege):
            connection.execute(SQL("DELETE FROM {}").format(Identifier(schema, "pushes")))


def test_an_analyst_reads_a_table_that_was_rebuilt(place: str) -> None:
    [schema] = parse_qs(urlsplit(place).query)["schema"]
    with open_store(place) as store:
        store.rebuilder.rebuild(catalog.ALL)
    with psycopg.connect(place.partition("?")[0], autocommit=True) as connection:
        connection.execute("SET ROLE refold_analyst")
        for name in ("users", "push_decisions"):
            connection.execute(SQL("SELECT * FROM {}").format(Identifier(schema, name)))


def test_a_table_that_there_is_not_is_named(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match="there is no table 'events'; there are files, "):
        write_csv(store, "events", sys.stdout)

    assert capsys.readouterr().out == ""
