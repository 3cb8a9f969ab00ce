"""Places where applications of the eventsourcing library have their stores, one of each engine."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

MODULE = "refold.infrastructure.eventsourcing"


@pytest.fixture(scope="session")
def database(postgres: str) -> Iterator[str]:
    """The url of one database for all applications: a schema is made faster than a database."""
    name = f"refold_es_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
    yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def new_environment(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str], dict[str, str]]:
    """Makes an environment whose applications have their stores in an empty place."""

    def new(engine: str) -> dict[str, str]:
        name = f"t{secrets.token_hex(6)}"
        match engine:
            case "sqlite":
                address = f"sqlite:///{tmp_path / name}"
            case "postgres":
                parts = urlsplit(request.getfixturevalue("database"))
                query = "&".join(filter(None, (parts.query, f"schema={name}")))
                address = parts._replace(query=query).geturl()
            case _:
                address = "memory:"
        return {"PERSISTENCE_MODULE": MODULE, "REFOLD_STORE": address}

    return new


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def environment(
    request: pytest.FixtureRequest, new_environment: Callable[[str], dict[str, str]]
) -> dict[str, str]:
    """An environment with an empty place."""
    return new_environment(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def kept_environment(
    request: pytest.FixtureRequest, new_environment: Callable[[str], dict[str, str]]
) -> dict[str, str]:
    """An environment with an empty place that outlives a process."""
    return new_environment(request.param)
