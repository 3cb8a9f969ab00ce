"""The stores that every contract test runs on: one of each engine, each test with its own."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from refold.domain.ports import Log
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.addresses import in_schema
from refold.tests.contract.two_stores import register


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine at hand; who needs it is asking for a place, not for a special case."""
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def new_kept_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes addresses of stores that outlive a process."""
    with ExitStack() as cleanup:
        yield lambda: _new_url(str(request.param), request, tmp_path, cleanup)


@pytest.fixture
def new_url(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], str]]:
    """Makes addresses where no store is yet."""
    with ExitStack() as cleanup:
        yield lambda: _new_url(engine, request, tmp_path, cleanup)


@pytest.fixture
def new_store(new_url: Callable[[], str]) -> Iterator[Callable[[], Store]]:
    """Makes empty stores."""
    with ExitStack() as cleanup:
        yield lambda: cleanup.enter_context(open_store(new_url(), create=True))


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    """An empty store."""
    return new_store()


@pytest.fixture
def new_log(new_store: Callable[[], Store]) -> Callable[[], Log]:
    """Makes empty logs."""
    return lambda: new_store().log


@pytest.fixture
def log(new_log: Callable[[], Log]) -> Log:
    """An empty log."""
    return new_log()


@pytest.fixture
def new_url_at(shared_database: str, tmp_path: Path) -> Callable[[str], str]:
    """Makes addresses of an engine where no store is yet."""

    def new(engine: str) -> str:
        name = f"t_{secrets.token_hex(6)}"
        if engine != "postgres":
            return f"sqlite:///{tmp_path / name}"
        return in_schema(shared_database, name)

    return new


@pytest.fixture
def new_at(new_url_at: Callable[[str], str]) -> Iterator[Callable[..., Store]]:
    """Makes an empty store of an engine, of one partition or as many as are asked for."""

    def new(engine: str, partitions: int = 1) -> Store:
        url = new_url_at(engine)
        return cleanup.enter_context(open_store(url, create=True, partitions=partitions))

    with ExitStack() as cleanup:
        yield new


@pytest.fixture(params=[("sqlite", "postgres"), ("postgres", "sqlite")], ids="-".join)
def engines(request: pytest.FixtureRequest) -> tuple[str, str]:
    """From which engine to which."""
    source, target = request.param
    return source, target


@pytest.fixture
def source(engines: tuple[str, str], new_at: Callable[[str], Store]) -> Store:
    """A store with two files and a claim."""
    store = new_at(engines[0])
    register(store, "one", claim="first")
    register(store, "two")
    return store


@pytest.fixture
def target(engines: tuple[str, str], new_at: Callable[[str], Store]) -> Store:
    """An empty store of the other engine."""
    return new_at(engines[1])


@pytest.fixture
def third(engines: tuple[str, str], new_at: Callable[[str], Store]) -> Store:
    """Another empty store of the other engine."""
    return new_at(engines[1])


@pytest.fixture
def settings_of_stores(
    shared_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A vault key, a place for blobs, and a password for who goes along to another store."""
    monkeypatch.setenv("PGPASSWORD", urlsplit(shared_database).password or "")
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)


def _new_url(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, cleanup: ExitStack
) -> str:
    name = f"t_{secrets.token_hex(6)}"
    match engine:
        case "sqlite":
            return f"sqlite:///{tmp_path / name}"
        case "postgres":
            database: str = request.getfixturevalue("shared_database")
            cleanup.callback(_drop, database, name)
            return in_schema(database, name)
        case _:
            return "memory:"


def _drop(database: str, schema: str) -> None:
    with psycopg.connect(database, autocommit=True) as server:
        server.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
